#include "model/encoder.h"

#include "base/memory.h"
#include "base/prompt_mode.h"

#include <math.h>
#include <stdlib.h>

/* Bytes of n activations. */
static double activation_bytes(const fbt_encoder *e, double n)
{
    return n * (double)fbt_dtype_bytes(fbt_backend_types(e->b)->activations);
}

fbt_work fbt_encoder_product(const fbt_encoder *e, const fbt_dense *w, int64_t n_rows, int64_t n_added)
{
    const double rows = (double)n_rows, n_in = (double)w->n_in, n_out = (double)w->n_out;
    return (fbt_work){.flops = 2 * rows * n_out * n_in,
                      .bytes = activation_bytes(e, rows * n_in + n_out * n_in + (double)(1 + n_added) * rows * n_out)};
}

fbt_status fbt_encoder_mark(fbt_encoder *e, fbt_model_operation operation, fbt_work work)
{
    return fbt_marks_add(e->b, &e->marks, operation, work);
}

/* The backend's, between a product and the kernel behind it. */
static fbt_status mark_product(void *encoder)
{
    fbt_encoder *e = encoder;
    e->product.is_marked = true;
    return fbt_encoder_mark(e, e->product.operation, e->product.work);
}

void fbt_encoder_set_profile(fbt_encoder *e, fbt_model_profile *profile)
{
    e->marks.profile = profile;
    e->marks.n = 0;
    fbt_watch_products(e->b, profile != NULL ? mark_product : NULL, e);
}

/* Marks the kernel behind the product, which reads and writes its n results again; the product where there is none. */
static fbt_status end_product(fbt_encoder *e, fbt_model_operation behind, double n)
{
    return e->product.is_marked ? fbt_encoder_mark(e, behind, (fbt_work){.bytes = activation_bytes(e, 2 * n)})
                                : fbt_encoder_mark(e, e->product.operation, e->product.work);
}

/* y = activation(x W^T + bias), rooms by their names. */
static fbt_status multiply(fbt_encoder *e, fbt_model_operation operation, fbt_room y, fbt_room x, const fbt_dense *w,
                           fbt_activation activation, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    e->product = (fbt_product){.operation = operation, .work = fbt_encoder_product(e, w, n_rows, 0)};
    FBT_TRY(fbt_linear(e->b, e->w->rooms[y], e->w->rooms[x], w->matrix, activation, n_rows));
    FBT_TRY(end_product(e, FBT_MODEL_ACTIVATION, (double)n_rows * (double)w->n_out));
done:
    return status;
}

static fbt_norm norm_of(const fbt_encoder *e, const fbt_norm_weights *norm)
{
    return (fbt_norm){.gamma = norm->gamma, .beta = norm->beta, .epsilon = e->shape.epsilon};
}

/* y = LN(x W^T + bias + y) */
static fbt_status add_and_normalise(fbt_encoder *e, fbt_model_operation operation, fbt_room y, fbt_room x,
                                    const fbt_dense *w, const fbt_norm_weights *norm, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    const fbt_norm n = norm_of(e, norm);
    e->product = (fbt_product){.operation = operation, .work = fbt_encoder_product(e, w, n_rows, 1)};
    FBT_TRY(fbt_linear_norm(e->b, e->w->rooms[y], e->w->rooms[x], w->matrix, e->w->rooms[y], &n, n_rows));
    FBT_TRY(end_product(e, FBT_MODEL_NORM, (double)n_rows * (double)w->n_out));
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
    int64_t head_dim = e->shape.n_hidden / e->shape.n_heads;
    fbt_attention attention = {
        .q = queries,
        .k = {.buffer = e->w->rooms[FBT_ROOM_WIDE], .stride = stride, .column = key},
        .v = {.buffer = e->w->rooms[FBT_ROOM_WIDE], .stride = stride, .column = value},
        .packed = packed,
        .one_query = one_query,
        .n_heads = e->shape.n_heads,
        .head_dim = head_dim,
        .scale = 1.0f / sqrtf((float)head_dim),
    };
    FBT_TRY(fbt_attend(e->b, e->w->rooms[FBT_ROOM_CONTEXT], &attention));
    double h = (double)e->shape.n_hidden, n_queries = (double)(one_query ? packed->n_sequences : packed->n_rows);
    FBT_TRY(fbt_encoder_mark(e, FBT_MODEL_ATTENTION,
                             (fbt_work){.flops = e->marks.profile == NULL ? 0 : 4 * h * count_pairs(packed, one_query),
                                        .bytes = activation_bytes(e, 2 * h * (n_queries + (double)packed->n_rows))}));
done:
    return status;
}

