/* Short forms of the rules of a decoder's table (model/tensor_table.h). */
#ifndef FBT_MODEL_FAMILIES_DECODER_TENSORS_H
#define FBT_MODEL_FAMILIES_DECODER_TENSORS_H

#include "model/families/rotary.h"
#include "model/tensor_rules.h"

/* Queries, keys and values, in this order; member: query or key_value, its place in a last layer that is split. Each is
 * a slice of a tensor of n_slices, laid out as `how` says. */
#define FBT_DECODER_QKV(member, tensor, n_rows, number, count, how)                                                    \
    {                                                                                                                  \
        .part = FBT_PART_LAYER, .kind = FBT_TENSOR_DENSE, .name = tensor, .to = offsetof(fbt_layer, qkv),              \
        .rows = FBT_SIZE_##n_rows, .columns = FBT_SIZE_HIDDEN, .bias = FBT_SIZE_QKV_BIAS, .operation = FBT_OP_QKV,     \
        .layout = FBT_LAYOUT_##how, .slice = number, .n_slices = count, .to_split = offsetof(fbt_layer, member)        \
    }

/* Another matrix of a layer; work: what its products are profiled as, and to which group its bias belongs. */
#define FBT_DECODER_DENSE(member, tensor, n_rows, n_columns, work, bias_of, how)                                       \
    {                                                                                                                  \
        .part = FBT_PART_LAYER, .kind = FBT_TENSOR_DENSE, .name = tensor, .to = offsetof(fbt_layer, member),           \
        .rows = FBT_SIZE_##n_rows, .columns = FBT_SIZE_##n_columns, .bias = FBT_SIZE_##bias_of##_BIAS,                 \
        .operation = FBT_OP_##work, .layout = FBT_LAYOUT_##how                                                         \
    }

/* A norm of rows of n_hidden. */
#define FBT_DECODER_NORM(where, member, tensor)                                                                        \
    {                                                                                                                  \
        .part = FBT_PART_##where, .kind = FBT_TENSOR_NORM, .name = tensor, .to = offsetof(fbt_place_##where, member),  \
        .rows = FBT_SIZE_HIDDEN, .bias = FBT_SIZE_NORM_BIAS                                                            \
    }

/* An RMS norm of every head of queries or keys. */
#define FBT_DECODER_HEAD_NORM(member, tensor)                                                                          \
    {                                                                                                                  \
        .part = FBT_PART_LAYER, .kind = FBT_TENSOR_NORM, .name = tensor, .to = offsetof(fbt_layer, member),            \
        .rows = FBT_SIZE_HEAD, .bias = FBT_SIZE_NONE                                                                   \
    }

/* The tables of rotary positions. */
#define FBT_DECODER_ROTARY                                                                                             \
    {.part = FBT_PART_MODEL,                                                                                           \
     .kind = FBT_TENSOR_COMPUTED,                                                                                      \
     .to = offsetof(fbt_weights, cosine),                                                                              \
     .rows = FBT_SIZE_POSITIONS,                                                                                       \
     .columns = FBT_SIZE_ANGLES,                                                                                       \
     .compute = fbt_rotary_cosines},                                                                                   \
    {                                                                                                                  \
        .part = FBT_PART_MODEL, .kind = FBT_TENSOR_COMPUTED, .to = offsetof(fbt_weights, sine),                        \
        .rows = FBT_SIZE_POSITIONS, .columns = FBT_SIZE_ANGLES, .compute = fbt_rotary_sines                            \
    }

/* The output matrix, without bias; other: another name of it, or NULL. */
#define FBT_DECODER_LABELS(tensor, other)                                                                              \
    {                                                                                                                  \
        .part = FBT_PART_HEAD, .kind = FBT_TENSOR_LABELS, .name = tensor, .to = offsetof(fbt_head_weights, labels),    \
        .rows = FBT_SIZE_VOCABULARY, .columns = FBT_SIZE_HIDDEN, .bias = FBT_SIZE_NONE, .other_name = other            \
    }

#endif
