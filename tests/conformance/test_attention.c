/* Conformance: softmax attention within sequences. */
#include "suite.h"

#include <math.h>
#include <string.h>

typedef struct attention_case {
    const int32_t *lengths;
    int64_t n_sequences, n_heads, head_dim;
    int one_query;
    double sharpness; /* standard deviation of the scores */
} attention_case;

static void check_attention(suite *s, const attention_case *c)
{
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t width = c->n_heads * c->head_dim, unit = suite_width(s, 1);
    const int64_t stride = 3 * width + 5 * unit; /* columns of padding on either side */
    const int64_t q_column = 2 * unit, k_column = 2 * unit + width, v_column = 3 * unit + 2 * width;
    int32_t *tokens, *prompts;
    const fbt_packed packed = suite_packed(s, c->lengths, c->n_sequences, 2, 1, &tokens, &prompts);
    const int64_t n_queries = c->one_query ? c->n_sequences : packed.n_rows, n = n_queries * width;
    const double spread = sqrt(c->sharpness), scale = 1 / sqrt((double)c->head_dim);
    double *qkv = suite_random(s, packed.n_rows * stride, spread, 0),
           *one = suite_random(s, n_queries * width, spread, 0);
    double *want = suite_block(s, n * (int64_t)sizeof *want),
           *tolerance = suite_block(s, n * (int64_t)sizeof *tolerance);
    fbt_buffer *buffer = suite_buffer(s, qkv, packed.n_rows * stride, dtype);
    fbt_buffer *ones = suite_buffer(s, one, n_queries * width, dtype), *y = suite_poisoned(s, n, dtype);
    const fbt_heads own = {buffer, stride, q_column}, other = {ones, width, 0};
    const fbt_attention attention = {.q = c->one_query ? other : own,
                                     .k = {buffer, stride, k_column},
                                     .v = {buffer, stride, v_column},
                                     .packed = &packed,
                                     .one_query = c->one_query,
                                     .n_heads = c->n_heads,
                                     .head_dim = c->head_dim,
                                     .scale = (float)scale};
    for (int64_t q = 0, row = 0; q < n_queries; q++) {
        row += !c->one_query && q == packed.host_offsets[row + 1];
        const int64_t sequence = c->one_query ? q : row, first = packed.host_offsets[sequence];
        for (int64_t h = 0; h < width; h += c->head_dim) {
            const double *k = qkv + first * stride + k_column + h, *v = qkv + first * stride + v_column + h;
            suite_attend_row(s, c->one_query ? one + q * width + h : qkv + q * stride + q_column + h, k, v, stride,
                             packed.host_offsets[sequence + 1] - first, c->head_dim, (float)scale, &want[q * width + h],
                             &tolerance[q * width + h]);
        }
    }
    suite_ok(fbt_attend(s->b, y, &attention));
    suite_compare("attention", suite_read(s, y, n, dtype), want, tolerance, n);
}

/* Lengths of 1, around multiples of vector and tile sizes, and long; head sizes of models and odd ones; all queries and
 * one; flat and sharp softmax. Broken by keys of a neighbouring sequence or of padding that take part, by strides or
 * columns ignored, by exponents taken without subtracting the largest (sharp scores reach several hundred). */
static void attention_matches_reference(void **state)
{
    static const int32_t mixed[] = {1, 5, 16, 17, 33, 2, 12, 22, 71}, lone[] = {1}, longest[] = {130, 31, 64};
    const int64_t dims[] = {32, 64, 5, 80, 128};
    (void)state;
    for (int one_query = 0; one_query < 2; one_query++) {
        for (int i = 0; i < 5; i++) {
            suite *s = suite_begin(2);
            const int64_t head_dim = suite_width(s, dims[i]);
            check_attention(s, &(attention_case){mixed, 9, 3, head_dim, one_query, 1});
            check_attention(s, &(attention_case){lone, 1, 1, head_dim, one_query, 1});
            check_attention(s, &(attention_case){longest, 3, 1, head_dim, one_query, 100});
            suite_end(s);
        }
    }
}

static void attention_refuses(void **state)
{
    suite *s = *state;
    const int32_t lengths[] = {3, 4};
    int32_t *tokens, *prompts;
    fbt_packed packed = suite_packed(s, lengths, 2, 2, 1, &tokens, &prompts);
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t head_dim = suite_width(s, 4), width = 2 * head_dim, n = 7 * 3 * width;
    fbt_buffer *qkv = suite_buffer(s, suite_random(s, n, 1, 0), n, dtype), *y = suite_poisoned(s, 7 * width, dtype);
    fbt_attention a = {.q = {qkv, 3 * width, 0},
                       .k = {qkv, 3 * width, width},
                       .v = {qkv, 3 * width, 2 * width},
                       .packed = &packed,
                       .n_heads = 2,
                       .head_dim = head_dim,
                       .scale = 0.5f};
    suite_ok(fbt_attend(s->b, y, &a));
    a.v.column = 2 * width + 1;
    suite_expect(FBT_ERR_ARG, fbt_attend(s->b, y, &a));
    a.v.column = 2 * width;
    a.q.stride = 3 * width + head_dim;
    suite_expect(FBT_ERR_ARG, fbt_attend(s->b, y, &a));
    a.q.stride = 3 * width;
    a.n_heads = 0;
    suite_expect(FBT_ERR_ARG, fbt_attend(s->b, y, &a));
    a.n_heads = 2;
    packed.max_length = 3;
    suite_expect(FBT_ERR_ARG, fbt_attend(s->b, y, &a));
    packed.n_sequences = packed.n_rows = 0;
    suite_ok(fbt_attend(s->b, y, &a));
}

int run_attention_tests(void)
{
    const struct CMUnitTest attention[] = {
        cmocka_unit_test(attention_matches_reference),
        cmocka_unit_test_setup_teardown(attention_refuses, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(attention, NULL, NULL);
}
