/* From a batch on the host to what a forward pass reads. */
#include "base/memory.h"
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

static fbt_status write_inputs(fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode)
{
    fbt_status status = FBT_OK;
    const int64_t n = batch->n_rows, s = batch->n_sequences, word = sizeof(int32_t);
    const bool is_perturbed = batch->n_perturbed > 0;
    const bool is_one_row = fbt_model_reads_one_row(&model->shape, model->options.readout);
    const bool has_units = is_one_row && !fbt_readout_scores_words(model->options.readout);
    FBT_TRY(has_units ? reserve_units(model, s) : FBT_OK);
    const struct {
        fbt_workspace_buffer buffer;
        bool is_used;
        const void *host;
        int64_t n_bytes;
    } inputs[] = {
        {FBT_BUFFER_TOKENS, true, batch->tokens, n * word},
        {FBT_BUFFER_OFFSETS, true, batch->offsets, (s + 1) * word},
        {FBT_BUFFER_PROMPT_INDEX, mode != FBT_PROMPT_NONE, batch->prompt_index, s * word},
        {FBT_BUFFER_READOUT, is_one_row, batch->readout, s * word},
        {FBT_BUFFER_UNITS, has_units, model->units, (s + 1) * word},
        {FBT_BUFFER_ORIGINS, is_perturbed, batch->origins, s * (int64_t)sizeof *batch->origins},
        {FBT_BUFFER_FROZEN, is_perturbed && model->perturbation.text_only, batch->frozen, n},
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        if (inputs[i].is_used) {
            FBT_TRY(fbt_buffer_write(model->b, fbt_model_buffer(model, inputs[i].buffer), inputs[i].host,
                                     inputs[i].n_bytes));
        }
    }
done:
    return status;
}

fbt_status fbt_model_stage(fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode, fbt_forward *forward)
{
    const fbt_status status = write_inputs(model, batch, mode);
    *forward = (fbt_forward){
        .b = model->b,
        .shape = &model->shape,
        .options = &model->options,
        .weights = &model->weights,
        .buffers = model->lane->workspace.buffers,
        .packed = {.tokens = fbt_model_buffer(model, FBT_BUFFER_TOKENS),
                   .offsets = fbt_model_buffer(model, FBT_BUFFER_OFFSETS),
                   .prompt_index = fbt_model_buffer(model, FBT_BUFFER_PROMPT_INDEX),
                   .host_offsets = batch->offsets,
                   .n_sequences = batch->n_sequences,
                   .n_rows = batch->n_rows,
                   .max_length = batch->max_length},
        .read_rows = {.offsets = fbt_model_buffer(model, FBT_BUFFER_UNITS),
                      .host_offsets = model->units,
                      .n_sequences = batch->n_sequences,
                      .n_rows = batch->n_sequences,
                      .max_length = 1},
        .mode = mode,
        .perturbation = batch->n_perturbed > 0 ? &model->perturbation : NULL,
    };
    return status;
}
