/* Conformance: what decoders ask for beside what encoders do. A backend computes it, compared here with plain
 * references in double, or refuses it by the field's name: nothing is passed over. */
#include "suite.h"

#include <math.h>
#include <string.h>

/* Fails unless the call is refused as unsupported with a sentence that holds `said`. */
static void check_refused(fbt_status got, const char *said)
{
    assert_int_equal(got, FBT_ERR_UNSUPPORTED);
    if (strstr(fbt_error_message(), said) == NULL) {
        fail_msg("'%s' does not say '%s'", fbt_error_message(), said);
    }
    fbt_error_clear();
}

static int has(const suite *s, unsigned feature)
{
    fbt_backend_info info;
    fbt_backend_get_info(s->b, &info);
    return (info.features & feature) != 0;
}

/* Grouped heads and keys with rows of their own, as one problem: q [n_queries, n_heads, d] in packed, k and v
 * [n_keys, n_kv_heads, d] in keys. */
typedef struct problem {
    fbt_packed packed, keys;
    int64_t n_heads, n_kv_heads, d;
    double *q, *kv; /* kv: rows of k, then v */
    double *want, *tolerance;
} problem;

/* One query and head. The tolerance follows the roundings of probabilities and result. */
static void attend_one(const suite *s, const problem *p, int64_t sequence, int64_t row, int64_t h)
{
    const int64_t d = p->d, stride = 2 * p->n_kv_heads * d, first = p->keys.host_offsets[sequence];
    const int64_t n_keys = p->keys.host_offsets[sequence + 1] - first, width = p->n_heads * d;
    const double *q = p->q + row * width + h * d, scale = (float)(1 / sqrt((double)d));
    const double *k = p->kv + first * stride + h / (p->n_heads / p->n_kv_heads) * d, *v = k + p->n_kv_heads * d;
    double weights[64], sum = 0, *want = p->want + row * width + h * d, *tolerance = p->tolerance + row * width + h * d;
    for (int64_t j = 0; j < n_keys; j++) {
        weights[j] = 0;
        for (int64_t i = 0; i < d; i++) {
            weights[j] += q[i] * k[j * stride + i] * scale;
        }
        weights[j] = exp(weights[j]);
        sum += weights[j];
    }
    for (int64_t c = 0; c < d; c++) {
        double size = 0;
        want[c] = 0;
        for (int64_t j = 0; j < n_keys; j++) {
            want[c] += weights[j] / sum * v[j * stride + c];
            size += weights[j] / sum * fabs(v[j * stride + c]);
        }
        tolerance[c] = 1.01 * suite_roundoff(s) * (fabs(want[c]) + 2 * size) + 2e-5 * size;
    }
}

static void attend_all(const suite *s, const problem *p)
{
    for (int64_t sequence = 0; sequence < p->packed.n_sequences; sequence++) {
        for (int64_t row = p->packed.host_offsets[sequence]; row < p->packed.host_offsets[sequence + 1]; row++) {
            for (int64_t h = 0; h < p->n_heads; h++) {
                attend_one(s, p, sequence, row, h);
            }
        }
    }
}

static void check_attention(suite *s, const int32_t *lengths, const int32_t *key_lengths, int64_t n_heads,
                            int64_t n_kv_heads)
{
    const fbt_dtype dtype = suite_dtype(s);
    problem p = {.n_heads = n_heads, .n_kv_heads = n_kv_heads, .d = suite_width(s, 12)};
    int32_t *tokens, *prompts;
    p.packed = suite_packed(s, lengths, 3, 2, 1, &tokens, &prompts);
    p.keys = suite_packed(s, key_lengths, 3, 2, 1, &tokens, &prompts);
    const int64_t n = p.packed.n_rows * n_heads * p.d, stride = 2 * n_kv_heads * p.d, n_kv = p.keys.n_rows * stride;
    p.q = suite_random(s, n, 1, 0);
    p.kv = suite_random(s, n_kv, 1, 0);
    p.want = suite_block(s, n * (int64_t)sizeof *p.want);
    p.tolerance = suite_block(s, n * (int64_t)sizeof *p.tolerance);
    fbt_buffer *q = suite_buffer(s, p.q, n, dtype), *kv = suite_buffer(s, p.kv, n_kv, dtype);
    fbt_buffer *y = suite_poisoned(s, n, dtype);
    const int has_own_keys = key_lengths != lengths;
    const fbt_attention a = {.q = {q, n_heads * p.d, 0},
                             .k = {kv, stride, 0},
                             .v = {kv, stride, n_kv_heads * p.d},
                             .packed = &p.packed,
                             .n_heads = n_heads,
                             .head_dim = p.d,
                             .scale = (float)(1 / sqrt((double)p.d)),
                             .n_kv_heads = n_kv_heads,
                             .keys = has_own_keys ? &p.keys : NULL};
    const fbt_status status = fbt_attend(s->b, y, &a);
    if (n_kv_heads != n_heads && !has(s, FBT_FEATURE_KV_HEADS)) {
        check_refused(status, "n_kv_heads");
    } else if (has_own_keys && !has(s, FBT_FEATURE_KEY_ROWS)) {
        check_refused(status, "keys");
    } else {
        suite_ok(status);
        attend_all(s, &p);
        suite_compare("grouped attention", suite_read(s, y, n, dtype), p.want, p.tolerance, n);
    }
}

