#include "model/weights.h"

#include "base/memory.h"
#include "base/rng.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 256 };

/* The tensors' source while they are handed over: a folder's files, or random numbers where files is NULL. */
typedef struct loader {
    fbt_backend *b; /* NULL: names, shapes and types are checked, and nothing is read or handed over */
    const fbt_model_shape *shape;
    const fbt_model_options *options;
    const fbt_safetensors *files;
    uint64_t seed;
    uint32_t n_drawn;      /* random tensors so far */
    const char *prefix;    /* of the encoder's tensors: "roberta.", "bert." or "" */
    char base[NAME_BYTES]; /* what all names start with at the moment */
    float *weight;         /* room for the largest matrix */
    float *bias;
    fbt_weights *weights;
} loader;

static __attribute__((format(printf, 2, 3))) void set_base(loader *l, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(l->base, sizeof l->base, format, arguments);
    va_end(arguments);
}

static const fbt_tensor *find(const loader *l, const char *name, const char *suffix)
{
    char full[2 * NAME_BYTES];
    snprintf(full, sizeof full, "%s%s%s", l->base, name, suffix);
    return fbt_safetensors_find(l->files, full);
}

/* Uniform numbers of mean `centre` and standard deviation 0.02, as models are initialised. */
static void draw(loader *l, float centre, int64_t n, float *values)
{
    const float half_width = 0.02f * 1.7320508f;
    fbt_rng_stream stream = {.seed = l->seed, .purpose = FBT_RNG_SYNTHETIC, .round = l->n_drawn++};
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < (n + 3) / 4; block++) {
        uint32_t words[4];
        fbt_rng_block(&stream, (uint32_t)block, words);
        for (int64_t i = 4 * block; i < n && i < 4 * block + 4; i++) {
            values[i] = centre + half_width * ((float)(words[i % 4] >> 8) * 0x1p-23f - 1.0f);
        }
    }
}

/* n_columns = 0: a vector. */
static fbt_status check_shape(const fbt_tensor *tensor, int64_t n_rows, int64_t n_columns)
{
    int64_t found_rows = tensor->n_dims > 0 ? tensor->shape[0] : 0;
    int64_t found_columns = tensor->n_dims > 1 ? tensor->shape[1] : 0;
    if (tensor->n_dims != (n_columns > 0 ? 2 : 1) || found_rows != n_rows || found_columns != n_columns) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: tensor '%s' has %d dimensions, [%" PRId64 ", %" PRId64
                        "], where config.json asks for %d, [%" PRId64 ", %" PRId64 "]",
                        tensor->path, tensor->name, tensor->n_dims, found_rows, found_columns, n_columns > 0 ? 2 : 1,
                        n_rows, n_columns);
    }
    return FBT_OK;
}

static fbt_status find_required(const loader *l, const char *name, const char *suffix, int64_t n_rows,
                                int64_t n_columns, const fbt_tensor **tensor)
{
    *tensor = find(l, name, suffix);
    if (*tensor == NULL) {
        return fbt_fail(FBT_ERR_MODEL, "%s: tensor '%s%s%s' is missing", fbt_safetensors_path(l->files), l->base, name,
                        suffix);
    }
    return check_shape(*tensor, n_rows, n_columns);
}

static fbt_status check_dtype(const fbt_tensor *tensor)
{
    fbt_dtype dtype;
    return fbt_tensor_dtype(tensor, &dtype);
}

/* All of a tensor as floats. Its pages are not needed again. */
static fbt_status take(loader *l, const char *name, const char *suffix, int64_t n_rows, int64_t n_columns,
                       float *values)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *tensor;
    if (l->files == NULL) {
        draw(l, 0, n_columns > 0 ? n_rows * n_columns : n_rows, values);
        goto done;
    }
    FBT_TRY(find_required(l, name, suffix, n_rows, n_columns, &tensor));
    if (l->b == NULL) {
        FBT_TRY(check_dtype(tensor));
        goto done;
    }
    FBT_TRY(fbt_tensor_floats(tensor, 0, tensor->n_items, values));
    fbt_tensor_release_pages(tensor);
done:
    return status;
}

static fbt_status give_buffer(loader *l, const float *values, int64_t n, fbt_buffer **buffer)
{
    fbt_status status = FBT_OK;
    int64_t n_bytes = n * (int64_t)sizeof *values;
    if (l->b == NULL) {
        return FBT_OK;
    }
    FBT_TRY(fbt_buffer_new(l->b, n_bytes, buffer));
    FBT_TRY(fbt_buffer_write(l->b, *buffer, values, n_bytes));
    l->weights->n_parameters += n;
done:
    return status;
}

