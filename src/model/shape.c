/* A model's sizes: from config.json, or by name for benchmarks. */
#include "model/json_file.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SIZE = 1 << 20, MAX_VOCABULARY = 1 << 24 };

/* XLM-RoBERTa differs from RoBERTa in its vocabulary alone. */
static fbt_status read_family(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    const char *type;
    FBT_TRY(fbt_json_file_text(config, "model_type", NULL, &type));
    if (strcmp(type, "bert") != 0 && strcmp(type, "roberta") != 0 && strcmp(type, "xlm-roberta") != 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: model_type is '%s'; this program runs bert, roberta and xlm-roberta", config->path,
                 type);
    }
    snprintf(shape->family, sizeof shape->family, "%s", strcmp(type, "bert") == 0 ? "bert" : "roberta");
done:
    return status;
}

static fbt_status read_activation(const fbt_json_file *config, fbt_model_shape *shape)
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
    FBT_TRY(fbt_json_file_text(config, "hidden_act", NULL, &name));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) == 0) {
            shape->activation = known[i].activation;
            goto done;
        }
    }
    FBT_FAIL(FBT_ERR_MODEL, "%s: hidden_act is '%s'; this program knows gelu, gelu_new, gelu_pytorch_tanh and relu",
             config->path, name);
done:
    return status;
}

/* Plain encoders with absolute positions, in the one layout that transformers gives a hidden_size. */
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
    FBT_TRY(fbt_json_file_count(config, "embedding_size", 1, MAX_SIZE, shape->n_hidden, &n_embedding));
    if (n_embedding != shape->n_hidden) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: embedding_size %" PRId64 " is not hidden_size %" PRId64
                 "; this program knows encoders that embed tokens at their full width only",
                 config->path, n_embedding, shape->n_hidden);
    }
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

static fbt_status read_epsilon(const fbt_json_file *config, fbt_model_shape *shape)
{
    const json_t *item = fbt_json_file_find(config, "layer_norm_eps");
    double epsilon = item == NULL ? 1e-12 : json_number_value(item);
    if (!(epsilon > 1e-30 && epsilon <= 0.1)) { /* what is too small for a float would be zero */
        return fbt_fail(FBT_ERR_MODEL, "%s: layer_norm_eps is not a number from 1e-30 to 0.1", config->path);
    }
    shape->epsilon = (float)epsilon;
    return FBT_OK;
}

/* RoBERTa's positions start behind the padding token's, which costs pad_token_id + 1 rows of the table. */
static fbt_status read_positions(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    int64_t n_rows;
    int64_t pad;
    const bool is_roberta = strcmp(shape->family, "roberta") == 0;
    FBT_TRY(fbt_json_file_count(config, "max_position_embeddings", 1, MAX_SIZE, -1, &n_rows));
    if (is_roberta && json_is_null(json_object_get(config->value, "pad_token_id"))) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: pad_token_id is null, and a %s's positions are counted from it; write the "
                 "tokenizer's (1 as a rule)",
                 config->path, shape->family);
    }
    FBT_TRY(fbt_json_file_count(config, "pad_token_id", 0, shape->vocab_size - 1, is_roberta ? 1 : 0, &pad));
    shape->position_offset = is_roberta ? pad + 1 : 0;
    shape->n_positions = n_rows - shape->position_offset;
    if (shape->n_positions < 1) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: max_position_embeddings %" PRId64 " leaves no position behind pad_token_id %" PRId64,
                 config->path, n_rows, pad);
    }
done:
    return status;
}

static fbt_status read_sizes(const fbt_json_file *config, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    bool is_tied;
    FBT_TRY(fbt_json_file_count(config, "num_hidden_layers", 1, 4096, -1, &shape->n_layers));
    FBT_TRY(fbt_json_file_count(config, "hidden_size", 1, MAX_SIZE, -1, &shape->n_hidden));
    FBT_TRY(fbt_json_file_count(config, "num_attention_heads", 1, MAX_SIZE, -1, &shape->n_heads));
    FBT_TRY(fbt_json_file_count(config, "intermediate_size", 1, MAX_SIZE, -1, &shape->n_intermediate));
    FBT_TRY(fbt_json_file_count(config, "vocab_size", 1, MAX_VOCABULARY, -1, &shape->vocab_size));
    FBT_TRY(fbt_json_file_count(config, "type_vocab_size", 0, MAX_SIZE, 2, &shape->n_types));
    FBT_TRY(fbt_json_file_flag(config, "tie_word_embeddings", true, &is_tied));
    shape->is_untied = !is_tied;
    if (shape->n_hidden % shape->n_heads != 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: hidden_size %" PRId64 " is not a multiple of num_attention_heads %" PRId64,
                 config->path, shape->n_hidden, shape->n_heads);
    }
done:
    return status;
}

fbt_status fbt_model_read_shape(const char *folder, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    fbt_json_file config = {0};
    *shape = (fbt_model_shape){0};
    FBT_TRY(fbt_json_file_open(folder, "config.json", false, &config));
    FBT_TRY(read_family(&config, shape));
    FBT_TRY(read_sizes(&config, shape));
    FBT_TRY(check_kind(&config, shape));
    FBT_TRY(refuse_unsupported(&config));
    FBT_TRY(read_positions(&config, shape));
    FBT_TRY(read_activation(&config, shape));
    FBT_TRY(read_epsilon(&config, shape));
done:
    fbt_json_file_close(&config);
    return status;
}

fbt_status fbt_model_named_shape(const char *name, fbt_model_shape *shape)
{
    static const struct {
        const char *name;
        fbt_model_shape shape;
    } known[] = {
        {"roberta-large",
         {"roberta", 24, 1024, 16, 4096, 50265, 512, 2, 1, 1e-5f, FBT_ACT_GELU_ERF, 0, FBT_POOLING_MEAN}},
        {"roberta-base",
         {"roberta", 12, 768, 12, 3072, 50265, 512, 2, 1, 1e-5f, FBT_ACT_GELU_ERF, 0, FBT_POOLING_MEAN}},
        {"bert-base", {"bert", 12, 768, 12, 3072, 30522, 512, 0, 2, 1e-12f, FBT_ACT_GELU_ERF, 0, FBT_POOLING_MEAN}},
        {"minilm-l6", {"bert", 6, 384, 12, 1536, 30522, 512, 0, 2, 1e-12f, FBT_ACT_GELU_ERF, 0, FBT_POOLING_MEAN}},
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
