/* Reads what config.json says about decoders. */
#include "model/families/decoder.h"

#include <inttypes.h>

fbt_status fbt_decoder_require_flag(const fbt_json_file *config, const char *key, bool wanted)
{
    fbt_status status = FBT_OK;
    bool found;
    FBT_TRY(fbt_json_file_flag(config, key, wanted, &found));
    if (found != wanted) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: '%s' is %s, which this program does not compute", config->path, key,
                 found ? "true" : "false");
    }
done:
    return status;
}

fbt_status fbt_decoder_read_flag(const fbt_json_file *config, const char *key, bool fallback, int *value)
{
    bool found;
    const fbt_status status = fbt_json_file_flag(config, key, fallback, &found);
    *value = found;
    return status;
}

static fbt_status read_head_dim(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    const fbt_config_keys *keys = &shape->family->keys;
    const bool is_multiple = shape->n_hidden % shape->n_heads == 0;
    if (!is_multiple && fbt_json_file_find(config, "head_dim") == NULL) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: %s %" PRId64 " is not a multiple of %s %" PRId64 ", and there is no head_dim",
                 config->path, keys->n_hidden, shape->n_hidden, keys->n_heads, shape->n_heads);
    }
    FBT_TRY(fbt_json_file_count(config, "head_dim", 1, FBT_CONFIG_MAX_SIZE / shape->n_heads,
                                shape->n_hidden / shape->n_heads, &shape->head_dim));
done:
    return status;
}

fbt_status fbt_decoder_read_kv_heads(const fbt_json_file *config, bool is_required, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    int64_t *n = &shape->decoder.n_kv_heads;
    const char *const key = "num_key_value_heads";
    if (is_required && json_object_get(config->value, key) == NULL) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: '%s' is missing", config->path, key);
    }
    FBT_TRY(fbt_json_file_count(config, key, 1, shape->n_heads, shape->n_heads, n));
    if (shape->n_heads % *n != 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: %s %" PRId64 " is not a multiple of %s %" PRId64, config->path,
                 shape->family->keys.n_heads, shape->n_heads, key, *n);
    }
done:
    return status;
}

fbt_status fbt_decoder_read_config(const fbt_json_file *config, const fbt_decoder_shape *build, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    shape->decoder = *build;
    shape->decoder.n_kv_heads = shape->n_heads;
    FBT_TRY(fbt_decoder_require_flag(config, "is_encoder_decoder", false));
    FBT_TRY(fbt_decoder_require_flag(config, "add_cross_attention", false));
    FBT_TRY(read_head_dim(config, shape));
    FBT_TRY(fbt_config_read_size(config, shape->family->keys.n_positions, "max_position_embeddings",
                                 FBT_CONFIG_MAX_SIZE, -1, &shape->n_positions));
done:
    return status;
}
