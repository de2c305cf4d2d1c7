/* The plain product and the comparison of results. */
#include "row_fixture.h"

#include <math.h>

typedef struct product_case {
    int64_t n_rows, n_out, n_in;
    fbt_dtype dtype, y_dtype;
    fbt_activation activation;
    int has_bias, has_residual;
} product_case;

static double activate(fbt_activation activation, double x)
{
    switch (activation) {
    case FBT_ACT_RELU:
        return fmax(x, 0);
    case FBT_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default:
        return x;
    }
}

/* The sum errs by a rounding of each term, at most; x and weight are read where they lie, `shift` items into memory. */
static void check_product(const product_case *c, int64_t shift)
{
    const int64_t n_x = c->n_rows * c->n_in, n_w = c->n_out * c->n_in, n_y = c->n_rows * c->n_out;
    const int64_t item = (int64_t)fbt_dtype_bytes(c->dtype);
    typed x = typed_random(c->dtype, shift + n_x, 1, 0), w = typed_random(c->dtype, shift + n_w, 1, 0);
    typed bias = typed_random(c->y_dtype, c->n_out, 1, 0), residual = typed_random(c->y_dtype, n_y, 1, 0);
    typed y = typed_poisoned(c->y_dtype, n_y);
    const fbt_cuda_plain_product_args args = {.y = y.device,
                                              .x = (char *)x.device + shift * item,
                                              .weight = (char *)w.device + shift * item,
                                              .bias = c->has_bias ? bias.device : NULL,
                                              .residual = c->has_residual ? residual.device : NULL,
                                              .dtype = c->dtype,
                                              .y_dtype = c->y_dtype,
                                              .activation = c->activation,
                                              .n_rows = c->n_rows,
                                              .n_out = c->n_out,
                                              .n_in = c->n_in};
    cuda_ok(fbt_cuda_launch_plain_product(NULL, &args));
    typed_read(&y);
    for (int64_t r = 0; r < c->n_rows; r++) {
        for (int64_t o = 0; o < c->n_out; o++) {
            double sum = c->has_bias ? bias.values[o] : 0, size = fabs(sum);
            sum += c->has_residual ? residual.values[r * c->n_out + o] : 0;
            for (int64_t k = 0; k < c->n_in; k++) {
                const double term = x.values[shift + r * c->n_in + k] * w.values[shift + o * c->n_in + k];
                sum += term;
                size += fabs(term);
            }
            assert_near("product", r * c->n_out + o, y.values[r * c->n_out + o], activate(c->activation, sum),
                        1.01 * roundoff(c->y_dtype), 2e-6 * (1 + size));
        }
    }
}

/* Sizes around a tile's and a step's, rows that begin anywhere. Broken by a tile's edge, a term left out or counted
 * twice, a bias taken by row, a residual read at another place. */
static void plain_products_match_the_reference(void **state)
{
    const product_case cases[] = {
        {1, 1, 1, FBT_F32, FBT_F32, FBT_ACT_NONE, 1, 0},      {65, 63, 17, FBT_F32, FBT_F32, FBT_ACT_NONE, 1, 1},
        {64, 64, 16, FBT_BF16, FBT_BF16, FBT_ACT_NONE, 0, 1}, {7, 129, 37, FBT_BF16, FBT_BF16, FBT_ACT_GELU_TANH, 1, 0},
        {3, 70, 33, FBT_BF16, FBT_F32, FBT_ACT_NONE, 1, 1},   {66, 5, 53, FBT_F32, FBT_F32, FBT_ACT_RELU, 1, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_product(&cases[i], 0);
        check_product(&cases[i], 1);
    }
}

/* A row alone has the bits that it has among others. */
static void plain_products_do_not_depend_on_the_batch(void **state)
{
    enum { N_ROWS = 67, N_OUT = 19, N_IN = 90, ROW = 66 };
    typed x = typed_random(FBT_F32, N_ROWS * N_IN, 1, 0), w = typed_random(FBT_F32, N_OUT * N_IN, 1, 0);
    typed all = typed_poisoned(FBT_F32, N_ROWS * N_OUT), one = typed_poisoned(FBT_F32, N_OUT);
    fbt_cuda_plain_product_args args = {.y = all.device,
                                        .x = x.device,
                                        .weight = w.device,
                                        .dtype = FBT_F32,
                                        .y_dtype = FBT_F32,
                                        .n_rows = N_ROWS,
                                        .n_out = N_OUT,
                                        .n_in = N_IN};
    (void)state;
    cuda_ok(fbt_cuda_launch_plain_product(NULL, &args));
    args.y = one.device;
    args.x = (float *)x.device + (int64_t)ROW * N_IN;
    args.n_rows = 1;
    cuda_ok(fbt_cuda_launch_plain_product(NULL, &args));
    typed_read(&all);
    typed_read(&one);
    assert_memory_equal(one.values, all.values + (int64_t)ROW * N_OUT, N_OUT * sizeof *one.values);
}

static int differ(const void *a, const void *b, int64_t n_bytes)
{
    const int32_t none = 0;
    int32_t differs;
    int32_t *word = device_copy(&none, sizeof none);
    cuda_ok(fbt_cuda_launch_compare(NULL, word, a, b, n_bytes));
    host_copy(&differs, word, sizeof differs);
    return differs;
}

/* Broken by an item that nobody looks at: the first, the last, and those around the ends of threads' and blocks'
 * shares. */
static void one_bit_is_noticed(void **state)
{
    enum { N = 9001 };
    static const int64_t places[] = {0, 1, 255, 256, 4095, 4096, 4097, 8191, 8192, N - 1};
    static uint16_t items[N];
    (void)state;
    for (int i = 0; i < N; i++) {
        items[i] = (uint16_t)random_below(65536);
    }
    const uint16_t *a = device_copy(items, sizeof items);
    assert_int_equal(differ(a, device_copy(items, sizeof items), sizeof items), 0);
    assert_int_equal(differ(a, a + 1, 0), 0);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        items[places[i]] ^= 1;
        const uint16_t *b = device_copy(items, sizeof items);
        assert_int_equal(differ(a, b, sizeof items), 1);
        assert_int_equal(differ(a, b, 2 * places[i]), 0);
        items[places[i]] ^= 1;
    }
}

int run_products_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(plain_products_match_the_reference, device_clear),
        cmocka_unit_test_teardown(plain_products_do_not_depend_on_the_batch, device_clear),
        cmocka_unit_test_teardown(one_bit_is_noticed, device_clear),
    };
    return cmocka_run_group_tests_name("products", tests, NULL, NULL);
}
