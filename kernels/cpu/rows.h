/* Row kernels: the loops inside the CPU backend's operations, one copy per instruction set.
 *
 * A kernel works on one thread and touches only the rows that it is given, in an order that does not depend on how many
 * there are: that is what makes the operations batch-invariant. The operations check sizes and share rows out over
 * threads.
 */
#ifndef FBT_CPU_ROWS_H
#define FBT_CPU_ROWS_H

#include "kernels/backend.h"

#include <stdint.h>

/* Up to three table rows whose sum is one embedding row: each [n_dim] of its own type; NULL: none. */
typedef struct fbt_row_terms {
    const void *rows[3];
    fbt_dtype dtypes[3];
} fbt_row_terms;

/* Rotary positions of one row: cosine, sine: [n_rotated / 2]. */
typedef struct fbt_row_turn {
    const float *cosine, *sine;
    int64_t n_rotated;
} fbt_row_turn;

/* Keys and values of one head in rows that lie together: k, v: [n, head_dim]; strides in elements. */
typedef struct fbt_key_rows {
    const void *k, *v;
    int64_t k_stride, v_stride, n;
} fbt_key_rows;

/* The heads of one sequence that read one head of keys and values: q, y: [n_queries, n_heads, head_dim], strides of a
 * query in elements. */
typedef struct fbt_head_group {
    const void *q;
    void *y;
    int64_t q_stride, y_stride;
    int64_t n_queries, n_heads, head_dim;
    fbt_key_rows parts[FBT_MAX_PREFIXES + 1]; /* the keys, in order: of prefixes, then the sequence's own */
    int n_parts;
    int64_t n_keys; /* of all parts */
    int is_causal;  /* query i sees keys 0 .. n_keys - n_queries + i */
    float scale;
    fbt_dtype dtype; /* of q, k, v and y */
} fbt_head_group;

typedef struct fbt_row_kernels {
    /* y: [n_rows, n_dim] of `dtype`, x of x_dtype: the same, where y may be x, or F32; beta NULL: RMS norm */
    void (*layernorm)(void *y, fbt_dtype dtype, const void *x, fbt_dtype x_dtype, const float *gamma, const float *beta,
                      int64_t n_rows, int64_t n_dim, float epsilon);
    /* y = LN(sum of terms) + added; y: [n_dim] of `dtype`; added: [n_dim] or NULL; row: scratch [n_dim] */
    void (*embed)(void *y, fbt_dtype dtype, const fbt_row_terms *terms, const float *gamma, const float *beta,
                  const float *added, int64_t n_dim, float epsilon, float *row);
    /* y = sum of terms; y: [n_dim] of `dtype` */
    void (*sum)(void *y, fbt_dtype dtype, const fbt_row_terms *terms, int64_t n_dim);
    /* turns n_heads heads of head_dim, one behind the other */
    void (*rotate)(void *x, fbt_dtype dtype, const fbt_row_turn *turn, int64_t n_heads, int64_t head_dim);
    /* y = activation(x[:n_dim]) * x[n_dim:]; y: [n_dim], x: [2 n_dim] */
    void (*gate)(void *y, const void *x, fbt_dtype dtype, fbt_activation activation, int64_t n_dim);
    /* y: [n] of `y_dtype` (F32 or BF16) from x of any type */
    void (*convert)(void *y, fbt_dtype y_dtype, const void *x, fbt_dtype x_dtype, int64_t n);
    /* y = m / |m|, m the mean of x: [n_rows, n_dim] */
    void (*mean_pool)(float *y, const void *x, fbt_dtype dtype, int64_t n_rows, int64_t n_dim);
    float (*dot)(const void *x, fbt_dtype dtype, const float *y, int64_t n_dim);
    /* y: [n_rows, n_words], fp32 products of x: [n_rows, n_dim] with words: [n_words, n_dim] of any type */
    void (*word_products)(float *y, const float *x, const void *words, fbt_dtype dtype, int64_t n_rows, int64_t n_words,
                          int64_t n_dim);
    /* The largest of x: [n], and the sum of exp(x - largest) */
    void (*exp_sum)(const float *x, int64_t n, float *largest, float *sum);
    /* scratch: attention_bytes(...) bytes, aligned to 64. The amx copy wants fbt_tiles_begin() on its thread. */
    void (*attention)(const fbt_head_group *group, void *scratch);
    int64_t (*attention_bytes)(int64_t max_keys, int64_t head_dim);
} fbt_row_kernels;

extern const fbt_row_kernels fbt_rows_plain;
#ifdef FBT_X86
extern const fbt_row_kernels fbt_rows_avx2;
extern const fbt_row_kernels fbt_rows_avx512;
extern const fbt_row_kernels fbt_rows_avx512_bf16;
extern const fbt_row_kernels fbt_rows_amx; /* where fbt_cpu_has_tiles() */
#endif

/* The copy for this processor, capped by ONEDNN_MAX_CPU_ISA. */
const fbt_row_kernels *fbt_cpu_row_kernels(void);

/* Names of one copy's functions: rows_norm.c defines FBT_ROWS(layernorm) and so on. */
#ifdef FBT_ISA
#define FBT_ROWS_JOIN(a, b, c) a##b##_##c
#define FBT_ROWS_NAME(a, b, c) FBT_ROWS_JOIN(a, b, c)
#define FBT_ROWS(name) FBT_ROWS_NAME(fbt_rows_, name, FBT_ISA)

void FBT_ROWS(layernorm)(void *y, fbt_dtype dtype, const void *x, fbt_dtype x_dtype, const float *gamma,
                         const float *beta, int64_t n_rows, int64_t n_dim, float epsilon);
void FBT_ROWS(embed)(void *y, fbt_dtype dtype, const fbt_row_terms *terms, const float *gamma, const float *beta,
                     const float *added, int64_t n_dim, float epsilon, float *row);
void FBT_ROWS(sum)(void *y, fbt_dtype dtype, const fbt_row_terms *terms, int64_t n_dim);
void FBT_ROWS(rotate)(void *x, fbt_dtype dtype, const fbt_row_turn *turn, int64_t n_heads, int64_t head_dim);
void FBT_ROWS(gate)(void *y, const void *x, fbt_dtype dtype, fbt_activation activation, int64_t n_dim);
void FBT_ROWS(convert)(void *y, fbt_dtype y_dtype, const void *x, fbt_dtype x_dtype, int64_t n);
void FBT_ROWS(mean_pool)(float *y, const void *x, fbt_dtype dtype, int64_t n_rows, int64_t n_dim);
float FBT_ROWS(dot)(const void *x, fbt_dtype dtype, const float *y, int64_t n_dim);
void FBT_ROWS(word_products)(float *y, const float *x, const void *words, fbt_dtype dtype, int64_t n_rows,
                             int64_t n_words, int64_t n_dim);
void FBT_ROWS(exp_sum)(const float *x, int64_t n, float *largest, float *sum);
void FBT_ROWS(attention)(const fbt_head_group *group, void *scratch);
int64_t FBT_ROWS(attention_bytes)(int64_t max_keys, int64_t head_dim);
void FBT_ROWS(attention_bf16)(const fbt_head_group *group, void *scratch);
int64_t FBT_ROWS(attention_bf16_bytes)(int64_t max_keys, int64_t head_dim);
#endif

#endif
