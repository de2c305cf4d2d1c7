/* Short forms of the rules of a family's table (tensor_table.h): where to, the name, the shape. */
#ifndef FBT_MODEL_TENSOR_RULES_H
#define FBT_MODEL_TENSOR_RULES_H

#include "model/tensor_table.h"
#include "model/weights.h"

#include <stddef.h>

/* The structs that rules of each part fill in. */
typedef fbt_weights fbt_place_MODEL;
typedef fbt_layer fbt_place_LAYER;
typedef fbt_head_weights fbt_place_HEAD;

/* A lookup table of the model. */
#define FBT_TABLE(member, tensor, n_rows, n_columns)                                                                   \
    {                                                                                                                  \
        .part = FBT_PART_MODEL, .kind = FBT_TENSOR_TABLE, .name = tensor, .to = offsetof(fbt_weights, member),         \
        .rows = FBT_SIZE_##n_rows, .columns = FBT_SIZE_##n_columns                                                     \
    }

/* A matrix; work: what its products are profiled as. */
#define FBT_DENSE(where, member, tensor, n_rows, n_columns, work)                                                      \
    {                                                                                                                  \
        .part = FBT_PART_##where, .kind = FBT_TENSOR_DENSE, .name = tensor, .to = offsetof(fbt_place_##where, member), \
        .rows = FBT_SIZE_##n_rows, .columns = FBT_SIZE_##n_columns, .operation = FBT_OP_##work                         \
    }

/* One of queries, keys and values, in this order; member: query or key_value, its place in a last layer that is split.
 */
#define FBT_QKV(member, tensor, n_rows)                                                                                \
    {                                                                                                                  \
        .part = FBT_PART_LAYER, .kind = FBT_TENSOR_DENSE, .name = tensor, .to = offsetof(fbt_layer, qkv),              \
        .rows = FBT_SIZE_##n_rows, .columns = FBT_SIZE_HIDDEN, .operation = FBT_OP_QKV,                                \
        .to_split = offsetof(fbt_layer, member)                                                                        \
    }

/* A norm of rows of n_hidden. */
#define FBT_NORM(where, member, tensor)                                                                                \
    {                                                                                                                  \
        .part = FBT_PART_##where, .kind = FBT_TENSOR_NORM, .name = tensor, .to = offsetof(fbt_place_##where, member),  \
        .rows = FBT_SIZE_HIDDEN                                                                                        \
    }

/* The output matrix; bias: another name of its bias, or NULL. */
#define FBT_LABELS(tensor, bias)                                                                                       \
    {                                                                                                                  \
        .part = FBT_PART_HEAD, .kind = FBT_TENSOR_LABELS, .name = tensor, .to = offsetof(fbt_head_weights, labels),    \
        .rows = FBT_SIZE_VOCABULARY, .columns = FBT_SIZE_HIDDEN, .other_bias = bias                                    \
    }

#endif
