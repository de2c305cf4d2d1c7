#include "model/weights.h"

#include "base/memory.h"
#include "base/rng.h"
#include "model/family.h"
#include "model/tensor_names.h"
#include "model/tensor_read.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The tensors' source while they are handed over: a folder's files, or random numbers where has_files is false. */
typedef struct loader {
    fbt_backend *b;
    const fbt_model_options *options;
    bool has_files;
    fbt_tensor_source source;
    uint64_t seed;
    uint32_t n_drawn; /* random tensors so far */
    fbt_dtype dtype;  /* of `weight`: that in which the backend stores matrices, so that no wider copy is made */
    void *weight;     /* memory for the largest matrix */
    float *bias;      /*   and its bias */
    fbt_weights *weights;
    fbt_tensor_walk walk;
} loader;

/* Uniform numbers of mean `centre` and standard deviation 0.02, as models are initialised; dtype: F32 or BF16. */
static void draw(loader *l, float centre, int64_t n, fbt_dtype dtype, void *values)
{
    const float half_width = 0.02f * 1.7320508f;
    fbt_rng_stream stream = {.seed = l->seed, .purpose = FBT_RNG_SYNTHETIC, .round = l->n_drawn++};
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < (n + 3) / 4; block++) {
        uint32_t words[4];
        fbt_rng_block(&stream, (uint32_t)block, words);
        for (int64_t i = 4 * block; i < n && i < 4 * block + 4; i++) {
            const float unit = (float)(words[i % 4] >> 8) * 0x1p-23f - 1.0f;
            fbt_tensor_store(dtype, values, i, centre + half_width * unit);
        }
    }
}

/* All of a tensor as floats. Its pages are not needed again. */
static fbt_status read_all(const fbt_tensor *tensor, float *values)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_tensor_floats(tensor, 0, tensor->n_items, values));
    fbt_tensor_release_pages(tensor);
done:
    return status;
}

static fbt_status give_buffer(loader *l, const float *values, int64_t n, fbt_buffer **buffer)
{
    fbt_status status = FBT_OK;
    const int64_t n_bytes = n * (int64_t)sizeof *values;
    FBT_TRY(fbt_buffer_new(l->b, n_bytes, buffer));
    FBT_TRY(fbt_buffer_write(l->b, *buffer, values, n_bytes));
done:
    return status;
}

/* Reads rule number i of the step; nothing again that another process has handed over already. */
static fbt_status read_matrix(loader *l, int64_t i, void *weight, float *bias)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *tensors[2];
    const fbt_tensor_slice slice = fbt_tensor_slice_of(&l->walk, i);
    if (!l->has_files) {
        draw(l, 0, slice.rows * slice.columns, l->dtype, weight);
        draw(l, 0, slice.rows, FBT_F32, bias);
    } else if (!l->options->is_imported) {
        FBT_TRY(fbt_tensor_source_find(&l->source, &l->walk, i, &tensors[0], &tensors[1]));
        FBT_TRY(fbt_tensor_read_matrix(tensors[0], &slice, l->dtype, weight));
        FBT_TRY(tensors[1] != NULL ? fbt_tensor_read_bias(tensors[1], &slice, bias) : FBT_OK);
    }
done:
    return status;
}

/* The step's matrices, stacked to one. */
static fbt_status load_dense(loader *l, fbt_matrix **matrix)
{
    fbt_status status = FBT_OK;
    const fbt_tensor_walk *w = &l->walk;
    const int64_t row_bytes = w->columns * (int64_t)fbt_dtype_bytes(l->dtype);
    for (int64_t i = 0, row = 0; i < w->n_rules; row += fbt_tensor_walk_rows(w, i), i++) {
        FBT_TRY(read_matrix(l, i, (char *)l->weight + row * row_bytes, l->bias + row));
    }
    FBT_TRY(fbt_matrix_new(l->b,
                           &(fbt_matrix_spec){.weight = l->weight,
                                              .dtype = l->dtype,
                                              .bias = w->has_bias ? l->bias : NULL,
                                              .n_out = w->rows,
                                              .n_in = w->columns,
                                              .types = fbt_tensor_walk_types(w, fbt_backend_types(l->b)),
                                              .operation = w->rules->operation},
                           matrix));
done:
    return status;
}

