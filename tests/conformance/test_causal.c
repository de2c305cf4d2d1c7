/* Conformance: attention of decoders: causal, grouped heads, keys of prefixes. A backend computes it, compared here
 * with plain references in double and with itself bit for bit, or refuses it by the field's name. */
#include "suite.h"

#include <math.h>
#include <string.h>

enum { N_LEVELS = FBT_MAX_PREFIXES + 1, MAX_SEQUENCES = 6, MAX_DIM = 32 };

/* Sequences of one level, and which of the level before each of them sees; -1: none. */
typedef struct level {
    int n;
    int32_t lengths[MAX_SEQUENCES], index[MAX_SEQUENCES];
} level;

/* Levels as a model lays them out: rows of queries, keys and values, one level behind the other. Queries are those of
 * the last level. */
typedef struct tower {
    int n_levels;
    const level *levels;
    int64_t n_heads, n_kv_heads, d, stride, n_rows;
    fbt_packed packed[N_LEVELS];
    fbt_prefix prefix[N_LEVELS]; /* what level i sees */
    double *rows;                /* [n_rows, stride]: q, k, v, and a few numbers that are nobody's */
    fbt_attention a;
} tower;

static fbt_packed batch_at(suite *s, const level *l, int64_t first)
{
    fbt_packed packed = {.n_sequences = l->n};
    int32_t *offsets = suite_block(s, (l->n + 1) * (int64_t)sizeof *offsets);
    offsets[0] = (int32_t)first;
    for (int i = 0; i < l->n; i++) {
        offsets[i + 1] = offsets[i] + l->lengths[i];
        packed.max_length = l->lengths[i] > packed.max_length ? l->lengths[i] : packed.max_length;
    }
    packed.n_rows = offsets[l->n] - first;
    packed.host_offsets = offsets;
    packed.offsets = suite_buffer_bytes(s, offsets, (l->n + 1) * (int64_t)sizeof *offsets);
    return packed;
}

/* Places the rows in a buffer and says what is asked of them. */
static void place_rows(suite *s, tower *t)
{
    const int last = t->n_levels - 1;
    fbt_buffer *buffer = suite_buffer(s, t->rows, t->n_rows * t->stride, suite_dtype(s));
    const fbt_heads k = {buffer, t->stride, t->n_heads * t->d},
                    v = {buffer, t->stride, k.column + t->n_kv_heads * t->d};
    for (int i = 1; i <= last; i++) {
        const int32_t *index = t->levels[i].index;
        t->prefix[i] = (fbt_prefix){.k = k,
                                    .v = v,
                                    .packed = &t->packed[i - 1],
                                    .index = suite_buffer_bytes(s, index, t->levels[i].n * (int64_t)sizeof *index),
                                    .host_index = index,
                                    .before = i > 1 ? &t->prefix[i - 1] : NULL};
    }
    t->a = (fbt_attention){.q = {buffer, t->stride, 0},
                           .k = k,
                           .v = v,
                           .packed = &t->packed[last],
                           .n_heads = t->n_heads,
                           .head_dim = t->d,
                           .scale = (float)(1 / sqrt((double)t->d)),
                           .n_kv_heads = t->n_kv_heads,
                           .is_causal = 1,
                           .prefix = last > 0 ? &t->prefix[last] : NULL};
}

static tower *make_tower(suite *s, const level *levels, int n_levels, int64_t n_heads, int64_t n_kv_heads, int64_t d)
{
    tower *t = suite_block(s, sizeof *t);
    *t = (tower){.n_levels = n_levels, .levels = levels, .n_heads = n_heads, .n_kv_heads = n_kv_heads, .d = d};
    t->stride = (n_heads + 2 * n_kv_heads) * d + 3 * suite_width(s, 1);
    for (int i = 0; i < n_levels; i++) {
        t->packed[i] = batch_at(s, &levels[i], t->n_rows);
        t->n_rows += t->packed[i].n_rows;
    }
    t->rows = suite_random(s, t->n_rows * t->stride, 1, 0);
    place_rows(s, t);
    return t;
}

