#include "model.h"

#include "encoder.h"
#include "memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fbt_model {
    fbt_encoder encoder;
    fbt_model_options options; /* label_... are NULL: they were borrowed during open */
    fbt_matrix *projection; /* NULL: not set */
    int64_t n_search;       /* d */
    float *z;               /* [z_capacity]: search points as floats */
    int64_t z_capacity;
    int64_t n_prompts; /* of the last set_prompts */
};

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
    if (options->readout != FBT_READOUT_MASK && options->readout != FBT_READOUT_EMBEDDING) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED,
                 "an encoder (%s) is read at a mask or as an embedding, not at the last token: prepare the "
                 "data set for one of these",
                 shape->family);
    }
    if (options->n_labels < 1) {
        FBT_FAIL(FBT_ERR_ARG, "there are %" PRId64 " labels", options->n_labels);
    }
    if (options->prompt_mode == FBT_PROMPT_NONE ? n_prompt != 0 : n_prompt < 1) {
        FBT_FAIL(FBT_ERR_ARG, "%" PRId64 " prompt tokens do not fit the prompt mode", n_prompt);
    }
    if (options->prompt_mode != FBT_PROMPT_CAT && n_prompt >= shape->n_positions) {
        FBT_FAIL(FBT_ERR_ARG,
                 "a prompt of %" PRId64 " tokens leaves no room for text in a model of %" PRId64 " positions", n_prompt,
                 shape->n_positions);
    }
    if (n_prompt > INT32_MAX / shape->n_hidden) {
        FBT_FAIL(FBT_ERR_ARG, "a prompt of %" PRId64 " tokens is too long", n_prompt);
    }
    FBT_TRY(options->readout == FBT_READOUT_MASK ? check_label_ids(shape, options) : check_label_texts(options));
done:
    return status;
}

/* n_prompt: rows at the start that are not tokens. */
static fbt_status check_tokens(const fbt_model_shape *shape, const fbt_batch *batch, int64_t sequence, int64_t n_prompt)
{
    for (int64_t row = batch->offsets[sequence] + n_prompt; row < batch->offsets[sequence + 1]; row++) {
        if (batch->tokens[row] < 0 || batch->tokens[row] >= shape->vocab_size) {
            return fbt_fail(FBT_ERR_ARG,
                            "token %d of sequence %" PRId64 " is outside the model's vocabulary of %" PRId64,
                            batch->tokens[row], sequence, shape->vocab_size);
        }
    }
    return FBT_OK;
}

static fbt_status check_sequence(const fbt_model *model, const fbt_batch *batch, int64_t s, fbt_prompt_mode mode)
{
    fbt_status status = FBT_OK;
    const fbt_model_shape *shape = &model->encoder.shape;
    int64_t length = (int64_t)batch->offsets[s + 1] - batch->offsets[s];
    int64_t n_prompt = mode == FBT_PROMPT_NONE ? 0 : model->options.n_prompt_tokens;
    int64_t n_rows_without_position = mode == FBT_PROMPT_CAT ? n_prompt : 0;
    if (length < 1 || length <= n_prompt || length > batch->max_length) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " has %" PRId64 " rows, %" PRId64 " of them for the prompt", s,
                 length, n_prompt);
    }
    if (length - n_rows_without_position > shape->n_positions) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " has %" PRId64 " tokens, the model has %" PRId64 " positions", s,
                 length - n_rows_without_position, shape->n_positions);
    }
    FBT_TRY(check_tokens(shape, batch, s, mode == FBT_PROMPT_CAT || mode == FBT_PROMPT_INPUT ? n_prompt : 0));
    if (mode != FBT_PROMPT_NONE && (batch->prompt_index[s] < 0 || batch->prompt_index[s] >= model->n_prompts)) {
        FBT_FAIL(FBT_ERR_ARG, "sequence %" PRId64 " asks for prompt %d of %" PRId64, s, batch->prompt_index[s],
                 model->n_prompts);
    }
    if (model->options.readout == FBT_READOUT_MASK &&
        (batch->readout[s] < batch->offsets[s] || batch->readout[s] >= batch->offsets[s + 1])) {
        FBT_FAIL(FBT_ERR_ARG, "the row read of sequence %" PRId64 " is outside it", s);
    }
done:
    return status;
}