/* A norm without second vector is an RMS norm. */
static fbt_status load_norm(loader *l, fbt_norm *norm)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *tensors[2] = {NULL, NULL}; /* random weights have none */
    const int64_t n = l->walk.rows;
    fbt_buffer *vectors[2] = {NULL, NULL};
    if (l->has_files) {
        FBT_TRY(fbt_tensor_source_find(&l->source, &l->walk, 0, &tensors[0], &tensors[1]));
    }
    for (int i = 0; i < (l->walk.has_bias ? 2 : 1); i++) {
        if (tensors[i] != NULL) {
            FBT_TRY(read_all(tensors[i], l->bias));
        } else {
            draw(l, i == 0 ? 1 : 0, n, FBT_F32, l->bias);
        }
        FBT_TRY(give_buffer(l, l->bias, n, &vectors[i]));
    }
done:
    *norm = (fbt_norm){.gamma = vectors[0],
                       .beta = vectors[1],
                       .epsilon = l->walk.shape->epsilon,
                       .kind = l->walk.has_bias ? FBT_NORM_LAYER : FBT_NORM_RMS};
    return status;
}

/* A file's table where it can be read in place, else a copy. */
static fbt_status load_table(loader *l, fbt_lookup *lookup)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *tensor = NULL, *none;
    const int64_t n_rows = l->walk.rows, n_columns = l->walk.columns;
    const void *rows;
    fbt_dtype dtype = FBT_F32;
    if (l->has_files) {
        FBT_TRY(fbt_tensor_source_find(&l->source, &l->walk, 0, &tensor, &none));
        FBT_TRY(fbt_tensor_dtype(tensor, &dtype));
    }
    if (tensor != NULL && (uintptr_t)tensor->data % fbt_dtype_bytes(dtype) == 0) {
        FBT_TRY(fbt_tensor_check_finite(tensor));
        rows = tensor->data;
    } else {
        dtype = FBT_F32;
        FBT_TRY(fbt_memory_alloc(&lookup->copy, n_rows * n_columns, sizeof *lookup->copy));
        if (tensor != NULL) {
            FBT_TRY(read_all(tensor, lookup->copy));
        } else {
            draw(l, 0, n_rows * n_columns, FBT_F32, lookup->copy);
        }
        rows = lookup->copy;
    }
    FBT_TRY(fbt_table_new(l->b, rows, dtype, n_rows, n_columns, &lookup->table));
done:
    return status;
}

static fbt_status load_computed(loader *l, fbt_lookup *lookup)
{
    fbt_status status = FBT_OK;
    const fbt_tensor_walk *w = &l->walk;
    FBT_TRY(fbt_memory_alloc(&lookup->copy, w->rows * w->columns, sizeof *lookup->copy));
    w->rules->compute(w->shape, lookup->copy);
    FBT_TRY(fbt_table_new(l->b, lookup->copy, FBT_F32, w->rows, w->columns, &lookup->table));
done:
    return status;
}

/* Population standard deviation of the word embeddings, which the walk is at, in double and in one order. */
static fbt_status measure_embedding(loader *l, const float *copy, double *deviation)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *tensor = NULL, *none;
    const int64_t n_rows = l->walk.rows, n_columns = l->walk.columns;
    double sum = 0, sum_squares = 0;
    if (copy == NULL) {
        FBT_TRY(fbt_tensor_source_find(&l->source, &l->walk, 0, &tensor, &none));
    }
    for (int64_t i = 0; i < n_rows; i++) {
        const float *row = copy == NULL ? l->bias : copy + i * n_columns;
        double row_sum = 0, row_squares = 0;
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
    const double n_items = (double)n_rows * (double)n_columns;
    *deviation = sqrt(fmax(0, sum_squares / n_items - sum / n_items * (sum / n_items)));
    if (tensor != NULL) {
        fbt_tensor_release_pages(tensor);
    }
done:
    return status;
}

/* The label words' rows of the output matrix and entries of its bias. */
static fbt_status read_label_rows(loader *l, float *rows, float *bias)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *output, *offsets;
    const int64_t n_columns = l->walk.columns;
    FBT_TRY(fbt_tensor_source_find(&l->source, &l->walk, 0, &output, &offsets));
    for (int64_t i = 0; i < l->options->n_labels; i++) {
        const int64_t id = l->options->label_token_ids[i];
        FBT_TRY(fbt_tensor_floats(output, id * n_columns, n_columns, rows + i * n_columns));
        FBT_TRY(offsets != NULL ? fbt_tensor_floats(offsets, id, 1, bias + i) : FBT_OK);
    }
done:
    return status;
}

