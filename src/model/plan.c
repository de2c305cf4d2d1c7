/* How much memory a model takes, by its sizes. */
#include "model/family.h"

/* Bytes of a matrix; a quantised one has two words for each row beside it. */
static int64_t matrix_bytes(const fbt_tensor_walk *walk, const fbt_types *own)
{
    const fbt_types *types = fbt_tensor_walk_types(walk, own);
    return walk->rows *
           (walk->columns * (int64_t)fbt_dtype_bytes(types->weights) + (types->compute == FBT_COMPUTE_I8 ? 8 : 0));
}

/* Bytes of what goes to the backend: matrices in its type, vectors as floats; *tables: if the file has floats. */
static int64_t weight_bytes(const fbt_model_shape *shape, const fbt_model_options *options, const fbt_types *types,
                            int64_t *tables)
{
    const int64_t word = sizeof(float);
    int64_t n_bytes = 0;
    fbt_tensor_walk walk = fbt_tensor_walk_begin(shape, options->readout, fbt_model_splits_last_layer(shape, options));
    *tables = 0;
    while (fbt_tensor_walk_next(&walk)) {
        const fbt_tensor_items items = fbt_tensor_walk_items(&walk, options->n_labels);
        n_bytes += (items.matrix > 0 ? matrix_bytes(&walk, types) : 0) + (items.vector + items.computed) * word;
        *tables += items.table * word;
    }
    if (fbt_model_scores_tokens(options) && shape->is_untied) {
        *tables += shape->vocab_size * shape->n_hidden * word;
    }
    return n_bytes + (walk.has_head ? 0 : options->n_labels * (shape->n_hidden + 1) * word);
}

void fbt_model_plan_memory(const fbt_backend *b, const fbt_model_shape *shape, const fbt_model_options *options,
                           int64_t d, const fbt_model_limits *limits, fbt_model_plan *plan)
{
    int64_t bytes[FBT_N_BUFFERS];
    fbt_backend_info info;
    fbt_backend_get_info(b, &info);
    *plan = (fbt_model_plan){.n_streams = info.n_streams, .reads_tables_in_file = info.device_id[0] == '\0'};
    plan->weights = weight_bytes(shape, options, info.types, &plan->tables);
    if (options->prompt_mode != FBT_PROMPT_NONE) {
        const int64_t n_rows = options->n_words > 0 ? options->n_words : options->n_prompt_tokens * d;
        plan->projection = n_rows * shape->n_hidden * (int64_t)sizeof(float);
    }
    const fbt_workspace_request request = {.options = options,
                                           .types = info.types,
                                           .n_search = d / fbt_model_n_prompts(shape, options),
                                           .labels = fbt_label_sizes_of(options, info.size_multiple),
                                           .limits = *limits};
    fbt_workspace_plan(shape, &request, bytes);
    for (int i = 0; i < FBT_N_BUFFERS; i++) {
        plan->workspace += bytes[i];
    }
    plan->workspace += (fbt_model_n_prompts(shape, options) - 1) * bytes[FBT_BUFFER_PROMPTS];
}
