/* GPT-NeoX (Black et al. 2022, arXiv 2204.06745), which Pythia is too (Biderman et al. 2023, arXiv 2304.01373). */
#include "model/families/decoder.h"
#include "model/families/decoder_tensors.h"

#include <inttypes.h>

/* Queries, keys and values of a head stand together. */
static const fbt_tensor_rule rules[] = {
    FBT_TABLE(word, "embed_in", VOCABULARY, HIDDEN),
    FBT_DECODER_ROTARY,
    FBT_DECODER_NORM(MODEL, final_norm, "final_layer_norm"),
    FBT_DECODER_NORM(LAYER, input_norm, "input_layernorm"),
    FBT_DECODER_QKV(query, "attention.query_key_value", QUERY, 0, 3, HEADS),
    FBT_DECODER_QKV(key_value, "attention.query_key_value", KEY, 1, 3, HEADS),
    FBT_DECODER_QKV(key_value, "attention.query_key_value", KEY, 2, 3, HEADS),
    FBT_DECODER_DENSE(output, "attention.dense", HIDDEN, QUERY, OUTPUT, OUTPUT, ROWS),
    FBT_DECODER_NORM(LAYER, up_norm, "post_attention_layernorm"),
    FBT_DECODER_DENSE(up, "mlp.dense_h_to_4h", WIDE, HIDDEN, UP, MLP, ROWS),
    FBT_DECODER_DENSE(down, "mlp.dense_4h_to_h", HIDDEN, WIDE, DOWN, MLP, ROWS),
    FBT_DECODER_LABELS("embed_out", "lm_head"), /* transformers 5 writes the latter */
};
static const fbt_tensor_table tensors = {"gpt_neox.", "layers", rules, sizeof rules / sizeof rules[0]};

#define BUILD .norm = FBT_NORM_LAYER, .has_mlp_bias = 1

static fbt_status read_config(const fbt_json_file *config, fbt_model_shape *shape)
{
    static const fbt_rotary_keys keys = {"rotary_emb_base", "rotary_pct", 0.25};
    fbt_status status = FBT_OK;
    fbt_decoder_shape *d = &shape->decoder;
    FBT_TRY(fbt_decoder_read_config(config, &(fbt_decoder_shape){BUILD}, shape));
    FBT_TRY(fbt_config_read_epsilon(config, 1e-5, shape));
    FBT_TRY(fbt_decoder_read_flag(config, "attention_bias", true, &d->has_qkv_bias));
    FBT_TRY(fbt_decoder_read_flag(config, "use_parallel_residual", true, &d->is_parallel));
    d->has_output_bias = d->has_qkv_bias;
    if (shape->head_dim * shape->n_heads != shape->n_hidden) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: head_dim %" PRId64 " is not hidden_size / num_attention_heads", config->path,
                 shape->head_dim);
    }
    FBT_TRY(fbt_rotary_read(config, &keys, shape));
done:
    return status;
}

const fbt_model_family fbt_family_gpt_neox = {
    FBT_DECODER_MEMBERS,
    .name = "gpt_neox",
    .title = "GPT-NeoX decoder",
    .types = {"gpt_neox"},
    .keys = {.n_layers = "num_hidden_layers",
             .n_hidden = "hidden_size",
             .n_heads = "num_attention_heads",
             .n_intermediate = "intermediate_size",
             .activation = "hidden_act",
             .n_positions = "max_position_embeddings",
             .is_untied_by_default = true},
    .epsilon_key = "layer_norm_eps",
    .positions = "rotary",
    .tensors = &tensors,
    .named = {{"pythia-160m",
               {.n_layers = 12,
                .n_hidden = 768,
                .n_heads = 12,
                .head_dim = 64,
                .n_intermediate = 3072,
                .vocab_size = 50304,
                .n_positions = 2048,
                .padding_token = -1,
                .epsilon = 1e-5F,
                .activation = FBT_ACT_GELU_ERF,
                .is_untied = 1,
                .decoder = {BUILD, .n_kv_heads = 12, .is_parallel = 1, .has_qkv_bias = 1, .has_output_bias = 1,
                            .rotary = {.n_rotated = 16, .theta = 1e4, .attention_factor = 1}}}}},
    .read_config = read_config,
};
