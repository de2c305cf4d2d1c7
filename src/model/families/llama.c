/* Llama (Touvron et al. 2023, arXiv 2302.13971 and 2307.09288), which SmolLM2 is too, and what differs from it in
 * biases, windows and norms of heads alone: Mistral (Jiang et al. 2023, arXiv 2310.06825), Qwen2 and Qwen3 (Yang et al.
 * 2024 and 2025, arXiv 2407.10671 and 2505.09388). */
#include "model/families/decoder.h"
#include "model/families/decoder_tensors.h"

#include <inttypes.h>
#include <string.h>

static const fbt_tensor_rule rules[] = {
    FBT_TABLE(word, "embed_tokens", VOCABULARY, HIDDEN),
    FBT_DECODER_ROTARY,
    FBT_DECODER_NORM(MODEL, final_norm, "norm"),
    FBT_DECODER_NORM(LAYER, input_norm, "input_layernorm"),
    FBT_DECODER_QKV(query, "self_attn.q_proj", QUERY, 0, 1, ROWS),
    FBT_DECODER_QKV(key_value, "self_attn.k_proj", KEY, 0, 1, ROWS),
    FBT_DECODER_QKV(key_value, "self_attn.v_proj", KEY, 0, 1, ROWS),
    FBT_DECODER_HEAD_NORM(query_norm, "self_attn.q_norm"),
    FBT_DECODER_HEAD_NORM(key_norm, "self_attn.k_norm"),
    FBT_DECODER_DENSE(output, "self_attn.o_proj", HIDDEN, QUERY, OUTPUT, OUTPUT, ROWS),
    FBT_DECODER_NORM(LAYER, up_norm, "post_attention_layernorm"),
    FBT_DECODER_DENSE(up, "mlp.gate_proj", WIDE, HIDDEN, UP, MLP, ROWS),
    FBT_DECODER_DENSE(up, "mlp.up_proj", WIDE, HIDDEN, UP, MLP, ROWS),
    FBT_DECODER_DENSE(down, "mlp.down_proj", HIDDEN, WIDE, DOWN, MLP, ROWS),
    FBT_DECODER_LABELS("lm_head", NULL),
};
static const fbt_tensor_table tensors = {"model.", "layers", rules, sizeof rules / sizeof rules[0]};

/* Members that all have alike, whatever config.json says. */
#define BUILD .norm = FBT_NORM_RMS, .has_gate = 1

/* The whole head is turned: transformers has no other kind for these types. */
static fbt_status read_positions(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    static const fbt_rotary_keys keys = {"rope_theta", "partial_rotary_factor", 1};
    FBT_TRY(fbt_rotary_read(config, &keys, shape));
    if (shape->decoder.rotary.n_rotated != shape->head_dim) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: partial_rotary_factor is not 1, and with model_type %s all of a head is turned: %" PRId64
                 " elements, not %" PRId64,
                 config->path, shape->family->name, shape->head_dim, shape->decoder.rotary.n_rotated);
    }
done:
    return status;
}

static fbt_status read_llama(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    fbt_decoder_shape *d = &shape->decoder;
    FBT_TRY(fbt_decoder_read_config(config, &(fbt_decoder_shape){BUILD}, shape));
    FBT_TRY(fbt_config_read_epsilon(config, 1e-6, shape));
    FBT_TRY(fbt_decoder_read_kv_heads(config, false, shape));
    FBT_TRY(fbt_decoder_read_flag(config, "attention_bias", false, &d->has_qkv_bias));
    FBT_TRY(fbt_decoder_read_flag(config, "mlp_bias", false, &d->has_mlp_bias));
    d->has_output_bias = d->has_qkv_bias;
    FBT_TRY(read_positions(config, shape));
done:
    return status;
}

/* Reads the window of a model that uses one. It is taken for all layers, though Qwen may have layers that it does not
 * limit: it only tells how long sequences may be. */
static fbt_status read_window(const fbt_json_file *config, bool is_used, fbt_model_shape *shape)
{
    enum { DEFAULT_WINDOW = 4096 };
    const char *const key = "sliding_window";
    const bool has_window = is_used && !json_is_null(json_object_get(config->value, key)); /* null: there is none */
    return has_window ? fbt_json_file_count(config, key, 1, FBT_CONFIG_MAX_SIZE, DEFAULT_WINDOW, &shape->decoder.window)
                      : FBT_OK;
}

static fbt_status read_mistral(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_decoder_read_config(config, &(fbt_decoder_shape){BUILD}, shape));
    FBT_TRY(fbt_config_read_epsilon(config, 1e-6, shape));
    FBT_TRY(fbt_decoder_read_kv_heads(config, true, shape));
    FBT_TRY(read_window(config, true, shape));
    FBT_TRY(read_positions(config, shape));
done:
    return status;
}

/* Refuses kinds of layers that are not computed, and windows without a width. */
static fbt_status check_layer_types(const fbt_json_file *config, bool has_window)
{
    const json_t *list = fbt_json_file_find(config, "layer_types");
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *name = json_is_string(item) ? json_string_value(item) : "";
        if (strcmp(name, "full_attention") != 0 && !(has_window && strcmp(name, "sliding_attention") == 0)) {
            return fbt_fail(FBT_ERR_MODEL, "%s: layer_types[%zu] is '%s', which this program does not compute%s",
                            config->path, i, name, has_window ? "" : " without sliding_window");
        }
    }
    return FBT_OK;
}

