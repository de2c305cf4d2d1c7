/* Shared parts of BERT-type encoders (Devlin et al. 2019, arXiv 1810.04805): bidirectional attention, and a layer norm
 * behind every residual sum. The families differ in names, keys of config.json, positions, token types and head. */
#ifndef FBT_MODEL_FAMILIES_ENCODER_H
#define FBT_MODEL_FAMILIES_ENCODER_H

#include "model/family.h"

/* Parts of read_config. read_config: what an encoder must and must not be, its heads, token types and epsilon.
 * read_positions: positions counted from 0; behind_padding: from pad_token_id + 1 on, which costs so many rows of the
 * table. Errors: FBT_ERR_MODEL, by the key. */
fbt_status fbt_encoder_read_config(const fbt_json_file *config, fbt_model_shape *shape);
fbt_status fbt_encoder_read_positions(const fbt_json_file *config, fbt_model_shape *shape);
fbt_status fbt_encoder_read_positions_behind_padding(const fbt_json_file *config, fbt_model_shape *shape);

/* Functions of the family. */
int64_t fbt_encoder_size(const fbt_model_shape *shape, fbt_size symbol);
int fbt_encoder_describe(const fbt_model_shape *shape, fbt_model_fact *facts);
void fbt_encoder_plan(const fbt_model_shape *shape, const fbt_workspace_request *request, int64_t bytes[FBT_N_BUFFERS]);
fbt_status fbt_encoder_forward(fbt_forward *f, fbt_buffer **hidden);

/* The masked language model head in front of the output matrix: LN(activation(x W^T + bias)). */
fbt_status fbt_encoder_run_head(fbt_forward *f, fbt_buffer *hidden, fbt_activation activation, fbt_buffer **features);

/* Members of fbt_model_family that encoders have alike. */
#define FBT_ENCODER_MEMBERS                                                                                            \
    .epsilon_key = "layer_norm_eps", .positions = "absolute", .kind = "an encoder",                                    \
    .read_as = "at a mask or as an embedding, not at the last token",                                                  \
    .readout_bits = 1u << FBT_READOUT_MASK | 1u << FBT_READOUT_EMBEDDING, .head = "masked language model head",        \
    .head_remedy = "use the ForMaskedLM checkpoint, or prepare the data set for embedding readout",                    \
    .size = fbt_encoder_size, .describe = fbt_encoder_describe, .plan = fbt_encoder_plan,                              \
    .forward = fbt_encoder_forward

/* A published size, with GELU. */
#define FBT_ENCODER_SHAPE(layers, hidden, heads, intermediate, vocabulary, eps, offset, types)                         \
    {                                                                                                                  \
        .n_layers = layers, .n_hidden = hidden, .n_heads = heads, .head_dim = (hidden) / (heads),                      \
        .n_intermediate = intermediate, .vocab_size = vocabulary, .n_positions = 512, .padding_token = (offset)-1,     \
        .epsilon = eps, .activation = FBT_ACT_GELU_ERF, .encoder = {                                                   \
            .position_offset = offset,                                                                                 \
            .n_types = types                                                                                           \
        }                                                                                                              \
    }

#endif
