/* Row kernels: softmax attention of one head of one sequence, in fp32 whatever the element type (with bfloat16
 * products: rows_attention_bf16.c).
 *
 * Keys are transposed and values widened into scratch memory, then QUERIES queries at a time: scores against all keys,
 * softmax, weighted sum of values. Both products are outer products held in registers: QUERIES x WIDE vectors. A
 * query's sums run over head_dim and over the keys in order, so its result does not depend on its neighbours.
 */
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd_typed.h"

#if defined(__AVX512F__)
enum { QUERIES = 6, WIDE = 4 }; /* 24 of 32 registers hold sums */
#else
enum { QUERIES = 4, WIDE = 2 }; /* 8 of 16 */
#endif

static int64_t round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Scratch memory, each part aligned to 64 bytes. */
typedef struct fbt_head_scratch {
    float *keys;    /* [head_dim, key_stride]: transposed, zero beyond n_keys */
    float *values;  /* [n_keys, value_stride]: zero beyond head_dim           */
    float *queries; /* [QUERIES, query_stride]                                */
    float *scores;  /* [QUERIES, key_stride]                                  */
    int64_t key_stride, value_stride, query_stride;
} fbt_head_scratch;

/* Strides of the parts, and how many numbers all have. */
static int64_t scratch_floats(fbt_head_scratch *s, int64_t n_keys, int64_t head_dim)
{
    s->key_stride = round_up(n_keys, 16);
    s->value_stride = round_up(head_dim, 16);
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

/* Transposes the keys through a small block, so that both sides are touched a cache line at a time. */
VF_INLINE void load_keys(const fbt_head *head, fbt_dtype dtype, const fbt_head_scratch *s)
{
    float block[16][64] __attribute__((aligned(64)));
    for (int64_t j = 0; j < s->key_stride; j += 16) {
        for (int64_t c = 0; c < head->head_dim; c += 64) {
            const int64_t width = head->head_dim - c < 64 ? head->head_dim - c : 64;
            for (int64_t r = 0; r < 16; r++) {
                if (j + r < head->n_keys) {
                    widen_row(block[r], round_up(width, VF), head->k, dtype, (j + r) * head->k_stride + c, width);
                } else {
                    memset(block[r], 0, sizeof block[r]);
                }
            }
            for (int64_t i = 0; i < width; i++) {
                float *y = s->keys + (c + i) * s->key_stride + j;
                for (int64_t r = 0; r < 16; r++) {
                    y[r] = block[r][i];
                }
            }
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

/* `rows` queries from query i on, computed as `tile` rows of which the last are repeats. */
VF_INLINE void attend(const fbt_head *head, fbt_dtype dtype, const fbt_head_scratch *s, int64_t i, int64_t rows,
                      int tile)
{
    const int64_t d = head->head_dim;
    float sums[QUERIES];
    for (int r = 0; r < tile; r++) {
        const int64_t from = i + (r < rows ? r : rows - 1);
        widen_row(s->queries + r * s->query_stride, s->query_stride, head->q, dtype, from * head->q_stride, d);
    }
    product_wide(tile, s->scores, s->key_stride, s->queries, s->query_stride, s->keys, s->key_stride, d, s->key_stride);
    for (int r = 0; r < tile; r++) {
        sums[r] = softmax_row(s->scores + r * s->key_stride, head->n_keys, head->scale);
    }
    product_wide(tile, s->queries, s->query_stride, s->scores, s->key_stride, s->values, s->value_stride, head->n_keys,
                 s->value_stride);
    for (int64_t r = 0; r < rows; r++) {
        const float *x = s->queries + r * s->query_stride;
        const vf factor = vf_set(1.0f / sums[r]);
        for (int64_t c = 0; c < d; c += VF) {
            const int64_t n = d - c < VF ? d - c : VF;
            vf_store_typed_n(head->y, dtype, (i + r) * head->y_stride + c, vf_mul(vf_load(x + c), factor), n);
        }
    }
}

VF_INLINE void attend_all(const fbt_head *head, fbt_dtype dtype, const fbt_head_scratch *s)
{
    load_keys(head, dtype, s);
    for (int64_t j = 0; j < head->n_keys; j++) {
        widen_row(s->values + j * s->value_stride, s->value_stride, head->v, dtype, j * head->v_stride, head->head_dim);
    }
    for (int64_t i = 0; i < head->n_queries; i += QUERIES) {
        const int64_t rows = head->n_queries - i < QUERIES ? head->n_queries - i : QUERIES;
        if (rows == 1) {
            attend(head, dtype, s, i, 1, 1);
        } else {
            attend(head, dtype, s, i, rows, QUERIES);
        }
    }
}

void FBT_ROWS(attention)(const fbt_head *head, void *scratch)
{
    fbt_head_scratch s;
    scratch_place(&s, head->n_keys, head->head_dim, scratch);
    if (head->dtype == FBT_F32) {
        attend_all(head, FBT_F32, &s);
        return;
    }
#ifdef __AVX512BF16__
    FBT_ROWS(attention_bf16)(head, scratch);
#else
    attend_all(head, FBT_BF16, &s);
#endif
}