/* As take, of what goes into a matrix. */
static fbt_status take_matrix(loader *l, const char *name, const char *suffix, int64_t n_rows, int64_t n_columns,
                              float *values)
{
    const fbt_tensor *tensor;
    if (l->options->is_imported && l->files != NULL) {
        return find_required(l, name, suffix, n_rows, n_columns, &tensor);
    }
    return take(l, name, suffix, n_rows, n_columns, values);
}

/* Linear layers `names`, [n_out, n_in] each, stacked to one matrix. */
static fbt_status load_dense(loader *l, const char *const *names, int64_t n_names, int64_t n_out, int64_t n_in,
                             fbt_dense *dense)
{
    fbt_status status = FBT_OK;
    for (int64_t i = 0; i < n_names; i++) {
        FBT_TRY(take_matrix(l, names[i], ".weight", n_out, n_in, l->weight + i * n_out * n_in));
        FBT_TRY(take_matrix(l, names[i], ".bias", n_out, 0, l->bias + i * n_out));
    }
    dense->n_out = n_names * n_out;
    dense->n_in = n_in;
    if (l->b == NULL) {
        goto done;
    }
    FBT_TRY(fbt_matrix_new(
        l->b,
        &(fbt_matrix_spec){.weight = l->weight, .dtype = FBT_F32, .bias = l->bias, .n_out = dense->n_out, .n_in = n_in},
        &dense->matrix));
    l->weights->n_parameters += dense->n_out * (n_in + 1);
done:
    return status;
}

/* Older checkpoints call the two vectors gamma and beta; one that has both names says two things. */
static fbt_status load_norm(loader *l, const char *name, fbt_norm_weights *norm)
{
    fbt_status status = FBT_OK;
    int64_t n = l->shape->n_hidden;
    int is_old = l->files != NULL && find(l, name, ".weight") == NULL && find(l, name, ".gamma") != NULL;
    if (l->files != NULL && !is_old && find(l, name, ".gamma") != NULL) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: holds both '%s%s.weight' and '%s%s.gamma', which are one vector's new and old name",
                 fbt_safetensors_path(l->files), l->base, name, l->base, name);
    }
    if (l->files == NULL) {
        draw(l, 1, n, l->bias);
    } else {
        FBT_TRY(take(l, name, is_old ? ".gamma" : ".weight", n, 0, l->bias));
    }
    FBT_TRY(give_buffer(l, l->bias, n, &norm->gamma));
    FBT_TRY(take(l, name, is_old ? ".beta" : ".bias", n, 0, l->bias));
    FBT_TRY(give_buffer(l, l->bias, n, &norm->beta));
done:
    return status;
}

/* A file's table where it can be read in place, else a copy. */
static fbt_status load_table(loader *l, const char *name, int64_t n_rows, float **copy, fbt_table **table,
                             size_t *item_bytes)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *tensor = NULL;
    int64_t n_columns = l->shape->n_hidden;
    const void *rows;
    fbt_dtype dtype = FBT_F32;
    if (l->files != NULL) {
        FBT_TRY(find_required(l, name, ".weight", n_rows, n_columns, &tensor));
        FBT_TRY(fbt_tensor_dtype(tensor, &dtype));
    }
    if (l->b == NULL) {
        goto done;
    }
    if (tensor != NULL && (uintptr_t)tensor->data % fbt_dtype_bytes(dtype) == 0) {
        FBT_TRY(fbt_tensor_check_finite(tensor));
        rows = tensor->data;
    } else {
        dtype = FBT_F32;
        FBT_TRY(fbt_memory_alloc(copy, n_rows * n_columns, sizeof **copy));
        FBT_TRY(take(l, name, ".weight", n_rows, n_columns, *copy));
        rows = *copy;
    }
    FBT_TRY(fbt_table_new(l->b, rows, dtype, n_rows, n_columns, table));
    *item_bytes = fbt_dtype_bytes(dtype);
    l->weights->n_parameters += n_rows * n_columns;
done:
    return status;
}