/* Whether the output matrix is that of the word embeddings. */
static fbt_status is_output_tied(const loader *l, bool *is_tied)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *output, *none;
    *is_tied = !l->walk.shape->is_untied;
    if (l->has_files) {
        FBT_TRY(fbt_tensor_source_find(&l->source, &l->walk, 0, &output, &none));
        *is_tied = output == fbt_tensor_word_embeddings(l->weights->files, l->walk.shape);
    }
done:
    return status;
}

/* All words' rows, as a table: it is read where the file has it, and takes no memory where it is there already. */
static fbt_status load_output(loader *l, fbt_head_weights *head)
{
    fbt_status status = FBT_OK;
    bool is_tied;
    if (l->walk.has_bias) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "the model's output matrix has a bias, with which labels are scored by their "
                                      "first tokens alone: set model.label_scoring to first");
    }
    FBT_TRY(is_output_tied(l, &is_tied));
    FBT_TRY(is_tied ? FBT_OK : load_table(l, &head->output));
done:
    return status;
}

static fbt_status load_labels(loader *l, fbt_label_rows *labels)
{
    fbt_status status = FBT_OK;
    float *rows = NULL;
    const int64_t n_labels = l->options->n_labels, n_items = n_labels * l->walk.columns;
    FBT_TRY(fbt_memory_alloc(&rows, n_items + n_labels, sizeof *rows));
    if (l->has_files) {
        FBT_TRY(read_label_rows(l, rows, rows + n_items));
    } else {
        draw(l, 0, n_items + n_labels, FBT_F32, rows);
    }
    FBT_TRY(give_buffer(l, rows, n_items, &labels->rows));
    FBT_TRY(l->walk.has_bias ? give_buffer(l, rows + n_items, n_labels, &labels->bias) : FBT_OK);
done:
    free(rows);
    return status;
}

/* Where the step's parameters go. */
static void *place_of(fbt_weights *weights, const fbt_tensor_walk *walk)
{
    void *const whole[] = {
        [FBT_PART_MODEL] = weights, [FBT_PART_LAYER] = &weights->layers[walk->layer], [FBT_PART_HEAD] = &weights->head};
    return (char *)whole[walk->rules->part] + walk->to;
}

static fbt_status load_step(loader *l)
{
    void *place = place_of(l->weights, &l->walk);
    switch (l->walk.rules->kind) {
    case FBT_TENSOR_TABLE:
        return load_table(l, place);
    case FBT_TENSOR_COMPUTED:
        return load_computed(l, place);
    case FBT_TENSOR_DENSE:
        return load_dense(l, place);
    case FBT_TENSOR_NORM:
        return load_norm(l, place);
    case FBT_TENSOR_LABELS:
        return fbt_model_scores_tokens(l->options) ? load_output(l, &l->weights->head) : load_labels(l, place);
    }
    return FBT_OK;
}

/* Before memory is taken by config.json's word: what it says must be what the files hold. */
static fbt_status check_all(const fbt_tensor_source *source, const fbt_model_shape *shape, fbt_readout readout)
{
    fbt_status status = FBT_OK;
    const fbt_tensor *tensors[2];
    fbt_tensor_walk walk = fbt_tensor_walk_begin(shape, readout, false);
    while (fbt_tensor_walk_next(&walk)) {
        for (int64_t i = 0; i < walk.n_rules; i++) {
            FBT_TRY(fbt_tensor_source_find(source, &walk, i, &tensors[0], &tensors[1]));
        }
    }
done:
    return status;
}

/* Memory for the largest matrix, its bias, and a row of any table or vector. */
static fbt_status new_scratch(loader *l)
{
    fbt_status status = FBT_OK;
    int64_t n_weights = 1, n_bias = 1;
    for (fbt_tensor_walk w = l->walk; fbt_tensor_walk_next(&w);) {
        const bool is_vector = w.rules->kind == FBT_TENSOR_DENSE || w.rules->kind == FBT_TENSOR_NORM;
        const int64_t n = w.rules->kind == FBT_TENSOR_DENSE ? w.rows * w.columns : 0;
        const int64_t n_row = is_vector ? w.rows : w.columns;
        n_weights = n > n_weights ? n : n_weights;
        n_bias = n_row > n_bias ? n_row : n_bias;
    }
    FBT_TRY(fbt_memory_alloc(&l->weight, n_weights, fbt_dtype_bytes(l->dtype)));
    FBT_TRY(fbt_memory_alloc(&l->bias, n_bias, sizeof *l->bias));
done:
    return status;
}

