/* The model's object: open, close, its constants and its memory. */
#include "base/memory.h"
#include "model/model_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static fbt_status check_label_ids(const fbt_model_shape *shape, const fbt_model_options *options)
{
    fbt_status status = FBT_OK;
    if (options->label_token_ids == NULL) {
        FBT_FAIL(FBT_ERR_ARG, "mask readout needs the label words' token ids");
    }
    for (int64_t i = 0; i < options->n_labels; i++) {
        int32_t id = options->label_token_ids[i];
        if (id < 0 || id >= shape->vocab_size) {
            FBT_FAIL(FBT_ERR_ARG, "label %" PRId64 " is token %d, outside the model's vocabulary of %" PRId64, i, id,
                     shape->vocab_size);
        }
    }
done:
    return status;
}

static fbt_status check_label_tokens(const fbt_model_shape *shape, const fbt_model_options *options)
{
    fbt_status status = FBT_OK;
    if (options->readout != FBT_READOUT_LAST || options->label_tokens == NULL || options->label_offsets == NULL) {
        FBT_FAIL(FBT_ERR_ARG,
                 "labels are scored by all of their tokens where the last token is read and they are there");
    }
    for (int64_t i = 0; i < options->n_labels; i++) {
        const int64_t first = options->label_offsets[i], end = options->label_offsets[i + 1];
        if (end <= first) {
            FBT_FAIL(FBT_ERR_ARG, "label %" PRId64 " has no tokens", i);
        }
        for (int64_t t = first; t < end; t++) {
            if (options->label_tokens[t] < 0 || options->label_tokens[t] >= shape->vocab_size) {
                FBT_FAIL(FBT_ERR_ARG, "label %" PRId64 " has token %d, outside the model's vocabulary of %" PRId64, i,
                         options->label_tokens[t], shape->vocab_size);
            }
        }
    }
done:
    return status;
}

/* The texts' tokens are checked with the batch that they become. */
static fbt_status check_label_texts(const fbt_model_options *options)
{
    fbt_status status = FBT_OK;
    if (options->label_tokens == NULL || options->label_offsets == NULL) {
        FBT_FAIL(FBT_ERR_ARG, "embedding readout needs the label texts' tokens");
    }
    for (int64_t i = 0; i < options->n_labels; i++) {
        if (options->label_offsets[i + 1] <= options->label_offsets[i]) {
            FBT_FAIL(FBT_ERR_ARG, "the text of label %" PRId64 " is empty", i);
        }
    }
    if (!(options->embedding_scale > 0) || !isfinite(options->embedding_scale)) {
        FBT_FAIL(FBT_ERR_ARG, "the scale of the embedding logits is %g, not a positive number",
                 (double)options->embedding_scale);
    }
done:
    return status;
}

static fbt_status check_options(const fbt_model_shape *shape, const fbt_model_options *options)
{
    fbt_status status = FBT_OK;
    int64_t n_prompt = options->n_prompt_tokens;
    FBT_TRY(fbt_model_check_readout(shape, options->readout));
    if (options->n_labels < 1) {
        FBT_FAIL(FBT_ERR_ARG, "there are %" PRId64 " labels", options->n_labels);
    }
    if (options->prompt_mode == FBT_PROMPT_NONE ? n_prompt != 0 : n_prompt < 1) {
        FBT_FAIL(FBT_ERR_ARG, "%" PRId64 " prompt tokens do not fit the prompt mode", n_prompt);
    }
    if (options->is_deep && options->prompt_mode == FBT_PROMPT_NONE) {
        FBT_FAIL(FBT_ERR_ARG, "a prompt for every layer does not fit prompt mode none");
    }
    if (n_prompt - fbt_model_rows_without_position(shape, options->prompt_mode, n_prompt) >= shape->n_positions) {
        FBT_FAIL(FBT_ERR_ARG,
                 "a prompt of %" PRId64 " tokens leaves no room for text in a model of %" PRId64 " positions", n_prompt,
                 shape->n_positions);
    }
    if (n_prompt > INT32_MAX / shape->n_hidden) {
        FBT_FAIL(FBT_ERR_ARG, "a prompt of %" PRId64 " tokens is too long", n_prompt);
    }
    if (options->n_words > 0 && (options->prompt_mode != FBT_PROMPT_INPUT || options->is_deep)) {
        FBT_FAIL(FBT_ERR_ARG, "prompts of words stand in the input alone");
    }
    FBT_TRY(fbt_readout_scores_words(options->readout) ? check_label_ids(shape, options) : check_label_texts(options));
    FBT_TRY(fbt_model_scores_tokens(options) ? check_label_tokens(shape, options) : FBT_OK);
done:
    return status;
}

