/* Conformance: y = activation(x W^T + bias), and the same with residual and LayerNorm behind it. */
#include "activation.h"
#include "suite.h"

#include <math.h>
#include <string.h>

typedef struct linear_case {
    int64_t n_rows, n_out, n_in;
    fbt_activation activation;
    int has_bias;
} linear_case;

/* The last activation that the backend's products have. */
static int last_activation(const suite *s)
{
    return suite_has(s, FBT_FEATURE_SILU) ? FBT_ACT_SILU : FBT_ACT_TANH;
}

/* Bound on the error of a library's own GELU by the tanh formula beyond rounding, relative to x: tanh of the device's
 * special function unit is good to 11 bits. */
static double gelu_error(const suite *s, fbt_activation activation, const fbt_types *types)
{
    return suite_is_cuda(s) && activation == FBT_ACT_GELU_TANH && types->compute == FBT_COMPUTE_BF16 ? 0x1p-11 : 0;
}

/* Reference and tolerance of one element. The sum errs as products do; the activations by 1e-6, their slopes being
 * below 1.13; then the result is rounded to the activation type. */
static void linear_element(const suite *s, const linear_case *c, const fbt_types *types, const double *x,
                           const double *w, double bias, double *want, double *tolerance)
{
    const double roundoff = types->activations == FBT_BF16 ? 0x1p-8 : 0x1p-24;
    double sum = bias, size = fabs(bias);
    for (int64_t i = 0; i < c->n_in; i++) {
        sum += x[i] * w[i];
        size += fabs(x[i] * w[i]);
    }
    *want = reference_activate(c->activation, sum);
    *tolerance =
        1.13 * (suite_product_error(types) * size + suite_bias_error(s, types) * (fabs(bias) + fabs(sum - bias))) +
        1e-6 * (c->activation != FBT_ACT_NONE) * (1 + fabs(sum)) + 1.01 * roundoff * fabs(*want) +
        gelu_error(s, c->activation, types) * fabs(sum);
}

static void check_linear(suite *s, const linear_case *c, const fbt_types *types)
{
    const fbt_dtype dtype = types->activations;
    const int64_t n = c->n_rows * c->n_out;
    double *x = suite_random(s, c->n_rows * c->n_in, 1, 0),
           *w = suite_random(s, c->n_out * c->n_in, 1 / sqrt((double)c->n_in), 0);
    double *bias = c->has_bias ? suite_random(s, c->n_out, 1, 0) : NULL;
    double *want = suite_block(s, n * (int64_t)sizeof *want),
           *tolerance = suite_block(s, n * (int64_t)sizeof *tolerance);
    fbt_matrix *matrix = suite_matrix(s, w, bias, c->n_out, c->n_in, types);
    fbt_buffer *xb = suite_buffer(s, x, c->n_rows * c->n_in, dtype), *yb = suite_poisoned(s, n, dtype);
    suite_quantise(types, x, c->n_rows, c->n_in);
    for (int64_t r = 0; r < c->n_rows; r++) {
        for (int64_t o = 0; o < c->n_out; o++) {
            linear_element(s, c, types, x + r * c->n_in, w + o * c->n_in, bias ? bias[o] : 0, &want[r * c->n_out + o],
                           &tolerance[r * c->n_out + o]);
        }
    }
    suite_ok(fbt_linear(s->b, yb, xb, matrix, c->activation, c->n_rows));
    suite_compare("linear", suite_read(s, yb, n, dtype), want, tolerance, n);
}

/* Every activation at odd sizes, with and without bias; row counts around those at which blocks begin and end. Broken
 * by a bias left out, a padded row or column that leaks, the tanh GELU in place of the erf one (they differ by 5e-4),
 * reduced-precision products in fp32. */