/* The rows that a sequence of a level sees, its own last; how many. */
static int64_t collect_rows(const tower *t, int at, int64_t sequence, int64_t *rows)
{
    const int32_t before = at > 0 ? t->levels[at].index[sequence] : -1, *offsets = t->packed[at].host_offsets;
    int64_t n = before >= 0 ? collect_rows(t, at - 1, before, rows) : 0;
    for (int64_t r = offsets[sequence]; r < offsets[sequence + 1]; r++) {
        rows[n++] = r;
    }
    return n;
}

/* The same tower with nothing shared: every sequence of the last level has a copy of all that it sees. */
static tower *unshare(suite *s, const tower *t)
{
    const int last = t->n_levels - 1;
    level *flat = suite_block(s, sizeof *flat);
    int64_t rows[SUITE_KEYS], n_rows = 0;
    flat->n = t->levels[last].n;
    for (int i = 0; i < flat->n; i++) {
        flat->lengths[i] = (int32_t)collect_rows(t, last, i, rows);
    }
    tower *copy = make_tower(s, flat, 1, t->n_heads, t->n_kv_heads, t->d);
    for (int i = 0; i < flat->n; i++) {
        collect_rows(t, last, i, rows);
        for (int64_t r = 0; r < flat->lengths[i]; r++, n_rows++) {
            memcpy(copy->rows + n_rows * t->stride, t->rows + rows[r] * t->stride, (size_t)t->stride * sizeof *t->rows);
        }
    }
    place_rows(s, copy);
    return copy;
}

/* Bytes of y, [rows of all levels, n_heads d], of which attention fills in the last level's; NULL: it was refused. */
static char *attend(suite *s, const tower *t)
{
    const int64_t n = t->n_rows * t->n_heads * t->d, n_bytes = n * (int64_t)fbt_dtype_bytes(suite_dtype(s));
    fbt_buffer *y = suite_poisoned(s, n, suite_dtype(s));
    char *bytes = suite_block(s, n_bytes);
    const fbt_status status = fbt_attend(s->b, y, &t->a);
    if (!suite_has(s, FBT_FEATURE_KV_HEADS) && t->n_kv_heads != t->n_heads) {
        suite_refused(status, "n_kv_heads");
    } else if (!suite_has(s, FBT_FEATURE_CAUSAL)) {
        suite_refused(status, "is_causal");
    } else if (!suite_has(s, FBT_FEATURE_PREFIX) && t->a.prefix != NULL) {
        suite_refused(status, "prefix");
    } else {
        suite_ok(status);
        suite_read_bytes(s, bytes, y, n_bytes);
        return bytes;
    }
    return NULL;
}

static int64_t y_bytes(const suite *s, const tower *t)
{
    return t->n_heads * t->d * (int64_t)fbt_dtype_bytes(suite_dtype(s));
}

/* ---- Against the reference. */

/* One query, which is row `rows[n_seen - 1]` and sees the rows up to itself. */
static void reference(suite *s, const tower *t, const int64_t *rows, int64_t n_seen, double *want, double *tolerance)
{
    double k[SUITE_KEYS * MAX_DIM], v[SUITE_KEYS * MAX_DIM];
    const double *q = t->rows + rows[n_seen - 1] * t->stride;
    for (int64_t h = 0; h < t->n_heads; h++) {
        const int64_t column = t->n_heads * t->d + h / (t->n_heads / t->n_kv_heads) * t->d;
        for (int64_t j = 0; j < n_seen; j++) {
            const double *key = t->rows + rows[j] * t->stride + column;
            memcpy(k + j * t->d, key, (size_t)t->d * sizeof *k);
            memcpy(v + j * t->d, key + t->n_kv_heads * t->d, (size_t)t->d * sizeof *v);
        }
        suite_attend_row(s, q + h * t->d, k, v, t->d, n_seen, t->d, t->a.scale, want + h * t->d, tolerance + h * t->d);
    }
}