static fbt_status check_batch(const fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode)
{
    fbt_status status = FBT_OK;
    if (batch->offsets[0] != 0 || batch->offsets[batch->n_sequences] != batch->n_rows) {
        FBT_FAIL(FBT_ERR_ARG, "the batch's offsets do not cover its %" PRId64 " rows", batch->n_rows);
    }
    for (int64_t s = 0; s < batch->n_sequences; s++) {
        FBT_TRY(check_sequence(model, batch, s, mode));
    }
done:
    return status;
}

static fbt_status check_class_labels(const fbt_model *model, const fbt_batch *batch)
{
    for (int64_t s = 0; s < batch->n_sequences; s++) {
        if (batch->labels[s] < 0 || batch->labels[s] >= model->options.n_labels) {
            return fbt_fail(FBT_ERR_ARG, "sequence %" PRId64 " has label %d of %" PRId64, s, batch->labels[s],
                            model->options.n_labels);
        }
    }
    return FBT_OK;
}

/* The label texts' embeddings, without prompt, are the rows that features are compared with. */
static fbt_status embed_labels(fbt_model *model, const fbt_model_options *options)
{
    fbt_status status = FBT_OK;
    fbt_encoder *e = &model->encoder;
    fbt_batch batch = {0};
    float *rows = NULL;
    const fbt_buffer *features;
    int64_t n_items = options->n_labels * e->shape.n_hidden;
    int64_t n_bytes = n_items * (int64_t)sizeof *rows;
    fbt_batch_reset(&batch);
    for (int64_t i = 0; i < options->n_labels; i++) {
        FBT_TRY(fbt_batch_append(&batch, options->label_tokens + options->label_offsets[i],
                                 options->label_offsets[i + 1] - options->label_offsets[i], 0, 0, 0, 0));
    }
    FBT_TRY(check_batch(model, &batch, FBT_PROMPT_NONE));
    FBT_TRY(fbt_memory_alloc(&rows, n_items, sizeof *rows));
    FBT_TRY(fbt_encoder_forward(e, &batch, FBT_PROMPT_NONE, &features));
    FBT_TRY(e->b->ops->read(e->b, rows, features, n_bytes));
    FBT_TRY(e->b->ops->buffer_new(e->b, n_bytes, &e->weights.head.labels));
    FBT_TRY(e->b->ops->write(e->b, e->weights.head.labels, rows, n_bytes));
done:
    free(rows);
    fbt_batch_clear(&batch);
    return status;
}

/* folder NULL: random weights from `seed`. */
static fbt_status open_model(fbt_backend *b, const char *folder, const fbt_model_shape *shape,
                             const fbt_model_options *options, uint64_t seed, fbt_model **model)
{
    fbt_status status = FBT_OK;
    *model = NULL;
    FBT_TRY(check_options(shape, options));
    FBT_TRY(fbt_memory_alloc(model, 1, sizeof **model));
    (*model)->options = *options;
    (*model)->options.label_token_ids = NULL;
    (*model)->options.label_tokens = NULL;
    (*model)->options.label_offsets = NULL;
    (*model)->encoder = (fbt_encoder){
        .b = b, .shape = *shape, .readout = options->readout, .n_prompt_tokens = options->n_prompt_tokens};
    FBT_TRY(fbt_weights_load(b, folder, seed, shape, options, &(*model)->encoder.weights));
    if (options->readout == FBT_READOUT_EMBEDDING) {
        FBT_TRY(embed_labels(*model, options));
    }
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
    FBT_TRY(open_model(b, folder, &shape, options, 0, model));
done:
    return status;
}

fbt_status fbt_model_open_random(fbt_backend *b, const fbt_model_shape *shape, const fbt_model_options *options,
                                 uint64_t seed, fbt_model **model)
{
    return open_model(b, NULL, shape, options, seed, model);
}

void fbt_model_close(fbt_model *model)
{
    if (model == NULL) {
        return;
    }
    if (model->encoder.b != NULL) {
        model->encoder.b->ops->matrix_free(model->encoder.b, model->projection);
        fbt_encoder_clear(&model->encoder);
    }
    free(model->z);
    free(model);
}

const fbt_model_shape *fbt_model_get_shape(const fbt_model *model)
{
    return &model->encoder.shape;
}

const fbt_model_options *fbt_model_get_options(const fbt_model *model)
{
    return &model->options;
}

