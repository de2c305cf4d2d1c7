/* Attention kernels: every tile edge, head size and layout, and the order of what runs. */
#include "row_fixture.h"

#include <math.h>
#include <string.h>

typedef struct attention_case {
    fbt_dtype dtype;
    const int32_t *lengths;
    int64_t n_sequences, n_heads, head_dim;
    int64_t group; /* heads that share one of k and v; 0: 1 */
    int one_query, is_causal;
    double sharpness;   /* standard deviation of the scores       */
    int64_t max_length; /* as told to the launcher; 0: the longest */
} attention_case;

/* Inputs and outputs of a case. Rows of q, k and v lie side by side with room around them that holds no numbers. */
typedef struct attention_data {
    int32_t *offsets;
    int64_t n_queries, width, stride, q_stride, k_column, v_column, longest;
    typed qkv, one, y;
} attention_data;

enum { PAD = 8 };

static int64_t group_of(const attention_case *c)
{
    return c->group == 0 ? 1 : c->group;
}

static void spoil_padding(attention_data *d, int64_t kv_width)
{
    for (int64_t i = 0; i < d->qkv.n; i++) {
        const int64_t column = i % d->stride;
        const int is_q = column >= PAD && column < PAD + d->width;
        const int is_k = column >= d->k_column && column < d->k_column + kv_width;
        const int is_v = column >= d->v_column && column < d->v_column + kv_width;
        d->qkv.values[i] = is_q || is_k || is_v ? d->qkv.values[i] : NAN;
    }
    typed_write(&d->qkv);
}

static attention_data make_data(const attention_case *c)
{
    const fbt_dtype dtype = c->dtype;
    attention_data d = {.width = c->n_heads * c->head_dim, .offsets = malloc((size_t)(c->n_sequences + 1) * 4)};
    assert_non_null(d.offsets);
    d.offsets[0] = 0;
    for (int64_t i = 0; i < c->n_sequences; i++) {
        d.offsets[i + 1] = d.offsets[i] + c->lengths[i];
        d.longest = c->lengths[i] > d.longest ? c->lengths[i] : d.longest;
    }
    const int64_t n_rows = d.offsets[c->n_sequences], kv_width = d.width / group_of(c);
    const double spread = sqrt(c->sharpness);
    d.k_column = d.width + 2 * PAD;
    d.v_column = d.k_column + kv_width + PAD;
    d.stride = d.v_column + kv_width + PAD;
    d.q_stride = c->one_query ? d.width + PAD : d.stride;
    d.n_queries = c->one_query ? c->n_sequences : n_rows;
    d.qkv = typed_random(dtype, n_rows * d.stride, spread, 0);
    spoil_padding(&d, kv_width);
    d.one = typed_random(dtype, c->n_sequences * (d.width + PAD), spread, 0);
    d.y = typed_poisoned(dtype, d.n_queries * d.width);
    return d;
}

static const char *item_at(const typed *t, int64_t item)
{
    return (const char *)t->device + item * (t->dtype == FBT_BF16 ? 2 : 4);
}

static fbt_cuda_attention_args arguments(const attention_case *c, const attention_data *d)
{
    const int64_t longest = c->max_length > 0 ? c->max_length : d->longest;
    const int32_t *offsets = device_copy(d->offsets, (c->n_sequences + 1) * 4);
    return (fbt_cuda_attention_args){
        .y = d->y.device,
        .q = {c->one_query ? d->one.device : item_at(&d->qkv, PAD), d->q_stride},
        .offsets = offsets,
        .keys[0] = {.k = {item_at(&d->qkv, d->k_column), d->stride},
                    .v = {item_at(&d->qkv, d->v_column), d->stride},
                    .offsets = offsets},
        .n_sequences = c->n_sequences,
        .max_queries = c->one_query ? 1 : longest,
        .max_keys = longest,
        .one_query = c->one_query,
        .is_causal = c->is_causal,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_heads / group_of(c),
        .head_dim = c->head_dim,
        .scale = (float)(1 / sqrt((double)c->head_dim)),
        .dtype = c->dtype,
    };
}

static void launch(const attention_case *c, attention_data *d)
{
    const fbt_cuda_attention_args args = arguments(c, d);
    cuda_ok(fbt_cuda_launch_attention(NULL, &args));
    typed_read(&d->y);
}

/* One query and head against the rows of its sequence, in double. The tolerance is that of tests/conformance: roundings
 * of the probabilities and the result to the type, and of scores in float. */
