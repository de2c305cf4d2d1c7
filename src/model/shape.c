/* A model's sizes: from config.json, or by name for benchmarks. */
#include "model.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SIZE = 1 << 20, MAX_VOCABULARY = 1 << 24 };

/* A whole number within [low, high]; `fallback` where the key is absent, or an error if that is below low. */
static fbt_status read_count(const char *path, const json_t *config, const char *key, int64_t low, int64_t high,
                             int64_t fallback, int64_t *value)
{
    fbt_status status = FBT_OK;
    const json_t *item = json_object_get(config, key);
    *value = fallback;
    if (item == NULL || json_is_null(item)) {
        if (fallback < low) {
            FBT_FAIL(FBT_ERR_MODEL, "%s: '%s' is missing", path, key);
        }
        goto done;
    }
    if (!json_is_integer(item)) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: '%s' is not a whole number", path, key);
    }
    *value = json_integer_value(item);
    if (*value < low || *value > high) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: '%s' is %" PRId64 ", outside %" PRId64 " to %" PRId64, path, key, *value, low,
                 high);
    }
done:
    return status;
}

/* A string; `fallback` where the key is absent, or an error if that is NULL. Borrowed from `config`. */
static fbt_status read_text(const char *path, const json_t *config, const char *key, const char *fallback,
                            const char **value)
{
    const json_t *item = json_object_get(config, key);
    *value = item == NULL || json_is_null(item) ? fallback : json_string_value(item);
    if (*value == NULL) {
        return fbt_fail(FBT_ERR_MODEL, "%s: '%s' is %s", path, key, item == NULL ? "missing" : "not a string");
    }
    return FBT_OK;
}

/* XLM-RoBERTa differs from RoBERTa in its vocabulary alone. */
static fbt_status read_family(const char *path, const json_t *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    const char *type;
    FBT_TRY(read_text(path, config, "model_type", NULL, &type));
    if (strcmp(type, "bert") != 0 && strcmp(type, "roberta") != 0 && strcmp(type, "xlm-roberta") != 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: model_type is '%s'; this program runs bert, roberta and xlm-roberta", path, type);
    }
    snprintf(shape->family, sizeof shape->family, "%s", strcmp(type, "bert") == 0 ? "bert" : "roberta");
done:
    return status;
}

static fbt_status read_activation(const char *path, const json_t *config, fbt_model_shape *shape)
{
    static const struct {
        const char *name;
        fbt_activation activation;
    } known[] = {
        {"gelu", FBT_ACT_GELU_ERF},
        {"gelu_new", FBT_ACT_GELU_TANH},
        {"gelu_pytorch_tanh", FBT_ACT_GELU_TANH},
        {"relu", FBT_ACT_RELU},
    };
    fbt_status status = FBT_OK;
    const char *name;
    FBT_TRY(read_text(path, config, "hidden_act", NULL, &name));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) == 0) {
            shape->activation = known[i].activation;
            goto done;
        }
    }
    FBT_FAIL(FBT_ERR_MODEL, "%s: hidden_act is '%s'; this program knows gelu, gelu_new, gelu_pytorch_tanh and relu",
             path, name);
done:
    return status;
}

/* Keys that would change what is computed in ways that this program does not follow. */
static fbt_status refuse_unsupported(const char *path, const json_t *config)
{
    static const char *const flags[] = {"is_decoder", "add_cross_attention", "is_encoder_decoder"};
    fbt_status status = FBT_OK;
    const char *positions;
    FBT_TRY(read_text(path, config, "position_embedding_type", "absolute", &positions));
    if (strcmp(positions, "absolute") != 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: position_embedding_type is '%s'; this program knows absolute positions only", path,
                 positions);
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (json_is_true(json_object_get(config, flags[i]))) {
            FBT_FAIL(FBT_ERR_MODEL, "%s: '%s' is true; this program runs plain encoders only", path, flags[i]);
        }
    }
    const json_t *quantization = json_object_get(config, "quantization_config");
    if (quantization != NULL && !json_is_null(quantization)) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: the weights are quantized (quantization_config); use the model's F32, F16 or BF16 weights", path);
    }
done:
    return status;
}

static fbt_status read_epsilon(const char *path, const json_t *config, fbt_model_shape *shape)
{
    const json_t *item = json_object_get(config, "layer_norm_eps");
    double epsilon = item == NULL ? 1e-12 : json_number_value(item);
    shape->epsilon = (float)epsilon;
    if (!(epsilon <= 0.1 && shape->epsilon > 0)) { /* what is too small for a float would be zero */
        return fbt_fail(FBT_ERR_MODEL, "%s: layer_norm_eps is not a number in (0, 0.1]", path);
    }
    return FBT_OK;
}