/* Broken by a queries' head that reads the wrong K/V head, or keys by the queries' offsets. */
static void grouped_heads_and_other_keys(void **state)
{
    suite *s = *state;
    const int32_t lengths[] = {3, 1, 17}, key_lengths[] = {20, 5, 33};
    check_attention(s, lengths, lengths, 4, 4);
    check_attention(s, lengths, lengths, 6, 2);
    check_attention(s, lengths, lengths, 3, 1);
    check_attention(s, lengths, key_lengths, 4, 4);
    check_attention(s, lengths, key_lengths, 4, 2);
}

/* Each field that changes what attention computes. Broken by one that is passed over. */
static void attention_passes_nothing_over(void **state)
{
    suite *s = *state;
    const fbt_dtype dtype = suite_dtype(s);
    const int32_t lengths[] = {3, 4};
    int32_t *tokens, *prompts;
    const fbt_packed packed = suite_packed(s, lengths, 2, 2, 1, &tokens, &prompts);
    const int64_t d = suite_width(s, 4), width = 4 * d, n = 7 * 3 * width;
    fbt_buffer *qkv = suite_buffer(s, suite_random(s, n, 1, 0), n, dtype), *y = suite_poisoned(s, 7 * width, dtype);
    const fbt_attention plain = {.q = {qkv, 3 * width, 0},
                                 .k = {qkv, 3 * width, width},
                                 .v = {qkv, 3 * width, 2 * width},
                                 .packed = &packed,
                                 .n_heads = 4,
                                 .head_dim = d,
                                 .scale = 0.5f};
    const fbt_prefix prefix = {.k = plain.k, .v = plain.v, .index = packed.prompt_index, .n_rows = 2};
    fbt_attention a = plain;
    suite_ok(fbt_attend(s->b, y, &a));
    a.n_kv_heads = 3;
    suite_expect(FBT_ERR_ARG, fbt_attend(s->b, y, &a));
    a.n_kv_heads = -4;
    suite_expect(FBT_ERR_ARG, fbt_attend(s->b, y, &a));
    a = plain;
    a.is_causal = 1;
    check_refused(fbt_attend(s->b, y, &a), "is_causal");
    a = plain;
    a.prefix = &prefix;
    check_refused(fbt_attend(s->b, y, &a), "prefix");
}

/* gamma x / sqrt(mean of squares + epsilon). Broken by a mean that is taken off, or a beta that is added. */
static void rms_norm(void **state)
{
    suite *s = *state;
    enum { N_ROWS = 5 };
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t d = suite_width(s, 37), n = N_ROWS * d;
    double *x = suite_random(s, n, 1, 0.7), *gamma = suite_random(s, d, 1, 1);
    double *want = suite_block(s, n * (int64_t)sizeof *want), *tolerance = suite_block(s, n * (int64_t)sizeof *want);
    fbt_norm norm = suite_norm(s, gamma, NULL, d, 1e-5f);
    fbt_buffer *xb = suite_buffer(s, x, n, dtype), *y = suite_poisoned(s, n, dtype);
    norm.kind = FBT_NORM_RMS;
    if (!has(s, FBT_FEATURE_RMS_NORM)) {
        check_refused(fbt_layernorm(s->b, y, xb, &norm, N_ROWS, d), "rms");
        return;
    }
    suite_expect(FBT_ERR_ARG, fbt_layernorm(s->b, y, xb, &norm, N_ROWS, d)); /* it has a beta */
    norm.beta = NULL;
    for (int64_t r = 0; r < N_ROWS; r++) {
        double squares = 0;
        for (int64_t i = 0; i < d; i++) {
            squares += x[r * d + i] * x[r * d + i];
        }
        for (int64_t i = r * d; i < (r + 1) * d; i++) {
            want[i] = gamma[i - r * d] * x[i] / sqrt(squares / (double)d + 1e-5f);
            tolerance[i] = (1.01 * suite_roundoff(s) + 1e-6) * fabs(want[i]);
        }
    }
    suite_ok(fbt_layernorm(s->b, y, xb, &norm, N_ROWS, d));
    suite_compare("rms norm", suite_read(s, y, n, dtype), want, tolerance, n);
    norm.kind = FBT_NORM_LAYER; /* without a beta */
    suite_expect(FBT_ERR_ARG, fbt_layernorm(s->b, y, xb, &norm, N_ROWS, d));
}

