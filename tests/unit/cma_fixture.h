/* Shared parts of the CMA-ES tests: optimisers on a bumpy bowl, with every candidate drawn from its own stream. */
#ifndef FBT_TEST_CMA_FIXTURE_H
#define FBT_TEST_CMA_FIXTURE_H

#include "base/rng.h"
#include "optim/cma.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline fbt_cma *make_cma(const fbt_cma_options *options, double start, double step_size)
{
    double *mean = calloc((size_t)options->dimension, sizeof *mean);
    fbt_cma *cma;
    for (int64_t i = 0; i < options->dimension; i++) {
        mean[i] = start + 0.01 * (double)i;
    }
    assert_int_equal(fbt_cma_new(options, mean, step_size, &cma), FBT_OK);
    free(mean);
    return cma;
}

static inline double bumpy_bowl(const double *x, int64_t d)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++) {
        sum += (1 + (double)(i % 7)) * x[i] * x[i] + (i > 0 ? x[i] * x[i - 1] : 0) + 0.3 * cos(3 * x[i]);
    }
    return sum;
}

/* One generation's candidates and fitnesses, asked last to first: the order must not matter. x: [population, d]. */
static inline void ask_all(fbt_cma *cma, gsl_rng *rng, uint32_t generation, double *x, double *fitness)
{
    const int64_t d = fbt_cma_options_of(cma)->dimension;
    for (int64_t i = fbt_cma_options_of(cma)->population - 1; i >= 0; i--) {
        fbt_rng_seek(rng,
                     &(fbt_rng_stream){
                         .seed = 5, .purpose = FBT_RNG_SEARCH, .generation = generation, .candidate = (uint32_t)i});
        assert_int_equal(fbt_cma_ask(cma, i, rng, x + i * d), FBT_OK);
        fitness[i] = bumpy_bowl(x + i * d, d);
    }
}

/* Generations first .. end-1; `read_c` reads C after each, which must not matter. */
static inline void evolve(fbt_cma *cma, uint32_t first, uint32_t end, int read_c)
{
    const int64_t d = fbt_cma_options_of(cma)->dimension, n = fbt_cma_options_of(cma)->population;
    double *x = calloc((size_t)(n * d), sizeof *x), *fitness = calloc((size_t)n, sizeof *fitness);
    double *diagonal = calloc((size_t)d, sizeof *diagonal);
    gsl_rng *rng;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    for (uint32_t g = first; g < end; g++) {
        ask_all(cma, rng, g, x, fitness);
        assert_int_equal(fbt_cma_tell(cma, n, x, fitness), FBT_OK);
        if (read_c) {
            assert_int_equal(fbt_cma_covariance_diagonal(cma, diagonal), FBT_OK);
        }
    }
    gsl_rng_free(rng);
    free(diagonal);
    free(fitness);
    free(x);
}

/* Bit for bit, by way of the exported state and C itself. */
static inline void assert_same(fbt_cma *a, fbt_cma *b)
{
    fbt_cma_state s, t;
    const int64_t d = fbt_cma_options_of(a)->dimension;
    assert_int_equal(fbt_cma_state_export(a, &s), FBT_OK);
    assert_int_equal(fbt_cma_state_export(b, &t), FBT_OK);
    assert_int_equal(s.n_integers, t.n_integers);
    assert_int_equal(s.n_reals, t.n_reals);
    assert_memory_equal(s.integers, t.integers, (size_t)s.n_integers * sizeof *s.integers);
    assert_memory_equal(s.reals, t.reals, (size_t)s.n_reals * sizeof *s.reals);
    fbt_cma_state_clear(&s);
    fbt_cma_state_clear(&t);
    double *c = calloc((size_t)(d * d), sizeof *c), *e = calloc((size_t)(d * d), sizeof *e);
    assert_int_equal(fbt_cma_covariance_full(a, c), FBT_OK);
    assert_int_equal(fbt_cma_covariance_full(b, e), FBT_OK);
    assert_memory_equal(c, e, (size_t)(d * d) * sizeof *c);
    free(c);
    free(e);
}

#endif
