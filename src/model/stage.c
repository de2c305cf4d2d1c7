/* From a batch on the host to what a forward pass reads. */
#include "base/memory.h"
#include "base/prompt_mode.h"
#include "model/family.h"
#include "model/model_internal.h"

#include <stdlib.h>

/* 0, 1, ..., n */
static fbt_status reserve_units(fbt_model *model, int64_t n)
{
    fbt_status status = FBT_OK;
    if (n < model->n_units) {
        goto done;
    }
    free(model->units);
    model->n_units = 0;
    FBT_TRY(fbt_memory_alloc(&model->units, n + 1, sizeof *model->units));
    model->n_units = n + 1;
    for (int64_t i = 0; i <= n; i++) {
        model->units[i] = (int32_t)i;
    }
done:
    return status;
}

static bool has_deep_prompts(const fbt_model *model, fbt_prompt_mode mode)
{
    return model->options.is_deep && mode != FBT_PROMPT_NONE;
}

/* Row of the prompts that each row of an encoder's batch has; -1: none. In mode add the first token has none. */
static fbt_status list_prompt_rows(fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode)
{
    fbt_status status = FBT_OK;
    const int64_t n_tokens = model->options.n_prompt_tokens, first = mode == FBT_PROMPT_ADD ? 1 : 0;
    if (batch->n_rows > model->n_prompt_rows) {
        free(model->prompt_rows);
        model->n_prompt_rows = 0;
        FBT_TRY(fbt_memory_alloc(&model->prompt_rows, batch->n_rows, sizeof *model->prompt_rows));
        model->n_prompt_rows = batch->n_rows;
    }
    for (int64_t s = 0; s < batch->n_sequences; s++) {
        for (int64_t row = batch->offsets[s]; row < batch->offsets[s + 1]; row++) {
            const int64_t t = row - batch->offsets[s] - first;
            model->prompt_rows[row] = t >= 0 && t < n_tokens ? (int32_t)(batch->prompt_index[s] * n_tokens + t) : -1;
        }
    }
done:
    return status;
}

/* Contents of one buffer; no bytes: it is not written. */
typedef struct input {
    fbt_workspace_buffer buffer;
    const void *host;
    int64_t n_bytes;
} input;

static fbt_status write_inputs(fbt_model *model, const input *inputs, size_t n)
{
    fbt_status status = FBT_OK;
    for (size_t i = 0; i < n; i++) {
        if (inputs[i].n_bytes > 0) {
            FBT_TRY(fbt_buffer_write(model->b, fbt_model_buffer(model, inputs[i].buffer), inputs[i].host,
                                     inputs[i].n_bytes));
        }
    }
done:
    return status;
}

#define N_INPUTS(inputs) (sizeof(inputs) / sizeof(inputs)[0])

/* ---- Encoders: the batch as it is. */

static fbt_status write_sequences(fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode)
{
    fbt_status status = FBT_OK;
    const int64_t n = batch->n_rows, s = batch->n_sequences, word = sizeof(int32_t);
    const bool is_perturbed = batch->n_perturbed > 0;
    const bool is_one_row = fbt_model_reads_one_row(&model->shape, model->options.readout);
    const bool has_units = is_one_row && !fbt_readout_scores_words(model->options.readout);
    const bool has_rows = has_deep_prompts(model, mode);
    FBT_TRY(has_units ? reserve_units(model, s) : FBT_OK);
    FBT_TRY(has_rows ? list_prompt_rows(model, batch, mode) : FBT_OK);
    const input inputs[] = {
        {FBT_BUFFER_TOKENS, batch->tokens, n * word},
        {FBT_BUFFER_OFFSETS, batch->offsets, (s + 1) * word},
        {FBT_BUFFER_PROMPT_INDEX, batch->prompt_index, mode != FBT_PROMPT_NONE ? s * word : 0},
        {FBT_BUFFER_PROMPT_ROWS, model->prompt_rows, has_rows ? n * word : 0},
        {FBT_BUFFER_READOUT, batch->readout, is_one_row ? s * word : 0},
        {FBT_BUFFER_UNITS, model->units, has_units ? (s + 1) * word : 0},
        {FBT_BUFFER_ORIGINS, batch->origins, is_perturbed ? s * (int64_t)sizeof *batch->origins : 0},
        {FBT_BUFFER_FROZEN, batch->frozen, is_perturbed && model->perturbation.text_only ? n : 0},
    };
    FBT_TRY(write_inputs(model, inputs, N_INPUTS(inputs)));
done:
    return status;
}

