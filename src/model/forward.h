/* What a family's forward pass is written with: the staged batch, weights, buffers, and the backend's operations, each
 * of which is profiled as what it is. */
#ifndef FBT_MODEL_FORWARD_H
#define FBT_MODEL_FORWARD_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/profile.h"
#include "model/weights.h"
#include "model/workspace.h"

#include <stdint.h>

/* One batch on its way. Everything is borrowed. */
typedef struct fbt_forward {
    fbt_backend *b;
    const fbt_model_shape *shape;
    const fbt_model_options *options;
    const fbt_weights *weights;
    fbt_buffer *const *buffers; /* [FBT_N_BUFFERS] */
    fbt_packed packed;
    fbt_packed read_rows; /* pooling by one row: the read rows as a batch in which every sequence is one row long */
    fbt_prompt_mode mode; /* NONE for label texts, whatever the options say */
    const fbt_perturbation *perturbation; /* NULL: no sequence is perturbed */
    fbt_profiler *profiler;
} fbt_forward;

/* What logits are made of: scale * (buffer . labels' rows + bias), buffer: [n_sequences, n_hidden] of type dtype. */
typedef struct fbt_features {
    const fbt_buffer *buffer;
    fbt_dtype dtype;
    float scale;
} fbt_features;

/* Perturbs, runs the family's forward pass and its head, or pools. *features belongs to the workspace. Operations only:
 * may be one pass of the backend. */
fbt_status fbt_forward_features(fbt_forward *f, fbt_features *features);

/* The backend's operations on the forward pass's buffers (kernels/backend.h has their meaning).
 * linear: y = activation(x W^T + bias). linear_norm: y = norm(x W^T + bias + y). gather: the read rows of x. */
fbt_status fbt_forward_embed(fbt_forward *f, fbt_buffer *x, const fbt_embedding *embedding);
fbt_status fbt_forward_linear(fbt_forward *f, fbt_buffer *y, const fbt_buffer *x, const fbt_dense *w,
                              fbt_activation activation, int64_t n_rows);
fbt_status fbt_forward_linear_norm(fbt_forward *f, fbt_buffer *y, const fbt_buffer *x, const fbt_dense *w,
                                   const fbt_norm *norm, int64_t n_rows);
fbt_status fbt_forward_norm(fbt_forward *f, fbt_buffer *y, const fbt_buffer *x, const fbt_norm *norm, int64_t n_rows);
fbt_status fbt_forward_attend(fbt_forward *f, fbt_buffer *y, const fbt_attention *attention);
fbt_status fbt_forward_gather(fbt_forward *f, fbt_buffer *y, const fbt_buffer *x);

#endif
