/* An encoder's frozen weights in the hands of a backend: BERT and RoBERTa, with or without masked language model head.
 */
#ifndef FBT_MODEL_WEIGHTS_H
#define FBT_MODEL_WEIGHTS_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/safetensors.h"

#include <stdint.h>

/* y = x W^T + bias with W: [n_out, n_in]. */
typedef struct fbt_dense {
    fbt_matrix *matrix;
    int64_t n_out, n_in;
} fbt_dense;

/* Of a layer norm; float [n_hidden] each. */
typedef struct fbt_norm_weights {
    fbt_buffer *gamma, *beta;
} fbt_norm_weights;

/* Queries, keys and values are one product [3H, H] in this order; where only some rows' queries are wanted they are
 * two, and the unused ones are empty. */
typedef struct fbt_layer {
    fbt_dense qkv;
    fbt_dense query, key_value;
    fbt_dense output, up, down;
    fbt_norm_weights output_norm, down_norm;
} fbt_layer;

/* Mask readout. Of the output matrix only the label words' rows. */
typedef struct fbt_head {
    fbt_dense dense;
    fbt_activation activation;
    fbt_norm_weights norm;
    fbt_buffer *labels; /* float [n_labels, H]; embedding readout: made by the model's owner */
    fbt_buffer *bias;   /* float [n_labels]; embedding readout: NULL                          */
} fbt_head;

/* Zero-initialise before loading. */
typedef struct fbt_weights {
    fbt_table *word, *position, *type; /* type: NULL where n_types is 0 */
    fbt_norm_weights embedding_norm;
    fbt_layer *layers;
    int64_t n_layers;
    fbt_head head;
    int splits_last_layer;             /* the last layer has query and key_value instead of qkv */
    size_t word_bytes, position_bytes; /* of one item of these tables */
    double embedding_std;
    int64_t n_parameters;
    fbt_safetensors *files; /* open while tables borrow from it; NULL for random weights */
    float *copies[3];       /* tables that could not be borrowed                          */
} fbt_weights;

/* Loads from `folder`, or makes random weights from `seed` where it is NULL. After a failure the weights are to be
 * cleared like loaded ones. Errors: as fbt_model_open. */
fbt_status fbt_weights_load(fbt_backend *b, const char *folder, uint64_t seed, const fbt_model_shape *shape,
                            const fbt_model_options *options, fbt_weights *weights);
void fbt_weights_clear(fbt_backend *b, fbt_weights *weights);

/* Whether files hold every tensor that the readout needs, by name, shape and type, without reading their numbers.
 * Errors: FBT_ERR_MODEL. */
fbt_status fbt_weights_check(const fbt_safetensors *files, const fbt_model_shape *shape, fbt_readout readout);

#endif