/* Population standard deviation of the word embeddings, in double and in one order. */
static fbt_status measure_embedding(loader *l, const float *copy, double *deviation)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *tensor = copy == NULL ? find(l, "word_embeddings", ".weight") : NULL;
    int64_t n_columns = l->shape->n_hidden;
    double sum = 0;
    double sum_squares = 0;
    for (int64_t i = 0; i < l->shape->vocab_size; i++) {
        const float *row = copy == NULL ? l->bias : copy + i * n_columns;
        double row_sum = 0;
        double row_squares = 0;
        if (copy == NULL) {
            FBT_TRY(fbt_tensor_floats(tensor, i * n_columns, n_columns, l->bias));
        }
        for (int64_t j = 0; j < n_columns; j++) {
            row_sum += row[j];
            row_squares += (double)row[j] * row[j];
        }
        sum += row_sum;
        sum_squares += row_squares;
    }
    double n_items = (double)l->shape->vocab_size * (double)n_columns;
    *deviation = sqrt(fmax(0, sum_squares / n_items - sum / n_items * (sum / n_items)));
    if (tensor != NULL) {
        fbt_tensor_release_pages(tensor);
    }
done:
    return status;
}

static fbt_status load_embeddings(loader *l)
{
    fbt_status status = FBT_OK;
    const fbt_model_shape *s = l->shape;
    fbt_weights *w = l->weights;
    size_t type_bytes;
    set_base(l, "%sembeddings.", l->prefix);
    FBT_TRY(load_table(l, "word_embeddings", s->vocab_size, &w->copies[0], &w->word, &w->word_bytes));
    FBT_TRY(load_table(l, "position_embeddings", s->n_positions + s->position_offset, &w->copies[1], &w->position,
                       &w->position_bytes));
    if (s->n_types > 0) {
        FBT_TRY(load_table(l, "token_type_embeddings", s->n_types, &w->copies[2], &w->type, &type_bytes));
    }
    FBT_TRY(load_norm(l, "LayerNorm", &w->embedding_norm));
    if (l->b != NULL) {
        FBT_TRY(measure_embedding(l, w->copies[0], &w->embedding_std));
    }
done:
    return status;
}

static fbt_status load_layer(loader *l, int64_t index, int is_split, fbt_layer *layer)
{
    static const char *const attention[] = {"attention.self.query", "attention.self.key", "attention.self.value"};
    static const char *const output[] = {"attention.output.dense"};
    static const char *const up[] = {"intermediate.dense"};
    static const char *const down[] = {"output.dense"};
    fbt_status status = FBT_OK;
    int64_t n_hidden = l->shape->n_hidden;
    int64_t n_wide = l->shape->n_intermediate;
    set_base(l, "%sencoder.layer.%" PRId64 ".", l->prefix, index);
    if (is_split) {
        FBT_TRY(load_dense(l, attention, 1, n_hidden, n_hidden, &layer->query));
        FBT_TRY(load_dense(l, attention + 1, 2, n_hidden, n_hidden, &layer->key_value));
    } else {
        FBT_TRY(load_dense(l, attention, 3, n_hidden, n_hidden, &layer->qkv));
    }
    FBT_TRY(load_dense(l, output, 1, n_hidden, n_hidden, &layer->output));
    FBT_TRY(load_norm(l, "attention.output.LayerNorm", &layer->output_norm));
    FBT_TRY(load_dense(l, up, 1, n_wide, n_hidden, &layer->up));
    FBT_TRY(load_dense(l, down, 1, n_hidden, n_wide, &layer->down));
    FBT_TRY(load_norm(l, "output.LayerNorm", &layer->down_norm));
done:
    return status;
}

/* The output matrix of a masked language model: its own, or the word embeddings. transformers 5, too, takes a matrix of
 * its own that differs from the word embeddings, whatever tie_word_embeddings says. */
static fbt_status find_decoder(loader *l, const fbt_tensor **decoder)
{
    const fbt_model_shape *s = l->shape;
    *decoder = find(l, "decoder", ".weight");
    if (*decoder == NULL && s->is_untied) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: tensor '%sdecoder.weight' is missing, and tie_word_embeddings is false in config.json",
                        fbt_safetensors_path(l->files), l->base);
    }
    if (*decoder == NULL) {
        set_base(l, "%sembeddings.", l->prefix);
        *decoder = find(l, "word_embeddings", ".weight");
    }
    return check_shape(*decoder, s->vocab_size, s->n_hidden);
}

/* The label words' rows of the output matrix and entries of its bias. Where a checkpoint has both `decoder.bias` and
 * `bias`, they are one parameter under two names or, with an untied head, the former is the one in use.
 * `base`: what the head's names start with. */