static double widened(const char *y, int64_t i, fbt_dtype dtype)
{
    if (dtype == FBT_F32) {
        return ((const float *)(const void *)y)[i];
    }
    const uint32_t bits = (uint32_t)((const uint16_t *)(const void *)y)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void check_against_reference(suite *s, const tower *t)
{
    const char *y = attend(s, t);
    const int last = t->n_levels - 1;
    const int64_t width = t->n_heads * t->d;
    double *want = suite_block(s, 3 * width * (int64_t)sizeof *want), *tolerance = want + width,
           *got = want + 2 * width;
    int64_t rows[SUITE_KEYS];
    for (int64_t i = 0; y != NULL && i < t->levels[last].n; i++) {
        const int64_t n = collect_rows(t, last, i, rows), n_own = t->levels[last].lengths[i];
        for (int64_t seen = n - n_own + 1; seen <= n; seen++) {
            reference(s, t, rows, seen, want, tolerance);
            for (int64_t c = 0; c < width; c++) {
                got[c] = widened(y + rows[seen - 1] * y_bytes(s, t), c, suite_dtype(s));
            }
            suite_compare("causal attention", got, want, tolerance, width);
        }
    }
}

/* Lengths of 1, and around those of vectors, tiles and warps; sequences that see no prefix, one of a row, two. */
static const level towers[][N_LEVELS] = {
    {{6, {1, 17, 4, 33, 64, 5}, {0}}},
    {{2, {5, 33}, {0}}, {6, {3, 17, 1, 40, 9, 2}, {1, 0, -1, 1, 0, 1}}},
    {{2, {50, 7}, {0}}, {3, {16, 1, 31}, {1, -1, 0}}, {6, {3, 17, 1, 40, 9, 2}, {2, 0, -1, 1, 2, 0}}},
};
enum { N_TOWERS = sizeof towers / sizeof towers[0] };

/* [heads, K/V heads, size]: of their own, in groups of 2 and 3, all of one; sizes of models and odd ones. */
static const int64_t head_counts[][3] = {{2, 2, 16}, {4, 2, 5}, {9, 3, 12}, {3, 1, 30}};
enum { N_HEADS = sizeof head_counts / sizeof head_counts[0] };

/* Broken by a query that sees a key too many or too few, by a prefix of another sequence, a chain in the wrong order,
 * offsets that are counted from row 0. */
static void causal_matches_reference(void **state)
{
    (void)state;
    for (int i = 0; i < N_TOWERS; i++) {
        for (int h = 0; h < N_HEADS; h++) {
            suite *s = suite_begin(2);
            check_against_reference(s, make_tower(s, towers[i], i + 1, head_counts[h][0], head_counts[h][1],
                                                  suite_width(s, head_counts[h][2])));
            suite_end(s);
        }
    }
}

/* ---- Against itself, bit for bit. */

/* Compares the rows of the last level with those of a tower that computed them otherwise. */
static void compare_own_rows(const suite *s, const tower *t, const char *y, const tower *other, const char *other_y)
{
    const int last = t->n_levels - 1, other_last = other->n_levels - 1;
    const int64_t n_bytes = y_bytes(s, t);
    for (int64_t i = 0; i < t->levels[last].n; i++) {
        const int64_t n_own = t->levels[last].lengths[i];
        const int64_t first = t->packed[last].host_offsets[i];
        const int64_t other_end = other->packed[other_last].host_offsets[i + 1];
        assert_memory_equal(y + first * n_bytes, other_y + (other_end - n_own) * n_bytes, (size_t)(n_own * n_bytes));
    }
}

/* A sequence that sees a prefix gives the bits of one that has those rows itself. Broken by sums over keys that begin
 * anew where a prefix ends, or in another order. */
static void prefixes_give_the_bits_of_rows(void **state)
{
    (void)state;
    for (int i = 1; i < N_TOWERS; i++) {
        for (int h = 0; h < N_HEADS; h++) {
            suite *s = suite_begin(2);
            const tower *t = make_tower(s, towers[i], i + 1, head_counts[h][0], head_counts[h][1],
                                        suite_width(s, head_counts[h][2]));
            const tower *flat = unshare(s, t);
            const char *y = attend(s, t), *flat_y = attend(s, flat);
            if (y != NULL) {
                assert_non_null(flat_y);
                compare_own_rows(s, t, y, flat, flat_y);
            }
            suite_end(s);
        }
    }
}

/* A query does not depend on what comes behind it, here numbers so large that the least weight shows. */
static void later_rows_do_not_matter(void **state)
{
    suite *s = *state;
    tower *t = make_tower(s, towers[1], 2, 4, 2, suite_width(s, 12));
    const char *y = attend(s, t);
    const int64_t n_bytes = y_bytes(s, t), first = t->packed[1].host_offsets[3];
    const int32_t length = towers[1][1].lengths[3];
    for (int64_t kept = length - 1; y != NULL && kept > 0; kept -= 3) {
        for (int64_t i = (first + kept) * t->stride; i < (first + length) * t->stride; i++) {
            t->rows[i] = 1e30;
        }
        place_rows(s, t);
        const char *spoilt = attend(s, t);
        assert_memory_equal(spoilt + first * n_bytes, y + first * n_bytes, (size_t)(kept * n_bytes));
    }
}

/* The last query of every sequence alone, as one_query asks for it. Broken by a kernel for one query that sums in an
 * order of its own. */
static void one_query_gives_the_bits_of_all(void **state)
{
    (void)state;
    for (int h = 0; h < N_HEADS; h++) {
        suite *s = suite_begin(2);
        const fbt_dtype dtype = suite_dtype(s);
        tower *t = make_tower(s, towers[2], 3, head_counts[h][0], head_counts[h][1], suite_width(s, head_counts[h][2]));
        const int64_t width = t->n_heads * t->d, n = t->levels[2].n, n_bytes = y_bytes(s, t);
        const char *y = attend(s, t);
        double *one = suite_block(s, n * width * (int64_t)sizeof *one);
        char *got = suite_block(s, n * n_bytes);
        fbt_buffer *result = suite_poisoned(s, n * width, dtype);
        for (int64_t i = 0; i < n; i++) {
            memcpy(one + i * width, t->rows + (t->packed[2].host_offsets[i + 1] - 1) * t->stride,
                   (size_t)width * sizeof *one);
        }
        t->a.q = (fbt_heads){suite_buffer(s, one, n * width, dtype), width, 0};
        t->a.one_query = 1;
        if (y != NULL) {
            suite_ok(fbt_attend(s->b, result, &t->a));
            suite_read_bytes(s, got, result, n * n_bytes);
        }
        for (int64_t i = 0; y != NULL && i < n; i++) {
            assert_memory_equal(got + i * n_bytes, y + (t->packed[2].host_offsets[i + 1] - 1) * n_bytes,
                                (size_t)n_bytes);
        }
        suite_end(s);
    }
}

/* Each sequence of the last level alone, for any number of threads. Broken by work that is split by the size of a
 * batch. */
static void causal_does_not_depend_on_the_batch(void **state)
{
    (void)state;
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        suite *s = suite_begin(n_threads);
        const tower *t = make_tower(s, towers[2], 3, 9, 3, suite_width(s, 12));
        const char *y = attend(s, t);
        for (int i = 0; i < t->levels[2].n; i++) {
            const int64_t first = t->packed[2].host_offsets[i], n_bytes = y_bytes(s, t);
            const level lone[N_LEVELS] = {
                t->levels[0], t->levels[1], {1, {t->levels[2].lengths[i]}, {t->levels[2].index[i]}}};
            tower *alone = make_tower(s, lone, 3, 9, 3, t->d);
            const int64_t at = alone->packed[2].host_offsets[0], n_own = lone[2].lengths[0];
            memcpy(alone->rows, t->rows, (size_t)(at * t->stride) * sizeof *t->rows);
            memcpy(alone->rows + at * t->stride, t->rows + first * t->stride,
                   (size_t)(n_own * t->stride) * sizeof *t->rows);
            place_rows(s, alone);
            const char *alone_y = attend(s, alone);
            if (y != NULL) {
                assert_memory_equal(alone_y + at * n_bytes, y + first * n_bytes, (size_t)(n_own * n_bytes));
            }
        }
        suite_end(s);
    }
}