static void linear_matches_reference(void **state)
{
    const int64_t rows[] = {1, 2, 31, 33, 64, 129, 193, 260};
    int k = 0;
    for (int a = FBT_ACT_NONE; a <= last_activation(*state); a++) {
        for (int has_bias = 0; has_bias < 2; has_bias++) {
            suite *s = suite_begin(2);
            const int64_t odd = a == FBT_ACT_NONE ? 53 : suite_width(s, 53);
            check_linear(s, &(linear_case){rows[k % 8], odd, 37, (fbt_activation)a, has_bias}, suite_types(s));
            check_linear(s, &(linear_case){rows[(k + 3) % 8], 96, 64, (fbt_activation)a, has_bias}, suite_types(s));
            k++;
            suite_end(s);
        }
    }
}

/* A model's sizes: long sums, more columns than one tile, and the sizes of one. */
static void linear_of_many_sizes(void **state)
{
    suite *s = *state;
    const linear_case cases[] = {
        {3, 1, 1, FBT_ACT_NONE, 1},
        {1, 384, 1536, FBT_ACT_NONE, 1},
        {33, suite_width(s, 385), 129, FBT_ACT_GELU_ERF, 1},
        {5, 96, 4096, FBT_ACT_NONE, 1},
        {70, 32, 1000, FBT_ACT_NONE, 0},
        {2, suite_width(s, 1031), 31, FBT_ACT_TANH, 1},
        {67, 305, 4200, FBT_ACT_GELU_TANH,
         1}, /* more of everything than a cache holds; an emulated device needs minutes */
    };
    const size_t n_cases = sizeof cases / sizeof cases[0] - (suite_is_cuda(s) ? 1 : 0);
    for (size_t i = 0; i < n_cases; i++) {
        check_linear(s, &cases[i], suite_types(s));
    }
}

/* Activations far from zero, where exp overflows and GELU's tails are flat. Broken by inf * 0 in a tail. */
static void activations_at_extremes(void **state)
{
    suite *s = *state;
    const fbt_dtype dtype = suite_dtype(s);
    enum { N = 64 };
    const int64_t width = suite_width(s, 1), n_rows = N / width;
    double x[N], want[N], tolerance[N], *identity = suite_block(s, width * width * (int64_t)sizeof *identity);
    for (int i = 0; i < N; i++) {
        x[i] = (i % 2 ? 1 : -1) * exp2(i / 2 - 20); /* 2^-20 .. 2^11 */
    }
    for (int64_t i = 0; i < width; i++) {
        identity[i * width + i] = 1;
    }
    fbt_matrix *matrix = suite_matrix(s, identity, NULL, width, width, suite_types(s));
    fbt_buffer *xb = suite_buffer(s, x, N, dtype);
    suite_quantise(suite_types(s), x, n_rows, width);
    for (int a = FBT_ACT_NONE; a <= last_activation(s); a++) {
        const double error = gelu_error(s, (fbt_activation)a, suite_types(s));
        fbt_buffer *yb = suite_poisoned(s, N, dtype);
        for (int i = 0; i < N; i++) {
            want[i] = reference_activate((fbt_activation)a, x[i]);
            tolerance[i] = 1.01 * suite_roundoff(s) * fabs(want[i]) + (1e-6 + error) * fmin(fabs(x[i]), 8) +
                           1.13 * suite_scale_error(suite_types(s)) * fabs(x[i]);
        }
        suite_ok(fbt_linear(s->b, yb, xb, matrix, (fbt_activation)a, n_rows));
        suite_compare("activation", suite_read(s, yb, N, dtype), want, tolerance, N);
    }
}

/* Where products have no SiLU, they say so. */
static void silu_is_not_passed_over(void **state)
{
    suite *s = *state;
    const int64_t d = suite_width(s, 8);
    const fbt_matrix *w = suite_matrix(s, suite_random(s, d * d, 1, 0), NULL, d, d, suite_types(s));
    fbt_buffer *x = suite_buffer(s, suite_random(s, d, 1, 0), d, suite_dtype(s));
    fbt_buffer *y = suite_poisoned(s, d, suite_dtype(s));
    const int is_computed = suite_computed(fbt_linear(s->b, y, x, w, FBT_ACT_SILU, 1), "silu");
    assert_int_equal(is_computed, suite_has(s, FBT_FEATURE_SILU));
}

