/* What a family's forward pass is written with: the staged batch, weights, buffers, on
 * which it calls the operations of kernels/backend.h. */
#ifndef FBT_MODEL_FORWARD_H
#define FBT_MODEL_FORWARD_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
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

#endif
