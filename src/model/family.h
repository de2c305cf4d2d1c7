/* A family of models: how config.json says what it is, which tensors it has, what memory its forward pass takes, and
 * the forward pass. A family is one file in families/ and one line in family.c; docs/adding-a-model.md adds one step by
 * step. Loading, checking, planning and counting parameters all follow the table of tensors. */
#ifndef FBT_MODEL_FAMILY_H
#define FBT_MODEL_FAMILY_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/forward.h"
#include "model/json_file.h"
#include "model/model.h"
#include "model/tensor_table.h"
#include "model/workspace.h"

#include <stdbool.h>
#include <stdint.h>

/* Keys of config.json under which families have the same thing, and transformers' defaults. */
typedef struct fbt_config_keys {
    const char *n_layers, *n_hidden, *n_heads, *n_intermediate, *activation;
    const char *n_positions;   /* of decoders; encoders: max_position_embeddings */
    int64_t default_widening;  /* n_intermediate / n_hidden where config.json has none; 0: it must have one */
    bool is_untied_by_default; /* tie_word_embeddings is false where config.json has none */
} fbt_config_keys;

/* A published size, for benchmarks; the shape's family is filled in by fbt_model_named_shape. */
typedef struct fbt_named_shape {
    const char *name;
    fbt_model_shape shape;
} fbt_named_shape;

/* One of a family's own terms, as `fedbpt info` prints it by its name. */
typedef struct fbt_model_fact {
    const char *name;
    int64_t value;
} fbt_model_fact;

enum { FBT_CONFIG_MAX_SIZE = 1 << 20 };
enum { FBT_FAMILY_TYPES = 3, FBT_FAMILY_NAMED = 4, FBT_FAMILY_FACTS = 8 };

/* Lists end with NULL, or with an entry whose name is NULL. */
typedef struct fbt_model_family {
    const char *name;                    /* in run files: "bert"                                          */
    const char *title;                   /* in sentences: "BERT encoder"                                  */
    const char *types[FBT_FAMILY_TYPES]; /* what config.json's model_type may be                          */
    fbt_config_keys keys;
    const char *epsilon_key;         /* of config.json                                                */
    const char *positions;           /* "absolute", for `fedbpt info`                                 */
    bool is_causal;                  /* rows see those in front of them alone: the forward pass takes levels   */
    unsigned readout_bits;           /* 1 << fbt_readout of those that are computed; for others the   */
    const char *kind, *read_as;      /*   sentence "KIND (NAME) is read READ_AS: prepare ..."         */
    const char *head, *head_remedy;  /* what a checkpoint without a head lacks, and what to do then   */
    const fbt_tensor_table *tensors; /* all that the model has                                        */
    fbt_named_shape named[FBT_FAMILY_NAMED + 1];

    /* Reads the family's own terms; those of all families are read before. Errors: FBT_ERR_MODEL, by the key. */
    fbt_status (*read_config)(const fbt_json_file *config, fbt_model_shape *shape);

    /* The number behind a symbol of the table that is the family's own (fbt_size). */
    int64_t (*size)(const fbt_model_shape *shape, fbt_size symbol);

    /* Bits of fbt_feature that the backend must have. NULL: none. */
    unsigned (*features)(const fbt_model_shape *shape);

    /* Up to FBT_FAMILY_FACTS facts; returns how many. */
    int (*describe)(const fbt_model_shape *shape, fbt_model_fact *facts);

    /* Bytes of the buffers that the forward pass uses for batches within limits; the others are planned already. */
    void (*plan)(const fbt_model_shape *shape, const fbt_workspace_request *request, int64_t bytes[FBT_N_BUFFERS]);

    /* From tokens to last hidden states: of all rows, or, where one row of each sequence is read
     * (fbt_model_reads_one_row), of those. *hidden belongs to the workspace. Operations only. */
    fbt_status (*forward)(fbt_forward *f, fbt_buffer **hidden);

    /* The layers between the read rows' last hidden states and the label words' rows of the output matrix; activations
     * [n_sequences, n_hidden]. NULL: nothing. */
    fbt_status (*run_head)(fbt_forward *f, fbt_buffer *hidden, fbt_buffer **features);
} fbt_model_family;

/* All families; ends with NULL. */
extern const fbt_model_family *const fbt_model_families[];

/* The family that computes a model_type; NULL: none does. */
const fbt_model_family *fbt_family_of_type(const char *model_type);

/* "bert, roberta or xlm-roberta": every model_type, for sentences. */
const char *fbt_family_all_types(char *text, size_t n_bytes);

/* For read_config: the family's epsilon_key, `fallback` without one. Errors: FBT_ERR_MODEL. */
fbt_status fbt_config_read_epsilon(const fbt_json_file *config, double fallback, fbt_model_shape *shape);

/* For read_config: a size under the family's key, at most `most`. transformers takes it under the `common` one as well,
 * which must not say otherwise. fallback: without one; -1: it is required. Errors: FBT_ERR_MODEL. */
fbt_status fbt_config_read_size(const fbt_json_file *config, const char *key, const char *common, int64_t most,
                                int64_t fallback, int64_t *n);

/* The number behind a symbol for this shape. */
int64_t fbt_shape_size(const fbt_model_shape *shape, fbt_size symbol);

#endif
