/* Attention along chains of prefixes: the bits of sequences that have all rows themselves, and what they depend on. */
#include "row_fixture.h"

#include <math.h>
#include <string.h>

enum { N_LEVELS = 3, MAX_SEQUENCES = 8, N_HEADS = 4 };

/* Sequences of a level, each behind one of the level before: index; -1: behind none. */
typedef struct level {
    int64_t n;
    int32_t lengths[MAX_SEQUENCES], index[MAX_SEQUENCES];
} level;

typedef struct chain_case {
    fbt_dtype dtype;
    const level *levels; /* [N_LEVELS], outermost first */
    int64_t head_dim, group;
    int one_query;
} chain_case;

/* Rows of all levels, one level behind the other, and the same sequences whole. Rows: q, k, v. */
typedef struct chain_data {
    int32_t offsets[N_LEVELS][MAX_SEQUENCES + 1], whole_offsets[MAX_SEQUENCES + 1];
    int64_t width, kv_width, stride;
    typed rows, whole, y, y_whole;
} chain_data;

static const level *last_level(const chain_case *c)
{
    return &c->levels[N_LEVELS - 1];
}

static void cut_levels(const chain_case *c, chain_data *d)
{
    int32_t n_rows = 5; /* somebody else's */
    for (int l = 0; l < N_LEVELS; l++) {
        for (int64_t i = 0; i <= c->levels[l].n; i++) {
            d->offsets[l][i] = n_rows;
            n_rows += i < c->levels[l].n ? c->levels[l].lengths[i] : 0;
        }
    }
}

/* Appends the rows that sequence i of a level sees and has; returns how many rows there are then. */
static int32_t append_rows(const chain_case *c, chain_data *d, int l, int32_t i, int32_t n_rows)
{
    const int32_t first = d->offsets[l][i], n = c->levels[l].lengths[i];
    if (l > 0 && c->levels[l].index[i] >= 0) {
        n_rows = append_rows(c, d, l - 1, c->levels[l].index[i], n_rows);
    }
    memcpy(d->whole.values + n_rows * d->stride, d->rows.values + first * d->stride,
           (size_t)(n * d->stride) * sizeof(double));
    return n_rows + n;
}

static chain_data make_chain(const chain_case *c)
{
    chain_data d = {.width = N_HEADS * c->head_dim, .kv_width = N_HEADS / c->group * c->head_dim};
    cut_levels(c, &d);
    d.stride = d.width + 2 * d.kv_width;
    const int64_t n_rows = d.offsets[N_LEVELS - 1][last_level(c)->n];
    d.rows = typed_random(c->dtype, n_rows * d.stride, 2, 0);
    d.whole = typed_random(c->dtype, MAX_SEQUENCES * n_rows * d.stride, 2, 0);
    for (int32_t s = 0; s < last_level(c)->n; s++) {
        d.whole_offsets[s + 1] = append_rows(c, &d, N_LEVELS - 1, s, d.whole_offsets[s]);
    }
    typed_write(&d.whole);
    d.y = typed_poisoned(c->dtype, n_rows * d.width);
    d.y_whole = typed_poisoned(c->dtype, d.whole_offsets[last_level(c)->n] * d.width);
    return d;
}

static fbt_cuda_heads heads_at(const typed *rows, int64_t stride, int64_t column)
{
    return (fbt_cuda_heads){(const char *)rows->device + column * (rows->dtype == FBT_BF16 ? 2 : 4), stride};
}

static fbt_cuda_attention_args describe(const chain_case *c, const chain_data *d, const typed *rows)
{
    return (fbt_cuda_attention_args){
        .q = heads_at(rows, d->stride, 0),
        .keys[0] = {.k = heads_at(rows, d->stride, d->width), .v = heads_at(rows, d->stride, d->width + d->kv_width)},
        .n_sequences = last_level(c)->n,
        .max_queries = 300,
        .max_keys = 900,
        .is_causal = 1,
        .n_heads = N_HEADS,
        .n_kv_heads = N_HEADS / c->group,
        .head_dim = c->head_dim,
        .scale = (float)(1 / sqrt((double)c->head_dim)),
        .dtype = c->dtype};
}

static void launch_whole(const chain_case *c, chain_data *d)
{
    fbt_cuda_attention_args args = describe(c, d, &d->whole);
    args.y = d->y_whole.device;
    args.offsets = args.keys[0].offsets = device_copy(d->whole_offsets, sizeof d->whole_offsets);
    cuda_ok(fbt_cuda_launch_attention(NULL, &args));
    typed_read(&d->y_whole);
}

/* The last query of every sequence, for one_query. */
static void take_last_queries(const chain_case *c, chain_data *d, fbt_cuda_attention_args *args)
{
    typed q = typed_random(c->dtype, last_level(c)->n * d->width, 1, 0);
    for (int64_t s = 0; s < last_level(c)->n; s++) {
        const int64_t row = d->offsets[N_LEVELS - 1][s + 1] - 1;
        memcpy(q.values + s * d->width, d->rows.values + row * d->stride, (size_t)d->width * sizeof(double));
    }
    typed_write(&q);
    args->q = heads_at(&q, d->width, 0);
    args->one_query = 1;
    args->max_queries = 1;
}

