/* Files of a sentence encoder beside config.json, as sentence-transformers lays them out: modules.json lists
 * what a text passes through, each module's settings are in a folder of its own. Computed are a Transformer, a Pooling
 * by mean or [CLS], and Normalize modules, which change no cosine. Everything else is refused by its name. */
#include "model/json_file.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const SENTENCE_EMBEDDING = "sentence_embedding";

/* Settings that are absent in the file may be absent in the folder. *is_there: whether it has such a file. */
static fbt_status open_optional(const char *folder, const char *name, fbt_json_file *file, bool *is_there)
{
    fbt_status status = FBT_OK;
    char *path = NULL;
    FBT_TRY(fbt_json_file_path(folder, name, &path));
    *is_there = access(path, F_OK) == 0;
    if (*is_there) {
        FBT_TRY(fbt_json_file_open(folder, name, false, file));
    }
done:
    free(path);
    return status;
}

/* A key that must say `wanted` where it says anything. */
static fbt_status require_text(const fbt_json_file *file, const char *key, const char *wanted)
{
    const char *value;
    fbt_status status = fbt_json_file_text(file, key, wanted, &value);
    if (status == FBT_OK && strcmp(value, wanted) != 0) {
        status =
            fbt_fail(FBT_ERR_MODEL, "%s: %s is '%s'; this program computes '%s' only", file->path, key, value, wanted);
    }
    return status;
}

static bool says_nothing(const json_t *value)
{
    return json_is_null(value) || json_is_false(value) || (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

/* A setting that is not known may change what is computed. known: ends with NULL. */
static fbt_status check_keys(const fbt_json_file *file, const char *const *known)
{
    const char *key;
    json_t *value;
    json_object_foreach(file->value, key, value)
    {
        bool is_known = says_nothing(value);
        for (int i = 0; known[i] != NULL; i++) {
            is_known = is_known || strcmp(key, known[i]) == 0;
        }
        if (!is_known) {
            return fbt_fail(FBT_ERR_MODEL, "%s: has '%s', which this program does not compute", file->path, key);
        }
    }
    return FBT_OK;
}

static fbt_status pooling_of(const fbt_json_file *file, const char *mode, fbt_pooling *pooling)
{
    if (strcmp(mode, "mean") != 0 && strcmp(mode, "cls") != 0) {
        return fbt_fail(FBT_ERR_MODEL, "%s: pooling mode '%s' is not computed; this program pools by 'mean' or 'cls'",
                        file->path, mode);
    }
    *pooling = strcmp(mode, "cls") == 0 ? FBT_POOLING_CLS : FBT_POOLING_MEAN;
    return FBT_OK;
}

/* "pooling_mode": "mean", or a list of modes, whose results would be joined. */
static fbt_status read_pooling_mode(const fbt_json_file *file, const json_t *mode, fbt_pooling *pooling)
{
    if (json_is_array(mode) && json_array_size(mode) == 1) {
        mode = json_array_get(mode, 0);
    }
    if (json_is_array(mode)) {
        return fbt_fail(FBT_ERR_MODEL, "%s: pooling_mode names %zu modes; this program pools by 'mean' or 'cls'",
                        file->path, json_array_size(mode));
    }
    if (!json_is_string(mode)) {
        return fbt_fail(FBT_ERR_MODEL, "%s: 'pooling_mode' is not a string", file->path);
    }
    return pooling_of(file, json_string_value(mode), pooling);
}

/* One flag a mode, as files before sentence-transformers 6 have them; none of them set is the mean. */
static fbt_status read_pooling_flags(const fbt_json_file *file, fbt_pooling *pooling)
{
    static const struct {
        const char *key, *mode;
    } flags[] = {
        {"pooling_mode_cls_token", "cls"},
        {"pooling_mode_max_tokens", "max"},
        {"pooling_mode_mean_tokens", "mean"},
        {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
        {"pooling_mode_weightedmean_tokens", "weightedmean"},
        {"pooling_mode_lasttoken", "lasttoken"},
    };
    fbt_status status = FBT_OK;
    const char *mode = NULL;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        bool is_set;
        FBT_TRY(fbt_json_file_flag(file, flags[i].key, false, &is_set));
        if (is_set && mode != NULL) {
            FBT_FAIL(FBT_ERR_MODEL, "%s: joins the pooling modes '%s' and '%s'; this program pools by one of them",
                     file->path, mode, flags[i].mode);
        }
        mode = is_set ? flags[i].mode : mode;
    }
    FBT_TRY(pooling_of(file, mode == NULL ? "mean" : mode, pooling));
done:
    return status;
}

/* FOLDER/1_Pooling/config.json: one row of H numbers a text. Tokens of the prompt cannot be left out of it: a soft
 * prompt's rows are part of what is tuned. */
static fbt_status read_pooling(const char *folder, const char *path, fbt_model_shape *shape)
{
    static const char *const known[] = {"pooling_mode",
                                        "pooling_mode_cls_token",
                                        "pooling_mode_max_tokens",
                                        "pooling_mode_mean_tokens",
                                        "pooling_mode_mean_sqrt_len_tokens",
                                        "pooling_mode_weightedmean_tokens",
                                        "pooling_mode_lasttoken",
                                        "embedding_dimension",
                                        "word_embedding_dimension",
                                        "include_prompt",
                                        NULL};
    static const char *const sizes[] = {"embedding_dimension", "word_embedding_dimension"};
    fbt_status status = FBT_OK;
    fbt_json_file file = {0};
    char *name = NULL;
    bool includes_prompt;
    FBT_TRY(fbt_json_file_path(path, "config.json", &name));
    FBT_TRY(fbt_json_file_open(folder, name, false, &file));
    FBT_TRY(check_keys(&file, known));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int64_t n;
        FBT_TRY(fbt_json_file_count(&file, sizes[i], 1, INT32_MAX, shape->n_hidden, &n));
        if (n != shape->n_hidden) {
            FBT_FAIL(FBT_ERR_MODEL, "%s: %s is %" PRId64 ", but hidden_size in config.json is %" PRId64, file.path,
                     sizes[i], n, shape->n_hidden);
        }
    }
    FBT_TRY(fbt_json_file_flag(&file, "include_prompt", true, &includes_prompt));
    if (!includes_prompt) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: include_prompt is false; this program pools the prompt with the text", file.path);
    }
    const json_t *mode = fbt_json_file_find(&file, "pooling_mode");
    FBT_TRY(mode != NULL ? read_pooling_mode(&file, mode, &shape->pooling)
                         : read_pooling_flags(&file, &shape->pooling));
done:
    fbt_json_file_close(&file);
    free(name);
    return status;
}

