#include "model/families/encoder.h"

#include <math.h>

/* LN(word + position + type), with the prompt put in as the mode says. */
static fbt_status embed(fbt_forward *f)
{
    const fbt_weights *w = f->weights;
    const bool has_prompt = f->mode != FBT_PROMPT_NONE;
    const fbt_embedding embedding = {
        .word = w->word.table,
        .position = w->position.table,
        .position_offset = f->shape->encoder.position_offset,
        .type = w->type.table,
        .norm = w->embedding_norm,
        .n_dim = f->shape->n_hidden,
        .mode = f->mode,
        .n_prompt_tokens = has_prompt ? f->options->n_prompt_tokens : 0,
        .prompts = has_prompt ? f->buffers[FBT_BUFFER_PROMPTS] : NULL,
    };
    return fbt_embed(f->b, f->buffers[FBT_BUFFER_X], &embedding, &f->packed);
}

/* softmax(q k^T / sqrt(head_dim)) v; keys and values are in the wide buffer from columns `key` and `value` on. */
static fbt_status attend(fbt_forward *f, bool one_query, const fbt_heads *queries, int64_t stride, int64_t key,
                         int64_t value)
{
    const fbt_buffer *wide = f->buffers[FBT_BUFFER_WIDE];
    const fbt_attention attention = {
        .q = *queries,
        .k = {.buffer = wide, .stride = stride, .column = key},
        .v = {.buffer = wide, .stride = stride, .column = value},
        .packed = &f->packed,
        .one_query = one_query,
        .n_heads = f->shape->n_heads,
        .head_dim = f->shape->head_dim,
        .scale = 1.0f / sqrtf((float)f->shape->head_dim),
    };
    return fbt_attend(f->b, f->buffers[FBT_BUFFER_CONTEXT], &attention);
}

/* x = LN(x + context Wo); x = LN(x + act(x Wu) Wd), for n rows. */
static fbt_status finish_layer(fbt_forward *f, const fbt_layer *layer, fbt_buffer *x, int64_t n)
{
    fbt_status status = FBT_OK;
    fbt_buffer *context = f->buffers[FBT_BUFFER_CONTEXT], *wide = f->buffers[FBT_BUFFER_WIDE];
    FBT_TRY(fbt_linear_norm(f->b, x, context, layer->output, x, &layer->output_norm, n));
    FBT_TRY(fbt_linear(f->b, wide, x, layer->up, f->shape->activation, n));
    FBT_TRY(fbt_linear_norm(f->b, x, wide, layer->down, x, &layer->down_norm, n));
done:
    return status;
}

static fbt_status run_layer(fbt_forward *f, const fbt_layer *layer)
{
    fbt_status status = FBT_OK;
    fbt_buffer *x = f->buffers[FBT_BUFFER_X], *wide = f->buffers[FBT_BUFFER_WIDE];
    const int64_t h = f->shape->n_hidden;
    FBT_TRY(fbt_linear(f->b, wide, x, layer->qkv, FBT_ACT_NONE, f->packed.n_rows));
    FBT_TRY(attend(f, false, &(fbt_heads){.buffer = wide, .stride = 3 * h, .column = 0}, 3 * h, h, 2 * h));
    FBT_TRY(finish_layer(f, layer, x, f->packed.n_rows));
done:
    return status;
}

/* The last layer where one row per sequence is read: keys and values of all rows, everything else of those rows. */
static fbt_status run_last_layer(fbt_forward *f, const fbt_layer *layer)
{
    fbt_status status = FBT_OK;
    fbt_buffer *x = f->buffers[FBT_BUFFER_X], *read = f->buffers[FBT_BUFFER_READ];
    fbt_buffer *query = f->buffers[FBT_BUFFER_QUERY];
    const int64_t h = f->shape->n_hidden, n_read = f->n_read;
    FBT_TRY(fbt_linear(f->b, f->buffers[FBT_BUFFER_WIDE], x, layer->key_value, FBT_ACT_NONE, f->packed.n_rows));
    FBT_TRY(fbt_forward_gather(f, read, x, fbt_backend_types(f->b)->activations));
    FBT_TRY(fbt_linear(f->b, query, read, layer->query, FBT_ACT_NONE, n_read));
    FBT_TRY(attend(f, true, &(fbt_heads){.buffer = query, .stride = h, .column = 0}, 2 * h, 0, h));
    FBT_TRY(finish_layer(f, layer, read, n_read));
done:
    return status;
}

