/* Conformance: gathered rows, pooling, label logits, losses. */
#include "suite.h"

#include <math.h>

/* Broken by an index taken as an offset, or a row copied in part. */
static void gather_copies_rows(void **state)
{
    suite *s = *state;
    enum { N_ROWS = 11, N = 6 };
    const int64_t d = suite_width(s, 37);
    const fbt_dtype dtype = suite_dtype(s);
    const int32_t rows[N] = {10, 0, 3, 3, 7, 1}, outside[2][1] = {{-1}, {N_ROWS}};
    double *x = suite_random(s, N_ROWS * d, 1, 0);
    fbt_buffer *xb = suite_buffer(s, x, N_ROWS * d, dtype), *y = suite_poisoned(s, N * d, dtype);
    fbt_buffer *index = suite_buffer_bytes(s, rows, sizeof rows);
    suite_ok(fbt_gather_rows(s->b, y, xb, suite_dtype(s), index, N, d));
    const double *got = suite_read(s, y, N * d, dtype);
    for (int i = 0; i < N; i++) {
        assert_memory_equal(got + i * d, x + rows[i] * d, (size_t)d * sizeof *x);
    }
    y = suite_poisoned(s, N * d, FBT_F32); /* of a residual stream */
    suite_ok(fbt_gather_rows(s->b, y, suite_buffer(s, x, N_ROWS * d, FBT_F32), FBT_F32, index, N, d));
    got = suite_read(s, y, N * d, FBT_F32);
    for (int i = 0; i < N; i++) {
        assert_memory_equal(got + i * d, x + rows[i] * d, (size_t)d * sizeof *x);
    }
    suite_ok(fbt_gather_rows(s->b, y, xb, suite_dtype(s), index, 0, d));
    suite_expect(FBT_ERR_ARG, fbt_gather_rows(s->b, y, xb, FBT_F32, index, N + 1, d));
    for (int k = 0; k < 2 && suite_checks_indices(s); k++) {
        fbt_buffer *bad = suite_buffer_bytes(s, outside[k], sizeof outside[k]);
        suite_expect(FBT_ERR_ARG, fbt_gather_rows(s->b, y, xb, suite_dtype(s), bad, 1, d));
    }
}

/* Broken by a mean that is not normalised, a sum over the wrong rows, sums kept in the activation type. */
static void mean_pool_matches_reference(void **state)
{
    suite *s = *state;
    const int32_t lengths[] = {1, 30, 2, 300, 17};
    const int64_t dims[] = {384, suite_width(s, 37), suite_width(s, 1)};
    const fbt_dtype dtype = suite_dtype(s);
    for (int k = 0; k < 3; k++) {
        int32_t *tokens, *prompts;
        fbt_packed packed = suite_packed(s, lengths, 5, 2, 1, &tokens, &prompts);
        const int64_t d = dims[k], n = 5 * d;
        double *x = suite_random(s, packed.n_rows * d, 1, 1), *want = suite_block(s, n * (int64_t)sizeof *want);
        double *tolerance = suite_block(s, n * (int64_t)sizeof *tolerance);
        fbt_buffer *xb = suite_buffer(s, x, packed.n_rows * d, dtype), *y = suite_poisoned(s, n, FBT_F32);
        for (int64_t q = 0; q < 5; q++) {
            double norm = 0;
            for (int64_t i = 0; i < d; i++) {
                for (int64_t r = packed.host_offsets[q]; r < packed.host_offsets[q + 1]; r++) {
                    want[q * d + i] += x[r * d + i] / lengths[q];
                }
                norm += want[q * d + i] * want[q * d + i];
            }
            for (int64_t i = 0; i < d; i++) {
                want[q * d + i] /= sqrt(norm);
                tolerance[q * d + i] = 1e-5 * (fabs(want[q * d + i]) + 1 / sqrt((double)d));
            }
        }
        suite_ok(fbt_mean_pool(s->b, y, xb, &packed, d));
        suite_compare("mean_pool", suite_read(s, y, n, FBT_F32), want, tolerance, n);
        packed.n_sequences = packed.n_rows = 0;
        suite_ok(fbt_mean_pool(s->b, y, xb, &packed, d));
    }
}