double fbt_model_embedding_std(const fbt_model *model)
{
    return model->encoder.weights.embedding_std;
}

int64_t fbt_model_n_parameters(const fbt_model *model)
{
    return model->encoder.weights.n_parameters;
}

void fbt_model_set_profile(fbt_model *model, fbt_model_profile *profile)
{
    model->encoder.profile = profile;
}

const char *fbt_model_operation_name(fbt_model_operation operation)
{
    static const char *const names[FBT_MODEL_N_OPERATIONS] = {"prompt", "embed", "qkv",  "attention", "output",
                                                              "up",     "down",  "norm", "readout"};
    return (unsigned)operation < FBT_MODEL_N_OPERATIONS ? names[operation] : NULL;
}

/* Elements of one soft prompt. */
static int64_t prompt_items(const fbt_model *model)
{
    return model->options.n_prompt_tokens * model->encoder.shape.n_hidden;
}

fbt_status fbt_model_set_projection(fbt_model *model, const float *a, const float *p0, int64_t d)
{
    fbt_status status = FBT_OK;
    fbt_backend *b = model->encoder.b;
    if (model->options.prompt_mode == FBT_PROMPT_NONE || d < 1) {
        FBT_FAIL(FBT_ERR_ARG, "a projection from %" PRId64 " dimensions does not fit a model %s prompt", d,
                 model->options.prompt_mode == FBT_PROMPT_NONE ? "without" : "with");
    }
    b->ops->matrix_free(b, model->projection);
    model->projection = NULL;
    model->n_prompts = 0;
    FBT_TRY(b->ops->matrix_new(b, a, FBT_F32, p0, prompt_items(model), d, FBT_PRECISION_FP32, &model->projection));
    model->n_search = d;
done:
    return status;
}

static fbt_status reserve_z(fbt_model *model, int64_t n)
{
    fbt_status status = FBT_OK;
    if (n > model->z_capacity) {
        free(model->z);
        model->z_capacity = 0;
        FBT_TRY(fbt_memory_alloc(&model->z, n, sizeof *model->z));
        model->z_capacity = n;
    }
done:
    return status;
}

fbt_status fbt_model_set_prompts(fbt_model *model, const double *z, int64_t n)
{
    fbt_status status = FBT_OK;
    fbt_encoder *e = &model->encoder;
    int64_t n_items = n * model->n_search;
    double begin_s = fbt_encoder_begin(e);
    if (model->options.prompt_mode == FBT_PROMPT_NONE) {
        goto done;
    }
    if (model->projection == NULL || n < 0) {
        FBT_FAIL(FBT_ERR_ARG, "%" PRId64 " prompts cannot be made%s", n,
                 model->projection == NULL ? " before the projection is set" : "");
    }
    model->n_prompts = 0;
    FBT_TRY(reserve_z(model, n_items));
    for (int64_t i = 0; i < n_items; i++) {
        model->z[i] = (float)z[i];
    }
    FBT_TRY(fbt_encoder_fill(e, FBT_ROOM_Z, model->z, n_items * (int64_t)sizeof *model->z));
    FBT_TRY(fbt_encoder_reserve(e, FBT_ROOM_PROMPTS, n * prompt_items(model) * (int64_t)sizeof *model->z));
    FBT_TRY(e->b->ops->linear(e->b, e->rooms[FBT_ROOM_PROMPTS], e->rooms[FBT_ROOM_Z], model->projection, FBT_ACT_NONE,
                              NULL, n));
    model->n_prompts = n;
    FBT_TRY(fbt_encoder_end(e, FBT_MODEL_PROMPT, begin_s, 2.0 * (double)n_items * (double)prompt_items(model)));
done:
    return status;
}

fbt_status fbt_model_get_prompt(fbt_model *model, int64_t index, float *p)
{
    fbt_status status = FBT_OK;
    fbt_backend *b = model->encoder.b;
    float *all = NULL;
    int64_t n_items = prompt_items(model);
    if (index < 0 || index >= model->n_prompts) {
        FBT_FAIL(FBT_ERR_ARG, "prompt %" PRId64 " of %" PRId64 " cannot be read", index, model->n_prompts);
    }
    FBT_TRY(fbt_memory_alloc(&all, (index + 1) * n_items, sizeof *all));
    FBT_TRY(b->ops->read(b, all, model->encoder.rooms[FBT_ROOM_PROMPTS], (index + 1) * n_items * (int64_t)sizeof *all));
    memcpy(p, all + index * n_items, (size_t)n_items * sizeof *p);
done:
    free(all);
    return status;
}