fbt_status fbt_encoder_forward(fbt_forward *f, fbt_buffer **hidden)
{
    fbt_status status = FBT_OK;
    const fbt_weights *w = f->weights;
    const bool is_one_row = fbt_model_reads_one_row(f->shape, f->options->readout);
    const int64_t n_whole = f->shape->n_layers - w->splits_last_layer;
    const fbt_dtype dtype = fbt_backend_types(f->b)->activations;
    FBT_TRY(embed(f));
    for (int64_t i = 0; i < n_whole; i++) {
        FBT_TRY(fbt_forward_enter_layer(f, i, dtype));
        FBT_TRY(run_layer(f, &w->layers[i]));
    }
    if (w->splits_last_layer) {
        FBT_TRY(fbt_forward_enter_layer(f, n_whole, dtype));
        FBT_TRY(run_last_layer(f, &w->layers[n_whole]));
    } else if (is_one_row) {
        FBT_TRY(fbt_forward_gather(f, f->buffers[FBT_BUFFER_READ], f->buffers[FBT_BUFFER_X], dtype));
    }
    *hidden = f->buffers[is_one_row ? FBT_BUFFER_READ : FBT_BUFFER_X];
done:
    return status;
}

fbt_status fbt_encoder_run_head(fbt_forward *f, fbt_buffer *hidden, fbt_activation activation, fbt_buffer **features)
{
    fbt_status status = FBT_OK;
    const fbt_head_weights *head = &f->weights->head;
    fbt_buffer *y = f->buffers[FBT_BUFFER_CONTEXT];
    FBT_TRY(fbt_linear(f->b, y, hidden, head->dense, activation, f->packed.n_sequences));
    FBT_TRY(fbt_layernorm(f->b, y, y, fbt_backend_types(f->b)->activations, &head->norm, f->packed.n_sequences,
                          f->shape->n_hidden));
    *features = y;
done:
    return status;
}

void fbt_encoder_plan(const fbt_model_shape *shape, const fbt_workspace_request *request, int64_t bytes[FBT_N_BUFFERS])
{
    const int64_t item = (int64_t)fbt_dtype_bytes(request->types->activations);
    const int64_t n = request->limits.n_rows, h = shape->n_hidden;
    const int64_t wide = shape->n_intermediate > 3 * h ? shape->n_intermediate : 3 * h;
    const int64_t n_read = fbt_model_reads_one_row(shape, request->options->readout) ? request->limits.n_sequences : 0;
    bytes[FBT_BUFFER_X] = n * h * item;
    bytes[FBT_BUFFER_WIDE] = n * wide * item;
    bytes[FBT_BUFFER_CONTEXT] = n * h * item;
    bytes[FBT_BUFFER_QUERY] = n_read * h * item;
    bytes[FBT_BUFFER_READ] = n_read * h * item;
}

int64_t fbt_encoder_size(const fbt_model_shape *shape, fbt_size symbol)
{
    return symbol == FBT_SIZE_POSITIONS ? shape->n_positions + shape->encoder.position_offset : shape->encoder.n_types;
}

int fbt_encoder_describe(const fbt_model_shape *shape, fbt_model_fact *facts)
{
    facts[0] = (fbt_model_fact){"position_offset", shape->encoder.position_offset};
    facts[1] = (fbt_model_fact){"token_types", shape->encoder.n_types};
    return 2;
}
