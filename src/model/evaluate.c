/* Evaluation: prompts, a batch's forward pass, logits, losses, all queued on the current stream. */
#include "base/memory.h"
#include "model/model_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Key of a graph: equal, byte for byte, where two graphs of one stream are the same. All members have 8 bytes, so that
 * none are left between or behind them, which a copy need not keep. */
typedef struct graph_key {
    uint64_t model;
    int64_t n_perturbations;
    struct {
        int64_t n_rows, n_sequences, max_length;
    } levels[FBT_MAX_LEVELS]; /* encoders: the first is the batch; what is not there is 0 */
    int64_t wants_losses, loss, is_perturbed;
} graph_key;

static fbt_status reserve_z(fbt_model *model, int64_t n)
{
    fbt_status status = FBT_OK;
    if (n > model->z_capacity) {
        free(model->z);
        model->z = NULL;
        model->z_capacity = 0;
        FBT_TRY(fbt_memory_alloc(&model->z, n, sizeof *model->z));
        model->z_capacity = n;
    }
done:
    return status;
}

/* Queues the prompts of one layer: A_l times its part of every z. */
static fbt_status project(fbt_model *model, const double *z, int64_t n, int64_t layer)
{
    fbt_status status = FBT_OK;
    const int64_t d = model->n_search, stride = model->n_projections * d;
    for (int64_t i = 0; i < n * d; i++) {
        model->z[i] = (float)z[i / d * stride + layer * d + i % d];
    }
    FBT_TRY(
        fbt_buffer_write(model->b, fbt_model_buffer(model, FBT_BUFFER_Z), model->z, n * d * (int64_t)sizeof *model->z));
    FBT_TRY(fbt_linear(model->b, fbt_model_prompts(model, layer), fbt_model_buffer(model, FBT_BUFFER_Z),
                       model->projections[layer], FBT_ACT_NONE, n));
done:
    return status;
}

/* Queues prompts of words: [n, P, n_hidden]. */
static fbt_status write_words(fbt_model *model, const double *z, int64_t n)
{
    fbt_status status = FBT_OK;
    const int64_t h = model->shape.n_hidden, n_rows = n * model->options.n_prompt_tokens;
    FBT_TRY(reserve_z(model, n_rows * h));
    for (int64_t i = 0; i < n_rows; i++) {
        if (!(z[i] >= 0 && z[i] < (double)model->options.n_words && z[i] == floor(z[i]))) {
            FBT_FAIL(FBT_ERR_ARG, "%g is no number of the %" PRId64 " words of prompts", z[i], model->options.n_words);
        }
        memcpy(model->z + i * h, model->words + (int64_t)z[i] * h, (size_t)h * sizeof *model->z);
    }
    FBT_TRY(fbt_buffer_write(model->b, fbt_model_prompts(model, 0), model->z, n_rows * h * (int64_t)sizeof *model->z));
done:
    return status;
}

fbt_status fbt_model_set_prompts(fbt_model *model, const double *z, int64_t n)
{
    fbt_status status = FBT_OK;
    if (model->options.prompt_mode == FBT_PROMPT_NONE) {
        goto done;
    }
    if ((model->projections == NULL && model->words == NULL) || n < 0) {
        FBT_FAIL(FBT_ERR_ARG, "%" PRId64 " prompts cannot be made%s", n,
                 n < 0 ? "" : " before the projection, or the words, are set");
    }
    model->stream->n_prompts = 0;
    FBT_TRY(reserve_z(model, n * model->n_search));
    FBT_TRY(fbt_model_reserve_stream(model, &(fbt_model_limits){.n_prompts = n}));
    for (int64_t l = 0; l < model->n_projections; l++) {
        FBT_TRY(model->words != NULL ? write_words(model, z, n) : project(model, z, n, l));
    }
    model->stream->n_prompts = n;
done:
    return status;
}

fbt_status fbt_model_get_prompt(fbt_model *model, int64_t index, float *p)
{
    fbt_status status = FBT_OK;
    float *all = NULL;
    int64_t n_items = fbt_model_prompt_items(model);
    if (index < 0 || index >= model->stream->n_prompts) {
        FBT_FAIL(FBT_ERR_ARG, "prompt %" PRId64 " of %" PRId64 " cannot be read", index, model->stream->n_prompts);
    }
    FBT_TRY(fbt_memory_alloc(&all, (index + 1) * n_items, sizeof *all));
    for (int64_t l = 0; l < model->n_projections; l++) {
        FBT_TRY(
            fbt_buffer_read(model->b, all, fbt_model_prompts(model, l), (index + 1) * n_items * (int64_t)sizeof *all));
        FBT_TRY(fbt_model_wait(model));
        memcpy(p + l * n_items, all + index * n_items, (size_t)n_items * sizeof *p);
    }
done:
    free(all);
    return status;
}

