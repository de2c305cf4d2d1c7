/* The tensors of a model folder as a table: names, shapes by symbols, and where each goes. */
#ifndef FBT_MODEL_TENSOR_TABLE_H
#define FBT_MODEL_TENSOR_TABLE_H

#include "model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes by symbol. Those up to QUERY are the same for all families, the rest are the family's to tell. */
typedef enum fbt_size {
    FBT_SIZE_HIDDEN,
    FBT_SIZE_WIDE, /* n_intermediate */
    FBT_SIZE_VOCABULARY,
    FBT_SIZE_QUERY, /* n_heads * head_dim */
    FBT_SIZE_POSITIONS,
    FBT_SIZE_TYPES,
    FBT_SIZE_KEY,    /* n_kv_heads * head_dim */
    FBT_SIZE_ANGLES, /* pairs of a head that are rotated */
    FBT_SIZE_HEAD,   /* head_dim where queries and keys are normalised, else 0 */
    /* 1 or 0: whether there are such vectors */
    FBT_SIZE_QKV_BIAS,
    FBT_SIZE_OUTPUT_BIAS,
    FBT_SIZE_MLP_BIAS,
    FBT_SIZE_NORM_BIAS,
    FBT_SIZE_NONE
} fbt_size;

typedef enum fbt_tensor_kind {
    FBT_TENSOR_TABLE,    /* lookup table NAME.weight [rows, columns]                                               */
    FBT_TENSOR_COMPUTED, /* lookup table [rows, columns] that no file has: `compute` makes it                      */
    FBT_TENSOR_DENSE,    /* matrix NAME.weight [rows, columns] with NAME.bias [rows]                               */
    FBT_TENSOR_NORM,     /* NAME.weight and NAME.bias [rows]; older checkpoints: NAME.gamma and NAME.beta          */
    FBT_TENSOR_LABELS,   /* output matrix NAME.weight or OTHER_NAME.weight [rows, columns], which may be the word
                            embeddings', and its bias NAME.bias or `other_bias` [rows]: the label words' rows of
                            both                                                                                   */
} fbt_tensor_kind;

/* Layout in a file of a matrix of n_slices * rows rows, of which a rule takes slice number `slice`. */
typedef enum fbt_tensor_layout {
    FBT_LAYOUT_ROWS,    /* [n_slices * rows, columns]: one slice behind the other                                */
    FBT_LAYOUT_COLUMNS, /* the transpose of that, as Conv1D of transformers has it                                  */
    FBT_LAYOUT_HEADS,   /* [heads, n_slices, head_dim, columns]: a head of each slice in turn                       */
} fbt_tensor_layout;

typedef enum fbt_tensor_part {
    FBT_PART_MODEL, /* once; behind the family's prefix or without                                               */
    FBT_PART_LAYER, /* once a layer; behind the prefix and "LAYERS.i."                                           */
    FBT_PART_HEAD,  /* once, by its whole name, and only where label words are scored                            */
} fbt_tensor_part;

/* Neighbours in the table that go to the same place are stacked to one matrix. A rule of which a size is 0 is left out.
 * `to` is an offset in fbt_weights, fbt_layer or fbt_head (weights.h), by the part. */
typedef struct fbt_tensor_rule {
    fbt_tensor_part part;
    fbt_tensor_kind kind;
    const char *name;
    size_t to;
    fbt_size rows, columns;  /* columns: of tables and matrices */
    fbt_size bias;           /* whether there is a bias (a norm's second vector): a size that is not 0 */
    fbt_operation operation; /* of matrices: what their products are profiled as */
    fbt_tensor_layout layout;
    int slice, n_slices; /* n_slices 0: the tensor is the rule's alone */
    size_t to_split;     /* its place in a last layer whose queries are a product of their own; 0: `to` */
    const char *other_name, *other_bias;                          /* FBT_TENSOR_LABELS; NULL: there is none */
    void (*compute)(const fbt_model_shape *shape, float *values); /* FBT_TENSOR_COMPUTED: all values */
} fbt_tensor_rule;

/* The first rule is the word embeddings'; the rules of a part stand together, and are loaded in the table's order. */
typedef struct fbt_tensor_table {
    const char *prefix; /* "bert." */
    const char *layers; /* "encoder.layer" */
    const fbt_tensor_rule *rules;
    int64_t n_rules;
} fbt_tensor_table;

/* A way through what a model has: one step is the rules that make one matrix, table, norm or head. */
typedef struct fbt_tensor_walk {
    const fbt_model_shape *shape;
    const fbt_tensor_rule *rules; /* of this step: [n_rules] */
    int64_t n_rules;
    int64_t layer;         /* 0 .. n_layers - 1; of a rule of a layer */
    int64_t rows, columns; /* of all rules together */
    bool has_bias;
    size_t to;
    bool has_head, splits_last_layer;
    int64_t next; /* rule */
} fbt_tensor_walk;

/* Begins before the first step. splits_last_layer: as fbt_weights has it. */
fbt_tensor_walk fbt_tensor_walk_begin(const fbt_model_shape *shape, fbt_readout readout, bool splits_last_layer);

/* Goes a step on; false: there is none. */
bool fbt_tensor_walk_next(fbt_tensor_walk *walk);

/* Rows of rule number i of a step. */
int64_t fbt_tensor_walk_rows(const fbt_tensor_walk *walk, int64_t i);

/* Types of a step's matrix on a backend of such types: a head's is not quantised, since it has few rows, whose errors
 * all reach the logits. */
const fbt_types *fbt_tensor_walk_types(const fbt_tensor_walk *walk, const fbt_types *types);

/* Whether the last layer's queries are made of the read rows alone. */
bool fbt_model_splits_last_layer(const fbt_model_shape *shape, const fbt_model_options *options);

/* Parameters of a step, vectors and matrices apart. n_labels: rows that are kept of an output matrix. */
typedef struct fbt_tensor_items {
    int64_t matrix, table, vector; /* vector: biases, norms, label words' rows */
    int64_t computed;              /* no parameters */
} fbt_tensor_items;
fbt_tensor_items fbt_tensor_walk_items(const fbt_tensor_walk *walk, int64_t n_labels);

#endif
