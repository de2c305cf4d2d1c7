/* GPT-2 (Radford et al. 2019, "Language models are unsupervised multitask learners"). */
#include "model/families/decoder.h"
#include "model/families/decoder_tensors.h"

/* Matrices are transposed; queries, keys and values stand in one. */
static const fbt_tensor_rule rules[] = {
    FBT_TABLE(word, "wte", VOCABULARY, HIDDEN),
    FBT_TABLE(position, "wpe", POSITIONS, HIDDEN),
    FBT_DECODER_NORM(MODEL, final_norm, "ln_f"),
    FBT_DECODER_NORM(LAYER, input_norm, "ln_1"),
    FBT_DECODER_QKV(query, "attn.c_attn", QUERY, 0, 3, COLUMNS),
    FBT_DECODER_QKV(key_value, "attn.c_attn", KEY, 1, 3, COLUMNS),
    FBT_DECODER_QKV(key_value, "attn.c_attn", KEY, 2, 3, COLUMNS),
    FBT_DECODER_DENSE(output, "attn.c_proj", HIDDEN, QUERY, OUTPUT, OUTPUT, COLUMNS),
    FBT_DECODER_NORM(LAYER, up_norm, "ln_2"),
    FBT_DECODER_DENSE(up, "mlp.c_fc", WIDE, HIDDEN, UP, MLP, COLUMNS),
    FBT_DECODER_DENSE(down, "mlp.c_proj", HIDDEN, WIDE, DOWN, MLP, COLUMNS),
    FBT_DECODER_LABELS("lm_head", NULL),
};
static const fbt_tensor_table tensors = {"transformer.", "h", rules, sizeof rules / sizeof rules[0]};

#define BUILD .norm = FBT_NORM_LAYER, .has_qkv_bias = 1, .has_output_bias = 1, .has_mlp_bias = 1

static fbt_status read_config(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_decoder_read_config(config, &(fbt_decoder_shape){BUILD}, shape));
    FBT_TRY(fbt_config_read_epsilon(config, 1e-5, shape));
    FBT_TRY(fbt_decoder_require_flag(config, "scale_attn_weights", true));
    FBT_TRY(fbt_decoder_require_flag(config, "scale_attn_by_inverse_layer_idx", false));
done:
    return status;
}

const fbt_model_family fbt_family_gpt2 = {
    FBT_DECODER_MEMBERS,
    .name = "gpt2",
    .title = "GPT-2 decoder",
    .types = {"gpt2"},
    .keys = {.n_layers = "n_layer",
             .n_hidden = "n_embd",
             .n_heads = "n_head",
             .n_intermediate = "n_inner",
             .activation = "activation_function",
             .n_positions = "n_positions",
             .default_widening = 4},
    .epsilon_key = "layer_norm_epsilon",
    .positions = "absolute",
    .tensors = &tensors,
    .named = {{"gpt2",
               {.n_layers = 12,
                .n_hidden = 768,
                .n_heads = 12,
                .head_dim = 64,
                .n_intermediate = 3072,
                .vocab_size = 50257,
                .n_positions = 1024,
                .padding_token = -1,
                .epsilon = 1e-5F,
                .activation = FBT_ACT_GELU_TANH,
                .decoder = {BUILD, .n_kv_heads = 12}}}},
    .read_config = read_config,
};