/* RoBERTa's positions start behind the padding token's, which costs pad_token_id + 1 rows of the table. */
static fbt_status read_positions(const char *path, const json_t *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    int64_t n_rows;
    int64_t pad;
    int is_roberta = strcmp(shape->family, "roberta") == 0;
    FBT_TRY(read_count(path, config, "max_position_embeddings", 1, MAX_SIZE, -1, &n_rows));
    FBT_TRY(read_count(path, config, "pad_token_id", 0, MAX_VOCABULARY, is_roberta ? 1 : 0, &pad));
    shape->position_offset = is_roberta ? pad + 1 : 0;
    shape->n_positions = n_rows - shape->position_offset;
    if (shape->n_positions < 1) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: max_position_embeddings %" PRId64 " leaves no position behind pad_token_id %" PRId64, path,
                 n_rows, pad);
    }
done:
    return status;
}

static fbt_status read_sizes(const char *path, const json_t *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    FBT_TRY(read_count(path, config, "num_hidden_layers", 1, 4096, -1, &shape->n_layers));
    FBT_TRY(read_count(path, config, "hidden_size", 1, MAX_SIZE, -1, &shape->n_hidden));
    FBT_TRY(read_count(path, config, "num_attention_heads", 1, MAX_SIZE, -1, &shape->n_heads));
    FBT_TRY(read_count(path, config, "intermediate_size", 1, MAX_SIZE, -1, &shape->n_intermediate));
    FBT_TRY(read_count(path, config, "vocab_size", 1, MAX_VOCABULARY, -1, &shape->vocab_size));
    FBT_TRY(read_count(path, config, "type_vocab_size", 0, MAX_SIZE, 2, &shape->n_types));
    if (shape->n_hidden % shape->n_heads != 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: hidden_size %" PRId64 " is not a multiple of num_attention_heads %" PRId64, path,
                 shape->n_hidden, shape->n_heads);
    }
done:
    return status;
}

fbt_status fbt_model_read_shape(const char *folder, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    json_error_t error;
    json_t *config = NULL;
    FILE *file = NULL;
    char *path = NULL;
    *shape = (fbt_model_shape){0};
    if (asprintf(&path, "%s/config.json", folder) < 0) {
        path = NULL;
        FBT_FAIL(FBT_ERR_MEMORY, "out of memory: a path in %s", folder);
    }
    file = fopen(path, "rb");
    if (file == NULL) {
        FBT_FAIL(FBT_ERR_IO, "%s: cannot be read (%s); a model is a folder with config.json and safetensors files",
                 path, strerror(errno));
    }
    config = json_loadf(file, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(config)) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: is not a JSON object (line %d: %s)", path, error.line,
                 config == NULL ? error.text : "another type");
    }
    FBT_TRY(read_family(path, config, shape));
    FBT_TRY(refuse_unsupported(path, config));
    FBT_TRY(read_sizes(path, config, shape));
    FBT_TRY(read_positions(path, config, shape));
    FBT_TRY(read_activation(path, config, shape));
    FBT_TRY(read_epsilon(path, config, shape));
    shape->is_untied = json_is_false(json_object_get(config, "tie_word_embeddings"));
done:
    json_decref(config);
    if (file != NULL) {
        fclose(file);
    }
    free(path);
    return status;
}

fbt_status fbt_model_named_shape(const char *name, fbt_model_shape *shape)
{
    static const struct {
        const char *name;
        fbt_model_shape shape;
    } known[] = {
        {"roberta-large", {"roberta", 24, 1024, 16, 4096, 50265, 512, 2, 1, 1e-5f, FBT_ACT_GELU_ERF, 0}},
        {"roberta-base", {"roberta", 12, 768, 12, 3072, 50265, 512, 2, 1, 1e-5f, FBT_ACT_GELU_ERF, 0}},
        {"bert-base", {"bert", 12, 768, 12, 3072, 30522, 512, 0, 2, 1e-12f, FBT_ACT_GELU_ERF, 0}},
        {"minilm-l6", {"bert", 6, 384, 12, 1536, 30522, 512, 0, 2, 1e-12f, FBT_ACT_GELU_ERF, 0}},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) == 0) {
            *shape = known[i].shape;
            return FBT_OK;
        }
    }
    return fbt_fail(FBT_ERR_ARG,
                    "there is no shape called '%s'; roberta-large, roberta-base, bert-base and minilm-l6 are known",
                    name);
}
