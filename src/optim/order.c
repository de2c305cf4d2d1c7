#include "optim/order.h"

#include <stdlib.h>

static int by_fitness_then_index(const void *a, const void *b, void *context)
{
    const double *fitness = context;
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    if (fitness[i] != fitness[j]) {
        return fitness[i] < fitness[j] ? -1 : 1;
    }
    return i < j ? -1 : i > j;
}

void fbt_order_by_fitness(int64_t n, const double *fitness, int64_t *order)
{
    for (int64_t i = 0; i < n; i++) {
        order[i] = i;
    }
    qsort_r(order, (size_t)n, sizeof *order, by_fitness_then_index, (void *)(uintptr_t)fitness);
}
