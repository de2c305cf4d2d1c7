/* OPT (Zhang et al. 2022, arXiv 2205.01068). */
#include "model/families/decoder.h"
#include "model/families/decoder_tensors.h"

#include <inttypes.h>

static const fbt_tensor_rule rules[] = {
    FBT_TABLE(word, "decoder.embed_tokens", VOCABULARY, HIDDEN),
    FBT_TABLE(position, "decoder.embed_positions", POSITIONS, HIDDEN),
    FBT_DECODER_NORM(MODEL, final_norm, "decoder.final_layer_norm"),
    FBT_DECODER_NORM(LAYER, input_norm, "self_attn_layer_norm"),
    FBT_DECODER_QKV(query, "self_attn.q_proj", QUERY, 0, 1, ROWS),
    FBT_DECODER_QKV(key_value, "self_attn.k_proj", KEY, 0, 1, ROWS),
    FBT_DECODER_QKV(key_value, "self_attn.v_proj", KEY, 0, 1, ROWS),
    FBT_DECODER_DENSE(output, "self_attn.out_proj", HIDDEN, QUERY, OUTPUT, OUTPUT, ROWS),
    FBT_DECODER_NORM(LAYER, up_norm, "final_layer_norm"),
    FBT_DECODER_DENSE(up, "fc1", WIDE, HIDDEN, UP, MLP, ROWS),
    FBT_DECODER_DENSE(down, "fc2", HIDDEN, WIDE, DOWN, MLP, ROWS),
    FBT_DECODER_LABELS("lm_head", NULL),
};
static const fbt_tensor_table tensors = {"model.", "decoder.layers", rules, sizeof rules / sizeof rules[0]};

/* Two rows of the position table are in front of the first token's. */
#define BUILD .norm = FBT_NORM_LAYER, .position_offset = 2, .has_qkv_bias = 1, .has_output_bias = 1, .has_mlp_bias = 1

/* OPT-350M alone has norms behind the products, and embeddings narrower than its layers. */
static fbt_status refuse_variants(const fbt_json_file *config, const fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    int64_t n_embedding;
    FBT_TRY(fbt_decoder_require_flag(config, "do_layer_norm_before", true));
    FBT_TRY(fbt_decoder_require_flag(config, "_remove_final_layer_norm", false));
    FBT_TRY(fbt_decoder_require_flag(config, "layer_norm_elementwise_affine", true));
    FBT_TRY(fbt_json_file_count(config, "word_embed_proj_dim", 1, FBT_CONFIG_MAX_SIZE, shape->n_hidden, &n_embedding));
    if (n_embedding != shape->n_hidden) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: word_embed_proj_dim %" PRId64 " is not hidden_size %" PRId64 ", which this program "
                 "does not compute",
                 config->path, n_embedding, shape->n_hidden);
    }
done:
    return status;
}

/* transformers has the epsilon in its code. */
static fbt_status read_config(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    fbt_decoder_shape *d = &shape->decoder;
    FBT_TRY(fbt_decoder_read_config(config, &(fbt_decoder_shape){BUILD}, shape));
    shape->epsilon = 1e-5F;
    FBT_TRY(fbt_decoder_read_flag(config, "enable_bias", true, &d->has_qkv_bias));
    d->has_output_bias = d->has_mlp_bias = d->has_qkv_bias;
    FBT_TRY(refuse_variants(config, shape));
done:
    return status;
}

const fbt_model_family fbt_family_opt = {
    FBT_DECODER_MEMBERS,
    .name = "opt",
    .title = "OPT decoder",
    .types = {"opt"},
    .keys = {.n_layers = "num_hidden_layers",
             .n_hidden = "hidden_size",
             .n_heads = "num_attention_heads",
             .n_intermediate = "ffn_dim",
             .activation = "activation_function",
             .n_positions = "max_position_embeddings"},
    .epsilon_key = "layer_norm_eps",
    .positions = "absolute",
    .tensors = &tensors,
    .named = {{"opt-125m",
               {.n_layers = 12,
                .n_hidden = 768,
                .n_heads = 12,
                .head_dim = 64,
                .n_intermediate = 3072,
                .vocab_size = 50272,
                .n_positions = 2048,
                .padding_token = -1,
                .epsilon = 1e-5F,
                .activation = FBT_ACT_RELU,
                .decoder = {BUILD, .n_kv_heads = 12}}}},
    .read_config = read_config,
};
