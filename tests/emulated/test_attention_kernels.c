/* Attention kernels: every tile edge, head size and layout, and the order of what runs. */
#include "row_fixture.h"

#include <math.h>
#include <string.h>

typedef struct attention_case {
    fbt_dtype dtype;
    const int32_t *lengths;
    int64_t n_sequences, n_heads, head_dim;
    int one_query;
    double sharpness;   /* standard deviation of the scores       */
    int64_t max_length; /* as told to the launcher; 0: the longest */
} attention_case;

/* Inputs and outputs of a case. Rows of q, k and v lie side by side with room around them that holds no numbers. */
typedef struct attention_data {
    int32_t *offsets;
    int64_t n_queries, width, stride, q_stride, longest;
    typed qkv, one, y;
} attention_data;

enum { PAD = 8 };

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
    const int64_t n_rows = d.offsets[c->n_sequences];
    const double spread = sqrt(c->sharpness);
    d.stride = 3 * d.width + 4 * PAD;
    d.q_stride = c->one_query ? d.width + PAD : d.stride;
    d.n_queries = c->one_query ? c->n_sequences : n_rows;
    d.qkv = typed_random(dtype, n_rows * d.stride, spread, 0);
    for (int64_t i = 0; i < d.qkv.n; i++) {
        if (i % d.stride % (d.width + PAD) < PAD) {
            d.qkv.values[i] = NAN;
        }
    }
    typed_write(&d.qkv);
    d.one = typed_random(dtype, c->n_sequences * (d.width + PAD), spread, 0);
    d.y = typed_poisoned(dtype, d.n_queries * d.width);
    return d;
}

static const char *item_at(const typed *t, int64_t item)
{
    return (const char *)t->device + item * (t->dtype == FBT_BF16 ? 2 : 4);
}

static void launch(const attention_case *c, attention_data *d)
{
    const fbt_cuda_attention_args args = {
        .y = d->y.device,
        .q = c->one_query ? d->one.device : item_at(&d->qkv, PAD),
        .k = item_at(&d->qkv, PAD + d->width + PAD),
        .v = item_at(&d->qkv, PAD + 2 * (d->width + PAD)),
        .q_stride = d->q_stride,
        .k_stride = d->stride,
        .v_stride = d->stride,
        .offsets = device_copy(d->offsets, (c->n_sequences + 1) * 4),
        .n_sequences = c->n_sequences,
        .max_length = c->max_length > 0 ? c->max_length : d->longest,
        .one_query = c->one_query,
        .n_heads = c->n_heads,
        .head_dim = c->head_dim,
        .scale = (float)(1 / sqrt((double)c->head_dim)),
        .dtype = c->dtype,
    };
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

static void check_attention(const attention_case *c)
{
    attention_data d = make_data(c);
    launch(c, &d);
    for (int64_t s = 0; s < c->n_sequences; s++) {
        const int64_t first = d.offsets[s], n_keys = c->lengths[s], n_queries = c->one_query ? 1 : n_keys;
        for (int64_t i = 0; i < n_queries * c->n_heads; i++) {
            const int64_t query = (c->one_query ? s : first) + i / c->n_heads, column = i % c->n_heads * c->head_dim;
            const double *rows = d.qkv.values + first * d.stride + PAD + column;
            const double *q = c->one_query ? d.one.values + query * d.q_stride + column
                                           : d.qkv.values + query * d.stride + PAD + column;
            check_query(c, q, rows + d.width + PAD, rows + 2 * (d.width + PAD), d.stride, n_keys,
                        d.y.values + query * d.width + column, roundoff(d.y.dtype));
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
    static const int64_t head_dims[] = {8, 16, 32, 40, 64, 80, 96, 128};
    (void)state;
    for (int i = 0; i < 4 * 8; i++) {
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
    static const int64_t head_dims[] = {32, 64, 128};
    (void)state;
    for (int i = 0; i < 6; i++) {
        check_attention(&(attention_case){.dtype = dtypes[i % 2],
                                          .lengths = lengths,
                                          .n_sequences = 1 + i % 3,
                                          .n_heads = 1,
                                          .head_dim = head_dims[i / 2],
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
    fbt_cuda_attention_args args = {.n_sequences = 1, .max_length = 1, .n_heads = 1, .head_dim = 136, .scale = 1};
    assert_int_equal(fbt_cuda_launch_attention(NULL, &args), cudaErrorInvalidValue);
    args.head_dim = 12;
    assert_int_equal(fbt_cuda_launch_attention(NULL, &args), cudaErrorInvalidValue);
    args.head_dim = 8;
    args.n_sequences = INT64_C(1) << 31; /* more blocks than a grid holds */
    assert_int_equal(fbt_cuda_launch_attention(NULL, &args), cudaErrorInvalidConfiguration);
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
        cmocka_unit_test_teardown(attention_is_batch_invariant, device_clear),
        cmocka_unit_test_teardown(attention_refuses, device_clear),
    };
    return cmocka_run_group_tests(attention, NULL, NULL);
}