static fbt_status load_label_rows(loader *l, const char *base, float *rows, float *bias)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *decoder;
    int64_t n_hidden = l->shape->n_hidden;
    set_base(l, "%s", base);
    const fbt_tensor *offsets = find(l, "decoder", ".bias");
    if (offsets == NULL) {
        FBT_TRY(find_required(l, "bias", "", l->shape->vocab_size, 0, &offsets));
    }
    FBT_TRY(check_shape(offsets, l->shape->vocab_size, 0));
    FBT_TRY(find_decoder(l, &decoder));
    FBT_TRY(check_dtype(offsets));
    FBT_TRY(check_dtype(decoder));
    for (int64_t i = 0; i < l->options->n_labels; i++) {
        int64_t id = l->options->label_token_ids[i];
        FBT_TRY(fbt_tensor_floats(decoder, id * n_hidden, n_hidden, rows + i * n_hidden));
        FBT_TRY(fbt_tensor_floats(offsets, id, 1, bias + i));
    }
done:
    return status;
}

static fbt_status load_labels(loader *l, const char *base, fbt_head *head)
{
    fbt_status status = FBT_OK;
    float *rows = NULL;
    int64_t n_labels = l->options->n_labels;
    int64_t n_rows = n_labels * l->shape->n_hidden;
    FBT_TRY(fbt_memory_alloc(&rows, n_rows + n_labels, sizeof *rows));
    if (l->files == NULL) {
        draw(l, 0, n_rows + n_labels, rows);
    } else {
        FBT_TRY(load_label_rows(l, base, rows, rows + n_rows));
    }
    FBT_TRY(give_buffer(l, rows, n_rows, &head->labels));
    FBT_TRY(give_buffer(l, rows + n_rows, n_labels, &head->bias));
done:
    free(rows);
    return status;
}

/* RoBERTa's head always uses erf-GELU, BERT's the layers' activation. */
static fbt_status load_head(loader *l, fbt_head *head)
{
    static const char *const roberta[] = {"dense"};
    static const char *const bert[] = {"transform.dense"};
    fbt_status status = FBT_OK;
    int is_bert = strcmp(l->shape->family, "bert") == 0;
    const char *base = is_bert ? "cls.predictions." : "lm_head.";
    set_base(l, "%s", base);
    if (l->files != NULL && find(l, is_bert ? bert[0] : roberta[0], ".weight") == NULL) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: the model has no masked language model head (tensor '%s%s.weight'), which a data set with a mask "
                 "needs: "
                 "use the ForMaskedLM checkpoint, or prepare the data set for embedding readout",
                 fbt_safetensors_path(l->files), l->base, is_bert ? bert[0] : roberta[0]);
    }
    head->activation = is_bert ? l->shape->activation : FBT_ACT_GELU_ERF;
    FBT_TRY(load_dense(l, is_bert ? bert : roberta, 1, l->shape->n_hidden, l->shape->n_hidden, &head->dense));
    FBT_TRY(load_norm(l, is_bert ? "transform.LayerNorm" : "layer_norm", &head->norm));
    FBT_TRY(load_labels(l, base, head));
done:
    return status;
}

/* Checkpoints name the encoder's tensors with their class's prefix or without. */
static fbt_status find_prefix(loader *l)
{
    const bool is_bert = strcmp(l->shape->family, "bert") == 0;
    const char *const prefixes[] = {"", is_bert ? "bert." : "roberta."};
    int n_found = 0;
    l->prefix = "";
    if (l->files == NULL) {
        return FBT_OK;
    }
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        set_base(l, "%sembeddings.", prefixes[i]);
        if (find(l, "word_embeddings", ".weight") != NULL) {
            l->prefix = prefixes[i];
            n_found++;
        }
    }
    if (n_found == 0) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: tensor 'embeddings.word_embeddings.weight' is missing (with prefix %s or none): these are "
                        "not the weights of a %s encoder, which config.json's model_type says they are",
                        fbt_safetensors_path(l->files), prefixes[1], is_bert ? "BERT" : "RoBERTa");
    }
    if (n_found > 1) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: holds 'embeddings.word_embeddings.weight' twice, with prefix %s and without: which of the "
                        "two encoders is the model's cannot be told; remove the other",
                        fbt_safetensors_path(l->files), prefixes[1]);
    }
    return FBT_OK;
}

