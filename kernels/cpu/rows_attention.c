/* Row kernels: softmax attention of the heads of one sequence that share keys and values, in fp32 whatever the element
 * type (with bfloat16 products: rows_attention_bf16.c).
 *
 * The keys of all parts are transposed and the values widened into scratch memory, then QUERIES queries at a time:
 * scores against all keys that one of them sees, softmax, weighted sum of values. Both products are outer products held
 * in registers: QUERIES x WIDE vectors. A query's sums run over head_dim and over the keys that it sees in order, so
 * its result depends neither on its neighbours nor on where a part of the keys ends.
 *
 * Queries are taken with all heads of one before those of the next, so that those of a tile see about as many keys.
 */
#include "kernels/cpu/key_walk.h"
#include "kernels/cpu/simd_typed.h"

#include "base/smaller.h"

#if defined(__AVX512F__)
enum { QUERIES = 6, WIDE = 4 }; /* 24 of 32 registers hold sums */
#else
enum { QUERIES = 4, WIDE = 2 }; /* 8 of 16 */
#endif

/* Scratch memory, each part aligned to 64 bytes. */
typedef struct fbt_head_scratch {
    float *keys;    /* [head_dim, key_stride]: transposed, whole vectors of keys */
    float *values;  /* [n_keys, value_stride]: zero beyond head_dim           */
    float *queries; /* [QUERIES, query_stride]                                */
    float *scores;  /* [QUERIES, key_stride]                                  */
    int64_t key_stride, value_stride, query_stride;
} fbt_head_scratch;

/* Strides of the parts, and how many numbers all have. */
static int64_t scratch_floats(fbt_head_scratch *s, int64_t n_keys, int64_t head_dim)
{
    s->key_stride = fbt_round_up(n_keys, 16);
    s->value_stride = fbt_round_up(head_dim, 16);
    s->query_stride = s->value_stride;
    return head_dim * s->key_stride + n_keys * s->value_stride + QUERIES * (s->query_stride + s->key_stride);
}

static void scratch_place(fbt_head_scratch *s, int64_t n_keys, int64_t head_dim, float *base)
{
    scratch_floats(s, n_keys, head_dim);
    s->keys = base;
    s->values = s->keys + head_dim * s->key_stride;
    s->queries = s->values + n_keys * s->value_stride;
    s->scores = s->queries + QUERIES * s->query_stride;
}

int64_t FBT_ROWS(attention_bytes)(int64_t max_keys, int64_t head_dim)
{
    fbt_head_scratch s = {0};
    int64_t n_bytes = scratch_floats(&s, max_keys, head_dim) * (int64_t)sizeof(float);
#ifdef __AVX512BF16__
    const int64_t bf16_bytes = FBT_ROWS(attention_bf16_bytes)(max_keys, head_dim);
    n_bytes = n_bytes > bf16_bytes ? n_bytes : bf16_bytes;
#endif
    return n_bytes;
}

/* y: [stride] floats from n elements of x, the rest zero */
VF_INLINE void widen_row(float *y, int64_t stride, const void *x, fbt_dtype dtype, int64_t start, int64_t n)
{
    int64_t i = 0;
    for (; i + VF <= n; i += VF) {
        vf_store(y + i, vf_load_typed(x, dtype, start + i));
    }
    for (; i < stride; i += VF) {
        vf_store(y + i, i < n ? vf_load_typed_n(x, dtype, start + i, n - i) : vf_set(0));
    }
}

/* Elements c .. c + n - 1 of VF keys, transposed. rows: NULL: zeros. */
VF_INLINE void load_square(const fbt_head_scratch *s, const void *const rows[VF], fbt_dtype dtype, int64_t j, int64_t c,
                           int64_t n)
{
    vf square[VF];
#pragma GCC unroll 16
    for (int r = 0; r < VF; r++) {
        square[r] = rows[r] != NULL ? vf_load_typed_n(rows[r], dtype, c, n) : vf_set(0);
    }
    vf_transpose(square);
#pragma GCC unroll 16
    for (int i = 0; i < VF; i++) {
        if (i < n) {
            vf_store(s->keys + (c + i) * s->key_stride + j, square[i]);
        }
    }
}

