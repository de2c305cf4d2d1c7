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

/* One head of one sequence: q: [n_queries, head_dim], k, v: [n_keys, head_dim], y as q; strides in elements. */
typedef struct fbt_head {
    const void *q, *k, *v;
    void *y;
    int64_t q_stride, k_stride, v_stride, y_stride;
    int64_t n_queries, n_keys, head_dim;
    float scale;
    fbt_dtype dtype; /* of q, k, v and y */
} fbt_head;

typedef struct fbt_row_kernels {
    /* y: [n_rows, n_dim] of `dtype`, may be x; beta NULL: RMS norm */
    void (*layernorm)(void *y, const void *x, fbt_dtype dtype, const float *gamma, const float *beta, int64_t n_rows,
                      int64_t n_dim, float epsilon);
    /* y = LN(sum of terms) + added; y: [n_dim] of `dtype`; added: [n_dim] or NULL; row: scratch [n_dim] */
    void (*embed)(void *y, fbt_dtype dtype, const fbt_row_terms *terms, const float *gamma, const float *beta,
                  const float *added, int64_t n_dim, float epsilon, float *row);
    /* y: [n] of `y_dtype` (F32 or BF16) from x of any type */
    void (*convert)(void *y, fbt_dtype y_dtype, const void *x, fbt_dtype x_dtype, int64_t n);
    /* y = m / |m|, m the mean of x: [n_rows, n_dim] */
    void (*mean_pool)(float *y, const void *x, fbt_dtype dtype, int64_t n_rows, int64_t n_dim);
    float (*dot)(const void *x, fbt_dtype dtype, const float *y, int64_t n_dim);
    /* scratch: attention_bytes(...) bytes, aligned to 64. The amx copy wants fbt_tiles_begin() on its thread. */
    void (*attention)(const fbt_head *head, void *scratch);
    int64_t (*attention_bytes)(int64_t max_keys, int64_t head_dim);
} fbt_row_kernels;

extern const fbt_row_kernels fbt_rows_plain;
#ifdef FBT_X86
extern const fbt_row_kernels fbt_rows_avx2;
extern const fbt_row_kernels fbt_rows_avx512;
extern const fbt_row_kernels fbt_rows_avx512_bf16;
extern const fbt_row_kernels fbt_rows_amx; /* where fbt_cpu_has_tiles() */
#endif

/* Names of one copy's functions: rows_norm.c defines FBT_ROWS(layernorm) and so on. */
#ifdef FBT_ISA
#define FBT_ROWS_JOIN(a, b, c) a##b##_##c
#define FBT_ROWS_NAME(a, b, c) FBT_ROWS_JOIN(a, b, c)
#define FBT_ROWS(name) FBT_ROWS_NAME(fbt_rows_, name, FBT_ISA)

void FBT_ROWS(layernorm)(void *y, const void *x, fbt_dtype dtype, const float *gamma, const float *beta, int64_t n_rows,
                         int64_t n_dim, float epsilon);
void FBT_ROWS(embed)(void *y, fbt_dtype dtype, const fbt_row_terms *terms, const float *gamma, const float *beta,
                     const float *added, int64_t n_dim, float epsilon, float *row);
void FBT_ROWS(convert)(void *y, fbt_dtype y_dtype, const void *x, fbt_dtype x_dtype, int64_t n);
void FBT_ROWS(mean_pool)(float *y, const void *x, fbt_dtype dtype, int64_t n_rows, int64_t n_dim);
float FBT_ROWS(dot)(const void *x, fbt_dtype dtype, const float *y, int64_t n_dim);
void FBT_ROWS(attention)(const fbt_head *head, void *scratch);
int64_t FBT_ROWS(attention_bytes)(int64_t max_keys, int64_t head_dim);
void FBT_ROWS(attention_bf16)(const fbt_head *head, void *scratch);
int64_t FBT_ROWS(attention_bf16_bytes)(int64_t max_keys, int64_t head_dim);
#endif

#endif