/* y = x W^T + bias + residual, in place and not. Broken by a residual or bias that is left out, or added twice. */
static void linear_with_residual(void **state)
{
    suite *s = *state;
    enum { N_ROWS = 33, N_IN = 29 };
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t n_out = suite_width(s, 21), n = N_ROWS * n_out;
    double *x = suite_random(s, N_ROWS * N_IN, 1, 0), *w = suite_random(s, n_out * N_IN, 1 / sqrt((double)N_IN), 0);
    double *bias = suite_random(s, n_out, 1, 0), *residual = suite_random(s, n, 1, 0);
    double *want = suite_block(s, n * (int64_t)sizeof *want), *tolerance = suite_block(s, n * (int64_t)sizeof *want);
    const fbt_matrix *matrix = suite_matrix(s, w, bias, n_out, N_IN, suite_types(s));
    fbt_buffer *xb = suite_buffer(s, x, N_ROWS * N_IN, dtype), *rb = suite_buffer(s, residual, n, dtype);
    fbt_buffer *y = suite_poisoned(s, n, dtype);
    for (int64_t i = 0; i < n; i++) {
        double size = fabs(bias[i % n_out]) + fabs(residual[i]);
        want[i] = bias[i % n_out] + residual[i];
        for (int64_t k = 0; k < N_IN; k++) {
            const double term = x[i / n_out * N_IN + k] * w[i % n_out * N_IN + k];
            want[i] += term;
            size += fabs(term);
        }
        tolerance[i] = (suite_product_error(suite_types(s)) + suite_bias_error(s, suite_types(s))) * size +
                       1.01 * suite_roundoff(s) * fabs(want[i]);
    }
    const fbt_status status = fbt_linear_residual(s->b, y, xb, matrix, rb, N_ROWS);
    if (status == FBT_ERR_UNSUPPORTED) {
        check_refused(status, "linear_residual");
        return;
    }
    suite_ok(status);
    suite_compare("linear with residual", suite_read(s, y, n, dtype), want, tolerance, n);
    suite_ok(fbt_linear_residual(s->b, rb, xb, matrix, rb, N_ROWS));
    suite_compare("linear onto its residual", suite_read(s, rb, n, dtype), want, tolerance, n);
    suite_ok(fbt_linear_residual(s->b, y, xb, matrix, rb, 0));
    suite_expect(FBT_ERR_ARG, fbt_linear_residual(s->b, y, xb, matrix, rb, N_ROWS + 1));
    suite_expect(FBT_ERR_ARG, fbt_linear_residual(s->b, y, xb, matrix, NULL, N_ROWS));
}

/* Operations and arguments that no backend has yet. */
static void others_are_refused(void **state)
{
    suite *s = *state;
    const fbt_dtype dtype = suite_dtype(s);
    const int32_t lengths[] = {2, 1};
    int32_t *tokens, *prompts;
    const fbt_packed packed = suite_packed(s, lengths, 2, 3, 1, &tokens, &prompts);
    const int64_t d = suite_width(s, 8);
    double *values = suite_random(s, 4 * d, 1, 0);
    fbt_buffer *x = suite_buffer(s, values, 4 * d, dtype), *y = suite_poisoned(s, 4 * d, dtype);
    const fbt_table *table = suite_table(s, values, 4, d, FBT_F32);
    const fbt_matrix *matrix = suite_matrix(s, suite_random(s, d * d, 1, 0), NULL, d, d, suite_types(s));
    const fbt_rotary rotary = {.cosine = table, .sine = table, .n_rotated = d};
    const fbt_heads heads = {x, d, 0};
    fbt_embedding embedding = {.word = table, .norm = suite_norm(s, NULL, NULL, d, 1e-5f), .n_dim = d};
    check_refused(fbt_rotate(s->b, x, &heads, 1, d, &rotary, &packed), "rotate");
    check_refused(fbt_gate(s->b, y, x, FBT_ACT_SILU, 1, d), "gate");
    check_refused(fbt_linear(s->b, y, x, matrix, FBT_ACT_SILU, 1), "silu");
    check_refused(fbt_embed(s->b, y, &embedding, &packed), "position");
    embedding.position = table;
    embedding.norm.gamma = embedding.norm.beta = NULL;
    check_refused(fbt_embed(s->b, y, &embedding, &packed), "norm");
}

int run_decoder_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(grouped_heads_and_other_keys, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(attention_passes_nothing_over, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(rms_norm, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(linear_with_residual, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(others_are_refused, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
