/* The forward pass of a BERT or RoBERTa encoder (Devlin et al. 2019, arXiv 1810.04805) over a packed batch, composed
 * from a backend's operations. */
#ifndef FBT_MODEL_ENCODER_H
#define FBT_MODEL_ENCODER_H

#include "base/status.h"
#include "data/batch.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/profile.h"
#include "model/weights.h"
#include "model/workspace.h"

#include <stdbool.h>

/* The product being queued: what its mark says, and whether the backend has let it be set before another kernel. */
typedef struct fbt_product {
    fbt_model_operation operation;
    fbt_work work;
    bool is_marked;
} fbt_product;

typedef struct fbt_encoder {
    fbt_backend *b;
    fbt_model_shape shape;
    fbt_readout readout;
    int64_t n_prompt_tokens;
    fbt_weights weights;
    fbt_perturbation perturbation;
    fbt_workspace *w; /* of the current lane; borrowed */
    fbt_marks marks;
    fbt_product product;
    int32_t *units; /* [n_units]: 0, 1, 2, ...: offsets of sequences of one row; pooling by [CLS] */
    int64_t n_units;
} fbt_encoder;

/* Writes what the operations read into the workspace, which must have room for it. The batch must have been checked and
 * not be empty; *packed is valid while the batch is. */
fbt_status fbt_encoder_stage(fbt_encoder *e, const fbt_batch *batch, fbt_prompt_mode mode, fbt_packed *packed);

/* What the logits are made from, per sequence of the staged batch: mask readout: the head's last hidden state of the
 * row read, activation type; embedding readout: the normalised mean of all rows or [CLS] row, float. *features:
 * [n_sequences, H], belongs to the workspace. Prompts are those in FBT_ROOM_PROMPTS. Operations only: may be one pass
 * of the backend. */
fbt_status fbt_encoder_forward(fbt_encoder *e, const fbt_packed *packed, fbt_prompt_mode mode, bool is_perturbed,
                               const fbt_buffer **features);

/* Frees what the encoder holds itself; workspace and weights are cleared by their owner. */
void fbt_encoder_clear(fbt_encoder *e);

/* Measures from now on (profile.h); NULL: no more. */
void fbt_encoder_set_profile(fbt_encoder *e, fbt_model_profile *profile);

/* Ends an operation that is to be measured. */
fbt_status fbt_encoder_mark(fbt_encoder *e, fbt_model_operation operation, fbt_work work);

/* What a product with w over n_rows rows has to do; n_added: further [n_rows, n_out] operands. */
fbt_work fbt_encoder_product(const fbt_encoder *e, const fbt_dense *w, int64_t n_rows, int64_t n_added);

#endif