/* ---- Keys with rows of their own. */

static const int32_t query_lengths[] = {3, 1, 17}, key_lengths[] = {20, 5, 33};

static void check_keys(int64_t n_heads, int64_t n_kv_heads, int has_own_keys, int is_causal)
{
    suite *s = suite_begin(2);
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t d = suite_width(s, 12), width = n_heads * d, stride = 2 * n_kv_heads * d;
    int32_t *tokens, *prompts;
    const fbt_packed packed = suite_packed(s, query_lengths, 3, 2, 1, &tokens, &prompts);
    const fbt_packed keys = has_own_keys ? suite_packed(s, key_lengths, 3, 2, 1, &tokens, &prompts) : packed;
    const int64_t n = packed.n_rows * width, n_kv = keys.n_rows * stride;
    double *q = suite_random(s, n, 1, 0), *kv = suite_random(s, n_kv, 1, 0);
    double *want = suite_block(s, n * (int64_t)sizeof *want), *tolerance = suite_block(s, n * (int64_t)sizeof *want);
    fbt_buffer *kv_buffer = suite_buffer(s, kv, n_kv, dtype), *y = suite_poisoned(s, n, dtype);
    const fbt_attention a = {.q = {suite_buffer(s, q, n, dtype), width, 0},
                             .k = {kv_buffer, stride, 0},
                             .v = {kv_buffer, stride, n_kv_heads * d},
                             .packed = &packed,
                             .n_heads = n_heads,
                             .head_dim = d,
                             .scale = (float)(1 / sqrt((double)d)),
                             .n_kv_heads = n_kv_heads,
                             .is_causal = is_causal,
                             .keys = has_own_keys ? &keys : NULL};
    for (int64_t i = 0, sequence = 0; i < packed.n_rows * n_heads; i++) {
        const int64_t row = i / n_heads, h = i % n_heads;
        sequence += row == packed.host_offsets[sequence + 1];
        const int64_t first = keys.host_offsets[sequence], end = keys.host_offsets[sequence + 1];
        const int64_t n_seen = end - first - (is_causal ? packed.host_offsets[sequence + 1] - 1 - row : 0);
        const double *k = kv + first * stride + h / (n_heads / n_kv_heads) * d;
        suite_attend_row(s, q + i * d, k, k + n_kv_heads * d, stride, n_seen, d, a.scale, want + i * d,
                         tolerance + i * d);
    }
    const char *name = n_kv_heads != n_heads && !suite_has(s, FBT_FEATURE_KV_HEADS) ? "n_kv_heads"
                       : has_own_keys && !suite_has(s, FBT_FEATURE_KEY_ROWS)        ? "keys"
                                                                                    : "is_causal";
    if (suite_computed(fbt_attend(s->b, y, &a), name)) {
        suite_compare("grouped attention", suite_read(s, y, n, dtype), want, tolerance, n);
    }
    suite_end(s);
}

/* Broken by a queries' head that reads the wrong K/V head, or keys by the queries' offsets. */
static void grouped_heads_and_other_keys(void **state)
{
    (void)state;
    for (int is_causal = 0; is_causal < 2; is_causal++) {
        check_keys(4, 4, 0, is_causal);
        check_keys(6, 2, 0, is_causal);
        check_keys(3, 1, 0, is_causal);
        check_keys(4, 4, 1, is_causal);
        check_keys(4, 2, 1, is_causal);
    }
}

int run_causal_tests(void)
{
    const struct CMUnitTest causal[] = {
        cmocka_unit_test(causal_matches_reference),
        cmocka_unit_test(prefixes_give_the_bits_of_rows),
        cmocka_unit_test_setup_teardown(later_rows_do_not_matter, suite_setup, suite_teardown),
        cmocka_unit_test(one_query_gives_the_bits_of_all),
        cmocka_unit_test(causal_does_not_depend_on_the_batch),
        cmocka_unit_test(grouped_heads_and_other_keys),
    };
    return cmocka_run_group_tests(causal, NULL, NULL);
}