static void check_query(const attention_case *c, const double *q, const double *k, const double *v, int64_t stride,
                        int64_t n_keys, const double *y, double unit)
{
    const double scale = (float)(1 / sqrt((double)c->head_dim));
    double *p = malloc((size_t)n_keys * sizeof *p), largest = -INFINITY, sum = 0, score_size = 0;
    assert_non_null(p);
    for (int64_t j = 0; j < n_keys; j++) {
        double terms = p[j] = 0;
        for (int64_t i = 0; i < c->head_dim; i++) {
            p[j] += q[i] * k[j * stride + i] * scale;
            terms += fabs(q[i] * k[j * stride + i]) * scale;
        }
        largest = fmax(largest, p[j]);
        score_size = fmax(score_size, terms);
    }
    for (int64_t j = 0; j < n_keys; j++) {
        sum += p[j] = exp(p[j] - largest);
    }
    for (int64_t i = 0; i < c->head_dim; i++) {
        double value = 0, size = 0;
        for (int64_t j = 0; j < n_keys; j++) {
            value += p[j] * v[j * stride + i] / sum;
            size += p[j] * fabs(v[j * stride + i]) / sum;
        }
        assert_near("attention", i, y[i], value, 1.01 * unit,
                    1.01 * unit * 2 * size + (2e-6 + 1e-6 * score_size) * size);
    }
    free(p);
}

/* Query i / n_heads of sequence s, head i % n_heads. */
static void check_query_of(const attention_case *c, const attention_data *d, int64_t s, int64_t i)
{
    const int64_t first = d->offsets[s], head = i % c->n_heads, row = i / c->n_heads;
    const int64_t query = (c->one_query ? s : first) + row, column = head * c->head_dim;
    const int64_t kv_column = head / group_of(c) * c->head_dim;
    const double *rows = d->qkv.values + first * d->stride + kv_column;
    const double *q =
        c->one_query ? d->one.values + query * d->q_stride + column : d->qkv.values + query * d->stride + PAD + column;
    const int64_t n_keys = c->is_causal && !c->one_query ? row + 1 : c->lengths[s];
    check_query(c, q, rows + d->k_column, rows + d->v_column, d->stride, n_keys,
                d->y.values + query * d->width + column, roundoff(d->y.dtype));
}

static void check_attention(const attention_case *c)
{
    attention_data d = make_data(c);
    launch(c, &d);
    for (int64_t s = 0; s < c->n_sequences; s++) {
        const int64_t n_queries = c->one_query ? 1 : c->lengths[s];
        for (int64_t i = 0; i < n_queries * c->n_heads; i++) {
            check_query_of(c, &d, s, i);
        }
    }
    free(d.offsets);
}

static const fbt_dtype dtypes[] = {FBT_F32, FBT_BF16};

/* Broken by tiles whose edges are off by one: keys or queries left out, doubled, or taken from a neighbour. */
static void attention_of_every_length(void **state)
{
    int32_t lengths[131];
    (void)state;
    for (int32_t i = 0; i < 130; i++) {
        lengths[i] = (i * 37 + 11) % 130 + 1; /* all of 1 .. 130, long and short ones mixed */
    }
    lengths[130] = 200;
    for (int i = 0; i < 4; i++) {
        check_attention(&(attention_case){.dtype = dtypes[i % 2],
                                          .lengths = lengths,
                                          .n_sequences = 131,
                                          .n_heads = 1,
                                          .head_dim = 64,
                                          .one_query = i / 2,
                                          .sharpness = 1});
    }
}

/* Broken by head sizes that do not fill a tile, by heads mixed up, by exponents taken without the largest score, by the
 * other stage's tile. */
static void attention_of_every_head_size(void **state)
{
    static const int32_t edges[] = {64, 1, 65, 15, 16, 129, 33};
    static const int64_t head_dims[] = {8, 16, 32, 40, 64, 80, 96, 128, 192, 256};
    (void)state;
    for (int i = 0; i < 4 * 10; i++) {
        check_attention(&(attention_case){.dtype = dtypes[i % 2],
                                          .lengths = edges,
                                          .n_sequences = 7,
                                          .n_heads = i % 8 < 4 ? 1 : 3,
                                          .head_dim = head_dims[i / 4],
                                          .one_query = i / 2 % 2,
                                          .sharpness = i % 8 < 4 ? 100 : 1});
    }
}

/* More tiles than stages, several blocks of queries. Broken by a stage that is overwritten while a warp reads it, or
 * read before its rows have landed. */
static void attention_of_long_sequences(void **state)
{
    static const int32_t lengths[] = {321, 70, 257};
    static const int64_t head_dims[] = {32, 64, 128, 256};
    (void)state;
    for (int i = 0; i < 8; i++) {
        check_attention(&(attention_case){.dtype = dtypes[i % 2],
                                          .lengths = lengths,
                                          .n_sequences = 1 + i % 3,
                                          .n_heads = 1,
                                          .head_dim = head_dims[i / 2],
                                          .sharpness = 4});
    }
}

/* Broken by a query that sees a key too many or too few, a head that reads another group's keys, a block's share of the
 * rows of queries and heads that is off. */