/* The label texts' embeddings, without prompt, are the rows that features are compared with. */
static fbt_status embed_labels(fbt_model *model, const fbt_model_options *options)
{
    fbt_status status = FBT_OK;
    fbt_buffer **labels = &model->weights.head.labels.rows;
    fbt_batch batch = {0};
    float *rows = NULL;
    fbt_forward forward;
    fbt_features features;
    const int64_t n_items = options->n_labels * model->shape.n_hidden, n_bytes = n_items * (int64_t)sizeof *rows;
    fbt_batch_reset(&batch);
    for (int64_t i = 0; i < options->n_labels; i++) {
        const fbt_sequence text = {.tokens = options->label_tokens + options->label_offsets[i],
                                   .n_tokens = (int32_t)(options->label_offsets[i + 1] - options->label_offsets[i]),
                                   .origin = {.client = -1}};
        FBT_TRY(fbt_batch_append(&batch, &text, 0, 0));
    }
    FBT_TRY(fbt_model_check_batch(model, &batch, FBT_PROMPT_NONE));
    FBT_TRY(fbt_memory_alloc(&rows, n_items, sizeof *rows));
    FBT_TRY(fbt_model_stage(model, &batch, FBT_PROMPT_NONE, &forward));
    FBT_TRY(fbt_forward_features(&forward, &features));
    FBT_TRY(fbt_buffer_read(model->b, rows, features.buffer, n_bytes));
    FBT_TRY(fbt_stream_sync(model->b));
    FBT_TRY(fbt_buffer_new(model->b, n_bytes, labels));
    FBT_TRY(fbt_buffer_write(model->b, *labels, rows, n_bytes));
done:
    free(rows);
    fbt_batch_clear(&batch);
    return status;
}

/* A label's score is the sum or mean of its tokens' log-probabilities: their product with factors. */
static fbt_status give_factors(fbt_model *model)
{
    fbt_status status = FBT_OK;
    const int64_t n = model->label_words.n_labels * model->label_words.sizes.n_targets;
    fbt_buffer **rows = &model->weights.head.labels.rows;
    float *factors = NULL;
    FBT_TRY(fbt_memory_alloc(&factors, n, sizeof *factors));
    fbt_label_words_factors(&model->label_words, model->options.label_scoring, factors);
    FBT_TRY(fbt_buffer_new(model->b, n * (int64_t)sizeof *factors, rows));
    FBT_TRY(fbt_buffer_write(model->b, *rows, factors, n * (int64_t)sizeof *factors));
done:
    free(factors);
    return status;
}

static fbt_status copy_labels(fbt_model *model, const fbt_model_options *options)
{
    fbt_backend_info info;
    fbt_backend_get_info(model->b, &info);
    return fbt_label_words_copy(options, info.size_multiple, &model->label_words);
}

static fbt_status new_streams(fbt_model *model)
{
    fbt_status status = FBT_OK;
    fbt_backend_info info;
    fbt_backend_get_info(model->b, &info);
    FBT_TRY(fbt_memory_alloc(&model->streams, info.n_streams, sizeof *model->streams));
    model->n_streams = info.n_streams;
    FBT_TRY(fbt_model_select_stream(model, 0));
done:
    return status;
}

