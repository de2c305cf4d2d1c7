/* A model's sizes: from config.json, or by name for benchmarks. */
#include "model/family.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_LAYERS = 4096, MAX_VOCABULARY = 1 << 24 };

static fbt_status find_family(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    const char *type;
    char known[256];
    FBT_TRY(fbt_json_file_text(config, "model_type", NULL, &type));
    shape->family = fbt_family_of_type(type);
    if (shape->family == NULL) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: model_type is '%s'; it must be %s", config->path, type,
                 fbt_family_all_types(known, sizeof known));
    }
done:
    return status;
}

static fbt_status read_activation(const fbt_json_file *config, fbt_model_shape *shape)
{
    static const struct {
        const char *name;
        fbt_activation activation;
    } known[] = {
        {"gelu", FBT_ACT_GELU_ERF},       {"gelu_new", FBT_ACT_GELU_TANH}, {"gelu_pytorch_tanh", FBT_ACT_GELU_TANH},
        {"gelu_fast", FBT_ACT_GELU_TANH}, {"relu", FBT_ACT_RELU},          {"silu", FBT_ACT_SILU},
    };
    fbt_status status = FBT_OK;
    const char *key = shape->family->keys.activation, *name;
    FBT_TRY(fbt_json_file_text(config, key, NULL, &name));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) == 0) {
            shape->activation = known[i].activation;
            goto done;
        }
    }
    FBT_FAIL(FBT_ERR_MODEL,
             "%s: %s is '%s'; this program knows gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu and silu",
             config->path, key, name);
done:
    return status;
}

/* Keys that change what transformers computes, or from which files, in ways that this program does not follow. */
static fbt_status refuse_unsupported(const fbt_json_file *config)
{
    static const struct {
        const char *key;
        bool even_empty;
        const char *what;
    } refused[] = {
        {"quantization_config", true, "the weights are quantized; use the model's F32, F16 or BF16 weights"},
        {"compression_config", true, "the weights are compressed; use the model's F32, F16 or BF16 weights"},
        {"transformers_weights", true,
         "it names other weights than model.safetensors; give the file that name, or its index "
         "the name model.safetensors.index.json, and remove this key"},
        {"pruned_heads", false, "heads are to be left out; save the model after pruning them"},
        {"adapters", false, "adapters belong to the model; merge them into its weights"},
        {"auto_map", false, "the model is computed by code of its own, which this program does not run"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const json_t *value = fbt_json_file_find(config, refused[i].key);
        const bool is_empty =
            json_object_size(value) + json_array_size(value) == 0 && (json_is_object(value) || json_is_array(value));
        if (value != NULL && (refused[i].even_empty || !is_empty)) {
            return fbt_fail(FBT_ERR_MODEL, "%s: has '%s': %s", config->path, refused[i].key, refused[i].what);
        }
    }
    return FBT_OK;
}

fbt_status fbt_config_read_epsilon(const fbt_json_file *config, double fallback, fbt_model_shape *shape)
{
    const char *key = shape->family->epsilon_key;
    const json_t *item = fbt_json_file_find(config, key);
    const double epsilon = item == NULL ? fallback : json_number_value(item);
    if (!(epsilon > 1e-30 && epsilon <= 0.1)) { /* what is too small for a float would be zero */
        return fbt_fail(FBT_ERR_MODEL, "%s: %s is not a number from 1e-30 to 0.1", config->path, key);
    }
    shape->epsilon = (float)epsilon;
    return FBT_OK;
}

fbt_status fbt_config_read_size(const fbt_json_file *config, const char *key, const char *common, int64_t most,
                                int64_t fallback, int64_t *n)
{
    fbt_status status = FBT_OK;
    int64_t other;
    FBT_TRY(fbt_json_file_count(config, key, 1, most, fallback, n));
    FBT_TRY(fbt_json_file_count(config, common, 1, most, *n, &other));
    if (other != *n) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: %s is %" PRId64 ", but %s, which means the same, is %" PRId64, config->path, key,
                 *n, common, other);
    }
done:
    return status;
}

static fbt_status read_sizes(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    const fbt_config_keys *keys = &shape->family->keys;
    const struct {
        const char *key, *common;
        int64_t most;
        int64_t *n;
    } sizes[] = {
        {keys->n_layers, "num_hidden_layers", MAX_LAYERS, &shape->n_layers},
        {keys->n_hidden, "hidden_size", FBT_CONFIG_MAX_SIZE, &shape->n_hidden},
        {keys->n_heads, "num_attention_heads", FBT_CONFIG_MAX_SIZE, &shape->n_heads},
    };
    bool is_tied;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        FBT_TRY(fbt_config_read_size(config, sizes[i].key, sizes[i].common, sizes[i].most, -1, sizes[i].n));
    }
    const int64_t wide = keys->default_widening > 0 ? keys->default_widening * shape->n_hidden : -1;
    FBT_TRY(fbt_config_read_size(config, keys->n_intermediate, "intermediate_size", FBT_CONFIG_MAX_SIZE, wide,
                                 &shape->n_intermediate));
    FBT_TRY(fbt_json_file_count(config, "vocab_size", 1, MAX_VOCABULARY, -1, &shape->vocab_size));
    FBT_TRY(fbt_json_file_flag(config, "tie_word_embeddings", !keys->is_untied_by_default, &is_tied));
    shape->is_untied = !is_tied;
done:
    return status;
}

fbt_status fbt_model_read_shape(const char *folder, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    fbt_json_file config = {0};
    *shape = (fbt_model_shape){.padding_token = -1};
    FBT_TRY(fbt_json_file_open(folder, "config.json", false, &config));
    FBT_TRY(find_family(&config, shape));
    FBT_TRY(read_sizes(&config, shape));
    FBT_TRY(refuse_unsupported(&config));
    FBT_TRY(read_activation(&config, shape));
    FBT_TRY(shape->family->read_config(&config, shape));
done:
    fbt_json_file_close(&config);
    return status;
}