static void check_logits(suite *s, int64_t n, int64_t n_labels, int64_t d, fbt_dtype dtype, int has_bias)
{
    const float scale = 20;
    double *x = suite_random(s, n * d, 1, 0), *labels = suite_random(s, n_labels * d, 1, 0);
    double *bias = suite_random(s, n_labels, 1, 0), *want = suite_block(s, n * n_labels * (int64_t)sizeof *want);
    double *tolerance = suite_block(s, n * n_labels * (int64_t)sizeof *tolerance);
    fbt_buffer *xb = suite_buffer(s, x, n * d, dtype), *lb = suite_buffer(s, labels, n_labels * d, FBT_F32);
    fbt_buffer *bb = suite_buffer(s, bias, n_labels, FBT_F32), *y = suite_poisoned(s, n * n_labels, FBT_F32);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < n_labels; c++) {
            double sum = has_bias ? bias[c] : 0, size = fabs(sum);
            for (int64_t k = 0; k < d; k++) {
                sum += x[i * d + k] * labels[c * d + k];
                size += fabs(x[i * d + k] * labels[c * d + k]);
            }
            want[i * n_labels + c] = scale * sum;
            tolerance[i * n_labels + c] = scale * 1e-6 * size;
        }
    }
    suite_ok(fbt_label_logits(s->b, y, xb, dtype, lb, has_bias ? bb : NULL, scale, n, n_labels, d));
    suite_compare("label_logits", suite_read(s, y, n * n_labels, FBT_F32), want, tolerance, n * n_labels);
}

/* Both types of x on every backend: the embedding readout is float on a bf16 backend too. Broken by a bias outside the
 * scale, or labels rounded to bf16. */
static void label_logits_match_reference(void **state)
{
    suite *s = *state;
    check_logits(s, 1, 2, 384, FBT_F32, 0);
    check_logits(s, 9, 5, suite_width(s, 37), FBT_F32, 1);
    check_logits(s, 80, 14, 1024, FBT_BF16, 1);
    check_logits(s, 3, 1, suite_width(s, 1), FBT_BF16, 0);
    const int64_t d = suite_width(s, 4);
    fbt_buffer *x = suite_poisoned(s, 2 * d, FBT_F32);
    suite_ok(fbt_label_logits(s->b, x, x, FBT_F32, x, NULL, 1, 0, 2, d));
    suite_expect(FBT_ERR_ARG, fbt_label_logits(s->b, x, x, FBT_F32, x, NULL, 1, 3, 2, d));
    suite_expect(FBT_ERR_ARG, fbt_label_logits(s->b, x, x, FBT_I32, x, NULL, 1, 1, 2, d));
}

/* Up to 8 terms that are not 0, at every place of a row. Broken by sums that pair neighbouring columns first. */
static void label_logits_of_few_columns_do_not_depend_on_their_place(void **state)
{
    suite *s = *state;
    enum { D = 136, MOST = 8 };
    const double *values = suite_random(s, MOST, 1, 0);
    for (int64_t width = 3; width <= MOST; width++) {
        const int64_t n_places = D - width + 1;
        double *x = suite_block(s, n_places * D * (int64_t)sizeof *x);
        double *label = suite_block(s, n_places * D * (int64_t)sizeof *label);
        for (int64_t i = 0; i < n_places * D; i++) {
            const int64_t at = i % D - i / D;
            x[i] = at >= 0 && at < width ? values[at] : -7;
            label[i] = at >= 0 && at < width ? 1 : 0;
        }
        fbt_buffer *xb = suite_buffer(s, x, n_places * D, FBT_F32);
        fbt_buffer *lb = suite_buffer(s, label, n_places * D, FBT_F32);
        fbt_buffer *y = suite_poisoned(s, n_places * n_places, FBT_F32);
        suite_ok(fbt_label_logits(s->b, y, xb, FBT_F32, lb, NULL, 1, n_places, n_places, D));
        const double *got = suite_read(s, y, n_places * n_places, FBT_F32);
        for (int64_t i = 0; i < n_places; i++) {
            assert_true(isfinite(got[0]) && got[i * n_places + i] == got[0]);
        }
    }
}

static double reference_loss(fbt_loss kind, const double *logits, int64_t n_labels, int64_t label, int64_t best)
{
    double sum = 0;
    for (int64_t c = 0; c < n_labels; c++) {
        if (kind == FBT_LOSS_CE) {
            sum += exp(logits[c] - logits[best]);
        } else if (c != label) {
            sum += fmax(0, 2 - logits[label] + logits[c]);
        }
    }
    return kind == FBT_LOSS_CE      ? log(sum) + logits[best] - logits[label]
           : kind == FBT_LOSS_HINGE ? sum
                                    : -(best == label);
}

