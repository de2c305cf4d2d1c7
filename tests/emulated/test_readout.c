/* Readout kernels: gathered rows, pooled rows, label logits, losses. */
#include "row_fixture.h"

#include <math.h>
#include <string.h>

static const fbt_dtype dtypes[] = {FBT_F32, FBT_BF16};

static void check_gather(fbt_dtype dtype, int64_t n, int64_t n_dim)
{
    enum { N_ROWS = 50 };
    typed x = typed_random(dtype, N_ROWS * n_dim, 1, 0), y = typed_poisoned(dtype, n * n_dim);
    int32_t *rows = malloc((size_t)n * sizeof *rows);
    assert_non_null(rows);
    for (int64_t i = 0; i < n; i++) {
        rows[i] = (int32_t)random_below(N_ROWS);
    }
    cuda_ok(fbt_cuda_launch_gather_rows(NULL, y.device, x.device, device_copy(rows, n * 4), dtype, n, n_dim));
    typed_read(&y);
    for (int64_t i = 0; i < n; i++) {
        assert_memory_equal(y.values + i * n_dim, x.values + rows[i] * n_dim, (size_t)n_dim * sizeof(double));
    }
    free(rows);
}

/* Broken by a unit of another row or column, or left out. */
static void gather_copies_rows(void **state)
{
    (void)state;
    for (int p = 0; p < 2; p++) {
        check_gather(dtypes[p], 1, 8);
        check_gather(dtypes[p], 33, 1000);
        check_gather(dtypes[p], 70, 264);
    }
}

enum { N_POOLED = 7 };

static void check_mean_pool(fbt_dtype dtype, int64_t d)
{
    const int32_t offsets[N_POOLED + 1] = {0, 1, 9, 10, 33, 35, 41, 58};
    typed x = typed_random(dtype, 58 * d, 1, 0.1), y = typed_poisoned(FBT_F32, N_POOLED * d);
    for (int64_t i = 33 * d; i < 34 * d; i++) { /* a mean of zero */
        x.values[i + d] = -x.values[i];
    }
    typed_write(&x);
    cuda_ok(
        fbt_cuda_launch_mean_pool(NULL, y.device, x.device, device_copy(offsets, sizeof offsets), dtype, N_POOLED, d));
    typed_read(&y);
    double *want = malloc((size_t)d * sizeof *want);
    assert_non_null(want);
    for (int s = 0; s < N_POOLED; s++) {
        double square = 0;
        for (int64_t i = 0; i < d; i++) {
            want[i] = 0;
            for (int64_t r = offsets[s]; r < offsets[s + 1]; r++) {
                want[i] += x.values[r * d + i] / (offsets[s + 1] - offsets[s]);
            }
            square += want[i] * want[i];
        }
        for (int64_t i = 0; i < d; i++) {
            assert_near("mean_pool", s * d + i, y.values[s * d + i], s == 4 ? 0 : want[i] / sqrt(square), 2e-6,
                        s == 4 ? 0 : 1e-6);
        }
    }
    free(want);
}

/* Fewer rows than warps and more, columns of one pass and of several. Broken by a warp's rows or a pass's columns left
 * out, a division by a norm of zero. */
static void mean_pool_matches_reference(void **state)
{
    const int64_t widths[] = {8, 40, 384, 1000, 1024, 1032, 2056}; /* 1024: whole steps */
    (void)state;
    for (int p = 0; p < 2; p++) {
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
            check_mean_pool(dtypes[p], widths[i]);
        }
    }
}

/* Broken by sums whose order the other sequences decide. */
static void mean_pool_is_batch_invariant(void **state)
{
    enum { D = 264 };
    const int32_t offsets[] = {0, 5, 25}, alone[] = {0, 20};
    typed x = typed_random(FBT_F32, 25 * D, 1, 0), both = typed_poisoned(FBT_F32, 2 * D),
          one = typed_poisoned(FBT_F32, D);
    (void)state;
    cuda_ok(
        fbt_cuda_launch_mean_pool(NULL, both.device, x.device, device_copy(offsets, sizeof offsets), FBT_F32, 2, D));
    cuda_ok(fbt_cuda_launch_mean_pool(NULL, one.device, (const float *)x.device + 5 * D,
                                      device_copy(alone, sizeof alone), FBT_F32, 1, D));
    typed_read(&both);
    typed_read(&one);
    assert_memory_equal(one.values, both.values + D, D * sizeof(double));
}

static void check_logits(fbt_dtype dtype, int64_t n, int64_t n_labels, int64_t d, int has_bias)
{
    typed x = typed_random(dtype, n * d, 1, 0), labels = typed_random(FBT_F32, n_labels * d, 1, 0);
    typed bias = typed_random(FBT_F32, n_labels, 1, 0), logits = typed_poisoned(FBT_F32, n * n_labels);
    const fbt_cuda_label_logits_args args = {.logits = logits.device,
                                             .x = x.device,
                                             .dtype = dtype,
                                             .labels = labels.device,
                                             .bias = has_bias ? bias.device : NULL,
                                             .scale = 1.5f,
                                             .n = n,
                                             .n_labels = n_labels,
                                             .n_dim = d};
    cuda_ok(fbt_cuda_launch_label_logits(NULL, &args));
    typed_read(&logits);
    for (int64_t i = 0; i < n * n_labels; i++) {
        double want = has_bias ? bias.values[i % n_labels] : 0, size = fabs(want);
        for (int64_t k = 0; k < d; k++) {
            const double product = x.values[i / n_labels * d + k] * labels.values[i % n_labels * d + k];
            want += product;
            size += fabs(product);
        }
        assert_near("label_logits", i, logits.values[i], 1.5 * want, 0, 1.5 * size * 64 * 0x1p-24);
    }
}

