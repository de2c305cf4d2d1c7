#include "model/families/decoder.h"

#include <math.h>

/* Widths of queries, and of keys or values, in a row. */
static int64_t query_width(const fbt_model_shape *shape)
{
    return shape->n_heads * shape->head_dim;
}

static int64_t key_width(const fbt_model_shape *shape)
{
    return shape->decoder.n_kv_heads * shape->head_dim;
}

/* Part of a row's product: heads from `column` on. */
static fbt_heads heads_at(const fbt_buffer *buffer, int64_t stride, int64_t column)
{
    return (fbt_heads){.buffer = buffer, .stride = stride, .column = column};
}

/* Word + prompt + learned position, as far as a row has them. */
static fbt_status embed(fbt_forward *f)
{
    const fbt_weights *w = f->weights;
    const fbt_row_embedding embedding = {
        .word = w->word.table,
        .position = w->position.table,
        .position_offset = f->shape->decoder.position_offset,
        .prompts = f->levels.prompt_rows != NULL ? f->buffers[FBT_BUFFER_PROMPTS] : NULL,
        .tokens = f->buffers[FBT_BUFFER_TOKENS],
        .positions = f->levels.positions,
        .prompt_rows = f->levels.prompt_rows,
        .n_dim = f->shape->n_hidden,
    };
    return fbt_embed_rows(f->b, f->buffers[FBT_BUFFER_X], &embedding, f->levels.n_rows);
}

/* The residual stream's type. */
static fbt_dtype residual_type(const fbt_forward *f)
{
    return fbt_backend_types(f->b)->residual;
}

/* normed = norm(x), n rows of the residual stream: what the next product multiplies. */
static fbt_status norm_residual(fbt_forward *f, const fbt_buffer *x, const fbt_norm *norm, int64_t n)
{
    return fbt_layernorm(f->b, f->buffers[FBT_BUFFER_NORMED], x, residual_type(f), norm, n, f->shape->n_hidden);
}

/* Norms of queries' or keys' heads, where the shape has them. */
static fbt_status norm_heads(fbt_forward *f, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads,
                             const fbt_norm *norm, int64_t n)
{
    return norm->gamma != NULL ? fbt_norm_heads(f->b, x, heads, n_heads, f->shape->head_dim, norm, n) : FBT_OK;
}

/* Rotary positions, where the shape has them, of n_heads heads of n rows. */
static fbt_status rotate(fbt_forward *f, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads,
                         const fbt_buffer *positions, int64_t n)
{
    const fbt_rotary rotary = {.cosine = f->weights->cosine.table,
                               .sine = f->weights->sine.table,
                               .positions = positions,
                               .n_rotated = f->shape->decoder.rotary.n_rotated};
    return rotary.n_rotated > 0 ? fbt_rotate(f->b, x, heads, n_heads, f->shape->head_dim, &rotary, n) : FBT_OK;
}

/* Links the levels before a level, nearest first: its sequences see them in front of themselves. */
static const fbt_prefix *chain_prefixes(const fbt_levels *levels, int level, const fbt_heads *k, const fbt_heads *v,
                                        fbt_prefix prefixes[FBT_MAX_PREFIXES])
{
    for (int i = level; i > 0; i--) {
        prefixes[level - i] = (fbt_prefix){.k = *k,
                                           .v = *v,
                                           .packed = &levels->level[i - 1].packed,
                                           .index = levels->level[i].index,
                                           .host_index = levels->level[i].host_index,
                                           .before = i > 1 ? &prefixes[level - i + 1] : NULL};
    }
    return level > 0 ? &prefixes[0] : NULL;
}

/* The first level of which rows are read. */
static int first_read(const fbt_levels *levels)
{
    return levels->n_levels - (levels->label_reads.n_sequences > 0 ? 2 : 1);
}

/* softmax(q k^T / sqrt(head_dim)) v of the rows of a level, or, where rows_read is true, of those that are read; keys
 * and values of all levels are in the wide buffer from column `key` on. */
static fbt_status attend(fbt_forward *f, int level, bool rows_read, const fbt_heads *queries, int64_t stride,
                         int64_t key)
{
    const fbt_packed *rows = &f->levels.level[level].packed, *label_reads = &f->levels.label_reads;
    const bool is_of_labels = level > first_read(&f->levels);
    const fbt_heads k = heads_at(f->buffers[FBT_BUFFER_WIDE], stride, key);
    const fbt_heads v = heads_at(f->buffers[FBT_BUFFER_WIDE], stride, key + key_width(f->shape));
    fbt_prefix prefixes[FBT_MAX_PREFIXES];
    const fbt_attention attention = {
        .q = *queries,
        .k = k,
        .v = v,
        .packed = rows_read && is_of_labels ? label_reads : rows,
        .keys = rows_read && is_of_labels ? rows : NULL,
        .one_query = rows_read && !is_of_labels,
        .n_heads = f->shape->n_heads,
        .head_dim = f->shape->head_dim,
        .scale = 1.0F / sqrtf((float)f->shape->head_dim),
        .n_kv_heads = f->shape->decoder.n_kv_heads,
        .is_causal = 1,
        .prefix = chain_prefixes(&f->levels, level, &k, &v, prefixes),
    };
    return fbt_attend(f->b, f->buffers[FBT_BUFFER_CONTEXT], &attention);
}

