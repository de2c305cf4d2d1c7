#include "model/tensor_names.h"

#include "model/family.h"

#include <inttypes.h>
#include <stdio.h>

enum { NAME_BYTES = 256 };

/* The tensor called by the rule's name and `suffix`; NULL: there is none. `name` is written in any case. */
static const fbt_tensor *find(const fbt_tensor_source *source, const fbt_tensor_walk *walk, const fbt_tensor_rule *rule,
                              const char *suffix, char name[NAME_BYTES])
{
    const char *prefix = rule->part == FBT_PART_HEAD ? "" : source->prefix;
    if (rule->part == FBT_PART_LAYER) {
        snprintf(name, NAME_BYTES, "%s%s.%" PRId64 ".%s%s", prefix, walk->shape->family->tensors->layers, walk->layer,
                 rule->name, suffix);
    } else {
        snprintf(name, NAME_BYTES, "%s%s%s", prefix, rule->name, suffix);
    }
    return fbt_safetensors_find(source->files, name);
}

/* n_columns = 0: a vector. */
static fbt_status check_tensor(const fbt_tensor *tensor, int64_t n_rows, int64_t n_columns)
{
    const int64_t found_rows = tensor->n_dims > 0 ? tensor->shape[0] : 0;
    const int64_t found_columns = tensor->n_dims > 1 ? tensor->shape[1] : 0;
    fbt_dtype dtype;
    if (tensor->n_dims != (n_columns > 0 ? 2 : 1) || found_rows != n_rows || found_columns != n_columns) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: tensor '%s' has %d dimensions, [%" PRId64 ", %" PRId64
                        "], where config.json asks for %d, [%" PRId64 ", %" PRId64 "]",
                        tensor->path, tensor->name, tensor->n_dims, found_rows, found_columns, n_columns > 0 ? 2 : 1,
                        n_rows, n_columns);
    }
    return fbt_tensor_dtype(tensor, &dtype);
}

static fbt_status require(const fbt_tensor_source *source, const fbt_tensor_walk *walk, const fbt_tensor_rule *rule,
                          const char *suffix, int64_t n_columns, const fbt_tensor **tensor)
{
    char name[NAME_BYTES];
    const int64_t n_rows = fbt_shape_size(walk->shape, rule->rows) * (rule->n_slices > 0 ? rule->n_slices : 1);
    const bool is_transposed = rule->layout == FBT_LAYOUT_COLUMNS && n_columns > 0;
    *tensor = find(source, walk, rule, suffix, name);
    if (*tensor == NULL) {
        return fbt_fail(FBT_ERR_MODEL, "%s: tensor '%s' is missing", fbt_safetensors_path(source->files), name);
    }
    return is_transposed ? check_tensor(*tensor, n_columns, n_rows) : check_tensor(*tensor, n_rows, n_columns);
}

/* As require, where the shape says that there is such a vector. */
static fbt_status require_bias(const fbt_tensor_source *source, const fbt_tensor_walk *walk,
                               const fbt_tensor_rule *rule, const char *suffix, const fbt_tensor **tensor)
{
    *tensor = NULL;
    return walk->has_bias ? require(source, walk, rule, suffix, 0, tensor) : FBT_OK;
}

/* A matrix and its bias. A head is told by its matrix. */
static fbt_status find_dense(const fbt_tensor_source *source, const fbt_tensor_walk *walk, const fbt_tensor_rule *rule,
                             const fbt_tensor **weight, const fbt_tensor **bias)
{
    fbt_status status = FBT_OK;
    char name[NAME_BYTES];
    if (rule->part == FBT_PART_HEAD && find(source, walk, rule, ".weight", name) == NULL) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: the model has no %s (tensor '%s'), which a data set with a mask needs: %s",
                 fbt_safetensors_path(source->files), walk->shape->family->head, name,
                 walk->shape->family->head_remedy);
    }
    FBT_TRY(require(source, walk, rule, ".weight", walk->columns, weight));
    FBT_TRY(require_bias(source, walk, rule, ".bias", bias));
done:
    return status;
}

/* Older checkpoints call the two vectors gamma and beta; one that has both names says two things. */
static fbt_status find_norm(const fbt_tensor_source *source, const fbt_tensor_walk *walk, const fbt_tensor_rule *rule,
                            const fbt_tensor **gamma, const fbt_tensor **beta)
{
    fbt_status status = FBT_OK;
    char name[NAME_BYTES], old_name[NAME_BYTES];
    const bool has_new = find(source, walk, rule, ".weight", name) != NULL;
    const bool has_old = find(source, walk, rule, ".gamma", old_name) != NULL;
    if (has_new && has_old) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: holds both '%s' and '%s', which are one vector's new and old name",
                 fbt_safetensors_path(source->files), name, old_name);
    }
    FBT_TRY(require(source, walk, rule, has_old ? ".gamma" : ".weight", 0, gamma));
    FBT_TRY(require_bias(source, walk, rule, has_old ? ".beta" : ".bias", beta));
