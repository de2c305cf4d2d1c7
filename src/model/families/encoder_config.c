/* Reading of config.json for BERT-type encoders. */
#include "model/families/encoder.h"

#include <inttypes.h>
#include <string.h>

/* Plain encoders, in the one layout that transformers gives a hidden size. */
static fbt_status check_kind(const fbt_json_file *config, const fbt_model_shape *shape)
{
    static const char *const flags[] = {"is_decoder", "add_cross_attention", "is_encoder_decoder"};
    fbt_status status = FBT_OK;
    const char *positions;
    int64_t n_embedding;
    FBT_TRY(fbt_json_file_text(config, "position_embedding_type", "absolute", &positions));
    if (strcmp(positions, "absolute") != 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: position_embedding_type is '%s'; this program knows absolute positions only",
                 config->path, positions);
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        bool is_set;
        FBT_TRY(fbt_json_file_flag(config, flags[i], false, &is_set));
        if (is_set) {
            FBT_FAIL(FBT_ERR_MODEL, "%s: '%s' is true; this program runs plain encoders only", config->path, flags[i]);
        }
    }
    FBT_TRY(fbt_json_file_count(config, "embedding_size", 1, FBT_CONFIG_MAX_SIZE, shape->n_hidden, &n_embedding));
    if (n_embedding != shape->n_hidden) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: embedding_size %" PRId64 " is not %s %" PRId64
                 "; this program knows encoders that embed tokens at their full width only",
                 config->path, n_embedding, shape->family->keys.n_hidden, shape->n_hidden);
    }
done:
    return status;
}

fbt_status fbt_encoder_read_config(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    const fbt_config_keys *keys = &shape->family->keys;
    FBT_TRY(fbt_json_file_count(config, "type_vocab_size", 0, FBT_CONFIG_MAX_SIZE, 2, &shape->encoder.n_types));
    if (shape->n_hidden % shape->n_heads != 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: %s %" PRId64 " is not a multiple of %s %" PRId64, config->path, keys->n_hidden,
                 shape->n_hidden, keys->n_heads, shape->n_heads);
    }
    shape->head_dim = shape->n_hidden / shape->n_heads;
    FBT_TRY(check_kind(config, shape));
    FBT_TRY(fbt_config_read_epsilon(config, 1e-12, shape));
done:
    return status;
}

/* Rows of the position table, and the padding token. */
static fbt_status read_table(const fbt_json_file *config, int64_t default_pad, int64_t *n_rows, int64_t *pad,
                             const fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_json_file_count(config, "max_position_embeddings", 1, FBT_CONFIG_MAX_SIZE, -1, n_rows));
    FBT_TRY(fbt_json_file_count(config, "pad_token_id", 0, shape->vocab_size - 1, default_pad, pad));
done:
    return status;
}

fbt_status fbt_encoder_read_positions(const fbt_json_file *config, fbt_model_shape *shape)
{
    int64_t pad;
    return read_table(config, 0, &shape->n_positions, &pad, shape);
}

fbt_status fbt_encoder_read_positions_behind_padding(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    int64_t n_rows;
    if (json_is_null(json_object_get(config->value, "pad_token_id"))) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: pad_token_id is null, and a %s's positions are counted from it; write the "
                 "tokenizer's (1 as a rule)",
                 config->path, shape->family->name);
    }
    FBT_TRY(read_table(config, 1, &n_rows, &shape->padding_token, shape));
    if (shape->padding_token >= shape->vocab_size) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: has no pad_token_id, which is %" PRId64 " then; vocab_size %" PRId64 " has no such token",
                 config->path, shape->padding_token, shape->vocab_size);
    }
    shape->encoder.position_offset = shape->padding_token + 1;
    shape->n_positions = n_rows - shape->encoder.position_offset;
    if (shape->n_positions < 1) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: max_position_embeddings %" PRId64 " leaves no position behind pad_token_id %" PRId64,
                 config->path, n_rows, shape->padding_token);
    }
done:
    return status;
}