/* The prompt projection is fp32 on a bf16 backend too: its rows are float. */
static void linear_in_fp32_on_any_backend(void **state)
{
    suite *s = *state;
    check_linear(s, &(linear_case){7, 131, 50, FBT_ACT_NONE, 1}, fbt_types_find("fp32"));
    check_linear(s, &(linear_case){9, 40, 500, FBT_ACT_NONE, 0}, fbt_types_find("fp32"));
}

/* Weights of every type give what the same weights give as float. Broken by a conversion that drops subnormals or
 * rounds differently. */
static void weights_of_every_type(void **state)
{
    suite *s = *state;
    enum { N_OUT = 37, N_IN = 53, N_ROWS = 5 };
    const fbt_dtype dtype = suite_dtype(s), types[] = {FBT_F16, FBT_BF16};
    double *x = suite_random(s, N_ROWS * N_IN, 1, 0);
    fbt_buffer *xb = suite_buffer(s, x, N_ROWS * N_IN, dtype);
    for (int t = 0; t < 2; t++) {
        double *w = suite_random(s, N_OUT * N_IN, 0.1, 0);
        w[0] = 0x1p-24; /* F16's smallest subnormal */
        w[1] = -0x1.8p-20;
        const void *typed = suite_typed(s, w, N_OUT * N_IN, types[t]), *wide = suite_typed(s, w, N_OUT * N_IN, FBT_F32);
        fbt_buffer *y[2] = {suite_poisoned(s, N_ROWS * N_OUT, dtype), suite_poisoned(s, N_ROWS * N_OUT, dtype)};
        for (int k = 0; k < 2; k++) {
            fbt_matrix *matrix;
            suite_ok(fbt_matrix_new(s->b,
                                    &(fbt_matrix_spec){.weight = k ? wide : typed,
                                                       .dtype = k ? FBT_F32 : types[t],

                                                       .n_out = N_OUT,
                                                       .n_in = N_IN,
                                                       .types = suite_types(s)},
                                    &matrix));
            suite_ok(fbt_linear(s->b, y[k], xb, matrix, FBT_ACT_NONE, N_ROWS));
            fbt_matrix_free(s->b, matrix);
        }
        const double *a = suite_read(s, y[0], N_ROWS * N_OUT, dtype), *c = suite_read(s, y[1], N_ROWS * N_OUT, dtype);
        assert_memory_equal(a, c, N_ROWS * N_OUT * sizeof *a);
    }
}

/* A backend that chooses how to multiply tells what it chose: on the emulated device the brisk one of two with the same
 * bits, and its own kernel where the library has nothing (cublaslt.cc). Broken by a choice that goes by the list's
 * order alone, or by bits that differ. */
static void products_are_described(void **state)
{
    suite *s = suite_begin(1);
    char text[512] = "";
    (void)state;
    assert_int_equal(fbt_backend_describe_product(s->b, 0, text, sizeof text), 0);
    check_linear(s, &(linear_case){3, suite_width(s, 8), 37, FBT_ACT_NONE, 1}, suite_types(s));
    check_linear(s, &(linear_case){3, suite_width(s, 8), 40, FBT_ACT_NONE, 1}, suite_types(s));
    assert_int_equal(fbt_backend_describe_product(s->b, 0, text, sizeof text), suite_is_cuda(s));
    if (suite_is_emulated(s)) {
        assert_non_null(strstr(text, "algorithm 5, "));
        assert_int_equal(fbt_backend_describe_product(s->b, 1, text, sizeof text), 1);
        assert_non_null(strstr(text, suite_dtype(s) == FBT_BF16 ? "kernel of fedbpt's own" : "algorithm 5, "));
    }
    assert_int_equal(fbt_backend_describe_product(s->b, 2, text, sizeof text), 0);
    suite_end(s);
}

