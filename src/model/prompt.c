#include "model/prompt.h"

#include "base/rng.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <inttypes.h>
#include <math.h>

/* One row of A from its own stream, so that rows can be made in any order. */
static void fill_row(fbt_projection_kind kind, gsl_rng *rng, uint64_t seed, double scale, int64_t row, int64_t d,
                     float *a)
{
    double limit = 1.0 / sqrt((double)d);
    fbt_rng_seek(rng, &(fbt_rng_stream){.seed = seed, .purpose = FBT_RNG_PROJECTION, .round = (uint32_t)row});
    for (int64_t j = 0; j < d; j++) {
        a[j] = kind == FBT_PROJECTION_NORMAL ? (float)gsl_ran_gaussian_ziggurat(rng, scale)
                                             : (float)gsl_ran_flat(rng, -limit, limit);
    }
}

fbt_status fbt_prompt_projection(fbt_projection_kind kind, uint64_t seed, double scale, int64_t first, int64_t n_out,
                                 int64_t d, float *a)
{
    if (first < 0 || n_out < 0 || first + n_out > UINT32_MAX || d < 1) {
        return fbt_fail(FBT_ERR_ARG, "a projection cannot have %" PRId64 " rows of %" PRId64, n_out, d);
    }
    if (kind == FBT_PROJECTION_NORMAL && !(scale > 0 && isfinite(scale))) {
        return fbt_fail(FBT_ERR_ARG, "the projection's standard deviation is %g, not a positive number", scale);
    }
    fbt_status status = FBT_OK;
#pragma omp parallel
    {
        gsl_rng *rng;
        fbt_status mine = fbt_rng_new(&rng);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < n_out; row++) {
            if (mine == FBT_OK) {
                fill_row(kind, rng, seed, scale, first + row, d, a + row * d);
            }
        }
        gsl_rng_free(rng);
        if (mine != FBT_OK) {
#pragma omp atomic write
            status = mine;
        }
    }
    return status == FBT_OK ? FBT_OK : fbt_fail(status, "out of memory: random number generator");
}
