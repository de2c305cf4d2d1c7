/* Least, median and largest numbers of what clients hold, as a line for people. */
#ifndef FBT_DATA_CLIENT_SPREAD_H
#define FBT_DATA_CLIENT_SPREAD_H

#include <stddef.h>
#include <stdint.h>

/* "10 clients, 4 to 40 samples each (median 12), of 1 to 5 of 5 classes (median 3)". samples, classes: [n_clients], how
 * many each client has; they are sorted. Of an even number the lower median. text: [n_bytes]. */
void fbt_client_spread_describe(int64_t *samples, int64_t *classes, int64_t n_clients, int64_t n_labels, char *text,
                                size_t n_bytes);

/* How many of the counts are not 0: classes that a client has. counts: [n_labels]. */
int64_t fbt_client_spread_classes(const int64_t *counts, int64_t n_labels);

#endif
