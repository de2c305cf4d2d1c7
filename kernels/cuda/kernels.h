/* Launchers of the CUDA kernels: what the C files of the backend call. Pointers are device memory; sizes have been
 * checked. Indices in device memory (prompt_index, rows) are in range: the model checks every batch on the host before
 * it is written. Tokens and positions are checked by the kernel that looks them up, labels by the one of the losses.
 *
 * Every launcher queues its kernel on `stream` and returns what the launch returned; nothing waits. n_rows = 0 and
 * n_sequences = 0 do nothing. "Activation type" is float where `dtype` is F32, __nv_bfloat16 where it is
 * BF16. Arrays are 16-byte aligned and n_dim is a multiple of 8. Shapes and formulas: backend.h.
 *
 * Batch invariance: what a block computes for a row, or for a (sequence, head), is a function of that row or sequence
 * alone, with sums in an order that only n_dim, or the sequence's length, decides. Sums are made within a warp or a
 * block, never by atomics.
 */
#ifndef FBT_CUDA_KERNELS_H
#define FBT_CUDA_KERNELS_H

#include "kernels/backend.h"

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a kernel may find wrong with its input. Written to *error with a plain store: whichever writes last is reported.
 */
typedef enum fbt_cuda_error {
    FBT_CUDA_ERROR_NONE,
    FBT_CUDA_ERROR_TOKEN,    /* a token outside the vocabulary    */
    FBT_CUDA_ERROR_POSITION, /* a position outside the table      */
} fbt_cuda_error;

typedef struct fbt_cuda_lookup {
    const void *rows; /* [n_rows, n_dim] of `dtype` (F32, F16, BF16); NULL: none */
    fbt_dtype dtype;
    int64_t n_rows;
} fbt_cuda_lookup;

/* Sequences of a packed batch: fbt_packed. */
typedef struct fbt_cuda_packed {
    const int32_t *tokens, *offsets, *prompt_index;
    int64_t n_sequences, n_rows, max_length;
} fbt_cuda_packed;

typedef struct fbt_cuda_embed_args {
    void *x; /* activation type */
    fbt_dtype dtype;
    fbt_cuda_lookup word, position, type;
    int64_t position_offset;
    const float *gamma, *beta;
    float epsilon;
    int64_t n_dim;
    fbt_prompt_mode mode;
    int64_t n_prompt_tokens;
    const float *prompts;
    fbt_cuda_packed packed;
    int32_t *error; /* fbt_cuda_error; the row's output is then unspecified, memory outside the tables is not read */
} fbt_cuda_embed_args;
cudaError_t fbt_cuda_launch_embed(cudaStream_t stream, const fbt_cuda_embed_args *args);

/* y = LN(x + bias + residual); bias (float [n_dim]) and residual (activation type) may be NULL; y may be x or residual.
 */
typedef struct fbt_cuda_norm_args {
    void *y;
    const void *x, *residual;
    const float *bias, *gamma, *beta;
    float epsilon;
    fbt_dtype dtype;
    int64_t n_rows, n_dim;
} fbt_cuda_norm_args;
cudaError_t fbt_cuda_launch_norm(cudaStream_t stream, const fbt_cuda_norm_args *args);

/* y = activation(y + bias) in place; bias: float [n_dim] or NULL. */
cudaError_t fbt_cuda_launch_bias_activation(cudaStream_t stream, void *y, const float *bias, fbt_activation activation,
                                            fbt_dtype dtype, int64_t n_rows, int64_t n_dim);

/* Softmax attention. q, k, v point at head 0's first column; strides in elements, multiples of 8. head_dim: a multiple
 * of 8 up to 128 (padded to 32, 64 or 128 in shared memory). */
typedef struct fbt_cuda_attention_args {
    void *y; /* [n_rows or n_sequences, n_heads * head_dim] */
    const void *q, *k, *v;
    int64_t q_stride, k_stride, v_stride;
    const int32_t *offsets; /* [n_sequences + 1] */
    int64_t n_sequences, max_length;
    int one_query;
    int64_t n_heads, head_dim;
    float scale;
    fbt_dtype dtype;
} fbt_cuda_attention_args;
cudaError_t fbt_cuda_launch_attention(cudaStream_t stream, const fbt_cuda_attention_args *args);

cudaError_t fbt_cuda_launch_gather_rows(cudaStream_t stream, void *y, const void *x, const int32_t *rows,
                                        fbt_dtype dtype, int64_t n, int64_t n_dim);

cudaError_t fbt_cuda_launch_mean_pool(cudaStream_t stream, float *y, const void *x, const int32_t *offsets,
                                      fbt_dtype dtype, int64_t n_sequences, int64_t n_dim);

/* x: [n, n_dim] of `dtype` (F32 or BF16). */
typedef struct fbt_cuda_label_logits_args {
    float *logits; /* [n, n_labels] */
    const void *x;
    fbt_dtype dtype;
    const float *labels; /* [n_labels, n_dim] */
    const float *bias;   /* [n_labels] or NULL */
    float scale;
    int64_t n, n_labels, n_dim;
} fbt_cuda_label_logits_args;
cudaError_t fbt_cuda_launch_label_logits(cudaStream_t stream, const fbt_cuda_label_logits_args *args);

cudaError_t fbt_cuda_launch_loss(cudaStream_t stream, float *losses, int32_t *predictions, const float *logits,
                                 const int32_t *labels, fbt_loss kind, int64_t n, int64_t n_labels);

cudaError_t fbt_cuda_launch_perturb(cudaStream_t stream, int32_t *tokens, const fbt_perturbation *perturbation,
                                    const fbt_origin *origins, const uint8_t *frozen, const fbt_cuda_packed *packed);

#ifdef __cplusplus
}
#endif

#endif