/* folder NULL: random weights from `seed`. */
static fbt_status open_model(fbt_backend *b, const char *folder, const fbt_model_shape *shape,
                             const fbt_model_options *options, uint64_t seed, fbt_model **model)
{
    fbt_status status = FBT_OK;
    *model = NULL;
    FBT_TRY(fbt_model_check_shape(b, shape));
    FBT_TRY(fbt_model_check_scoring(b, options));
    FBT_TRY(check_options(shape, options));
    FBT_TRY(fbt_memory_alloc(model, 1, sizeof **model));
    (*model)->b = b;
    (*model)->shape = *shape;
    (*model)->options = *options;
    (*model)->options.label_token_ids = NULL;
    (*model)->options.label_tokens = NULL;
    (*model)->options.label_offsets = NULL;
    FBT_TRY(new_streams(*model));
    FBT_TRY(copy_labels(*model, options));
    FBT_TRY(fbt_weights_load(b, folder, seed, &(*model)->shape, options, &(*model)->weights));
    FBT_TRY(fbt_readout_scores_words(options->readout) ? FBT_OK : embed_labels(*model, options));
    FBT_TRY(fbt_model_scores_tokens(options) ? give_factors(*model) : FBT_OK);
    FBT_TRY(fbt_stream_sync(b)); /* what was written on this stream is there for all of them */
done:
    if (status != FBT_OK) {
        fbt_model_close(*model);
        *model = NULL;
    }
    return status;
}

fbt_status fbt_model_open(fbt_backend *b, const char *folder, const fbt_model_options *options, fbt_model **model)
{
    fbt_status status = FBT_OK;
    fbt_model_shape shape;
    *model = NULL;
    FBT_TRY(fbt_model_read_shape(folder, &shape));
    FBT_TRY(fbt_readout_scores_words(options->readout) ? FBT_OK : fbt_model_read_pooling(folder, &shape));
    FBT_TRY(open_model(b, folder, &shape, options, 0, model));
done:
    return status;
}

fbt_status fbt_model_open_random(fbt_backend *b, const fbt_model_shape *shape, const fbt_model_options *options,
                                 uint64_t seed, fbt_model **model)
{
    return open_model(b, NULL, shape, options, seed, model);
}

static void free_deeper(const fbt_model *model, fbt_model_stream *stream)
{
    for (int64_t l = 1; stream->deeper != NULL && l < model->n_projections; l++) {
        fbt_buffer_free(model->b, stream->deeper[l]);
    }
    free(stream->deeper);
    stream->deeper = NULL;
    stream->deeper_bytes = 0;
}

static void free_projections(fbt_model *model)
{
    for (int64_t l = 0; model->projections != NULL && l < model->n_projections; l++) {
        fbt_matrix_free(model->b, model->projections[l]);
    }
    free(model->projections);
    model->projections = NULL;
}

void fbt_model_close(fbt_model *model)
{
    if (model == NULL) {
        return;
    }
    for (int i = 0; i < model->n_streams; i++) {
        fbt_workspace_clear(model->b, &model->streams[i].workspace);
        free_deeper(model, &model->streams[i]);
    }
    free_projections(model);
    free(model->words);
    fbt_weights_clear(model->b, &model->weights);
    fbt_label_words_clear(&model->label_words);
    fbt_level_lists_clear(&model->lists);
    free(model->units);
    free(model->prompt_rows);
    free(model->streams);
    free(model->z);
    free(model);
}

const fbt_model_shape *fbt_model_get_shape(const fbt_model *model)
{
    return &model->shape;
}

const fbt_model_options *fbt_model_get_options(const fbt_model *model)
{
    return &model->options;
}

int64_t fbt_model_label_rows(const fbt_model *model)
{
    return model->label_words.sizes.n_rows;
}

int64_t fbt_model_n_prompts(const fbt_model_shape *shape, const fbt_model_options *options)
{
    return options->is_deep ? shape->n_layers : 1;
}

double fbt_model_embedding_std(const fbt_model *model)
{
    return model->weights.embedding_std;
}

int64_t fbt_model_n_parameters(const fbt_model *model)
{
    return model->weights.n_parameters;
}

void fbt_model_set_full_sequences(fbt_model *model, int full_sequences)
{
    model->options.full_sequences = full_sequences;
}

int fbt_model_n_streams(const fbt_model *model)
{
    return model->n_streams;
}

fbt_status fbt_model_select_stream(fbt_model *model, int stream)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_stream_select(model->b, stream));
    model->stream = &model->streams[stream];
done:
    return status;
}

