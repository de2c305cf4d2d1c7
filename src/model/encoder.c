#include "encoder.h"

#include "timer.h"

#include <math.h>

fbt_status fbt_encoder_reserve(fbt_encoder *e, fbt_room room, int64_t n_bytes)
{
    if (n_bytes <= e->room_bytes[room]) {
        return FBT_OK;
    }
    fbt_status status = FBT_OK;
    e->b->ops->buffer_free(e->b, e->rooms[room]);
    e->rooms[room] = NULL;
    e->room_bytes[room] = 0;
    FBT_TRY(e->b->ops->buffer_new(e->b, n_bytes, &e->rooms[room]));
    e->room_bytes[room] = n_bytes;
done:
    return status;
}

fbt_status fbt_encoder_fill(fbt_encoder *e, fbt_room room, const void *host, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_encoder_reserve(e, room, n_bytes));
    FBT_TRY(e->b->ops->write(e->b, e->rooms[room], host, n_bytes));
done:
    return status;
}

double fbt_encoder_begin(const fbt_encoder *e)
{
    return e->profile == NULL ? 0 : fbt_timer_now_s();
}

fbt_status fbt_encoder_end(fbt_encoder *e, fbt_model_operation operation, double begin_s, double flops)
{
    if (e->profile == NULL) {
        return FBT_OK;
    }
    fbt_status status = e->b->ops->sync(e->b);
    e->profile->seconds[operation] += fbt_timer_now_s() - begin_s;
    e->profile->flops[operation] += flops;
    return status;
}

/* y = activation(x W^T + bias) + residual, rooms by their names. */
static fbt_status multiply(fbt_encoder *e, fbt_model_operation operation, fbt_room y, fbt_room x, const fbt_dense *w,
                           fbt_activation activation, const fbt_buffer *residual, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    double begin_s = fbt_encoder_begin(e);
    FBT_TRY(e->b->ops->linear(e->b, e->rooms[y], e->rooms[x], w->matrix, activation, residual, n_rows));
    FBT_TRY(fbt_encoder_end(e, operation, begin_s, 2.0 * (double)n_rows * (double)w->n_out * (double)w->n_in));
done:
    return status;
}

static fbt_status normalise(fbt_encoder *e, fbt_model_operation operation, fbt_room x, const fbt_norm *norm,
                            int64_t n_rows)
{
    fbt_status status = FBT_OK;
    double begin_s = fbt_encoder_begin(e);
    FBT_TRY(e->b->ops->layernorm(e->b, e->rooms[x], e->rooms[x], norm->gamma, norm->beta, n_rows, e->shape.n_hidden,
                                 e->shape.epsilon));
    FBT_TRY(fbt_encoder_end(e, operation, begin_s, 0));
done:
    return status;
}

/* Keys that all queries see together: squared lengths, or lengths where a sequence has one query. */
static double count_pairs(const fbt_packed *packed, int one_query)
{
    double n_pairs = 0;
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        double length = packed->host_offsets[s + 1] - packed->host_offsets[s];
        n_pairs += one_query ? length : length * length;
    }
    return n_pairs;
}

/* Keys and values are in the wide room, which has rows of `stride`, from columns key and value on. */
static fbt_status attend(fbt_encoder *e, const fbt_packed *packed, int one_query, fbt_heads queries, int64_t stride,
                         int64_t key, int64_t value)
{
    fbt_status status = FBT_OK;
    double begin_s = fbt_encoder_begin(e);
    int64_t head_dim = e->shape.n_hidden / e->shape.n_heads;
    fbt_attention attention = {
        .q = queries,
        .k = {.buffer = e->rooms[FBT_ROOM_WIDE], .stride = stride, .column = key},
        .v = {.buffer = e->rooms[FBT_ROOM_WIDE], .stride = stride, .column = value},
        .packed = packed,
        .one_query = one_query,
        .n_heads = e->shape.n_heads,
        .head_dim = head_dim,
        .scale = 1.0f / sqrtf((float)head_dim),
    };
    FBT_TRY(e->b->ops->attention(e->b, e->rooms[FBT_ROOM_CONTEXT], &attention));
    double flops = e->profile == NULL ? 0 : 4.0 * (double)e->shape.n_hidden * count_pairs(packed, one_query);
    FBT_TRY(fbt_encoder_end(e, FBT_MODEL_ATTENTION, begin_s, flops));
done:
    return status;
}