/* The operations, which the backend may repeat as one graph. */
static fbt_status run_operations(fbt_model *model, fbt_forward *forward, const graph_key *key)
{
    fbt_status status = FBT_OK;
    const fbt_label_rows *labels = &model->weights.head.labels;
    fbt_buffer *logits = fbt_model_buffer(model, FBT_BUFFER_LOGITS);
    const int64_t n = forward->packed.n_sequences, n_labels = model->options.n_labels;
    fbt_features features;
    FBT_TRY(fbt_forward_features(forward, &features));
    FBT_TRY(fbt_label_logits(model->b, logits, features.buffer, features.dtype, labels->rows, labels->bias,
                             features.scale, n, n_labels, features.n_dim));
    if (key->wants_losses) {
        FBT_TRY(fbt_losses(model->b, fbt_model_buffer(model, FBT_BUFFER_LOSSES),
                           fbt_model_buffer(model, FBT_BUFFER_PREDICTIONS), logits,
                           fbt_model_buffer(model, FBT_BUFFER_LABELS), (fbt_loss)key->loss, n, n_labels));
    }
done:
    return status;
}

static fbt_status queue_graph(fbt_model *model, fbt_forward *forward, const graph_key *key)
{
    fbt_status status = FBT_OK;
    int is_queued;
    do { /* twice at most: a device that does not take a graph is not asked again */
        FBT_TRY(fbt_graph_begin(model->b, key, sizeof *key, &is_queued));
        if (!is_queued) {
            FBT_TRY(fbt_graph_end(model->b, run_operations(model, forward, key), &is_queued));
        }
    } while (!is_queued);
done:
    return status;
}

static fbt_status queue_reads(fbt_model *model, int64_t n, const fbt_model_result *result)
{
    fbt_status status = FBT_OK;
    const struct {
        fbt_workspace_buffer buffer;
        void *host;
        int64_t n_items; /* of 4 bytes */
    } wanted[] = {
        {FBT_BUFFER_LOSSES, result->losses, n},
        {FBT_BUFFER_PREDICTIONS, result->predictions, n},
        {FBT_BUFFER_LOGITS, result->logits, n * model->options.n_labels},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (wanted[i].host != NULL) {
            FBT_TRY(fbt_buffer_read(model->b, wanted[i].host, fbt_model_buffer(model, wanted[i].buffer),
                                    wanted[i].n_items * 4));
        }
    }
done:
    return status;
}

static graph_key key_of(const fbt_model *model, const fbt_forward *forward, fbt_loss loss, bool wants_losses)
{
    const fbt_levels *levels = &forward->levels;
    graph_key key;
    memset(&key, 0, sizeof key);
    key.model = (uint64_t)(uintptr_t)model;
    key.n_perturbations = model->n_perturbations;
    key.wants_losses = wants_losses;
    key.loss = wants_losses ? (int64_t)loss : 0;
    key.is_perturbed = forward->perturbation != NULL;
    for (int i = 0; i == 0 || i < levels->n_levels; i++) {
        const fbt_packed *packed = levels->n_levels > 0 ? &levels->level[i].packed : &forward->packed;
        key.levels[i].n_rows = packed->n_rows;
        key.levels[i].n_sequences = packed->n_sequences;
        key.levels[i].max_length = packed->max_length;
    }
    return key;
}

fbt_status fbt_model_submit(fbt_model *model, const fbt_batch *batch, fbt_loss loss, const fbt_model_result *result)
{
    fbt_status status = FBT_OK;
    const bool wants_losses = result->losses != NULL || result->predictions != NULL;
    fbt_forward forward;
    graph_key key;
    if (batch->n_sequences == 0) {
        goto done;
    }
    FBT_TRY(fbt_model_check_batch(model, batch, model->options.prompt_mode));
    FBT_TRY(wants_losses ? fbt_model_check_labels(model, batch) : FBT_OK);
    FBT_TRY(fbt_model_stage(model, batch, model->options.prompt_mode, &forward));
    if (wants_losses) {
        FBT_TRY(fbt_buffer_write(model->b, fbt_model_buffer(model, FBT_BUFFER_LABELS), batch->labels,
                                 batch->n_sequences * (int64_t)sizeof *batch->labels));
    }
    key = key_of(model, &forward, loss, wants_losses);
    FBT_TRY(queue_graph(model, &forward, &key));
    FBT_TRY(queue_reads(model, batch->n_sequences, result));
done:
    return status;
}

fbt_status fbt_model_wait(fbt_model *model)
{
    return fbt_stream_sync(model->b);
}

fbt_status fbt_model_evaluate(fbt_model *model, const fbt_batch *batch, fbt_loss loss, const fbt_model_result *result)
{
    const fbt_status queued = fbt_model_submit(model, batch, loss, result);
    const fbt_status status = fbt_model_wait(model);
    return queued != FBT_OK ? queued : status;
}