static void check_loss(suite *s, fbt_loss kind, int64_t n, int64_t n_labels, double spread)
{
    double *logits = suite_random(s, n * n_labels, spread, 0), *labels = suite_block(s, n * (int64_t)sizeof *labels);
    double *want = suite_block(s, n * (int64_t)sizeof *want),
           *tolerance = suite_block(s, n * (int64_t)sizeof *tolerance);
    double *best = suite_block(s, n * (int64_t)sizeof *best);
    for (int64_t i = 0; i < n; i++) {
        labels[i] = (double)suite_random_below(s, n_labels);
        if (i % 4 == 0 && n_labels > 1) {
            logits[i * n_labels + n_labels - 1] = logits[i * n_labels]; /* a tie */
        }
    }
    fbt_buffer *xb = suite_buffer(s, logits, n * n_labels, FBT_F32), *lb = suite_buffer(s, labels, n, FBT_I32);
    fbt_buffer *losses = suite_poisoned(s, n, FBT_F32), *predictions = suite_poisoned(s, n, FBT_I32);
    for (int64_t i = 0; i < n; i++) {
        int64_t first = 0;
        for (int64_t c = 1; c < n_labels; c++) {
            first = logits[i * n_labels + c] > logits[i * n_labels + first] ? c : first;
        }
        best[i] = (double)first;
        want[i] = reference_loss(kind, logits + i * n_labels, n_labels, (int64_t)labels[i], first);
        tolerance[i] = 1e-6 * (1 + spread + fabs(want[i]));
    }
    suite_ok(fbt_losses(s->b, losses, predictions, xb, lb, kind, n, n_labels));
    suite_compare("loss", suite_read(s, losses, n, FBT_F32), want, tolerance, n);
    assert_memory_equal(suite_read(s, predictions, n, FBT_I32), best, (size_t)n * sizeof *best);
}

/* Broken by exp without subtracting the largest (spread 200 overflows float), hinge over all labels or with margin 1,
 * the last of equal logits as the prediction. */
static void losses_match_reference(void **state)
{
    suite *s = *state;
    for (int kind = FBT_LOSS_CE; kind <= FBT_LOSS_ACCURACY; kind++) {
        check_loss(s, (fbt_loss)kind, 101, 2, 1);
        check_loss(s, (fbt_loss)kind, 40, 14, 3);
        check_loss(s, (fbt_loss)kind, 33, 3, 200);
        check_loss(s, (fbt_loss)kind, 1, 1, 1);
    }
    const int32_t label = 2;
    fbt_buffer *x = suite_poisoned(s, 2, FBT_F32), *bad = suite_buffer_bytes(s, &label, sizeof label);
    suite_ok(fbt_losses(s->b, x, x, x, bad, FBT_LOSS_CE, 0, 2));
    suite_expect(FBT_ERR_ARG, fbt_losses(s->b, x, x, x, bad, FBT_LOSS_CE, 2, 2));
    if (suite_checks_indices(s)) {
        suite_expect(FBT_ERR_ARG, fbt_losses(s->b, x, x, x, bad, FBT_LOSS_CE, 1, 2));
    }
}

/* A NaN in the logits must show in the loss, whichever label it is: a broken forward pass is found that way. */
static void loss_passes_nan_on(void **state)
{
    suite *s = *state;
    const float logits[3][3] = {{NAN, 1, 2}, {1, NAN, 2}, {1, 2, NAN}};
    const int32_t labels[3] = {1, 2, 0};
    float losses[3];
    fbt_buffer *x = suite_buffer_bytes(s, logits, sizeof logits), *y = suite_buffer_bytes(s, labels, sizeof labels);
    fbt_buffer *out = suite_poisoned(s, 3, FBT_F32), *predictions = suite_poisoned(s, 3, FBT_I32);
    for (int kind = FBT_LOSS_CE; kind <= FBT_LOSS_HINGE; kind++) {
        const float zero[3] = {0};
        suite_ok(fbt_buffer_write(s->b, out, zero, sizeof zero));
        suite_ok(fbt_losses(s->b, out, predictions, x, y, (fbt_loss)kind, 3, 3));
        suite_read_bytes(s, losses, out, sizeof losses);
        assert_true(isnan(losses[0]) && isnan(losses[1]) && isnan(losses[2]));
    }
}

int run_readout_tests(void)
{
    const struct CMUnitTest readout[] = {
        cmocka_unit_test_setup_teardown(gather_copies_rows, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(mean_pool_matches_reference, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(label_logits_match_reference, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(label_logits_of_few_columns_do_not_depend_on_their_place, suite_setup,
                                        suite_teardown),
        cmocka_unit_test_setup_teardown(losses_match_reference, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(loss_passes_nan_on, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(readout, NULL, NULL);
}