static fbt_status stage_sequences(fbt_model *model, const fbt_batch *batch, fbt_forward *forward)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_model_reserve_stream(model, &(fbt_model_limits){batch->n_rows, batch->n_sequences, 0}));
    FBT_TRY(write_sequences(model, batch, forward->mode));
    forward->packed = (fbt_packed){.tokens = fbt_model_buffer(model, FBT_BUFFER_TOKENS),
                                   .offsets = fbt_model_buffer(model, FBT_BUFFER_OFFSETS),
                                   .prompt_index = fbt_model_buffer(model, FBT_BUFFER_PROMPT_INDEX),
                                   .host_offsets = batch->offsets,
                                   .n_sequences = batch->n_sequences,
                                   .n_rows = batch->n_rows,
                                   .max_length = batch->max_length};
    forward->read_rows = (fbt_packed){.offsets = fbt_model_buffer(model, FBT_BUFFER_UNITS),
                                      .host_offsets = model->units,
                                      .n_sequences = batch->n_sequences,
                                      .n_rows = batch->n_sequences,
                                      .max_length = 1};
    forward->n_read = batch->n_sequences;
done:
    return status;
}

/* ---- Decoders: the batch in levels. */

/* Where levels lie on the backend. */
static const struct {
    fbt_workspace_buffer offsets, index;
} level_buffers[FBT_N_LEVEL_KINDS] = {
    [FBT_LEVEL_PREFIXES] = {FBT_BUFFER_PREFIX_OFFSETS, FBT_N_BUFFERS},
    [FBT_LEVEL_SEQUENCES] = {FBT_BUFFER_OFFSETS, FBT_BUFFER_PREFIX_INDEX},
    [FBT_LEVEL_LABELS] = {FBT_BUFFER_LABEL_OFFSETS, FBT_BUFFER_LABEL_INDEX},
};

static fbt_status write_rows(fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode)
{
    const fbt_level_lists *lists = &model->lists;
    const fbt_label_words *labels = &model->label_words;
    const int64_t n = lists->n_rows, s = batch->n_sequences, word = sizeof(int32_t);
    const bool is_perturbed = batch->n_perturbed > 0;
    const input inputs[] = {
        {FBT_BUFFER_TOKENS, lists->tokens, n * word},
        {FBT_BUFFER_POSITIONS, lists->positions, n * word},
        {FBT_BUFFER_PROMPT_ROWS, lists->prompt_rows, mode != FBT_PROMPT_NONE ? n * word : 0},
        {FBT_BUFFER_READOUT, lists->readout, lists->n_read * word},
        {FBT_BUFFER_READ_POSITIONS, lists->read_positions, lists->n_read * word},
        {FBT_BUFFER_TARGET_ROWS, labels->target_rows, s * labels->sizes.n_targets * word},
        {FBT_BUFFER_TARGET_TOKENS, labels->target_tokens, s * labels->sizes.n_targets * word},
        {FBT_BUFFER_ORIGINS, lists->origins, is_perturbed ? s * (int64_t)sizeof *lists->origins : 0},
        {FBT_BUFFER_FROZEN, lists->frozen, is_perturbed && model->perturbation.text_only ? n : 0},
    };
    return write_inputs(model, inputs, N_INPUTS(inputs));
}

/* Writes one level and appends it to *levels. */
static fbt_status stage_level(fbt_model *model, fbt_level_kind kind, fbt_levels *levels)
{
    fbt_status status = FBT_OK;
    const fbt_level_list *list = &model->lists.level[kind];
    const int64_t n = list->n_sequences, word = sizeof(int32_t);
    const bool has_index = levels->n_levels > 0;
    const input inputs[] = {
        {level_buffers[kind].offsets, list->offsets, (n + 1) * word},
        {level_buffers[kind].index, list->index, has_index ? n * word : 0},
    };
    FBT_TRY(write_inputs(model, inputs, N_INPUTS(inputs)));
    levels->level[levels->n_levels++] = (fbt_level){
        .packed = {.tokens = fbt_model_buffer(model, FBT_BUFFER_TOKENS),
                   .offsets = fbt_model_buffer(model, level_buffers[kind].offsets),
                   .host_offsets = list->offsets,
                   .n_sequences = n,
                   .n_rows = list->offsets[n] - list->offsets[0],
                   .max_length = list->max_length},
        .index = has_index ? fbt_model_buffer(model, level_buffers[kind].index) : NULL,
        .host_index = has_index ? list->index : NULL,
    };
done:
    return status;
}