/* The layer from attention's result on, for the n_rows rows of the residual stream in `x`. */
static fbt_status finish_layer(fbt_encoder *e, const fbt_layer *layer, fbt_room x, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(multiply(e, FBT_MODEL_OUTPUT, x, FBT_ROOM_CONTEXT, &layer->output, FBT_ACT_NONE, e->rooms[x], n_rows));
    FBT_TRY(normalise(e, FBT_MODEL_NORM, x, &layer->output_norm, n_rows));
    FBT_TRY(multiply(e, FBT_MODEL_UP, FBT_ROOM_WIDE, x, &layer->up, e->shape.activation, NULL, n_rows));
    FBT_TRY(multiply(e, FBT_MODEL_DOWN, x, FBT_ROOM_WIDE, &layer->down, FBT_ACT_NONE, e->rooms[x], n_rows));
    FBT_TRY(normalise(e, FBT_MODEL_NORM, x, &layer->down_norm, n_rows));
done:
    return status;
}

static fbt_status run_layer(fbt_encoder *e, const fbt_layer *layer, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    int64_t n_hidden = e->shape.n_hidden;
    fbt_heads queries;
    FBT_TRY(multiply(e, FBT_MODEL_QKV, FBT_ROOM_WIDE, FBT_ROOM_X, &layer->qkv, FBT_ACT_NONE, NULL, packed->n_rows));
    queries = (fbt_heads){.buffer = e->rooms[FBT_ROOM_WIDE], .stride = 3 * n_hidden, .column = 0};
    FBT_TRY(attend(e, packed, 0, queries, 3 * n_hidden, n_hidden, 2 * n_hidden));
    FBT_TRY(finish_layer(e, layer, FBT_ROOM_X, packed->n_rows));
done:
    return status;
}

/* The residual stream of the rows that are read. */
static fbt_status gather_read_rows(fbt_encoder *e, int64_t n_sequences)
{
    fbt_status status = FBT_OK;
    double begin_s = fbt_encoder_begin(e);
    FBT_TRY(e->b->ops->gather_rows(e->b, e->rooms[FBT_ROOM_READ], e->rooms[FBT_ROOM_X], e->rooms[FBT_ROOM_READOUT],
                                   n_sequences, e->shape.n_hidden));
    FBT_TRY(fbt_encoder_end(e, FBT_MODEL_READOUT, begin_s, 0));
done:
    return status;
}

/* The last layer where one row per sequence is read: keys and values of all rows, everything else of those rows. */
static fbt_status run_last_layer(fbt_encoder *e, const fbt_layer *layer, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    int64_t n_hidden = e->shape.n_hidden;
    int64_t n_read = packed->n_sequences;
    fbt_heads queries;
    FBT_TRY(
        multiply(e, FBT_MODEL_QKV, FBT_ROOM_WIDE, FBT_ROOM_X, &layer->key_value, FBT_ACT_NONE, NULL, packed->n_rows));
    FBT_TRY(gather_read_rows(e, n_read));
    FBT_TRY(multiply(e, FBT_MODEL_QKV, FBT_ROOM_QUERY, FBT_ROOM_READ, &layer->query, FBT_ACT_NONE, NULL, n_read));
    queries = (fbt_heads){.buffer = e->rooms[FBT_ROOM_QUERY], .stride = n_hidden, .column = 0};
    FBT_TRY(attend(e, packed, 1, queries, 2 * n_hidden, 0, n_hidden));
    FBT_TRY(finish_layer(e, layer, FBT_ROOM_READ, n_read));
done:
    return status;
}

static fbt_status run_head(fbt_encoder *e, int64_t n_read)
{
    fbt_status status = FBT_OK;
    const fbt_head *head = &e->weights.head;
    FBT_TRY(
        multiply(e, FBT_MODEL_READOUT, FBT_ROOM_CONTEXT, FBT_ROOM_READ, &head->dense, head->activation, NULL, n_read));
    FBT_TRY(normalise(e, FBT_MODEL_READOUT, FBT_ROOM_CONTEXT, &head->norm, n_read));
done:
    return status;
}

static fbt_status pool(fbt_encoder *e, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    double begin_s = fbt_encoder_begin(e);
    FBT_TRY(e->b->ops->mean_pool(e->b, e->rooms[FBT_ROOM_POOLED], e->rooms[FBT_ROOM_X], packed, e->shape.n_hidden));
    FBT_TRY(fbt_encoder_end(e, FBT_MODEL_READOUT, begin_s, 0));
done:
    return status;
}

static fbt_status reserve_activations(fbt_encoder *e, const fbt_batch *batch)
{
    fbt_status status = FBT_OK;
    int64_t item_bytes = (int64_t)fbt_dtype_bytes(fbt_precision_dtype(e->b->precision));
    int64_t row_bytes = e->shape.n_hidden * item_bytes;
    int64_t wide_bytes = e->shape.n_intermediate * item_bytes;
    wide_bytes = wide_bytes > 3 * row_bytes ? wide_bytes : 3 * row_bytes;
    FBT_TRY(fbt_encoder_reserve(e, FBT_ROOM_X, batch->n_rows * row_bytes));
    FBT_TRY(fbt_encoder_reserve(e, FBT_ROOM_WIDE, batch->n_rows * wide_bytes));
    FBT_TRY(fbt_encoder_reserve(e, FBT_ROOM_CONTEXT, batch->n_rows * row_bytes));
    if (e->readout == FBT_READOUT_MASK) {
        FBT_TRY(fbt_encoder_reserve(e, FBT_ROOM_QUERY, batch->n_sequences * row_bytes));
        FBT_TRY(fbt_encoder_reserve(e, FBT_ROOM_READ, batch->n_sequences * row_bytes));
    } else {
        FBT_TRY(
            fbt_encoder_reserve(e, FBT_ROOM_POOLED, batch->n_sequences * e->shape.n_hidden * (int64_t)sizeof(float)));
    }
done:
    return status;
}

