#include "fed/norm_bound.h"

#include <math.h>

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
