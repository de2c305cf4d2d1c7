#include "model/workspace.h"

void fbt_workspace_size(const fbt_model_shape *shape, const fbt_model_options *options, fbt_dtype activations,
                        int64_t d, const fbt_model_limits *limits, int64_t room_bytes[FBT_N_ROOMS])
{
    const int64_t item = (int64_t)fbt_dtype_bytes(activations), word = sizeof(float);
    const int64_t n = limits->n_rows, s = limits->n_sequences, h = shape->n_hidden;
    const int64_t wide = shape->n_intermediate > 3 * h ? shape->n_intermediate : 3 * h;
    const int64_t n_read = fbt_model_reads_one_row(shape, options->readout) ? s : 0;
    const int64_t n_pooled = options->readout == FBT_READOUT_MASK ? 0 : s;
    const int64_t n_prompts = options->prompt_mode == FBT_PROMPT_NONE || d == 0 ? 0 : limits->n_prompts;
    const int64_t bytes[FBT_N_ROOMS] = {
        [FBT_ROOM_TOKENS] = n * word,
        [FBT_ROOM_OFFSETS] = (s + 1) * word,
        [FBT_ROOM_PROMPT_INDEX] = s * word,
        [FBT_ROOM_READOUT] = s * word,
        [FBT_ROOM_LABELS] = s * word,
        [FBT_ROOM_ORIGINS] = s * (int64_t)sizeof(fbt_origin),
        [FBT_ROOM_FROZEN] = n,
        [FBT_ROOM_X] = n * h * item,
        [FBT_ROOM_WIDE] = n * wide * item,
        [FBT_ROOM_CONTEXT] = n * h * item,
        [FBT_ROOM_QUERY] = n_read * h * item,
        [FBT_ROOM_READ] = n_read * h * item,
        [FBT_ROOM_UNITS] = n_pooled > 0 && n_read > 0 ? (s + 1) * word : 0,
        [FBT_ROOM_POOLED] = n_pooled * h * word,
        [FBT_ROOM_LOGITS] = s * options->n_labels * word,
        [FBT_ROOM_LOSSES] = s * word,
        [FBT_ROOM_PREDICTIONS] = s * word,
        [FBT_ROOM_Z] = n_prompts * d * word,
        [FBT_ROOM_PROMPTS] = n_prompts * options->n_prompt_tokens * h * word,
    };
    for (int i = 0; i < FBT_N_ROOMS; i++) {
        room_bytes[i] = bytes[i];
    }
}

fbt_status fbt_workspace_reserve(fbt_backend *b, fbt_workspace *w, const int64_t room_bytes[FBT_N_ROOMS])
{
    fbt_status status = FBT_OK;
    for (int i = 0; i < FBT_N_ROOMS; i++) {
        if (room_bytes[i] > w->room_bytes[i]) {
            fbt_buffer_free(b, w->rooms[i]);
            w->rooms[i] = NULL;
            w->room_bytes[i] = 0;
            FBT_TRY(fbt_buffer_new(b, room_bytes[i], &w->rooms[i]));
            w->room_bytes[i] = room_bytes[i];
        }
    }
done:
    return status;
}

void fbt_workspace_clear(fbt_backend *b, fbt_workspace *w)
{
    for (int i = 0; i < FBT_N_ROOMS; i++) {
        fbt_buffer_free(b, w->rooms[i]);
    }
    *w = (fbt_workspace){{NULL}, {0}};
}
