#include "data/client_spread.h"

#include "base/smaller.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void fbt_client_spread_describe(int64_t *samples, int64_t *classes, int64_t n_clients, int64_t n_labels, char *text,
                                size_t n_bytes)
{
    const int64_t last = n_clients - 1, middle = last / 2;
    qsort(samples, (size_t)n_clients, sizeof *samples, fbt_compare_integers);
    qsort(classes, (size_t)n_clients, sizeof *classes, fbt_compare_integers);
    snprintf(text, n_bytes,
             "%" PRId64 " client%s, %" PRId64 " to %" PRId64 " samples each (median %" PRId64 "), of %" PRId64
             " to %" PRId64 " of %" PRId64 " classes (median %" PRId64 ")",
             n_clients, n_clients == 1 ? "" : "s", samples[0], samples[last], samples[middle], classes[0],
             classes[last], n_labels, classes[middle]);
}

int64_t fbt_client_spread_classes(const int64_t *counts, int64_t n_labels)
{
    int64_t n = 0;
    for (int64_t c = 0; c < n_labels; c++) {
        n += counts[c] != 0;
    }
    return n;
}