static fbt_status stage_batch(fbt_encoder *e, const fbt_batch *batch, fbt_prompt_mode mode, fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    int64_t n_bytes = batch->n_sequences * (int64_t)sizeof(int32_t);
    FBT_TRY(reserve_activations(e, batch));
    FBT_TRY(fbt_encoder_fill(e, FBT_ROOM_TOKENS, batch->tokens, batch->n_rows * (int64_t)sizeof(int32_t)));
    FBT_TRY(fbt_encoder_fill(e, FBT_ROOM_OFFSETS, batch->offsets, n_bytes + (int64_t)sizeof(int32_t)));
    if (mode != FBT_PROMPT_NONE) {
        FBT_TRY(fbt_encoder_fill(e, FBT_ROOM_PROMPT_INDEX, batch->prompt_index, n_bytes));
    }
    if (e->readout == FBT_READOUT_MASK) {
        FBT_TRY(fbt_encoder_fill(e, FBT_ROOM_READOUT, batch->readout, n_bytes));
    }
    *packed = (fbt_packed){
        .tokens = e->rooms[FBT_ROOM_TOKENS],
        .offsets = e->rooms[FBT_ROOM_OFFSETS],
        .prompt_index = e->rooms[FBT_ROOM_PROMPT_INDEX],
        .host_offsets = batch->offsets,
        .n_sequences = batch->n_sequences,
        .n_rows = batch->n_rows,
        .max_length = batch->max_length,
    };
done:
    return status;
}

static fbt_status embed(fbt_encoder *e, const fbt_packed *packed, fbt_prompt_mode mode)
{
    fbt_status status = FBT_OK;
    double begin_s = fbt_encoder_begin(e);
    fbt_embedding embedding = {
        .word = e->weights.word,
        .position = e->weights.position,
        .position_offset = e->shape.position_offset,
        .type = e->weights.type,
        .gamma = e->weights.embedding_norm.gamma,
        .beta = e->weights.embedding_norm.beta,
        .epsilon = e->shape.epsilon,
        .n_dim = e->shape.n_hidden,
        .mode = mode,
        .n_prompt_tokens = mode == FBT_PROMPT_NONE ? 0 : e->n_prompt_tokens,
        .prompts = mode == FBT_PROMPT_NONE ? NULL : e->rooms[FBT_ROOM_PROMPTS],
    };
    FBT_TRY(e->b->ops->embed(e->b, e->rooms[FBT_ROOM_X], &embedding, packed));
    FBT_TRY(fbt_encoder_end(e, FBT_MODEL_EMBED, begin_s, 0));
done:
    return status;
}

fbt_status fbt_encoder_forward(fbt_encoder *e, const fbt_batch *batch, fbt_prompt_mode mode,
                               const fbt_buffer **features)
{
    fbt_status status = FBT_OK;
    fbt_packed packed;
    int64_t n_whole = e->weights.n_layers - (e->weights.splits_last_layer ? 1 : 0);
    FBT_TRY(stage_batch(e, batch, mode, &packed));
    FBT_TRY(embed(e, &packed, mode));
    for (int64_t i = 0; i < n_whole; i++) {
        FBT_TRY(run_layer(e, &e->weights.layers[i], &packed));
    }
    if (e->readout == FBT_READOUT_EMBEDDING) {
        FBT_TRY(pool(e, &packed));
        *features = e->rooms[FBT_ROOM_POOLED];
        goto done;
    }
    if (e->weights.splits_last_layer) {
        FBT_TRY(run_last_layer(e, &e->weights.layers[n_whole], &packed));
    } else {
        FBT_TRY(gather_read_rows(e, packed.n_sequences));
    }
    FBT_TRY(run_head(e, packed.n_sequences));
    *features = e->rooms[FBT_ROOM_CONTEXT];
done:
    return status;
}

void fbt_encoder_clear(fbt_encoder *e)
{
    for (int i = 0; i < FBT_N_ROOMS; i++) {
        e->b->ops->buffer_free(e->b, e->rooms[i]);
        e->rooms[i] = NULL;
        e->room_bytes[i] = 0;
    }
    fbt_weights_clear(e->b, &e->weights);
}