/* The layer from attention's result on, for the n_rows rows of the residual stream in `x`. */
static fbt_status finish_layer(fbt_encoder *e, const fbt_layer *layer, fbt_room x, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(add_and_normalise(e, FBT_MODEL_OUTPUT, x, FBT_ROOM_CONTEXT, &layer->output, &layer->output_norm, n_rows));
    FBT_TRY(multiply(e, FBT_MODEL_UP, FBT_ROOM_WIDE, x, &layer->up, e->shape.activation, n_rows));
    FBT_TRY(add_and_normalise(e, FBT_MODEL_DOWN, x, FBT_ROOM_WIDE, &layer->down, &layer->down_norm, n_rows));
done:
    return status;
}

static fbt_status run_layer(fbt_encoder *e, const fbt_layer *layer, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    int64_t n_hidden = e->shape.n_hidden;
    fbt_heads queries;
    FBT_TRY(multiply(e, FBT_MODEL_QKV, FBT_ROOM_WIDE, FBT_ROOM_X, &layer->qkv, FBT_ACT_NONE, packed->n_rows));
    queries = (fbt_heads){.buffer = e->w->rooms[FBT_ROOM_WIDE], .stride = 3 * n_hidden, .column = 0};
    FBT_TRY(attend(e, packed, 0, queries, 3 * n_hidden, n_hidden, 2 * n_hidden));
    FBT_TRY(finish_layer(e, layer, FBT_ROOM_X, packed->n_rows));
done:
    return status;
}

/* The residual stream of the rows that are read. */
static fbt_status gather_read_rows(fbt_encoder *e, int64_t n_sequences)
{
    fbt_status status = FBT_OK;
    double bytes = activation_bytes(e, 2.0 * (double)n_sequences * (double)e->shape.n_hidden);
    FBT_TRY(fbt_gather_rows(e->b, e->w->rooms[FBT_ROOM_READ], e->w->rooms[FBT_ROOM_X], e->w->rooms[FBT_ROOM_READOUT],
                            n_sequences, e->shape.n_hidden));
    FBT_TRY(fbt_encoder_mark(e, FBT_MODEL_READOUT, (fbt_work){.bytes = bytes}));
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
    FBT_TRY(multiply(e, FBT_MODEL_QKV, FBT_ROOM_WIDE, FBT_ROOM_X, &layer->key_value, FBT_ACT_NONE, packed->n_rows));
    FBT_TRY(gather_read_rows(e, n_read));
    FBT_TRY(multiply(e, FBT_MODEL_QKV, FBT_ROOM_QUERY, FBT_ROOM_READ, &layer->query, FBT_ACT_NONE, n_read));
    queries = (fbt_heads){.buffer = e->w->rooms[FBT_ROOM_QUERY], .stride = n_hidden, .column = 0};
    FBT_TRY(attend(e, packed, 1, queries, 2 * n_hidden, 0, n_hidden));
    FBT_TRY(finish_layer(e, layer, FBT_ROOM_READ, n_read));
done:
    return status;
}

static fbt_status run_head(fbt_encoder *e, int64_t n_read)
{
    fbt_status status = FBT_OK;
    const fbt_head *head = &e->weights.head;
    fbt_buffer *y = e->w->rooms[FBT_ROOM_CONTEXT];
    const fbt_norm norm = norm_of(e, &head->norm);
    FBT_TRY(multiply(e, FBT_MODEL_READOUT, FBT_ROOM_CONTEXT, FBT_ROOM_READ, &head->dense, head->activation, n_read));
    FBT_TRY(fbt_layernorm(e->b, y, y, &norm, n_read, e->shape.n_hidden));
    FBT_TRY(fbt_encoder_mark(
        e, FBT_MODEL_NORM, (fbt_work){.bytes = activation_bytes(e, 2.0 * (double)n_read * (double)e->shape.n_hidden)}));
done:
    return status;
}