VF_INLINE void load_keys(const fbt_head_group *group, fbt_dtype dtype, const fbt_head_scratch *s)
{
    fbt_key_walk walk = {group->parts, 0};
    for (int64_t j = 0; j < group->n_keys; j += VF) {
        const void *rows[VF];
        for (int r = 0; r < VF; r++) {
            rows[r] = j + r < group->n_keys ? fbt_walk_key(&walk, dtype) : NULL;
        }
        for (int64_t c = 0; c < group->head_dim; c += VF) {
            const int64_t left = group->head_dim - c;
            load_square(s, rows, dtype, j, c, left < VF ? left : VF);
        }
    }
}

/* y[i, :] = sum over t < n of a[i, t] b[t, :], for `rows` rows and `wide` vectors of columns. */
VF_INLINE void product(int rows, int wide, float *y, int64_t y_stride, const float *a, int64_t a_stride, const float *b,
                       int64_t b_stride, int64_t n)
{
    vf sums[QUERIES][WIDE];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int k = 0; k < wide; k++) {
            sums[i][k] = vf_set(0);
        }
    }
    for (int64_t t = 0; t < n; t++) {
        vf column[WIDE];
#pragma GCC unroll 8
        for (int k = 0; k < wide; k++) {
            column[k] = vf_load(b + t * b_stride + k * VF);
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const vf factor = vf_set(a[i * a_stride + t]);
#pragma GCC unroll 8
            for (int k = 0; k < wide; k++) {
                sums[i][k] = vf_fma(factor, column[k], sums[i][k]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 8
        for (int k = 0; k < wide; k++) {
            vf_store(y + i * y_stride + k * VF, sums[i][k]);
        }
    }
}

/* The same for all columns: n_columns is a multiple of VF. */
VF_INLINE void product_wide(int rows, float *y, int64_t y_stride, const float *a, int64_t a_stride, const float *b,
                            int64_t b_stride, int64_t n, int64_t n_columns)
{
    int64_t c = 0;
    for (; c + WIDE * VF <= n_columns; c += WIDE * VF) {
        product(rows, WIDE, y + c, y_stride, a, a_stride, b + c, b_stride, n);
    }
    for (; c + 2 * VF <= n_columns; c += 2 * VF) {
        product(rows, 2, y + c, y_stride, a, a_stride, b + c, b_stride, n);
    }
    for (; c < n_columns; c += VF) {
        product(rows, 1, y + c, y_stride, a, a_stride, b + c, b_stride, n);
    }
}

/* scores = exp(scale (scores - largest)) for the first n; returns their sum. scores has room for whole vectors. */
VF_INLINE float softmax_row(float *scores, int64_t n, float scale)
{
    vf largest = vf_set(-INFINITY);
    int64_t j = 0;
    for (; j + VF <= n; j += VF) {
        largest = vf_max(largest, vf_load(scores + j));
    }
    float most = vf_largest(largest);
    for (; j < n; j++) {
        most = scores[j] > most ? scores[j] : most;
    }
    const vf shift = vf_set(most), factor = vf_set(scale);
    vf sum = vf_set(0);
    for (j = 0; j < n; j += VF) {
        vf_store(scores + j, vf_exp(vf_mul(vf_sub(vf_load(scores + j), shift), factor)));
        sum = vf_add(sum, n - j < VF ? vf_load_n(scores + j, n - j) : vf_load(scores + j));
    }
    return vf_sum(sum);
}

/* y[r, :] += p[r, t] v[t, :] for the keys from `from` on that query r sees: not all of a tile do. */
VF_INLINE void add_last_values(const fbt_head_scratch *s, const int64_t *seen, int64_t from, int tile)
{
    for (int r = 0; r < tile; r++) {
        float *y = s->queries + r * s->query_stride;
        for (int64_t t = from; t < seen[r]; t++) {
            const vf factor = vf_set(s->scores[r * s->key_stride + t]);
            const float *value = s->values + t * s->value_stride;
            for (int64_t c = 0; c < s->value_stride; c += VF) {
                vf_store(y + c, vf_fma(factor, vf_load(value + c), vf_load(y + c)));
            }
        }
    }
}

/* Scores, softmax and sums of values of the tile's queries, of which r sees the first seen[r] keys: never fewer than
 * the one before it. sums: of the weights; the values' are left in s->queries. */
VF_INLINE void attend_tile(const fbt_head_group *group, const fbt_head_scratch *s, const int64_t *seen, float *sums,
                           int tile)
{
    const int64_t least = seen[0], most = seen[tile - 1];
    product_wide(tile, s->scores, s->key_stride, s->queries, s->query_stride, s->keys, s->key_stride, group->head_dim,
                 fbt_round_up(most, VF));
    for (int r = 0; r < tile; r++) {
        sums[r] = softmax_row(s->scores + r * s->key_stride, seen[r], group->scale);
    }
    product_wide(tile, s->queries, s->query_stride, s->scores, s->key_stride, s->values, s->value_stride, least,
                 s->value_stride);
    add_last_values(s, seen, least, tile);
}

/* `rows` pairs of a query and a head from the first-th on, computed as `tile` rows of which the last are repeats. */
VF_INLINE void attend(const fbt_head_group *group, fbt_dtype dtype, const fbt_head_scratch *s, int64_t first,
                      int64_t rows, int tile)
{
    const int64_t d = group->head_dim;
    int64_t seen[QUERIES], y_at[QUERIES], i = first / group->n_heads, head = first % group->n_heads;
    float sums[QUERIES];
    for (int r = 0; r < tile; r++) {
        widen_row(s->queries + r * s->query_stride, s->query_stride, group->q, dtype, i * group->q_stride + head * d,
                  d);
        seen[r] = group->is_causal ? group->n_keys - group->n_queries + i + 1 : group->n_keys;
        y_at[r] = i * group->y_stride + head * d;
        if (r + 1 < rows && ++head == group->n_heads) {
            head = 0;
            i++;
        }
    }
    attend_tile(group, s, seen, sums, tile);
    for (int64_t r = 0; r < rows; r++) {
        const float *x = s->queries + r * s->query_stride;
        const vf factor = vf_set(1.0f / sums[r]);
        for (int64_t c = 0; c < d; c += VF) {
            const int64_t n = d - c < VF ? d - c : VF;
            vf_store_typed_n(group->y, dtype, y_at[r] + c, vf_mul(vf_load(x + c), factor), n);
        }
    }
}

VF_INLINE void load_values(const fbt_head_group *group, fbt_dtype dtype, const fbt_head_scratch *s)
{
    fbt_key_walk walk = {group->parts, 0};
    for (int64_t j = 0; j < group->n_keys; j++) {
        widen_row(s->values + j * s->value_stride, s->value_stride, fbt_walk_value(&walk, dtype), dtype, 0,
                  group->head_dim);
    }
}

VF_INLINE void attend_all(const fbt_head_group *group, fbt_dtype dtype, const fbt_head_scratch *s)
{
    const int64_t n_pairs = group->n_queries * group->n_heads;
    load_keys(group, dtype, s);
    load_values(group, dtype, s);
    for (int64_t i = 0; i < n_pairs; i += QUERIES) {
        const int64_t rows = n_pairs - i < QUERIES ? n_pairs - i : QUERIES;
        if (rows == 1) {
            attend(group, dtype, s, i, 1, 1);
        } else {
            attend(group, dtype, s, i, rows, QUERIES);
        }
    }
}

void FBT_ROWS(attention)(const fbt_head_group *group, void *scratch)
{
    fbt_head_scratch s;
    scratch_place(&s, group->n_keys, group->head_dim, scratch);
    if (group->dtype == FBT_F32) {
        attend_all(group, FBT_F32, &s);
        return;
    }
#ifdef __AVX512BF16__
    FBT_ROWS(attention_bf16)(group, scratch);
#else
    attend_all(group, FBT_BF16, &s);
#endif
}