/* x = x + MLP(normed), for n rows. */
static fbt_status add_mlp(fbt_forward *f, const fbt_layer *layer, fbt_buffer *x, int64_t n)
{
    fbt_status status = FBT_OK;
    const fbt_model_shape *shape = f->shape;
    const bool has_gate = shape->decoder.has_gate;
    fbt_buffer *wide = f->buffers[FBT_BUFFER_WIDE], *gated = f->buffers[FBT_BUFFER_GATED];
    const fbt_buffer *normed = f->buffers[FBT_BUFFER_NORMED];
    FBT_TRY(has_gate ? fbt_linear_gate(f->b, gated, wide, normed, layer->up, shape->activation, n)
                     : fbt_linear(f->b, wide, normed, layer->up, shape->activation, n));
    FBT_TRY(fbt_linear_residual(f->b, x, has_gate ? gated : wide, layer->down, x, n));
done:
    return status;
}

/* x = x + context Wo, x = x + MLP(norm(x)), for n rows; parallel: the MLP sees x as it was before both. */
static fbt_status finish_layer(fbt_forward *f, const fbt_layer *layer, fbt_buffer *x, int64_t n)
{
    fbt_status status = FBT_OK;
    const bool is_parallel = f->shape->decoder.is_parallel;
    FBT_TRY(is_parallel ? norm_residual(f, x, &layer->up_norm, n) : FBT_OK);
    FBT_TRY(fbt_linear_residual(f->b, x, f->buffers[FBT_BUFFER_CONTEXT], layer->output, x, n));
    FBT_TRY(is_parallel ? FBT_OK : norm_residual(f, x, &layer->up_norm, n));
    FBT_TRY(add_mlp(f, layer, x, n));
done:
    return status;
}

static fbt_status run_layer(fbt_forward *f, const fbt_layer *layer)
{
    fbt_status status = FBT_OK;
    const fbt_model_shape *shape = f->shape;
    const int64_t n = f->levels.n_rows, query = query_width(shape), stride = query + 2 * key_width(shape);
    const int64_t n_kv_heads = shape->decoder.n_kv_heads;
    fbt_buffer *x = f->buffers[FBT_BUFFER_X], *wide = f->buffers[FBT_BUFFER_WIDE];
    fbt_buffer *normed = f->buffers[FBT_BUFFER_NORMED];
    const fbt_heads q = heads_at(wide, stride, 0), k = heads_at(wide, stride, query);
    FBT_TRY(norm_residual(f, x, &layer->input_norm, n));
    FBT_TRY(fbt_linear(f->b, wide, normed, layer->qkv, FBT_ACT_NONE, n));
    FBT_TRY(norm_heads(f, wide, &q, shape->n_heads, &layer->query_norm, n));
    FBT_TRY(norm_heads(f, wide, &k, n_kv_heads, &layer->key_norm, n));
    FBT_TRY(rotate(f, wide, &q, shape->n_heads + n_kv_heads, f->levels.positions, n)); /* keys follow queries */
    for (int level = 0; level < f->levels.n_levels; level++) {
        FBT_TRY(attend(f, level, false, &q, stride, query));
    }
    FBT_TRY(finish_layer(f, layer, x, n));
done:
    return status;
}

/* The last layer: keys and values of all rows, everything else of those that are read. */
static fbt_status run_last_layer(fbt_forward *f, const fbt_layer *layer)
{
    fbt_status status = FBT_OK;
    const fbt_model_shape *shape = f->shape;
    const int64_t n = f->levels.n_rows, n_read = f->n_read, stride = 2 * key_width(shape);
    fbt_buffer *x = f->buffers[FBT_BUFFER_X], *read = f->buffers[FBT_BUFFER_READ];
    fbt_buffer *wide = f->buffers[FBT_BUFFER_WIDE], *query = f->buffers[FBT_BUFFER_QUERY];
    fbt_buffer *normed = f->buffers[FBT_BUFFER_NORMED];
    const fbt_heads q = heads_at(query, query_width(shape), 0), k = heads_at(wide, stride, 0);
    FBT_TRY(norm_residual(f, x, &layer->input_norm, n));
    FBT_TRY(fbt_linear(f->b, wide, normed, layer->key_value, FBT_ACT_NONE, n));
    FBT_TRY(norm_heads(f, wide, &k, shape->decoder.n_kv_heads, &layer->key_norm, n));
    FBT_TRY(rotate(f, wide, &k, shape->decoder.n_kv_heads, f->levels.positions, n));
    FBT_TRY(fbt_forward_gather(f, read, x, residual_type(f)));
    FBT_TRY(norm_residual(f, read, &layer->input_norm, n_read));
    FBT_TRY(fbt_linear(f->b, query, normed, layer->query, FBT_ACT_NONE, n_read));
    FBT_TRY(norm_heads(f, query, &q, shape->n_heads, &layer->query_norm, n_read));
    FBT_TRY(rotate(f, query, &q, shape->n_heads, f->levels.read_positions, n_read));
    for (int level = first_read(&f->levels); level < f->levels.n_levels; level++) {
        FBT_TRY(attend(f, level, true, &q, stride, 0));
    }
    FBT_TRY(finish_layer(f, layer, read, n_read));
done:
    return status;
}

