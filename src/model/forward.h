/* Vocabulary of a family's forward pass: the staged batch, the weights, and the buffers on which it calls
 * the operations of kernels/backend.h. */
#ifndef FBT_MODEL_FORWARD_H
#define FBT_MODEL_FORWARD_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/weights.h"
#include "model/workspace.h"

#include <stdint.h>

/* Decoders compute what several sequences begin with once. A batch is cut into levels whose rows lie one level behind
 * the other in every [n_rows, ...] buffer: what candidates share (a prompt, a template's first words), the sequences,
 * and what is scored behind each of them (the words of labels). */
enum { FBT_MAX_LEVELS = FBT_MAX_PREFIXES + 1 };

/* index: int32 [n_sequences], which sequence of the level before is seen in front, -1: none; NULL on the first level.
 */
typedef struct fbt_level {
    fbt_packed packed; /* its sequences; offsets count rows of all levels */
    const fbt_buffer *index;
    const int32_t *host_index;
} fbt_level;

typedef struct fbt_levels {
    fbt_level level[FBT_MAX_LEVELS];
    int n_levels;
    int64_t n_rows;                   /* of all levels */
    const fbt_buffer *positions;      /* int32 [n_rows]: of each row in what it is a part of */
    const fbt_buffer *read_positions; /* int32 [n_read]: of the rows that are read */
    fbt_packed label_reads;           /* labels of several tokens: their level, whose offsets count rows that are */
                                      /*   read, as all of it is; n_sequences 0: there is no such level */
    fbt_token_targets targets;        /* n 0: labels are scored by their first tokens */
    const fbt_buffer *prompt_rows; /* int32 [n_rows]: row of the prompts' buffer that it is added to or is; -1: none */
} fbt_levels;

/* One batch on its way. Everything is borrowed. */
typedef struct fbt_forward {
    fbt_backend *b;
    const fbt_model_shape *shape;
    const fbt_model_options *options;
    const fbt_weights *weights;
    fbt_buffer *const *buffers; /* [FBT_N_BUFFERS] */
    fbt_packed packed;          /* the sequences; of decoders those of their level */
    fbt_levels levels;          /* of decoders */
    int64_t n_read;             /* rows that are read: one of each sequence, then all rows of labels */
    fbt_packed read_rows; /* pooling by one row: the read rows as a batch in which every sequence is one row long */
    fbt_prompt_mode mode; /* NONE for label texts, whatever the options say */
    fbt_buffer *const *deep_prompts;      /* [n_layers]: prompts of the layers behind the first; NULL: they have none */
    const fbt_buffer *deep_rows;          /* int32 [rows of X]: row of a layer's prompts; -1: none */
    const fbt_perturbation *perturbation; /* NULL: no sequence is perturbed */

    /* Looks at X, of dtype, at each layer's input; not in a graph. NULL: nobody does. */
    fbt_status (*watch)(const struct fbt_forward *f, int64_t layer, fbt_dtype dtype, void *watcher);
    void *watcher;
} fbt_forward;

/* Factors of the logits: scale * (buffer . labels' rows + bias), buffer: [n_sequences, n_dim] of type dtype. */
typedef struct fbt_features {
    const fbt_buffer *buffer;
    fbt_dtype dtype;
    int64_t n_dim; /* of a row; labels' rows have as many elements */
    float scale;
} fbt_features;

/* read: [n_read, n_hidden], the rows of x that are read; both of dtype. */
fbt_status fbt_forward_gather(fbt_forward *f, fbt_buffer *read, const fbt_buffer *x, fbt_dtype dtype);

/* Rows of X. */
int64_t fbt_forward_n_rows(const fbt_forward *f);

/* For families: what happens to X, of dtype, at the input of a layer. */
fbt_status fbt_forward_enter_layer(fbt_forward *f, int64_t layer, fbt_dtype dtype);

/* Perturbs, runs the family's forward pass and its head, or pools. *features belongs to the workspace. Operations only:
 * may be one graph of the backend. */
fbt_status fbt_forward_features(fbt_forward *f, fbt_features *features);

#endif
