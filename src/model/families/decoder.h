/* Common ground of the families of decoders: one forward pass, whose parts the shape names. Rows see those in front of
 * them alone, and norms come before the products. Families differ in names and layouts of tensors, and in keys and
 * defaults of config.json. */
#ifndef FBT_MODEL_FAMILIES_DECODER_H
#define FBT_MODEL_FAMILIES_DECODER_H

#include "model/families/rotary.h"
#include "model/family.h"

/* Parts of read_config. read_config: what config.json has for all decoders: heads, positions, epsilon; `build`: the
 * rest of the family's decoder, as far as config.json does not change it. Errors: FBT_ERR_MODEL, by key and value. */
fbt_status fbt_decoder_read_config(const fbt_json_file *config, const fbt_decoder_shape *build, fbt_model_shape *shape);

/* n_kv_heads. is_required: config.json must say how many; else there are as many as heads where it does not. */
fbt_status fbt_decoder_read_kv_heads(const fbt_json_file *config, bool is_required, fbt_model_shape *shape);

/* Refuses a switch that is not as it must be. */
fbt_status fbt_decoder_require_flag(const fbt_json_file *config, const char *key, bool wanted);

/* A switch into a member of the shape. */
fbt_status fbt_decoder_read_flag(const fbt_json_file *config, const char *key, bool fallback, int *value);

/* Functions of the family. */
int64_t fbt_decoder_size(const fbt_model_shape *shape, fbt_size symbol);
unsigned fbt_decoder_features(const fbt_model_shape *shape);
int fbt_decoder_describe(const fbt_model_shape *shape, fbt_model_fact *facts);
void fbt_decoder_plan(const fbt_model_shape *shape, const fbt_workspace_request *request, int64_t bytes[FBT_N_BUFFERS]);
fbt_status fbt_decoder_forward(fbt_forward *f, fbt_buffer **hidden);

/* Members of fbt_model_family that decoders have alike. */
#define FBT_DECODER_MEMBERS                                                                                            \
    .is_causal = true, .kind = "a decoder", .read_as = "at the last token, not at a mask or as an embedding",          \
    .readout_bits = 1u << FBT_READOUT_LAST, .head = "language model head",                                             \
    .head_remedy = "use the ForCausalLM checkpoint", .size = fbt_decoder_size, .features = fbt_decoder_features,       \
    .describe = fbt_decoder_describe, .plan = fbt_decoder_plan, .forward = fbt_decoder_forward

#endif