static fbt_status load_all(loader *l)
{
    fbt_status status = FBT_OK;
    fbt_weights *w = l->weights;
    FBT_TRY(new_scratch(l));
    FBT_TRY(fbt_memory_alloc(&w->layers, w->shape->n_layers, sizeof *w->layers));
    while (fbt_tensor_walk_next(&l->walk)) {
        const fbt_tensor_items items = fbt_tensor_walk_items(&l->walk, l->options->n_labels);
        FBT_TRY(load_step(l));
        w->n_parameters += items.matrix + items.table + items.vector;
        if (l->walk.rules == w->shape->family->tensors->rules) {
            FBT_TRY(measure_embedding(l, w->word.copy, &w->embedding_std));
        }
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
    const bool is_split = fbt_model_splits_last_layer(shape, options);
    const bool is_bf16 = fbt_backend_types(b)->weights == FBT_BF16;
    loader l = {.b = b,
                .options = options,
                .has_files = folder != NULL,
                .seed = seed,
                .dtype = is_bf16 ? FBT_BF16 : FBT_F32,
                .weights = weights};
    *weights = (fbt_weights){.shape = shape, .readout = options->readout, .splits_last_layer = is_split};
    l.walk = fbt_tensor_walk_begin(shape, options->readout, is_split);
    if (folder != NULL) {
        FBT_TRY(fbt_safetensors_open(folder, &weights->files));
        FBT_TRY(fbt_tensor_source_open(weights->files, shape, &l.source));
        FBT_TRY(check_all(&l.source, shape, options->readout));
    }
    FBT_TRY(load_all(&l));
done:
    return status;
}

fbt_status fbt_weights_word_rows(const fbt_weights *weights, const int32_t *token_ids, int64_t n, float *rows)
{
    fbt_status status = FBT_OK;
    const fbt_model_shape *shape = weights->shape;
    const int64_t h = shape->n_hidden;
    const float *copy = weights->word.copy;
    const fbt_tensor *tensor = copy != NULL ? NULL : fbt_tensor_word_embeddings(weights->files, shape);
    for (int64_t i = 0; i < n; i++) {
        const int64_t id = token_ids[i];
        if (id < 0 || id >= shape->vocab_size) {
            FBT_FAIL(FBT_ERR_ARG, "word %" PRId64 " is token %" PRId64 ", outside the model's vocabulary of %" PRId64,
                     i, id, shape->vocab_size);
        }
        if (copy != NULL) {
            memcpy(rows + i * h, copy + id * h, (size_t)h * sizeof *rows);
        } else {
            FBT_TRY(fbt_tensor_floats(tensor, id * h, h, rows + i * h));
        }
    }
done:
    return status;
}

fbt_status fbt_weights_check(const fbt_safetensors *files, const fbt_model_shape *shape, fbt_readout readout)
{
    fbt_status status = FBT_OK;
    fbt_tensor_source source;
    FBT_TRY(fbt_tensor_source_open(files, shape, &source));
    FBT_TRY(check_all(&source, shape, readout));
done:
    return status;
}

static void free_buffer(fbt_backend *b, const fbt_buffer *buffer)
{
    fbt_buffer_free(b, (fbt_buffer *)(uintptr_t)buffer);
}

static void free_step(fbt_backend *b, const fbt_tensor_rule *rule, void *place)
{
    switch (rule->kind) {
    case FBT_TENSOR_TABLE:
    case FBT_TENSOR_COMPUTED:
        fbt_table_free(b, ((fbt_lookup *)place)->table);
        free(((fbt_lookup *)place)->copy);
        break;
    case FBT_TENSOR_DENSE:
        fbt_matrix_free(b, *(fbt_matrix **)place);
        break;
    case FBT_TENSOR_NORM:
        free_buffer(b, ((fbt_norm *)place)->gamma);
        free_buffer(b, ((fbt_norm *)place)->beta);
        break;
    case FBT_TENSOR_LABELS:
        break; /* an embedding readout has them too */
    }
}

void fbt_weights_clear(fbt_backend *b, fbt_weights *weights)
{
    if (weights->shape != NULL && weights->layers != NULL) {
        fbt_tensor_walk walk = fbt_tensor_walk_begin(weights->shape, weights->readout, weights->splits_last_layer);
        while (fbt_tensor_walk_next(&walk)) {
            free_step(b, walk.rules, place_of(weights, &walk));
        }
    }
    fbt_table_free(b, weights->head.output.table);
    free(weights->head.output.copy);
    fbt_buffer_free(b, weights->head.labels.rows);
    fbt_buffer_free(b, weights->head.labels.bias);
    free(weights->layers);
    fbt_safetensors_close(weights->files);
    *weights = (fbt_weights){0};
}
