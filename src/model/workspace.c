#include "model/workspace.h"

#include "model/family.h"

#include <string.h>

void fbt_workspace_plan(const fbt_model_shape *shape, const fbt_workspace_request *request,
                        int64_t bytes[FBT_N_BUFFERS])
{
    const fbt_model_options *options = request->options;
    const int64_t word = sizeof(float), h = shape->n_hidden;
    const int64_t n = request->limits.n_rows, s = request->limits.n_sequences;
    const fbt_label_sizes *labels = &request->labels;
    const int64_t n_read = fbt_workspace_rows_read(labels, s), n_targets = s * labels->n_targets;
    const int64_t n_pooled = fbt_readout_scores_words(options->readout) ? 0 : s;
    const int64_t n_prompts =
        options->prompt_mode == FBT_PROMPT_NONE || request->n_search == 0 ? 0 : request->limits.n_prompts;
    const bool is_causal = shape->family->is_causal;
    const bool has_units = n_pooled > 0 && fbt_model_reads_one_row(shape, options->readout);
    const int64_t shared[FBT_N_BUFFERS] = {
        [FBT_BUFFER_TOKENS] = n * word,
        [FBT_BUFFER_OFFSETS] = (s + 1) * word,
        [FBT_BUFFER_PROMPT_INDEX] = is_causal ? 0 : s * word,
        [FBT_BUFFER_POSITIONS] = is_causal ? n * word : 0,
        [FBT_BUFFER_READ_POSITIONS] = is_causal ? n_read * word : 0,
        [FBT_BUFFER_PROMPT_ROWS] =
            (is_causal || options->is_deep) && options->prompt_mode != FBT_PROMPT_NONE ? n * word : 0,
        [FBT_BUFFER_PREFIX_OFFSETS] = is_causal ? (s + 1) * word : 0,
        [FBT_BUFFER_PREFIX_INDEX] = is_causal ? s * word : 0,
        [FBT_BUFFER_READOUT] = n_read * word,
        [FBT_BUFFER_LABEL_OFFSETS] = labels->n_long > 0 ? (s * labels->n_long + 1) * word : 0,
        [FBT_BUFFER_LABEL_READS] = labels->n_long > 0 ? (s * labels->n_long + 1) * word : 0,
        [FBT_BUFFER_LABEL_INDEX] = s * labels->n_long * word,
        [FBT_BUFFER_TARGET_ROWS] = n_targets * word,
        [FBT_BUFFER_TARGET_TOKENS] = n_targets * word,
        [FBT_BUFFER_LOG_PROBS] = n_targets * word,
        [FBT_BUFFER_LABELS] = s * word,
        [FBT_BUFFER_ORIGINS] = s * (int64_t)sizeof(fbt_origin),
        [FBT_BUFFER_FROZEN] = n,
        [FBT_BUFFER_UNITS] = has_units ? (s + 1) * word : 0,
        [FBT_BUFFER_POOLED] = n_pooled * h * word,
        [FBT_BUFFER_LOGITS] = s * options->n_labels * word,
        [FBT_BUFFER_LOSSES] = s * word,
        [FBT_BUFFER_PREDICTIONS] = s * word,
        [FBT_BUFFER_Z] = n_prompts * request->n_search * word,
        [FBT_BUFFER_PROMPTS] = n_prompts * options->n_prompt_tokens * h * word,
    };
    memcpy(bytes, shared, sizeof shared);
    shape->family->plan(shape, request, bytes);
}

fbt_status fbt_workspace_reserve(fbt_backend *b, fbt_workspace *w, const int64_t bytes[FBT_N_BUFFERS])
{
    fbt_status status = FBT_OK;
    for (int i = 0; i < FBT_N_BUFFERS; i++) {
        if (bytes[i] > w->bytes[i]) {
            fbt_buffer_free(b, w->buffers[i]);
            w->buffers[i] = NULL;
            w->bytes[i] = 0;
            FBT_TRY(fbt_buffer_new(b, bytes[i], &w->buffers[i]));
            w->bytes[i] = bytes[i];
        }
    }
done:
    return status;
}

void fbt_workspace_clear(fbt_backend *b, fbt_workspace *w)
{
    for (int i = 0; i < FBT_N_BUFFERS; i++) {
        fbt_buffer_free(b, w->buffers[i]);
    }
    *w = (fbt_workspace){{NULL}, {0}};
}
