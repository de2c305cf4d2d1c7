/* Conformance: layer normalisation. */
#include "suite.h"

#include <math.h>

enum { PLAIN, IN_PLACE, N_PLACES };

static void check_norm(suite *s, int64_t n_rows, int64_t n_dim, double shift, int place)
{
    const fbt_dtype dtype = fbt_precision_dtype(s->b->precision);
    const int64_t n = n_rows * n_dim;
    const float epsilon = 1e-5f;
    double *x = suite_random(s, n, 1, shift), *gamma = suite_random(s, n_dim, 1, 1),
           *beta = suite_random(s, n_dim, 1, 0);
    double *want = suite_block(s, n * (int64_t)sizeof *want),
           *tolerance = suite_block(s, n * (int64_t)sizeof *tolerance);
    fbt_buffer *xb = suite_buffer(s, x, n, dtype);
    fbt_buffer *gb = suite_buffer(s, gamma, n_dim, FBT_F32), *bb = suite_buffer(s, beta, n_dim, FBT_F32);
    fbt_buffer *yb = place == IN_PLACE ? xb : suite_poisoned(s, n, dtype);
    for (int64_t r = 0; r < n_rows; r++) {
        const double *row = x + r * n_dim;
        double mean = 0, mean_size = 0, variance = 0;
        for (int64_t i = 0; i < n_dim; i++) {
            mean += row[i] / (double)n_dim;
            mean_size += fabs(row[i]) / (double)n_dim;
        }
        for (int64_t i = 0; i < n_dim; i++) {
            variance += (row[i] - mean) * (row[i] - mean) / (double)n_dim;
        }
        for (int64_t i = 0; i < n_dim; i++) {
            const double factor = gamma[i] / sqrt(variance + epsilon), value = (row[i] - mean) * factor;
            want[r * n_dim + i] = value + beta[i];
            /* A sum in fp32 errs by a few units of the sum of sizes, also where the terms cancel (Higham 2002, section 4.2);
             * the rest errs by a few units of the result. */
            tolerance[r * n_dim + i] = 1.01 * suite_roundoff(s) * fabs(value + beta[i]) +
                                       1e-6 * (fabs(value) + fabs(beta[i])) + 4e-7 * fabs(mean_size * factor);
        }
    }
    suite_ok(s->b->ops->layernorm(s->b, yb, xb, gb, bb, n_rows, n_dim, epsilon));
    suite_compare("layernorm", suite_read(s, yb, n, dtype), want, tolerance, n);
}

/* Odd widths, one column, many rows, in place. Broken by an unbiased variance, epsilon outside the root, a tail of
 * lanes that enters the sums; with the large mean by variance as E[x^2] - E[x]^2, which loses all its digits there. */
static void layernorm_matches_reference(void **state)
{
    const int64_t widths[] = {1, 7, 16, 37, 64, 65, 96, 384, 1023, 1024};
    (void)state;
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        suite *s = suite_begin(2);
        check_norm(s, 1 + suite_random_below(s, 70), widths[i], 0, (int)i % N_PLACES);
        check_norm(s, 3, widths[i], 100, ((int)i + 1) % N_PLACES);
        suite_end(s);
    }
}

/* A constant row has variance 0: the result is beta. Broken by an epsilon that is left out. */
static void layernorm_of_constant_row(void **state)
{
    suite *s = *state;
    enum { N = 33 };
    const fbt_dtype dtype = fbt_precision_dtype(s->b->precision);
    double x[N], gamma[N], beta[N], tolerance[N];
    for (int i = 0; i < N; i++) {
        x[i] = 3;
        gamma[i] = 2;
        beta[i] = i - 16;
        tolerance[i] = 1e-3;
    }
    fbt_buffer *y = suite_poisoned(s, N, dtype);
    suite_ok(s->b->ops->layernorm(s->b, y, suite_buffer(s, x, N, dtype), suite_buffer(s, gamma, N, FBT_F32),
                                  suite_buffer(s, beta, N, FBT_F32), 1, N, 1e-12f));
    suite_compare("layernorm of a constant", suite_read(s, y, N, dtype), beta, tolerance, N);
}

static void layernorm_refuses(void **state)
{
    suite *s = *state;
    const fbt_dtype dtype = fbt_precision_dtype(s->b->precision);
    fbt_buffer *x = suite_poisoned(s, 10, dtype), *g = suite_poisoned(s, 5, FBT_F32),
               *few = suite_poisoned(s, 4, FBT_F32);
    suite_ok(s->b->ops->layernorm(s->b, x, x, g, g, 0, 5, 1e-5f));
    suite_expect(FBT_ERR_ARG, s->b->ops->layernorm(s->b, x, x, g, g, 3, 5, 1e-5f));
    suite_expect(FBT_ERR_ARG, s->b->ops->layernorm(s->b, x, x, few, g, 2, 5, 1e-5f));
    suite_expect(FBT_ERR_ARG, s->b->ops->layernorm(s->b, x, x, g, g, 2, 0, 1e-5f));
}

int run_norm_tests(void)
{
    const struct CMUnitTest norm[] = {
        cmocka_unit_test(layernorm_matches_reference),
        cmocka_unit_test_setup_teardown(layernorm_of_constant_row, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(layernorm_refuses, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(norm, NULL, NULL);
}
