/* A model's frozen weights in the hands of a backend, loaded as the family's table of tensors says. */
#ifndef FBT_MODEL_WEIGHTS_H
#define FBT_MODEL_WEIGHTS_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/safetensors.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fbt_lookup {
    fbt_table *table; /* NULL: the model has none */
    float *copy;      /* NULL: borrowed from the file */
} fbt_lookup;

/* Queries, keys and values are one product in this order; where only some rows' queries are wanted they are two, and
 * the unused ones are empty. */
typedef struct fbt_layer {
    fbt_matrix *qkv;
    fbt_matrix *query, *key_value;
    fbt_matrix *output, *up, *down;  /* up: where the MLP has a gate, the gate's matrix and then the other */
    fbt_norm output_norm, down_norm; /* encoders: behind the products of their names, with the residual */
    fbt_norm input_norm, up_norm;    /* decoders: in front of queries, keys and values, and of up */
    fbt_norm query_norm, key_norm;   /* of each head; without gamma: none */
} fbt_layer;

/* Counterparts of the features: label words' rows of the output matrix, or label texts' embeddings. */
typedef struct fbt_label_rows {
    fbt_buffer *rows; /* float [n_labels, n_hidden]; of label texts: made by the model's owner */
    fbt_buffer *bias; /* float [n_labels]; NULL: none                                         */
} fbt_label_rows;

/* In front of the output matrix. */
typedef struct fbt_head_weights {
    fbt_matrix *dense;
    fbt_norm norm;
    fbt_label_rows labels;
    fbt_lookup output; /* the whole output matrix, where all tokens of labels are scored and it is not `word` */
} fbt_head_weights;

/* Zero-initialise before loading. */
typedef struct fbt_weights {
    const fbt_model_shape *shape; /* borrowed */
    fbt_lookup word, position, type;
    fbt_norm embedding_norm;
    fbt_lookup cosine, sine; /* of rotary positions */
    fbt_norm final_norm;
    fbt_layer *layers; /* [n_layers] */
    fbt_head_weights head;
    fbt_readout readout;
    bool splits_last_layer; /* the last layer has query and key_value instead of qkv */
    double embedding_std;
    int64_t n_parameters;
    fbt_safetensors *files; /* open while tables borrow from it; NULL for random weights */
} fbt_weights;

/* Loads from `folder`, or makes random weights from `seed` where it is NULL. After a failure the weights are to be
 * cleared like loaded ones. shape must outlive them. Errors: as fbt_model_open. */
fbt_status fbt_weights_load(fbt_backend *b, const char *folder, uint64_t seed, const fbt_model_shape *shape,
                            const fbt_model_options *options, fbt_weights *weights);
void fbt_weights_clear(fbt_backend *b, fbt_weights *weights);

/* Rows of the word embeddings: rows: [n, n_hidden]. Errors: FBT_ERR_ARG (a token outside the vocabulary). */
fbt_status fbt_weights_word_rows(const fbt_weights *weights, const int32_t *token_ids, int64_t n, float *rows);

/* Whether files hold every tensor that the readout needs, by name, shape and type, without reading their numbers.
 * Errors: FBT_ERR_MODEL. */
fbt_status fbt_weights_check(const fbt_safetensors *files, const fbt_model_shape *shape, fbt_readout readout);

#endif