/* Before memory is taken by config.json's word: what it says must be what the files hold. */
static fbt_status check_sizes(loader *l)
{
    fbt_status status = FBT_OK;
    const fbt_model_shape *s = l->shape;
    const fbt_tensor *tensor;
    set_base(l, "%sembeddings.", l->prefix);
    FBT_TRY(find_required(l, "word_embeddings", ".weight", s->vocab_size, s->n_hidden, &tensor));
    set_base(l, "%sencoder.layer.0.", l->prefix);
    FBT_TRY(find_required(l, "attention.self.query", ".weight", s->n_hidden, s->n_hidden, &tensor));
    FBT_TRY(find_required(l, "intermediate.dense", ".weight", s->n_intermediate, s->n_hidden, &tensor));
done:
    return status;
}

static fbt_status load_all(loader *l)
{
    fbt_status status = FBT_OK;
    const fbt_model_shape *s = l->shape;
    fbt_weights *w = l->weights;
    int64_t n_wide = s->n_intermediate > 3 * s->n_hidden ? s->n_intermediate : 3 * s->n_hidden;
    FBT_TRY(find_prefix(l));
    if (l->files != NULL) {
        FBT_TRY(check_sizes(l));
    }
    FBT_TRY(fbt_memory_alloc(&l->weight, n_wide * s->n_hidden, sizeof *l->weight));
    FBT_TRY(fbt_memory_alloc(&l->bias, n_wide, sizeof *l->bias));
    FBT_TRY(fbt_memory_alloc(&w->layers, s->n_layers, sizeof *w->layers));
    w->n_layers = s->n_layers;
    w->splits_last_layer = fbt_model_reads_one_row(s, l->options->readout) && !l->options->full_last_layer;
    FBT_TRY(load_embeddings(l));
    for (int64_t i = 0; i < s->n_layers; i++) {
        FBT_TRY(load_layer(l, i, w->splits_last_layer && i == s->n_layers - 1, &w->layers[i]));
    }
    if (l->options->readout == FBT_READOUT_MASK) {
        FBT_TRY(load_head(l, &w->head));
    }
done:
    free(l->weight);
    free(l->bias);
    return status;
}

fbt_status fbt_weights_load(fbt_backend *b, const char *folder, uint64_t seed, const fbt_model_shape *shape,
                            const fbt_model_options *options, fbt_weights *weights)
{
    fbt_status status = FBT_OK;
    if (folder != NULL) {
        FBT_TRY(fbt_safetensors_open(folder, &weights->files));
    }
    FBT_TRY(load_all(&(loader){
        .b = b, .shape = shape, .options = options, .files = weights->files, .seed = seed, .weights = weights}));
done:
    return status;
}

fbt_status fbt_weights_check(const fbt_safetensors *files, const fbt_model_shape *shape, fbt_readout readout)
{
    fbt_weights weights = {0};
    const fbt_model_options options = {.readout = readout};
    const fbt_status status =
        load_all(&(loader){.shape = shape, .options = &options, .files = files, .weights = &weights});
    free(weights.layers);
    return status;
}

static void clear_norm(fbt_backend *b, fbt_norm_weights *norm)
{
    fbt_buffer_free(b, norm->gamma);
    fbt_buffer_free(b, norm->beta);
}

static void clear_layer(fbt_backend *b, fbt_layer *layer)
{
    fbt_dense *const all[] = {&layer->qkv, &layer->query, &layer->key_value, &layer->output, &layer->up, &layer->down};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        fbt_matrix_free(b, all[i]->matrix);
    }
    clear_norm(b, &layer->output_norm);
    clear_norm(b, &layer->down_norm);
}

void fbt_weights_clear(fbt_backend *b, fbt_weights *weights)
{
    for (int64_t i = 0; i < weights->n_layers; i++) {
        clear_layer(b, &weights->layers[i]);
    }
    free(weights->layers);
    fbt_table_free(b, weights->word);
    fbt_table_free(b, weights->position);
    fbt_table_free(b, weights->type);
    clear_norm(b, &weights->embedding_norm);
    fbt_matrix_free(b, weights->head.dense.matrix);
    clear_norm(b, &weights->head.norm);
    fbt_buffer_free(b, weights->head.labels);
    fbt_buffer_free(b, weights->head.bias);
    for (size_t i = 0; i < sizeof weights->copies / sizeof weights->copies[0]; i++) {
        free(weights->copies[i]);
    }
    fbt_safetensors_close(weights->files);
    *weights = (fbt_weights){0};
}