static void attention_of_groups_and_causal(void **state)
{
    static const int32_t lengths[] = {37, 1, 16, 17, 130, 64, 33};
    static const int64_t groups[] = {1, 3, 2, 8, 7, 1}, head_dims[] = {64, 64, 128, 32, 8, 256};
    (void)state;
    for (int i = 0; i < 2 * 6; i++) {
        for (int causal = 0; causal < 2; causal++) {
            const int64_t group = groups[i / 2];
            check_attention(&(attention_case){.dtype = dtypes[i % 2],
                                              .lengths = lengths,
                                              .n_sequences = i / 2 < 3 ? 7 : 4,
                                              .n_heads = group < 3 ? 2 * group : group,
                                              .head_dim = head_dims[i / 2],
                                              .group = group,
                                              .is_causal = causal,
                                              .sharpness = causal ? 4 : 1});
        }
    }
}

/* Every length up to a few tiles, so that every edge of what is seen falls on every place of a tile and a step. */
static void causal_attention_of_every_length(void **state)
{
    int32_t lengths[40];
    (void)state;
    for (int32_t i = 0; i < 40; i++) {
        lengths[i] = i < 38 ? (i * 13 + 5) % 38 + 1 : 70 + 30 * (i - 38);
    }
    for (int i = 0; i < 4; i++) {
        check_attention(&(attention_case){.dtype = dtypes[i % 2],
                                          .lengths = lengths,
                                          .n_sequences = 40,
                                          .n_heads = 1 + i / 2 * 4,
                                          .head_dim = 32,
                                          .group = 1 + i / 2 * 4,
                                          .is_causal = 1,
                                          .sharpness = 4});
    }
}

/* A sequence's bits do not depend on the batch or on how blocks are cut: a batch's first sequence alone, launched with
 * another largest length, gives the same. */
static void attention_is_batch_invariant(void **state)
{
    static const int32_t lengths[] = {71, 130, 9};
    (void)state;
    for (int i = 0; i < 4; i++) {
        attention_case c = {.dtype = dtypes[i % 2],
                            .lengths = lengths,
                            .n_sequences = 3,
                            .n_heads = 2,
                            .head_dim = 64,
                            .one_query = i / 2,
                            .sharpness = 4};
        attention_data d = make_data(&c);
        launch(&c, &d);
        const int64_t n = (c.one_query ? 1 : 71) * d.width;
        double *batch = malloc((size_t)n * sizeof *batch);
        assert_non_null(batch);
        memcpy(batch, d.y.values, (size_t)n * sizeof *batch);
        c.n_sequences = 1;
        for (c.max_length = 71; c.max_length < 600; c.max_length += 175) {
            d.y = typed_poisoned(d.y.dtype, n);
            launch(&c, &d);
            assert_memory_equal(d.y.values, batch, (size_t)n * sizeof *batch);
        }
        free(batch);
        free(d.offsets);
    }
}

/* Broken by sizes that the kernels cannot hold and take all the same. */
static void attention_refuses(void **state)
{
    (void)state;
    fbt_cuda_attention_args args = {
        .n_sequences = 1, .max_queries = 1, .max_keys = 1, .n_heads = 1, .n_kv_heads = 1, .head_dim = 264, .scale = 1};
    assert_int_equal(fbt_cuda_launch_attention(NULL, &args), cudaErrorInvalidValue);
    args.head_dim = 12;
    assert_int_equal(fbt_cuda_launch_attention(NULL, &args), cudaErrorInvalidValue);
    args.head_dim = 8;
    args.n_sequences = INT64_C(1) << 31; /* more blocks than a grid holds */
    assert_int_equal(fbt_cuda_launch_attention(NULL, &args), cudaErrorInvalidConfiguration);
    args.n_sequences = 1;
    args.n_heads = 1 << 10;
    args.max_queries = 1 << 10; /* more rows than are divided exactly */
    assert_int_equal(fbt_cuda_launch_attention(NULL, &args), cudaErrorInvalidConfiguration);
    args.keys[1].v.stride = INT64_C(1) << 31;
    assert_int_equal(fbt_cuda_launch_attention(NULL, &args), cudaErrorInvalidValue);
    args.n_sequences = 0;
    cuda_ok(fbt_cuda_launch_attention(NULL, &args));
}

int main(void)
{
    if (!device_is_there()) {
        return 77;
    }
    const struct CMUnitTest attention[] = {
        cmocka_unit_test_teardown(attention_of_every_length, device_clear),
        cmocka_unit_test_teardown(attention_of_every_head_size, device_clear),
        cmocka_unit_test_teardown(attention_of_long_sequences, device_clear),
        cmocka_unit_test_teardown(attention_of_groups_and_causal, device_clear),
        cmocka_unit_test_teardown(causal_attention_of_every_length, device_clear),
        cmocka_unit_test_teardown(attention_is_batch_invariant, device_clear),
        cmocka_unit_test_teardown(attention_refuses, device_clear),
    };
    return cmocka_run_group_tests(attention, NULL, NULL) + run_chain_tests() > 0;
}