fbt_status fbt_decoder_forward(fbt_forward *f, fbt_buffer **hidden)
{
    fbt_status status = FBT_OK;
    const fbt_weights *w = f->weights;
    const int64_t n_whole = f->shape->n_layers - w->splits_last_layer;
    fbt_buffer *read = f->buffers[FBT_BUFFER_READ];
    FBT_TRY(embed(f));
    for (int64_t i = 0; i < n_whole; i++) {
        FBT_TRY(fbt_forward_enter_layer(f, i, residual_type(f)));
        FBT_TRY(run_layer(f, &w->layers[i]));
    }
    FBT_TRY(w->splits_last_layer ? fbt_forward_enter_layer(f, n_whole, residual_type(f)) : FBT_OK);
    FBT_TRY(w->splits_last_layer ? run_last_layer(f, &w->layers[n_whole])
                                 : fbt_forward_gather(f, read, f->buffers[FBT_BUFFER_X], residual_type(f)));
    FBT_TRY(norm_residual(f, read, &w->final_norm, f->n_read));
    *hidden = f->buffers[FBT_BUFFER_NORMED];
done:
    return status;
}

void fbt_decoder_plan(const fbt_model_shape *shape, const fbt_workspace_request *request, int64_t bytes[FBT_N_BUFFERS])
{
    const int64_t item = (int64_t)fbt_dtype_bytes(request->types->activations);
    const int64_t residual_item = (int64_t)fbt_dtype_bytes(request->types->residual);
    const int64_t n = request->limits.n_rows, h = shape->n_hidden;
    const int64_t n_read = fbt_workspace_rows_read(&request->labels, request->limits.n_sequences);
    const int64_t qkv = query_width(shape) + 2 * key_width(shape);
    const int64_t up = shape->n_intermediate * (shape->decoder.has_gate ? 2 : 1);
    bytes[FBT_BUFFER_X] = n * h * residual_item;
    bytes[FBT_BUFFER_NORMED] = n * h * item;
    bytes[FBT_BUFFER_WIDE] = n * (up > qkv ? up : qkv) * item;
    bytes[FBT_BUFFER_GATED] = shape->decoder.has_gate ? n * shape->n_intermediate * item : 0;
    bytes[FBT_BUFFER_CONTEXT] = n * query_width(shape) * item;
    bytes[FBT_BUFFER_QUERY] = n_read * query_width(shape) * item;
    bytes[FBT_BUFFER_READ] = n_read * h * residual_item;
}

int64_t fbt_decoder_size(const fbt_model_shape *shape, fbt_size symbol)
{
    const fbt_decoder_shape *d = &shape->decoder;
    switch (symbol) {
    case FBT_SIZE_POSITIONS:
        return shape->n_positions + d->position_offset;
    case FBT_SIZE_KEY:
        return key_width(shape);
    case FBT_SIZE_ANGLES:
        return d->rotary.n_rotated / 2;
    case FBT_SIZE_HEAD:
        return d->has_head_norms ? shape->head_dim : 0;
    case FBT_SIZE_QKV_BIAS:
        return d->has_qkv_bias;
    case FBT_SIZE_OUTPUT_BIAS:
        return d->has_output_bias;
    case FBT_SIZE_MLP_BIAS:
        return d->has_mlp_bias;
    case FBT_SIZE_NORM_BIAS:
        return d->norm == FBT_NORM_LAYER;
    default:
        return 0;
    }
}

unsigned fbt_decoder_features(const fbt_model_shape *shape)
{
    const fbt_decoder_shape *d = &shape->decoder;
    return FBT_FEATURE_CAUSAL | FBT_FEATURE_PREFIX | (d->norm == FBT_NORM_RMS ? FBT_FEATURE_RMS_NORM : 0U) |
           (d->n_kv_heads != shape->n_heads ? FBT_FEATURE_KV_HEADS : 0U);
}

int fbt_decoder_describe(const fbt_model_shape *shape, fbt_model_fact *facts)
{
    const fbt_decoder_shape *d = &shape->decoder;
    facts[0] = (fbt_model_fact){"kv_heads", d->n_kv_heads};
    facts[1] = (fbt_model_fact){"head_dim", shape->head_dim};
    facts[2] = (fbt_model_fact){"rotated", d->rotary.n_rotated};
    facts[3] = (fbt_model_fact){"position_offset", d->position_offset};
    facts[4] = (fbt_model_fact){"sliding_window", d->window};
    return 5;
}
