#include "fed/norm_bound.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double fbt_norm_bound(const fbt_settings *settings, uint32_t round)
{
    const double bound = settings->cma.norm_bound + (double)(round - 1) * settings->cma.norm_growth;
    const double most = settings->cma.norm_max > 0 ? settings->cma.norm_max : INFINITY;
    return settings->cma.norm_bound > 0 ? fmin(bound, most) : INFINITY;
}

void fbt_norm_bound_apply(double bound, int64_t n, int64_t d, double *z)
{
    for (int64_t k = 0; k < n && isfinite(bound); k++, z += d) {
        double squares = 0;
        for (int64_t i = 0; i < d; i++) {
            squares += z[i] * z[i];
        }
        const double factor = bound / sqrt(squares);
        for (int64_t i = 0; i < d && factor < 1; i++) {
            z[i] *= factor;
        }
    }
}

fbt_status fbt_norm_bound_mean(double bound, fbt_optimiser *optimiser)
{
    fbt_status status = FBT_OK;
    const int64_t d = fbt_optimiser_options_of(optimiser)->dimension;
    double *mean = NULL;
    if (!isfinite(bound)) {
        return FBT_OK;
    }
    FBT_TRY(fbt_memory_alloc(&mean, d, sizeof *mean));
    memcpy(mean, fbt_optimiser_mean(optimiser), (size_t)d * sizeof *mean);
    fbt_norm_bound_apply(bound, 1, d, mean);
    FBT_TRY(fbt_optimiser_set_mean(optimiser, mean));
done:
    free(mean);
    return status;
}