/* Where the rows of labels, the level staged last, are among those that are read. */
static fbt_status stage_label_reads(fbt_model *model, fbt_levels *levels)
{
    fbt_status status = FBT_OK;
    const fbt_level_lists *lists = &model->lists;
    const int64_t n = lists->level[FBT_LEVEL_LABELS].n_sequences, word = sizeof(int32_t);
    const input inputs[] = {{FBT_BUFFER_LABEL_READS, lists->label_reads, (n + 1) * word}};
    if (n == 0) {
        goto done;
    }
    FBT_TRY(write_inputs(model, inputs, N_INPUTS(inputs)));
    levels->label_reads = levels->level[levels->n_levels - 1].packed;
    levels->label_reads.offsets = fbt_model_buffer(model, FBT_BUFFER_LABEL_READS);
    levels->label_reads.host_offsets = lists->label_reads;
done:
    return status;
}

static fbt_status stage_levels(fbt_model *model, const fbt_batch *batch, fbt_forward *forward)
{
    fbt_status status = FBT_OK;
    fbt_levels *levels = &forward->levels;
    const fbt_prompt_mode mode = forward->mode;
    const fbt_level_request request = {
        .batch = batch,
        .mode = mode,
        .n_prompt_tokens = fbt_prompt_rows(mode, model->options.n_prompt_tokens),
        .shares_prefixes = !model->options.full_sequences,
        .keeps_frozen = model->perturbation.text_only,
        .labels = &model->label_words,
    };
    FBT_TRY(fbt_label_words_list_targets(&model->label_words, batch->n_sequences));
    FBT_TRY(fbt_level_lists_build(&model->lists, &request));
    FBT_TRY(fbt_model_reserve_stream(model, &(fbt_model_limits){model->lists.n_rows, batch->n_sequences, 0}));
    FBT_TRY(write_rows(model, batch, mode));
    for (int kind = 0; kind < FBT_N_LEVEL_KINDS; kind++) {
        if (model->lists.level[kind].n_sequences > 0) {
            FBT_TRY(stage_level(model, (fbt_level_kind)kind, levels));
        }
        if (kind == FBT_LEVEL_SEQUENCES) {
            forward->packed = levels->level[levels->n_levels - 1].packed;
        }
    }
    FBT_TRY(stage_label_reads(model, levels));
    levels->n_rows = model->lists.n_rows;
    levels->positions = fbt_model_buffer(model, FBT_BUFFER_POSITIONS);
    forward->n_read = model->lists.n_read;
    levels->targets = (fbt_token_targets){.rows = fbt_model_buffer(model, FBT_BUFFER_TARGET_ROWS),
                                          .tokens = fbt_model_buffer(model, FBT_BUFFER_TARGET_TOKENS),
                                          .n = batch->n_sequences * model->label_words.sizes.n_targets};
    levels->read_positions = fbt_model_buffer(model, FBT_BUFFER_READ_POSITIONS);
    levels->prompt_rows = mode != FBT_PROMPT_NONE ? fbt_model_buffer(model, FBT_BUFFER_PROMPT_ROWS) : NULL;
done:
    return status;
}

fbt_status fbt_model_stage(fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode, fbt_forward *forward)
{
    fbt_status status = FBT_OK;
    *forward = (fbt_forward){
        .b = model->b,
        .shape = &model->shape,
        .options = &model->options,
        .weights = &model->weights,
        .buffers = model->stream->workspace.buffers,
        .mode = mode,
        .perturbation = batch->n_perturbed > 0 ? &model->perturbation : NULL,
    };
    FBT_TRY(model->shape.family->is_causal ? stage_levels(model, batch, forward)
                                           : stage_sequences(model, batch, forward));
    if (has_deep_prompts(model, mode)) {
        forward->deep_prompts = model->stream->deeper;
        forward->deep_rows = fbt_model_buffer(model, FBT_BUFFER_PROMPT_ROWS);
    }
done:
    return status;
}