/* The normalised mean of each sequence's rows of x. */
static fbt_status pool(fbt_encoder *e, fbt_room x, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    double h = (double)e->shape.n_hidden;
    double bytes = activation_bytes(e, (double)packed->n_rows * h) + (double)packed->n_sequences * h * sizeof(float);
    FBT_TRY(fbt_mean_pool(e->b, e->w->rooms[FBT_ROOM_POOLED], e->w->rooms[x], packed, e->shape.n_hidden));
    FBT_TRY(fbt_encoder_mark(e, FBT_MODEL_READOUT, (fbt_work){.bytes = bytes}));
done:
    return status;
}

/* The rows that were read as a batch of their own, in which every sequence is one row long: its mean is that row. */
static fbt_packed rows_as_sequences(const fbt_encoder *e, const fbt_packed *packed)
{
    return (fbt_packed){.offsets = e->w->rooms[FBT_ROOM_UNITS],
                        .host_offsets = e->units,
                        .n_sequences = packed->n_sequences,
                        .n_rows = packed->n_sequences,
                        .max_length = 1};
}

/* 0, 1, ..., n */
static fbt_status reserve_units(fbt_encoder *e, int64_t n)
{
    fbt_status status = FBT_OK;
    if (n < e->n_units) {
        goto done;
    }
    free(e->units);
    e->n_units = 0;
    FBT_TRY(fbt_memory_alloc(&e->units, n + 1, sizeof *e->units));
    e->n_units = n + 1;
    for (int64_t i = 0; i <= n; i++) {
        e->units[i] = (int32_t)i;
    }
done:
    return status;
}

fbt_status fbt_encoder_stage(fbt_encoder *e, const fbt_batch *batch, fbt_prompt_mode mode, fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    const int64_t n = batch->n_rows, s = batch->n_sequences, word = sizeof(int32_t);
    const bool is_perturbed = batch->n_perturbed > 0;
    const bool is_cls = e->readout == FBT_READOUT_EMBEDDING && e->shape.pooling == FBT_POOLING_CLS;
    if (is_cls) {
        FBT_TRY(reserve_units(e, s));
    }
    const struct {
        fbt_room room;
        bool is_used;
        const void *host;
        int64_t n_bytes;
    } inputs[] = {
        {FBT_ROOM_TOKENS, true, batch->tokens, n * word},
        {FBT_ROOM_OFFSETS, true, batch->offsets, (s + 1) * word},
        {FBT_ROOM_PROMPT_INDEX, mode != FBT_PROMPT_NONE, batch->prompt_index, s * word},
        {FBT_ROOM_READOUT, fbt_model_reads_one_row(&e->shape, e->readout), batch->readout, s * word},
        {FBT_ROOM_UNITS, is_cls, e->units, (s + 1) * word},
        {FBT_ROOM_ORIGINS, is_perturbed, batch->origins, s * (int64_t)sizeof *batch->origins},
        {FBT_ROOM_FROZEN, is_perturbed && e->perturbation.text_only, batch->frozen, n},
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        if (inputs[i].is_used) {
            FBT_TRY(fbt_buffer_write(e->b, e->w->rooms[inputs[i].room], inputs[i].host, inputs[i].n_bytes));
        }
    }
    *packed = (fbt_packed){
        .tokens = e->w->rooms[FBT_ROOM_TOKENS],
        .offsets = e->w->rooms[FBT_ROOM_OFFSETS],
        .prompt_index = e->w->rooms[FBT_ROOM_PROMPT_INDEX],
        .host_offsets = batch->offsets,
        .n_sequences = s,
        .n_rows = n,
        .max_length = batch->max_length,
    };
done:
    return status;
}

void fbt_encoder_clear(fbt_encoder *e)
{
    free(e->units);
    e->units = NULL;
}