/* The host's weights and bias may be reused as soon as matrix_new returns. */
static void weights_are_copied(void **state)
{
    suite *s = *state;
    float weight[6] = {127, 2, 0, 127, 4, 0}, bias[2] = {4, 8}; /* in int8 scales of 1 */
    double x[3] = {0, 254, 1};
    const fbt_dtype dtype = suite_dtype(s);
    fbt_matrix *matrix;
    fbt_buffer *y = suite_poisoned(s, 2, dtype);
    suite_ok(fbt_matrix_new(
        s->b, &(fbt_matrix_spec){.weight = weight, .dtype = FBT_F32, .bias = bias, .n_out = 2, .n_in = 3}, &matrix));
    memset(weight, 0xff, sizeof weight);
    memset(bias, 0xff, sizeof bias);
    suite_ok(fbt_linear(s->b, y, suite_buffer(s, x, 3, dtype), matrix, FBT_ACT_NONE, 1));
    fbt_matrix_free(s->b, matrix);
    const double *got = suite_read(s, y, 2, dtype);
    assert_true(got[0] == 512 && got[1] == 1024);
}

static void linear_refuses(void **state)
{
    suite *s = *state;
    double *w = suite_random(s, 12, 1, 0), *x = suite_random(s, 8, 1, 0);
    const fbt_dtype dtype = suite_dtype(s);
    fbt_matrix *matrix = suite_matrix(s, w, NULL, 3, 4, suite_types(s));
    fbt_buffer *xb = suite_buffer(s, x, 8, dtype), *yb = suite_poisoned(s, 6, dtype),
               *small = suite_poisoned(s, 5, dtype);
    suite_ok(fbt_linear(s->b, small, xb, matrix, FBT_ACT_NONE, 0));
    suite_expect(FBT_ERR_ARG, fbt_linear(s->b, small, xb, matrix, FBT_ACT_NONE, 2));
    suite_expect(FBT_ERR_ARG, fbt_linear(s->b, yb, xb, matrix, FBT_ACT_NONE, 3));
    suite_expect(FBT_ERR_ARG, fbt_linear(s->b, yb, xb, matrix, FBT_ACT_NONE, -1));
}

typedef enum residual_kind { RESIDUAL_OTHER, RESIDUAL_SAME, N_RESIDUALS } residual_kind;

/* x W^T + bias + residual of one row in double, and what it may err by before the LayerNorm: the sum as products do,
 * the rest where it is stored in the activation type on its way. */
static void sum_row(const suite *s, const linear_case *c, const double *x, const double *w, const double *bias,
                    const double *residual, double *sum, double *error)
{
    for (int64_t o = 0; o < c->n_out; o++) {
        double size = 0;
        sum[o] = bias != NULL ? bias[o] : 0;
        for (int64_t i = 0; i < c->n_in; i++) {
            sum[o] += x[i] * w[o * c->n_in + i];
            size += fabs(x[i] * w[o * c->n_in + i]);
        }
        sum[o] += residual[o];
        error[o] = suite_product_error(suite_types(s)) * (size + fabs(residual[o])) +
                   1.01 * suite_roundoff(s) * (fabs(sum[o]) + (bias != NULL ? fabs(bias[o]) : 0));
    }
}