static fbt_status make_logits(fbt_model *model, const fbt_batch *batch, const fbt_buffer *features)
{
    fbt_status status = FBT_OK;
    fbt_encoder *e = &model->encoder;
    const fbt_head *head = &e->weights.head;
    int64_t n = batch->n_sequences;
    int64_t n_labels = model->options.n_labels;
    int is_mask = model->options.readout == FBT_READOUT_MASK;
    fbt_dtype dtype = is_mask ? fbt_precision_dtype(e->b->precision) : FBT_F32;
    float scale = is_mask ? 1.0f : model->options.embedding_scale;
    double begin_s = fbt_encoder_begin(e);
    FBT_TRY(fbt_encoder_reserve(e, FBT_ROOM_LOGITS, n * n_labels * (int64_t)sizeof(float)));
    FBT_TRY(e->b->ops->label_logits(e->b, e->rooms[FBT_ROOM_LOGITS], features, dtype, head->labels, head->bias, scale,
                                    n, n_labels, e->shape.n_hidden));
    FBT_TRY(fbt_encoder_end(e, FBT_MODEL_READOUT, begin_s, 0));
done:
    return status;
}

static fbt_status make_losses(fbt_model *model, const fbt_batch *batch, fbt_loss loss)
{
    fbt_status status = FBT_OK;
    fbt_encoder *e = &model->encoder;
    int64_t n = batch->n_sequences;
    double begin_s = fbt_encoder_begin(e);
    FBT_TRY(fbt_encoder_fill(e, FBT_ROOM_LABELS, batch->labels, n * (int64_t)sizeof(int32_t)));
    FBT_TRY(fbt_encoder_reserve(e, FBT_ROOM_LOSSES, n * (int64_t)sizeof(float)));
    FBT_TRY(fbt_encoder_reserve(e, FBT_ROOM_PREDICTIONS, n * (int64_t)sizeof(int32_t)));
    FBT_TRY(e->b->ops->loss(e->b, e->rooms[FBT_ROOM_LOSSES], e->rooms[FBT_ROOM_PREDICTIONS], e->rooms[FBT_ROOM_LOGITS],
                            e->rooms[FBT_ROOM_LABELS], loss, n, model->options.n_labels));
    FBT_TRY(fbt_encoder_end(e, FBT_MODEL_READOUT, begin_s, 0));
done:
    return status;
}

static fbt_status read_result(fbt_model *model, int64_t n, const fbt_model_result *result)
{
    fbt_status status = FBT_OK;
    fbt_encoder *e = &model->encoder;
    const struct {
        fbt_room room;
        void *host;
        int64_t n_items; /* of 4 bytes */
    } wanted[] = {
        {FBT_ROOM_LOSSES, result->losses, n},
        {FBT_ROOM_PREDICTIONS, result->predictions, n},
        {FBT_ROOM_LOGITS, result->logits, n * model->options.n_labels},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (wanted[i].host != NULL) {
            FBT_TRY(e->b->ops->read(e->b, wanted[i].host, e->rooms[wanted[i].room], wanted[i].n_items * 4));
        }
    }
    FBT_TRY(e->b->ops->sync(e->b));
done:
    return status;
}

fbt_status fbt_model_evaluate(fbt_model *model, const fbt_batch *batch, fbt_loss loss, const fbt_model_result *result)
{
    fbt_status status = FBT_OK;
    const fbt_buffer *features;
    int wants_losses = result->losses != NULL || result->predictions != NULL;
    if (batch->n_sequences == 0) {
        goto done;
    }
    FBT_TRY(check_batch(model, batch, model->options.prompt_mode));
    if (wants_losses) {
        FBT_TRY(check_class_labels(model, batch));
    }
    FBT_TRY(fbt_encoder_forward(&model->encoder, batch, model->options.prompt_mode, &features));
    FBT_TRY(make_logits(model, batch, features));
    if (wants_losses) {
        FBT_TRY(make_losses(model, batch, loss));
    }
    FBT_TRY(read_result(model, batch->n_sequences, result));
done:
    return status;
}