static void launch_chain(const chain_case *c, chain_data *d)
{
    fbt_cuda_attention_args args = describe(c, d, &d->rows);
    args.y = d->y.device;
    for (int i = 0; i < N_LEVELS; i++) {
        const int l = N_LEVELS - 1 - i;
        args.keys[i] = args.keys[0];
        args.keys[i].offsets = device_copy(d->offsets[l], sizeof d->offsets[l]);
        args.keys[i].index = i == 0 ? NULL : device_copy(c->levels[l + 1].index, sizeof c->levels[l + 1].index);
    }
    args.offsets = args.keys[0].offsets;
    if (c->one_query) {
        take_last_queries(c, d, &args);
    }
    cuda_ok(fbt_cuda_launch_attention(NULL, &args));
    typed_read(&d->y);
}

static void check_chain(const chain_case *c)
{
    chain_data d = make_chain(c);
    launch_whole(c, &d);
    launch_chain(c, &d);
    for (int64_t s = 0; s < last_level(c)->n; s++) {
        const int64_t n = c->one_query ? 1 : last_level(c)->lengths[s];
        const int64_t first = c->one_query ? s : d.offsets[N_LEVELS - 1][s];
        const double *got = d.y.values + first * d.width;
        const double *want = d.y_whole.values + (d.whole_offsets[s + 1] - n) * d.width;
        for (int64_t i = 0; i < n * d.width; i++) {
            if (!isfinite(want[i]) || got[i] != want[i]) {
                fail_msg("sequence %lld, item %lld: %.9g behind prefixes, %.9g whole", (long long)s, (long long)i,
                         got[i], want[i]);
            }
        }
    }
    device_clear(NULL);
}

/* Lengths around steps and tiles, prefixes of several sequences and of none, prefixes without a prefix. */
static const level cases[][N_LEVELS] = {
    {{2, {3, 16}, {0}}, {3, {13, 64, 1}, {0, 1, -1}}, {5, {2, 7, 1, 40, 3}, {0, 1, 1, 2, -1}}},
    {{1, {50}, {0}}, {2, {31, 20}, {0, 0}}, {6, {1, 2, 3, 1, 17, 4}, {0, 0, 0, 1, 1, 1}}},
    {{1, {5}, {0}}, {4, {130, 61, 63, 64}, {-1, -1, 0, -1}}, {4, {70, 3, 1, 33}, {0, 1, 2, 3}}},
};

/* Broken by a key taken from another source or row, by tiles that begin anew where a source does, by a query that
 * counts itself among other keys than its own, by one query that is computed otherwise. */
static void chains_have_the_bits_of_whole_sequences(void **state)
{
    static const int64_t head_dims[] = {8, 64, 80, 256}, groups[] = {1, 2, 4, 2};
    static const fbt_dtype dtypes[] = {FBT_F32, FBT_BF16};
    (void)state;
    for (int i = 0; i < 8; i++) {
        for (int one_query = 0; one_query < 2; one_query++) {
            check_chain(&(chain_case){.dtype = dtypes[i % 2],
                                      .levels = cases[(i / 2 + one_query) % 3],
                                      .head_dim = head_dims[i / 2],
                                      .group = groups[i / 2],
                                      .one_query = one_query});
        }
    }
}

/* Broken by a causal query on which a later row has an influence, be it in the last bit. */
static void later_rows_do_not_matter(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        const chain_case c = {
            .dtype = i % 2 == 0 ? FBT_F32 : FBT_BF16, .levels = cases[i / 2], .head_dim = 64, .group = 2};
        chain_data d = make_chain(&c);
        launch_whole(&c, &d);
        typed before = d.y_whole, others = typed_random(c.dtype, d.whole.n, 3, 1);
        d.y_whole = typed_poisoned(c.dtype, before.n);
        for (int64_t s = 0; s < last_level(&c)->n; s++) {
            const int64_t end = d.whole_offsets[s + 1], kept = d.whole_offsets[s] + (end - d.whole_offsets[s] + 1) / 2;
            memcpy(d.whole.values + kept * d.stride, others.values + kept * d.stride,
                   (size_t)((end - kept) * d.stride) * sizeof(double));
        }
        typed_write(&d.whole);
        launch_whole(&c, &d);
        for (int64_t s = 0; s < last_level(&c)->n; s++) {
            const int64_t first = d.whole_offsets[s], n = (d.whole_offsets[s + 1] - first + 1) / 2;
            assert_memory_equal(d.y_whole.values + first * d.width, before.values + first * d.width,
                                (size_t)(n * d.width) * sizeof(double));
        }
        device_clear(NULL);
    }
}

int run_chain_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(chains_have_the_bits_of_whole_sequences, device_clear),
        cmocka_unit_test_teardown(later_rows_do_not_matter, device_clear),
    };
    return cmocka_run_group_tests_name("attention along chains", tests, NULL, NULL);
}