static void check_linear_norm(suite *s, const linear_case *c, residual_kind kind)
{
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t n = c->n_rows * c->n_out;
    const float epsilon = 1e-5f;
    double *x = suite_random(s, c->n_rows * c->n_in, 1, 0),
           *w = suite_random(s, c->n_out * c->n_in, 1 / sqrt((double)c->n_in), 0);
    double *bias = c->has_bias ? suite_random(s, c->n_out, 1, 0) : NULL, *residual = suite_random(s, n, 1, 0);
    double *gamma = suite_random(s, c->n_out, 1, 1), *beta = suite_random(s, c->n_out, 1, 0);
    double *want = suite_block(s, n * (int64_t)sizeof *want),
           *tolerance = suite_block(s, n * (int64_t)sizeof *tolerance);
    double *sum = suite_block(s, c->n_out * (int64_t)sizeof *sum),
           *error = suite_block(s, c->n_out * (int64_t)sizeof *error);
    const fbt_matrix *matrix = suite_matrix(s, w, bias, c->n_out, c->n_in, suite_types(s));
    const fbt_norm norm = suite_norm(s, gamma, beta, c->n_out, epsilon);
    fbt_buffer *xb = suite_buffer(s, x, c->n_rows * c->n_in, dtype), *rb = suite_buffer(s, residual, n, dtype);
    fbt_buffer *yb = kind == RESIDUAL_SAME ? rb : suite_poisoned(s, n, dtype);
    suite_quantise(suite_types(s), x, c->n_rows, c->n_in);
    for (int64_t r = 0; r < c->n_rows; r++) {
        sum_row(s, c, x + r * c->n_in, w, bias, residual + r * c->n_out, sum, error);
        suite_norm_row(s, sum, error, gamma, beta, c->n_out, epsilon, want + r * c->n_out, tolerance + r * c->n_out);
    }
    suite_ok(fbt_linear_norm(s->b, yb, xb, matrix, rb, &norm, c->n_rows));
    suite_compare("linear_norm", suite_read(s, yb, n, dtype), want, tolerance, n);
    if (kind == RESIDUAL_OTHER) {
        assert_memory_equal(suite_read(s, rb, n, dtype), residual, (size_t)n * sizeof *residual);
    }
}

/* Broken by a bias or residual left out or added behind the LayerNorm, a residual that is written where it is not y,
 * statistics of the sum without its bias. */
static void linear_norm_matches_reference(void **state)
{
    const int64_t rows[] = {1, 33, 130}, sizes[][2] = {{53, 37}, {96, 64}, {384, 200}};
    (void)state;
    for (int k = 0; k < 3; k++) {
        for (int kind = RESIDUAL_OTHER; kind < N_RESIDUALS; kind++) {
            suite *s = suite_begin(2);
            const linear_case c = {rows[(k + kind) % 3], suite_width(s, sizes[k][0]), sizes[k][1], FBT_ACT_NONE,
                                   (k + kind) % 3};
            check_linear_norm(s, &c, (residual_kind)kind);
            suite_end(s);
        }
    }
}

static void linear_norm_refuses(void **state)
{
    suite *s = *state;
    const int64_t n_out = suite_width(s, 3);
    const fbt_dtype dtype = suite_dtype(s);
    const fbt_matrix *matrix = suite_matrix(s, suite_random(s, n_out * 4, 1, 0), NULL, n_out, 4, suite_types(s));
    fbt_buffer *x = suite_buffer(s, suite_random(s, 8, 1, 0), 8, dtype);
    fbt_buffer *y = suite_poisoned(s, 2 * n_out, dtype), *small = suite_poisoned(s, 2 * n_out - 1, dtype);
    const fbt_norm norm = suite_norm(s, NULL, NULL, n_out, 1e-5f), narrow = suite_norm(s, NULL, NULL, n_out - 1, 1e-5f);
    suite_ok(fbt_linear_norm(s->b, y, x, matrix, y, &norm, 0));
    suite_expect(FBT_ERR_ARG, fbt_linear_norm(s->b, small, x, matrix, y, &norm, 2));
    suite_expect(FBT_ERR_ARG, fbt_linear_norm(s->b, y, x, matrix, small, &norm, 2));
    suite_expect(FBT_ERR_ARG, fbt_linear_norm(s->b, y, x, matrix, y, &narrow, 2));
    suite_expect(FBT_ERR_ARG, fbt_linear_norm(s->b, y, x, matrix, y, &norm, 3));
}

int run_linear_tests(void)
{
    const struct CMUnitTest linear[] = {
        cmocka_unit_test_setup_teardown(linear_matches_reference, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(linear_of_many_sizes, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(activations_at_extremes, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(silu_is_not_passed_over, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(linear_in_fp32_on_any_backend, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(weights_of_every_type, suite_setup, suite_teardown),
        cmocka_unit_test(products_are_described),
        cmocka_unit_test_setup_teardown(weights_are_copied, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(linear_refuses, suite_setup, suite_teardown),
        cmocka_unit_test(linear_norm_matches_reference),
        cmocka_unit_test_setup_teardown(linear_norm_refuses, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(linear, NULL, NULL);
}
