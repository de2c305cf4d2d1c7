/* Inside the interface: checks of arguments, made once for all backends. Errors: FBT_ERR_ARG, and FBT_ERR_UNSUPPORTED
 * for sizes beyond what the backend's info promises. Nothing of a buffer's contents is looked at. */
#ifndef FBT_KERNELS_CHECKS_H
#define FBT_KERNELS_CHECKS_H

#include "kernels/backend_ops.h"

/* That the buffer holds n_items of item_bytes; `what` names it in the sentence. */
fbt_status fbt_check_buffer(const fbt_buffer *buffer, int64_t n_items, int64_t item_bytes, const char *what);

/* That the host's offsets cut n_rows into n_sequences of at most max_length, and that the device has them too. */
fbt_status fbt_check_packed(const fbt_packed *packed);

/* The same for offsets that may begin behind row 0; how many rows buffers have then at least: those in front count. */
fbt_status fbt_check_rows_of(const fbt_packed *packed);
int64_t fbt_packed_end(const fbt_packed *packed);

/* A row's length; n_dim < 2^40, so that bytes of rows can be counted: those of a row in the activation type. */
fbt_status fbt_check_dim(const fbt_backend *b, int64_t n_dim, const char *what);
int64_t fbt_check_row_bytes(const fbt_backend *b, int64_t n_dim);

/* Rows that are normalised, and what they are normalised by. */
fbt_status fbt_check_norm(const fbt_backend *b, const fbt_norm *norm, int64_t n_dim, const char *what);

/* By operation, whose arguments they have; n_rows, n and the batch's rows are at least 1. */
fbt_status fbt_check_matrix(const fbt_backend *b, const fbt_matrix_spec *spec);
fbt_status fbt_check_table(const void *rows, fbt_dtype dtype, int64_t n_rows, int64_t n_dim);
fbt_status fbt_check_perturb(const fbt_buffer *tokens, const fbt_perturbation *perturbation, const fbt_buffer *origins,
                             const fbt_buffer *frozen, const fbt_packed *packed);
fbt_status fbt_check_embed(const fbt_backend *b, const fbt_buffer *x, const fbt_embedding *e, const fbt_packed *packed);
fbt_status fbt_check_embed_rows(const fbt_backend *b, const fbt_buffer *x, const fbt_row_embedding *e, int64_t n_rows);
fbt_status fbt_check_linear(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                            fbt_activation activation, int64_t n_rows);
fbt_status fbt_check_linear_residual(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x,
                                     const fbt_matrix *w, const fbt_buffer *residual, int64_t n_rows);
fbt_status fbt_check_linear_norm(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                 const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows);
fbt_status fbt_check_layernorm(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype,
                               const fbt_norm *norm, int64_t n_rows, int64_t n_dim);
fbt_status fbt_check_linear_gate(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *wide, const fbt_buffer *x,
                                 const fbt_matrix *w, fbt_activation activation, int64_t n_rows);
fbt_status fbt_check_gate(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, fbt_activation activation,
                          int64_t n_rows, int64_t n_dim);
fbt_status fbt_check_norm_heads(const fbt_backend *b, const fbt_buffer *x, const fbt_heads *heads, int64_t n_heads,
                                int64_t head_dim, const fbt_norm *norm, int64_t n_rows);
fbt_status fbt_check_rotate(const fbt_backend *b, const fbt_buffer *x, const fbt_heads *heads, int64_t n_heads,
                            int64_t head_dim, const fbt_rotary *rotary, int64_t n_rows);
fbt_status fbt_check_attend(const fbt_backend *b, const fbt_buffer *y, const fbt_attention *a);
fbt_status fbt_check_gather_rows(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype,
                                 const fbt_buffer *rows, int64_t n, int64_t n_dim);
fbt_status fbt_check_put_prompts(const fbt_backend *b, const fbt_buffer *x, fbt_dtype dtype,
                                 const fbt_layer_prompts *prompts, int64_t n_rows);
fbt_status fbt_check_mean_pool(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed,
                               int64_t n_dim);
fbt_status fbt_check_label_logits(const fbt_backend *b, const fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                                  const fbt_buffer *labels, const fbt_buffer *bias, int64_t n, int64_t n_labels,
                                  int64_t n_dim);
fbt_status fbt_check_token_log_probs(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x,
                                     const fbt_vocabulary *vocabulary, const fbt_token_targets *targets,
                                     int64_t n_rows);
fbt_status fbt_check_losses(const fbt_buffer *losses, const fbt_buffer *predictions, const fbt_buffer *logits,
                            const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels);

#endif