/* Normalize has settings since sentence-transformers 6; they may lead it to another value than the text's. */
static fbt_status check_normalize(const char *folder, const char *path)
{
    static const char *const known[] = {"module_input_name", "module_output_name", NULL};
    fbt_status status = FBT_OK;
    fbt_json_file file = {0};
    char *name = NULL;
    bool is_there;
    FBT_TRY(fbt_json_file_path(path, "config.json", &name));
    FBT_TRY(open_optional(folder, name, &file, &is_there));
    if (is_there) {
        FBT_TRY(check_keys(&file, known));
        FBT_TRY(require_text(&file, "module_input_name", SENTENCE_EMBEDDING));
        FBT_TRY(require_text(&file, "module_output_name", SENTENCE_EMBEDDING));
    }
done:
    fbt_json_file_close(&file);
    free(name);
    return status;
}

/* How text goes in and what comes out: {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}. */
static fbt_status check_modality(const fbt_json_file *file)
{
    const json_t *all = fbt_json_file_find(file, "modality_config");
    const json_t *text = json_object_get(all, "text");
    const char *method = json_string_value(json_object_get(text, "method"));
    const char *output = json_string_value(json_object_get(text, "method_output_name"));
    if (all != NULL && (method == NULL || output == NULL || strcmp(method, "forward") != 0 ||
                        strcmp(output, "last_hidden_state") != 0)) {
        return fbt_fail(FBT_ERR_MODEL, "%s: modality_config does not take a text's last_hidden_state from 'forward'",
                        file->path);
    }
    return FBT_OK;
}

/* The Transformer's settings; sentence-transformers takes the first of these files. The text's own (max_seq_length,
 * do_lower_case) are followed when data are prepared. */
static fbt_status check_transformer(const char *folder)
{
    static const char *const names[] = {"sentence_bert_config.json",       "sentence_roberta_config.json",
                                        "sentence_distilbert_config.json", "sentence_camembert_config.json",
                                        "sentence_albert_config.json",     "sentence_xlm-roberta_config.json",
                                        "sentence_xlnet_config.json"};
    static const char *const known[] = {"max_seq_length",
                                        "do_lower_case",
                                        "transformer_task",
                                        "modality_config",
                                        "module_output_name",
                                        "unpad_inputs",
                                        NULL};
    fbt_status status = FBT_OK;
    fbt_json_file file = {0};
    bool is_there = false;
    bool is_lower;
    int64_t n;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !is_there; i++) {
        FBT_TRY(open_optional(folder, names[i], &file, &is_there));
    }
    if (is_there) {
        FBT_TRY(check_keys(&file, known));
        FBT_TRY(fbt_json_file_count(&file, "max_seq_length", 1, INT32_MAX, 1, &n));
        FBT_TRY(fbt_json_file_flag(&file, "do_lower_case", false, &is_lower));
        FBT_TRY(require_text(&file, "transformer_task", "feature-extraction"));
        FBT_TRY(require_text(&file, "module_output_name", "token_embeddings"));
        FBT_TRY(check_modality(&file));
    }