static fbt_status read_qwen(const fbt_json_file *config, const fbt_decoder_shape *build, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    bool has_window;
    FBT_TRY(fbt_decoder_read_config(config, build, shape));
    FBT_TRY(fbt_config_read_epsilon(config, 1e-6, shape));
    FBT_TRY(fbt_decoder_read_kv_heads(config, true, shape));
    FBT_TRY(fbt_json_file_flag(config, "use_sliding_window", false, &has_window));
    FBT_TRY(read_window(config, has_window, shape));
    FBT_TRY(check_layer_types(config, shape->decoder.window > 0));
    FBT_TRY(read_positions(config, shape));
done:
    return status;
}

static fbt_status read_qwen2(const fbt_json_file *config, fbt_model_shape *shape)
{
    return read_qwen(config, &(fbt_decoder_shape){BUILD, .has_qkv_bias = 1}, shape);
}

static fbt_status read_qwen3(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    if (fbt_json_file_find(config, "head_dim") == NULL) { /* transformers' own default suits few models */
        FBT_FAIL(FBT_ERR_MODEL, "%s: 'head_dim' is missing", config->path);
    }
    FBT_TRY(read_qwen(config, &(fbt_decoder_shape){BUILD, .has_head_norms = 1}, shape));
    FBT_TRY(fbt_decoder_read_flag(config, "attention_bias", false, &shape->decoder.has_qkv_bias));
    shape->decoder.has_output_bias = shape->decoder.has_qkv_bias;
done:
    return status;
}

/* A published size, with SiLU; the rest: members of fbt_decoder_shape. */
#define SHAPE(layers, hidden, heads, dim, wide, vocabulary, length, eps, untied, ...)                                  \
    {                                                                                                                  \
        .n_layers = layers, .n_hidden = hidden, .n_heads = heads, .head_dim = dim, .n_intermediate = wide,             \
        .vocab_size = vocabulary, .n_positions = length, .padding_token = -1, .epsilon = eps,                          \
        .activation = FBT_ACT_SILU, .is_untied = untied, .decoder = {                                                  \
            BUILD,                                                                                                     \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define ROTARY(dim, base) .rotary = {.n_rotated = dim, .theta = base, .attention_factor = 1}
#define LLAMA3(dim, base, f)                                                                                           \
    .rotary = {.n_rotated = dim,                                                                                       \
               .kind = FBT_ROTARY_LLAMA3,                                                                              \
               .theta = base,                                                                                          \
               .factor = f,                                                                                            \
               .low_frequency = 1,                                                                                     \
               .high_frequency = 4,                                                                                    \
               .attention_factor = 1,                                                                                  \
               .original_positions = 8192}

#define MEMBERS                                                                                                        \
    FBT_DECODER_MEMBERS, .epsilon_key = "rms_norm_eps", .positions = "rotary", .tensors = &tensors,                    \
                         .keys = {.n_layers = "num_hidden_layers",                                                     \
                                  .n_hidden = "hidden_size",                                                           \
                                  .n_heads = "num_attention_heads",                                                    \
                                  .n_intermediate = "intermediate_size",                                               \
                                  .activation = "hidden_act",                                                          \
                                  .n_positions = "max_position_embeddings",                                            \
                                  .is_untied_by_default = true}

const fbt_model_family fbt_family_llama = {
    MEMBERS,
    .name = "llama",
    .title = "Llama decoder",
    .types = {"llama"},
    .named = {{"smollm2-135m", SHAPE(30, 576, 9, 64, 1536, 49152, 8192, 1e-5F, 0, .n_kv_heads = 3, ROTARY(64, 1e5))},
              {"smollm2-360m", SHAPE(32, 960, 15, 64, 2560, 49152, 8192, 1e-5F, 0, .n_kv_heads = 5, ROTARY(64, 1e5))},
              {"llama-2-7b",
               SHAPE(32, 4096, 32, 128, 11008, 32000, 4096, 1e-5F, 1, .n_kv_heads = 32, ROTARY(128, 1e4))},
              {"llama-3.2-1b",
               SHAPE(16, 2048, 32, 64, 8192, 128256, 131072, 1e-5F, 0, .n_kv_heads = 8, LLAMA3(64, 5e5, 32))}},
    .read_config = read_llama,
};

const fbt_model_family fbt_family_mistral = {
    MEMBERS,
    .name = "mistral",
    .title = "Mistral decoder",
    .types = {"mistral"},
    .named = {{"mistral-7b", SHAPE(32, 4096, 32, 128, 14336, 32000, 32768, 1e-5F, 1, .n_kv_heads = 8, .window = 4096,
                                   ROTARY(128, 1e4))}},
    .read_config = read_mistral,
};

const fbt_model_family fbt_family_qwen2 = {
    MEMBERS,
    .name = "qwen2",
    .title = "Qwen2 decoder",
    .types = {"qwen2"},
    .named = {{"qwen2.5-0.5b", SHAPE(24, 896, 14, 64, 4864, 151936, 32768, 1e-6F, 0, .n_kv_heads = 2, .has_qkv_bias = 1,
                                     ROTARY(64, 1e6))}},
    .read_config = read_qwen2,
};

const fbt_model_family fbt_family_qwen3 = {
    MEMBERS,
    .name = "qwen3",
    .title = "Qwen3 decoder",
    .types = {"qwen3"},
    .named = {{"qwen3-0.6b", SHAPE(28, 1024, 16, 128, 3072, 151936, 40960, 1e-6F, 0, .n_kv_heads = 8,
                                   .has_head_norms = 1, ROTARY(128, 1e6))}},
    .read_config = read_qwen3,
};
