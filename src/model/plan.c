/* How much memory a model takes, by its sizes. */
#include "model/workspace.h"

static int64_t dense_bytes(int64_t n_out, int64_t n_in, int64_t item)
{
    return n_out * n_in * item + n_out * (int64_t)sizeof(float);
}

static int64_t weight_bytes(const fbt_model_shape *s, const fbt_model_options *options, int64_t item)
{
    const int64_t h = s->n_hidden, norm = 2 * h * (int64_t)sizeof(float);
    const int64_t layer = dense_bytes(4 * h, h, item) + dense_bytes(s->n_intermediate, h, item) +
                          dense_bytes(h, s->n_intermediate, item) + 2 * norm;
    const int64_t head = options->readout == FBT_READOUT_MASK ? dense_bytes(h, h, item) + norm : 0;
    return s->n_layers * layer + norm + head + dense_bytes(options->n_labels, h, sizeof(float));
}

void fbt_model_plan_memory(const fbt_backend *b, const fbt_model_shape *shape, const fbt_model_options *options,
                           int64_t d, const fbt_model_limits *limits, fbt_model_plan *plan)
{
    const int64_t n_rows = shape->vocab_size + shape->n_positions + shape->position_offset + shape->n_types;
    int64_t room_bytes[FBT_N_ROOMS];
    fbt_backend_info info;
    fbt_backend_get_info(b, &info);
    *plan = (fbt_model_plan){.weights = weight_bytes(shape, options, (int64_t)fbt_dtype_bytes(info.types->weights)),
                             .tables = n_rows * shape->n_hidden * (int64_t)sizeof(float),
                             .n_lanes = info.n_lanes,
                             .reads_tables_in_file = info.device_id[0] == '\0'};
    if (options->prompt_mode != FBT_PROMPT_NONE) {
        plan->projection = options->n_prompt_tokens * shape->n_hidden * d * (int64_t)sizeof(float);
    }
    fbt_workspace_size(shape, options, info.types->activations, d, limits, room_bytes);
    for (int i = 0; i < FBT_N_ROOMS; i++) {
        plan->workspace += room_bytes[i];
    }
}