done:
    fbt_json_file_close(&file);
    return status;
}

/* How embeddings are compared and what stands before every text, unless a caller says otherwise. */
static fbt_status check_use(const char *folder, bool is_normalized)
{
    fbt_status status = FBT_OK;
    fbt_json_file file = {0};
    const char *similarity;
    const char *prompt;
    bool is_there;
    FBT_TRY(open_optional(folder, "config_sentence_transformers.json", &file, &is_there));
    if (!is_there) {
        goto done;
    }
    FBT_TRY(require_text(&file, "model_type", "SentenceTransformer"));
    FBT_TRY(fbt_json_file_text(&file, "similarity_fn_name", "cosine", &similarity));
    if (strcmp(similarity, "cosine") != 0 && !(is_normalized && strcmp(similarity, "dot") == 0)) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: similarity_fn_name is '%s'; this program compares by the cosine", file.path,
                 similarity);
    }
    FBT_TRY(fbt_json_file_text(&file, "default_prompt_name", "", &prompt));
    const json_t *text = json_object_get(fbt_json_file_find(&file, "prompts"), prompt);
    if (prompt[0] != '\0' && (!json_is_string(text) || json_string_length(text) > 0)) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: default_prompt_name is '%s', which puts a text before every input; write that "
                 "text into the task's template and set default_prompt_name to null",
                 file.path, prompt);
    }
done:
    fbt_json_file_close(&file);
    return status;
}

/* One entry of modules.json. Borrowed from it. */
typedef struct module {
    const char *type, *kind, *path; /* kind: the last part of type */
} module;

static fbt_status read_module(const fbt_json_file *file, size_t number, module *m)
{
    const json_t *entry = json_array_get(file->value, number);
    m->type = json_string_value(json_object_get(entry, "type"));
    m->path = json_string_value(json_object_get(entry, "path"));
    if (m->type == NULL || m->path == NULL) {
        return fbt_fail(FBT_ERR_MODEL, "%s: module %zu has no type or no path", file->path, number);
    }
    if (m->path[0] == '/' || strstr(m->path, "..") != NULL) {
        return fbt_fail(FBT_ERR_MODEL, "%s: module %zu lies in '%s', outside the model folder", file->path, number,
                        m->path);
    }
    const char *dot = strrchr(m->type, '.');
    m->kind = strncmp(m->type, "sentence_transformers.", 22) == 0 ? dot + 1 : m->type;
    return FBT_OK;
}

static fbt_status read_modules(const char *folder, const fbt_json_file *file, fbt_model_shape *shape)
{
    static const char *const order[] = {"Transformer", "Pooling", "Normalize"};
    fbt_status status = FBT_OK;
    const size_t n_modules = json_array_size(file->value);
    if (n_modules < 2) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: has no Transformer followed by a Pooling", file->path);
    }
    for (size_t i = 0; i < n_modules; i++) {
        module m = {0};
        const char *wanted = order[i < 2 ? i : 2];
        FBT_TRY(read_module(file, i, &m));
        if (strcmp(m.kind, wanted) != 0) {
            FBT_FAIL(FBT_ERR_MODEL,
                     "%s: module %zu is '%s', which is not computed; this program runs a Transformer, a "
                     "Pooling and Normalize modules, in this order",
                     file->path, i, m.type);
        }
        if (i == 0 && m.path[0] != '\0') {
            FBT_FAIL(FBT_ERR_MODEL,
                     "%s: the Transformer lies in '%s'; move its files beside modules.json and set its "
                     "path there to \"\"",
                     file->path, m.path);
        }
        FBT_TRY(i == 0   ? check_transformer(folder)
                : i == 1 ? read_pooling(folder, m.path, shape)
                         : check_normalize(folder, m.path));
    }
    FBT_TRY(check_use(folder, n_modules > 2));
done:
    return status;
}

fbt_status fbt_model_read_pooling(const char *folder, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    fbt_json_file file = {0};
    char *modules = NULL;
    char *pooling = NULL;
    shape->pooling = FBT_POOLING_MEAN;
    FBT_TRY(fbt_json_file_path(folder, "modules.json", &modules));
    FBT_TRY(fbt_json_file_path(folder, "1_Pooling", &pooling));
    if (access(modules, F_OK) == 0) {
        FBT_TRY(fbt_json_file_open(folder, "modules.json", true, &file));
        FBT_TRY(read_modules(folder, &file, shape));
    } else if (access(pooling, F_OK) == 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: is there, but modules.json, which says what it is for, is not; download it again",
                 pooling);
    }
done:
    fbt_json_file_close(&file);
    free(modules);
    free(pooling);
    return status;
}