done:
    return status;
}

/* The output matrix: its own, or the word embeddings. transformers 5, too, takes a matrix of its own that differs from
 * the word embeddings, whatever tie_word_embeddings says. */
static fbt_status find_output(const fbt_tensor_source *source, const fbt_tensor_walk *walk, const fbt_tensor_rule *rule,
                              const fbt_tensor **output)
{
    char name[NAME_BYTES], other_name[NAME_BYTES];
    const fbt_tensor_rule other = {.part = rule->part, .name = rule->other_name};
    *output = find(source, walk, rule, ".weight", name);
    if (*output == NULL && rule->other_name != NULL) {
        *output = find(source, walk, &other, ".weight", other_name);
    }
    if (*output == NULL && walk->shape->is_untied) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: tensor '%s' is missing, and tie_word_embeddings is false: the word embeddings are not the "
                        "output matrix; %s",
                        fbt_safetensors_path(source->files), name, walk->shape->family->head_remedy);
    }
    if (*output == NULL) {
        *output = find(source, walk, &walk->shape->family->tensors->rules[0], ".weight", other_name);
    }
    return check_tensor(*output, walk->rows, walk->columns);
}

/* Where a checkpoint has the bias under both names, they are one parameter or, with an untied head, the matrix's own is
 * the one in use. */
static fbt_status find_labels(const fbt_tensor_source *source, const fbt_tensor_walk *walk, const fbt_tensor_rule *rule,
                              const fbt_tensor **output, const fbt_tensor **bias)
{
    fbt_status status = FBT_OK;
    char name[NAME_BYTES];
    const fbt_tensor_rule other = {.part = rule->part, .name = rule->other_bias, .rows = rule->rows};
    if (rule->other_bias != NULL && find(source, walk, rule, ".bias", name) == NULL) {
        FBT_TRY(require_bias(source, walk, &other, "", bias));
    } else {
        FBT_TRY(require_bias(source, walk, rule, ".bias", bias));
    }
    FBT_TRY(find_output(source, walk, rule, output));
done:
    return status;
}

fbt_status fbt_tensor_source_find(const fbt_tensor_source *source, const fbt_tensor_walk *walk, int64_t i,
                                  const fbt_tensor **first, const fbt_tensor **second)
{
    const fbt_tensor_rule *rule = &walk->rules[i];
    *first = *second = NULL;
    switch (rule->kind) {
    case FBT_TENSOR_TABLE:
        return require(source, walk, rule, ".weight", walk->columns, first);
    case FBT_TENSOR_DENSE:
        return find_dense(source, walk, rule, first, second);
    case FBT_TENSOR_NORM:
        return find_norm(source, walk, rule, first, second);
    case FBT_TENSOR_LABELS:
        return find_labels(source, walk, rule, first, second);
    case FBT_TENSOR_COMPUTED:
        return FBT_OK;
    }
    return fbt_fail(FBT_ERR_MODEL, "there is no kind %d of tensors", (int)rule->kind);
}

static const fbt_tensor *find_words(const fbt_safetensors *files, const fbt_tensor_table *table, const char *prefix)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s.weight", prefix, table->rules[0].name);
    return fbt_safetensors_find(files, name);
}

const fbt_tensor *fbt_tensor_word_embeddings(const fbt_safetensors *files, const fbt_model_shape *shape)
{
    const fbt_tensor_table *table = shape->family->tensors;
    const fbt_tensor *words = find_words(files, table, "");
    return words != NULL ? words : find_words(files, table, table->prefix);
}

/* Checkpoints name the model's tensors with their class's prefix or without. */
fbt_status fbt_tensor_source_open(const fbt_safetensors *files, const fbt_model_shape *shape, fbt_tensor_source *source)
{
    const fbt_tensor_table *table = shape->family->tensors;
    const char *const word = table->rules[0].name;
    const bool has_plain = find_words(files, table, "") != NULL;
    const bool has_prefixed = find_words(files, table, table->prefix) != NULL;
    *source = (fbt_tensor_source){.files = files, .prefix = has_prefixed ? table->prefix : ""};
    if (!has_plain && !has_prefixed) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: tensor '%s.weight' is missing (with prefix %s or none): these are not the weights of a "
                        "%s, which config.json's model_type says they are",
                        fbt_safetensors_path(files), word, table->prefix, shape->family->title);
    }
    if (has_plain && has_prefixed) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: holds '%s.weight' twice, with prefix %s and without: which of the two models is meant "
                        "cannot be told; remove the other",
                        fbt_safetensors_path(files), word, table->prefix);
    }
    return FBT_OK;
}
