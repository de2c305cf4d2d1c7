#include "optim/order.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

fbt_status fbt_order_check(const char *name, int64_t generation, int64_t n, int64_t d, const double *x,
                           const double *fitness)
{
    for (int64_t i = 0; i < n; i++) {
        if (isnan(fitness[i])) {
            return fbt_fail(FBT_ERR_NUMERIC,
                            "%s: the fitness of solution %" PRId64 " in generation %" PRId64
                            " is not a number; it cannot be ranked",
                            name, i, generation);
        }
        for (int64_t k = 0; k < d; k++) {
            if (!isfinite(x[i * d + k])) {
                return fbt_fail(FBT_ERR_NUMERIC,
                                "%s: element %" PRId64 " of solution %" PRId64 " in generation %" PRId64 " is %g", name,
                                k, i, generation, x[i * d + k]);
            }
        }
    }
    return FBT_OK;
}

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