fbt_status fbt_model_set_projection(fbt_model *model, const float *a, const float *p0, int64_t d)
{
    fbt_status status = FBT_OK;
    fbt_backend *b = model->b;
    const int64_t n_items = fbt_model_prompt_items(model), n = fbt_model_n_prompts(&model->shape, &model->options);
    if (model->options.prompt_mode == FBT_PROMPT_NONE || model->options.n_words > 0 || d < n || d % n != 0) {
        FBT_FAIL(FBT_ERR_ARG, "a projection from %" PRId64 " dimensions does not fit a model with %" PRId64 " prompts",
                 d, n);
    }
    free_projections(model);
    for (int i = 0; i < model->n_streams; i++) {
        model->streams[i].n_prompts = 0;
    }
    FBT_TRY(fbt_memory_alloc(&model->projections, n, sizeof(fbt_matrix *)));
    model->n_projections = n;
    for (int64_t l = 0; l < n; l++) {
        FBT_TRY(fbt_matrix_new(b,
                               &(fbt_matrix_spec){.weight = a + l * n_items * (d / n),
                                                  .dtype = FBT_F32,
                                                  .bias = l == 0 ? p0 : NULL,
                                                  .n_out = n_items,
                                                  .n_in = d / n,
                                                  .types = fbt_types_find("fp32"),
                                                  .operation = FBT_OP_PROMPT},
                               &model->projections[l]));
    }
    model->n_search = d / n;
done:
    if (status != FBT_OK) {
        free_projections(model);
    }
    return status;
}

fbt_status fbt_model_set_words(fbt_model *model, const int32_t *token_ids)
{
    fbt_status status = FBT_OK;
    const int64_t n = model->options.n_words;
    if (n == 0) {
        FBT_FAIL(FBT_ERR_ARG, "words are set, but the model's prompts are projections");
    }
    free(model->words);
    model->words = NULL;
    for (int i = 0; i < model->n_streams; i++) {
        model->streams[i].n_prompts = 0;
    }
    FBT_TRY(fbt_memory_alloc(&model->words, n * model->shape.n_hidden, sizeof *model->words));
    FBT_TRY(fbt_weights_word_rows(&model->weights, token_ids, n, model->words));
    model->n_projections = 1;
    model->n_search = model->options.n_prompt_tokens;
done:
    if (status != FBT_OK) {
        free(model->words);
        model->words = NULL;
    }
    return status;
}

fbt_status fbt_model_set_perturbation(fbt_model *model, const fbt_perturbation *perturbation)
{
    if (!(perturbation->rate >= 0 && perturbation->rate <= 1) || perturbation->vocab_size < 1 ||
        perturbation->vocab_size > model->shape.vocab_size) {
        return fbt_fail(FBT_ERR_ARG,
                        "tokens cannot be replaced with probability %g by words of a vocabulary of %" PRId64,
                        perturbation->rate, perturbation->vocab_size);
    }
    model->perturbation = *perturbation;
    model->n_perturbations++;
    return FBT_OK;
}

/* As many bytes for the prompts of every layer behind the first as for the first's. */
static fbt_status reserve_deeper(fbt_model *model, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    fbt_model_stream *stream = model->stream;
    if (model->projections == NULL || n_bytes <= stream->deeper_bytes) {
        goto done;
    }
    free_deeper(model, stream);
    FBT_TRY(fbt_memory_alloc(&stream->deeper, model->n_projections, sizeof(fbt_buffer *)));
    for (int64_t l = 1; l < model->n_projections; l++) {
        FBT_TRY(fbt_buffer_new(model->b, n_bytes, &stream->deeper[l]));
    }
    stream->deeper_bytes = n_bytes;
done:
    return status;
}

fbt_status fbt_model_reserve_stream(fbt_model *model, const fbt_model_limits *limits)
{
    fbt_status status = FBT_OK;
    int64_t bytes[FBT_N_BUFFERS];
    const fbt_workspace_request request = {.options = &model->options,
                                           .types = fbt_backend_types(model->b),
                                           .n_search = model->n_search,
                                           .labels = model->label_words.sizes,
                                           .limits = *limits};
    fbt_workspace_plan(&model->shape, &request, bytes);
    FBT_TRY(fbt_workspace_reserve(model->b, &model->stream->workspace, bytes));
    FBT_TRY(reserve_deeper(model, bytes[FBT_BUFFER_PROMPTS]));
done:
    return status;
}

fbt_status fbt_model_reserve(fbt_model *model, const fbt_model_limits *limits)
{
    fbt_status status = FBT_OK;
    for (int stream = model->n_streams - 1; stream >= 0; stream--) {
        FBT_TRY(fbt_model_select_stream(model, stream));
        FBT_TRY(fbt_model_reserve_stream(model, limits));
    }
done:
    return status;
}