/* More labels than warps and fewer; a row that needs more shared memory than a launch has unasked. */
static void label_logits_match_reference(void **state)
{
    (void)state;
    for (int p = 0; p < 2; p++) {
        check_logits(dtypes[p], 3, 1, 8, 0);
        check_logits(dtypes[p], 5, 2, 1024, 1);
        check_logits(dtypes[p], 4, 14, 40, 1);
        check_logits(dtypes[p], 2, 5, 1000, 0);
        check_logits(dtypes[p], 1, 3, 12800, 1);
    }
}

static double reference_loss(const double *logits, int64_t n_labels, int64_t label, int64_t largest, fbt_loss kind)
{
    double sum = 0;
    for (int64_t c = 0; c < n_labels; c++) {
        sum += kind == FBT_LOSS_CE ? exp(logits[c] - logits[largest])
               : c == label        ? 0
                                   : fmax(0, 2 - logits[label] + logits[c]);
    }
    return kind == FBT_LOSS_CE      ? log(sum) + logits[largest] - logits[label]
           : kind == FBT_LOSS_HINGE ? sum
           : largest == label       ? -1
                                    : 0;
}

static void check_loss(fbt_loss kind, int64_t n_labels)
{
    enum { N = 9 };
    typed logits = typed_random(FBT_F32, N * n_labels, 3, 0), losses = typed_poisoned(FBT_F32, N);
    int32_t labels[N], predictions[N];
    memset(predictions, 0xff, sizeof predictions);
    for (int i = 0; i < N; i++) {
        labels[i] = (int32_t)random_below(n_labels);
        for (int64_t c = 0; i < 5 && c < n_labels; c++) { /* ties */
            logits.values[i * n_labels + c] = round(logits.values[i * n_labels + c] / 3);
        }
    }
    typed_write(&logits);
    int32_t *device_predictions = device_copy(predictions, sizeof predictions);
    cuda_ok(fbt_cuda_launch_loss(NULL, losses.device, device_predictions, logits.device,
                                 device_copy(labels, sizeof labels), kind, N, n_labels));
    host_copy(predictions, device_predictions, sizeof predictions);
    typed_read(&losses);
    for (int i = 0; i < N; i++) {
        const double *row = logits.values + i * n_labels;
        int64_t largest = 0;
        for (int64_t c = 1; c < n_labels; c++) {
            largest = row[c] > row[largest] ? c : largest;
        }
        assert_int_equal(predictions[i], largest);
        assert_near("loss", i, losses.values[i], reference_loss(row, n_labels, labels[i], largest, kind), 2e-6, 2e-6);
    }
}

/* Fewer labels than lanes and more. Broken by a tie that goes to a later label, a lane without a label that counts. */
static void loss_matches_reference(void **state)
{
    const int64_t counts[] = {1, 2, 5, 31, 32, 33, 100};
    (void)state;
    for (int kind = FBT_LOSS_CE; kind <= FBT_LOSS_ACCURACY; kind++) {
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            check_loss((fbt_loss)kind, counts[i]);
        }
    }
}

/* A loss that is no number must show: NaN among the logits (the prediction stays in range), a label that is none. */
static void loss_keeps_what_is_no_number(void **state)
{
    const float logits[] = {NAN, 1, 2, /* */ 1, NAN, 2, /* */ 1, 2, 3, /* */ 1, 2, 3};
    const int32_t labels[] = {1, 2, 3, -1};
    int32_t predictions[4];
    typed losses = typed_poisoned(FBT_F32, 4);
    int32_t *device_predictions = device_copy(labels, sizeof labels);
    (void)state;
    for (int kind = FBT_LOSS_CE; kind <= FBT_LOSS_HINGE; kind++) {
        cuda_ok(fbt_cuda_launch_loss(NULL, losses.device, device_predictions, device_copy(logits, sizeof logits),
                                     device_copy(labels, sizeof labels), (fbt_loss)kind, 4, 3));
        host_copy(predictions, device_predictions, sizeof predictions);
        typed_read(&losses);
        for (int i = 0; i < 4; i++) {
            assert_true(isnan(losses.values[i]));
            assert_int_equal(predictions[i], i == 0 ? 0 : 2);
        }
    }
}

int run_readout_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(gather_copies_rows, device_clear),
        cmocka_unit_test_teardown(mean_pool_matches_reference, device_clear),
        cmocka_unit_test_teardown(mean_pool_is_batch_invariant, device_clear),
        cmocka_unit_test_teardown(label_logits_match_reference, device_clear),
        cmocka_unit_test_teardown(loss_matches_reference, device_clear),
        cmocka_unit_test_teardown(loss_keeps_what_is_no_number, device_clear),
    };
    return cmocka_run_group_tests_name("readout kernels", tests, NULL, NULL);
}
