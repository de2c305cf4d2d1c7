/* Conformance: layer normalisation. */
#include "suite.h"

#include <math.h>

enum { PLAIN, IN_PLACE, N_PLACES };

static void check_norm(suite *s, int64_t n_rows, int64_t n_dim, double shift, int place)
{
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t n = n_rows * n_dim;
    const float epsilon = 1e-5f;
    double *x = suite_random(s, n, 1, shift), *gamma = suite_random(s, n_dim, 1, 1),
           *beta = suite_random(s, n_dim, 1, 0);
    double *want = suite_block(s, n * (int64_t)sizeof *want),
           *tolerance = suite_block(s, n * (int64_t)sizeof *tolerance);
    fbt_buffer *xb = suite_buffer(s, x, n, dtype);
    const fbt_norm norm = suite_norm(s, gamma, beta, n_dim, epsilon);
    fbt_buffer *yb = place == IN_PLACE ? xb : suite_poisoned(s, n, dtype);
    for (int64_t r = 0; r < n_rows; r++) {
        suite_norm_row(s, x + r * n_dim, NULL, gamma, beta, n_dim, epsilon, want + r * n_dim, tolerance + r * n_dim);
    }
    suite_ok(fbt_layernorm(s->b, yb, xb, suite_dtype(s), &norm, n_rows, n_dim));
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
        const int64_t width = suite_width(s, widths[i]);
        check_norm(s, 1 + suite_random_below(s, 70), width, 0, (int)i % N_PLACES);
        check_norm(s, 3, width, 100, ((int)i + 1) % N_PLACES);
        suite_end(s);
    }
}

/* A constant row has variance 0: the result is beta. Broken by an epsilon that is left out. */
static void layernorm_of_constant_row(void **state)
{
    suite *s = *state;
    enum { N = 40 };
    const int64_t n = suite_width(s, N - 7);
    const fbt_dtype dtype = suite_dtype(s);
    double x[N], gamma[N], beta[N], tolerance[N];
    for (int i = 0; i < N; i++) {
        x[i] = 3;
        gamma[i] = 2;
        beta[i] = i - 16;
        tolerance[i] = 1e-3;
    }
    fbt_buffer *y = suite_poisoned(s, n, dtype);
    const fbt_norm norm = suite_norm(s, gamma, beta, n, 1e-12f);
    suite_ok(fbt_layernorm(s->b, y, suite_buffer(s, x, n, dtype), suite_dtype(s), &norm, 1, n));
    suite_compare("layernorm of a constant", suite_read(s, y, n, dtype), beta, tolerance, n);
}

static void layernorm_refuses(void **state)
{
    suite *s = *state;
    const int64_t d = suite_width(s, 5);
    const fbt_dtype dtype = suite_dtype(s);
    fbt_buffer *x = suite_poisoned(s, 2 * d, dtype);
    const fbt_norm norm = suite_norm(s, NULL, NULL, d, 1e-5f), narrow = suite_norm(s, NULL, NULL, d - 1, 1e-5f);
    suite_ok(fbt_layernorm(s->b, x, x, suite_dtype(s), &norm, 0, d));
    suite_expect(FBT_ERR_ARG, fbt_layernorm(s->b, x, x, suite_dtype(s), &norm, 3, d));
    suite_expect(FBT_ERR_ARG, fbt_layernorm(s->b, x, x, suite_dtype(s), &narrow, 2, d));
    suite_expect(FBT_ERR_ARG, fbt_layernorm(s->b, x, x, suite_dtype(s), &norm, 2, 0));
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
