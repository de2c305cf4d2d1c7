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

/* Faults that a kernel may find in its input. Written to *error with a plain store: whichever writes last is reported.
 */
typedef enum fbt_cuda_error {
    FBT_CUDA_ERROR_NONE,
    FBT_CUDA_ERROR_TOKEN,    /* a token outside the vocabulary    */
    FBT_CUDA_ERROR_POSITION, /* a position outside the table      */
    FBT_CUDA_ERROR_PROMPT,   /* a row outside the prompts         */
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

/* fbt_norm. */
typedef struct fbt_cuda_norm {
    const float *gamma, *beta; /* beta NULL: RMS norm */
    float epsilon;
} fbt_cuda_norm;

typedef struct fbt_cuda_embed_args {
    void *x; /* activation type */
    fbt_dtype dtype;
    fbt_cuda_lookup word, position, type;
    int64_t position_offset;
    fbt_cuda_norm norm; /* with a beta */
    int64_t n_dim;
    fbt_prompt_mode mode;
    int64_t n_prompt_tokens;
    const float *prompts;
    fbt_cuda_packed packed;
    int32_t *error; /* fbt_cuda_error; the row's output is then unspecified, memory outside the tables is not read */
} fbt_cuda_embed_args;
cudaError_t fbt_cuda_launch_embed(cudaStream_t stream, const fbt_cuda_embed_args *args);

/* fbt_embed_rows. */
typedef struct fbt_cuda_embed_rows_args {
    void *x; /* [n_rows, n_dim] */
    fbt_dtype dtype;
    fbt_cuda_lookup word, position, prompt; /* position, prompt: rows NULL where there are none */
    int64_t position_offset;
    const int32_t *tokens, *positions, *prompt_rows;
    int64_t n_rows, n_dim;
    int32_t *error; /* as above */
} fbt_cuda_embed_rows_args;
cudaError_t fbt_cuda_launch_embed_rows(cudaStream_t stream, const fbt_cuda_embed_rows_args *args);

/* fbt_put_prompts. */
typedef struct fbt_cuda_put_prompts_args {
    void *x; /* [n_rows, n_dim] of `dtype` (F32 or BF16) */
    fbt_dtype dtype;
    const float *prompts; /* [n_prompt_rows, n_dim] */
    int64_t n_prompt_rows;
    const int32_t *rows; /* [n_rows]; -1: the row stays as it is */
    int adds;
    int64_t n_rows, n_dim;
    int32_t *error; /* as above; the row then stays as it is */
} fbt_cuda_put_prompts_args;
cudaError_t fbt_cuda_launch_put_prompts(cudaStream_t stream, const fbt_cuda_put_prompts_args *args);

/* y = norm(x + bias + residual); bias (float [n_dim]) and residual (of y's type) may be NULL; y may be residual, or x
 * where they are of one type. */
typedef struct fbt_cuda_norm_args {
    void *y;
    const void *x, *residual;
    const float *bias;
    fbt_cuda_norm norm;
    fbt_dtype dtype, x_dtype; /* of y; of x: the same, or F32 */
    int64_t n_rows, n_dim;
} fbt_cuda_norm_args;
cudaError_t fbt_cuda_launch_norm(cudaStream_t stream, const fbt_cuda_norm_args *args);

/* Heads of a matrix that are changed in place. */
typedef struct fbt_cuda_rows_of_heads {
    void *data; /* head 0's first column */
    int64_t stride;
    fbt_dtype dtype;
    int64_t n_rows, n_heads, head_dim;
} fbt_cuda_rows_of_heads;

/* fbt_norm_heads; head_dim up to 256. */
cudaError_t fbt_cuda_launch_norm_heads(cudaStream_t stream, const fbt_cuda_rows_of_heads *x, const fbt_cuda_norm *norm);

/* fbt_rotate. */
typedef struct fbt_cuda_rotary {
    const float *cosine, *sine; /* [n_positions, n_rotated / 2] */
    int64_t n_positions, n_rotated;
    const int32_t *positions; /* [n_rows] */
    int32_t *error;           /* as above */
} fbt_cuda_rotary;
cudaError_t fbt_cuda_launch_rotate(cudaStream_t stream, const fbt_cuda_rows_of_heads *x, const fbt_cuda_rotary *rotary);

/* y = activation(y + bias) in place; bias: float [n_dim] or NULL. */
cudaError_t fbt_cuda_launch_bias_activation(cudaStream_t stream, void *y, const float *bias, fbt_activation activation,
                                            fbt_dtype dtype, int64_t n_rows, int64_t n_dim);

/* y = activation(x W^T + residual + bias) without tensor cores, for rows of any length: no alignment is asked for. */
typedef struct fbt_cuda_plain_product_args {
    void *y;                   /* [n_rows, n_out] of y_dtype                                     */
    const void *x, *weight;    /* [n_rows, n_in], [n_out, n_in] of `dtype`                       */
    const void *residual;      /* as y, which it may be; NULL: none                              */
    const void *bias;          /* [n_out] of y_dtype; NULL: none                                 */
    fbt_dtype dtype, y_dtype;  /* F32 or BF16; y_dtype: the same, or F32                         */
    fbt_activation activation; /* NONE, RELU or GELU_TANH                                        */
    int64_t n_rows, n_out, n_in;
} fbt_cuda_plain_product_args;
cudaError_t fbt_cuda_launch_plain_product(cudaStream_t stream, const fbt_cuda_plain_product_args *args);

/* *differs becomes 1 where a and b are not the same in all n_bytes, an even number, and stays as it is elsewhere. a, b:
 * 2-byte aligned. */
cudaError_t fbt_cuda_launch_compare(cudaStream_t stream, int32_t *differs, const void *a, const void *b,
                                    int64_t n_bytes);

/* fbt_gate. */
cudaError_t fbt_cuda_launch_gate(cudaStream_t stream, void *y, const void *x, fbt_activation activation,
                                 fbt_dtype dtype, int64_t n_rows, int64_t n_dim);

/* Heads of every row: head 0's first column, and elements from row to row, a multiple of 8 up to INT_MAX. */
typedef struct fbt_cuda_heads {
    const void *data;
    int64_t stride;
} fbt_cuda_heads;

/* Keys and values that sequences see. */
typedef struct fbt_cuda_keys {
    fbt_cuda_heads k, v;
    const int32_t *offsets; /* row where each sequence of theirs begins, and one more; NULL: there are none */
    const int32_t *index;   /* of whoever sees them: which sequence; -1: none. Unused for a sequence's own  */
} fbt_cuda_keys;

enum { FBT_CUDA_KEY_SOURCES = 1 + FBT_MAX_PREFIXES };

/* Softmax attention. head_dim: a multiple of 8 up to 256 (padded to 32, 64, 128 or 256 in shared memory);
 * max_queries * (n_heads / n_kv_heads)^2 < 2^30. A query's bits depend on its own row and the keys that it sees alone,
 * also with one_query. */
typedef struct fbt_cuda_attention_args {
    void *y; /* [n_rows or n_sequences, n_heads * head_dim] */
    fbt_cuda_heads q;
    const int32_t *offsets;                   /* of queries, [n_sequences + 1]                                 */
    fbt_cuda_keys keys[FBT_CUDA_KEY_SOURCES]; /* the sequences' own, their prefixes', and the prefixes' prefixes' */
    int64_t n_sequences;
    int64_t max_queries, max_keys; /* of a sequence; its prefixes' keys counted in */
    int one_query, is_causal;
    int64_t n_heads, n_kv_heads, head_dim;
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

/* y = x in float. x: n elements, a multiple of 8, of `dtype` (F16 or BF16). */
cudaError_t fbt_cuda_launch_widen(cudaStream_t stream, float *y, const void *x, fbt_dtype dtype, int64_t n);

enum { FBT_CUDA_BLOCK_WORDS = 8192 };

/* Logits of some rows and some words, without their bias, and what is kept of those rows. Blocks of words come in their
 * order; one that is not the vocabulary's first goes on with what the one before it left. */
typedef struct fbt_cuda_logits_block {
    const float *logits; /* [n_rows, n_words]                                                                     */
    const float *bias;   /* [n_vocabulary] or NULL                                                                */
    float *largest;      /* [n_rows]: the largest logit of the words so far, bias added ...                       */
    float *sum;          /* [n_rows]: ... and the sum of exp(logit - largest)                                     */
    int64_t first_row, n_rows;
    int64_t first_word, n_words, n_vocabulary; /* n_words up to FBT_CUDA_BLOCK_WORDS; first_word a multiple of 4  */
} fbt_cuda_logits_block;

/* Brings largest and sum up to the block's words. */
cudaError_t fbt_cuda_launch_fold_logits(cudaStream_t stream, const fbt_cuda_logits_block *block);

/* fbt_token_targets. */
typedef struct fbt_cuda_targets {
    float *y; /* [n] */
    const int32_t *rows, *tokens;
    int64_t n;
    int32_t *error; /* as above; y is then NaN */
} fbt_cuda_targets;

/* After fold_logits: y of the targets that lie in the block becomes their logit; with the last block of words, y of the
 * targets of its rows becomes the log-probability. */
cudaError_t fbt_cuda_launch_pick_logits(cudaStream_t stream, const fbt_cuda_logits_block *block,
                                        const fbt_cuda_targets *targets);

cudaError_t fbt_cuda_launch_perturb(cudaStream_t stream, int32_t *tokens, const fbt_perturbation *perturbation,
                                    const fbt_origin *origins, const uint8_t *frozen, const fbt_cuda_packed *packed);

#ifdef __cplusplus
}
#endif

#endif