static fbt_status perturb(fbt_encoder *e, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    const fbt_buffer *frozen = e->perturbation.text_only ? e->w->rooms[FBT_ROOM_FROZEN] : NULL;
    FBT_TRY(fbt_perturb(e->b, e->w->rooms[FBT_ROOM_TOKENS], &e->perturbation, e->w->rooms[FBT_ROOM_ORIGINS], frozen,
                        packed));
    FBT_TRY(fbt_encoder_mark(e, FBT_MODEL_EMBED, (fbt_work){.bytes = 2.0 * sizeof(int32_t) * (double)packed->n_rows}));
done:
    return status;
}

/* The rows of tables and prompts that each row adds up, positions once, and the result. */
static double embedding_bytes(const fbt_encoder *e, const fbt_packed *packed, fbt_prompt_mode mode)
{
    const fbt_weights *w = &e->weights;
    const double h = (double)e->shape.n_hidden, n_rows = (double)packed->n_rows;
    const double n_prompt = (double)(packed->n_sequences * fbt_prompt_rows(mode, e->n_prompt_tokens));
    const double n_words = n_rows - (double)(packed->n_sequences * fbt_prompt_rows_in_front(mode, e->n_prompt_tokens));
    return h * (n_words * (double)w->word_bytes + (double)packed->max_length * (double)w->position_bytes +
                n_prompt * sizeof(float)) +
           activation_bytes(e, h * n_rows);
}

static fbt_status embed(fbt_encoder *e, const fbt_packed *packed, fbt_prompt_mode mode)
{
    fbt_status status = FBT_OK;
    fbt_embedding embedding = {
        .word = e->weights.word,
        .position = e->weights.position,
        .position_offset = e->shape.position_offset,
        .type = e->weights.type,
        .norm = norm_of(e, &e->weights.embedding_norm),
        .n_dim = e->shape.n_hidden,
        .mode = mode,
        .n_prompt_tokens = fbt_prompt_rows(mode, e->n_prompt_tokens),
        .prompts = mode == FBT_PROMPT_NONE ? NULL : e->w->rooms[FBT_ROOM_PROMPTS],
    };
    FBT_TRY(fbt_embed(e->b, e->w->rooms[FBT_ROOM_X], &embedding, packed));
    FBT_TRY(fbt_encoder_mark(e, FBT_MODEL_EMBED, (fbt_work){.bytes = embedding_bytes(e, packed, mode)}));
done:
    return status;
}

/* From the last hidden states, or those of the rows that are read, to features. */
static fbt_status read_out(fbt_encoder *e, const fbt_packed *packed, const fbt_buffer **features)
{
    fbt_status status = FBT_OK;
    *features = e->w->rooms[e->readout == FBT_READOUT_MASK ? FBT_ROOM_CONTEXT : FBT_ROOM_POOLED];
    if (e->readout == FBT_READOUT_MASK) {
        FBT_TRY(run_head(e, packed->n_sequences));
    } else if (e->shape.pooling == FBT_POOLING_CLS) {
        const fbt_packed rows = rows_as_sequences(e, packed);
        FBT_TRY(pool(e, FBT_ROOM_READ, &rows));
    } else {
        FBT_TRY(pool(e, FBT_ROOM_X, packed));
    }
done:
    return status;
}

fbt_status fbt_encoder_forward(fbt_encoder *e, const fbt_packed *packed, fbt_prompt_mode mode, bool is_perturbed,
                               const fbt_buffer **features)
{
    fbt_status status = FBT_OK;
    int64_t n_whole = e->weights.n_layers - (e->weights.splits_last_layer ? 1 : 0);
    if (is_perturbed) {
        FBT_TRY(perturb(e, packed));
    }
    FBT_TRY(embed(e, packed, mode));
    for (int64_t i = 0; i < n_whole; i++) {
        FBT_TRY(run_layer(e, &e->weights.layers[i], packed));
    }
    if (e->weights.splits_last_layer) {
        FBT_TRY(run_last_layer(e, &e->weights.layers[n_whole], packed));
    } else if (fbt_model_reads_one_row(&e->shape, e->readout)) {
        FBT_TRY(gather_read_rows(e, packed->n_sequences));
    }
    FBT_TRY(read_out(e, packed, features));
done:
    return status;
}
