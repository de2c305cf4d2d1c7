/* Operations that are one kernel each: its arguments, and the launch on the current stream. */
#include "kernels/cuda/cuda.h"

static const void *data_of(const fbt_buffer *buffer)
{
    return buffer == NULL ? NULL : buffer->data;
}

static fbt_cuda_packed describe_packed(const fbt_packed *packed)
{
    return (fbt_cuda_packed){.tokens = data_of(packed->tokens),
                             .offsets = data_of(packed->offsets),
                             .prompt_index = data_of(packed->prompt_index),
                             .n_sequences = packed->n_sequences,
                             .n_rows = packed->n_rows,
                             .max_length = packed->max_length};
}

fbt_status fbt_cuda_perturb(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                            const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed)
{
    const fbt_cuda_packed described = describe_packed(packed);
    return fbt_cuda_status(fbt_cuda_launch_perturb(fbt_cuda_of(b)->stream->handle, tokens->data, perturbation,
                                                   origins->data, data_of(frozen), &described),
                           "launch the perturbation");
}

static fbt_cuda_lookup lookup_of(const fbt_table *table)
{
    return table == NULL ? (fbt_cuda_lookup){0}
                         : (fbt_cuda_lookup){.rows = table->rows, .dtype = table->dtype, .n_rows = table->n_rows};
}

fbt_status fbt_cuda_embed(fbt_backend *b, fbt_buffer *x, const fbt_embedding *e, const fbt_packed *packed)
{
    const fbt_cuda_stream *stream = fbt_cuda_of(b)->stream;
    const fbt_cuda_embed_args args = {.x = x->data,
                                      .dtype = b->info.types->activations,
                                      .word = lookup_of(e->word),
                                      .position = lookup_of(e->position),
                                      .type = lookup_of(e->type),
                                      .position_offset = e->position_offset,
                                      .gamma = e->norm.gamma->data,
                                      .beta = e->norm.beta->data,
                                      .epsilon = e->norm.epsilon,
                                      .n_dim = e->n_dim,
                                      .mode = e->mode,
                                      .n_prompt_tokens = e->n_prompt_tokens,
                                      .prompts = data_of(e->prompts),
                                      .packed = describe_packed(packed),
                                      .error = stream->device_error};
    return fbt_cuda_status(fbt_cuda_launch_embed(stream->handle, &args), "launch the embedding");
}

fbt_status fbt_cuda_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_norm *norm, int64_t n_rows,
                              int64_t n_dim)
{
    const fbt_cuda_norm_args args = {.y = y->data,
                                     .x = x->data,
                                     .gamma = norm->gamma->data,
                                     .beta = norm->beta->data,
                                     .epsilon = norm->epsilon,
                                     .dtype = b->info.types->activations,
                                     .n_rows = n_rows,
                                     .n_dim = n_dim};
    return fbt_cuda_status(fbt_cuda_launch_norm(fbt_cuda_of(b)->stream->handle, &args), "launch the norm");
}

static const void *first_head(const fbt_heads *heads, int64_t item)
{
    return (const char *)heads->buffer->data + heads->column * item;
}

fbt_status fbt_cuda_attention(fbt_backend *b, fbt_buffer *y, const fbt_attention *a)
{
    const fbt_dtype dtype = b->info.types->activations;
    const int64_t item = (int64_t)fbt_dtype_bytes(dtype);
    const fbt_cuda_attention_args args = {.y = y->data,
                                          .q = first_head(&a->q, item),
                                          .k = first_head(&a->k, item),
                                          .v = first_head(&a->v, item),
                                          .q_stride = a->q.stride,
                                          .k_stride = a->k.stride,
                                          .v_stride = a->v.stride,
                                          .offsets = a->packed->offsets->data,
                                          .n_sequences = a->packed->n_sequences,
                                          .max_length = a->packed->max_length,
                                          .one_query = a->one_query,
                                          .n_heads = a->n_heads,
                                          .head_dim = a->head_dim,
                                          .scale = a->scale,
                                          .dtype = dtype};
    return fbt_cuda_status(fbt_cuda_launch_attention(fbt_cuda_of(b)->stream->handle, &args), "launch attention");
}

fbt_status fbt_cuda_gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_buffer *rows, int64_t n,
                                int64_t n_dim)
{
    return fbt_cuda_status(fbt_cuda_launch_gather_rows(fbt_cuda_of(b)->stream->handle, y->data, x->data, rows->data,
                                                       b->info.types->activations, n, n_dim),
                           "launch the gathering of rows");
}

fbt_status fbt_cuda_mean_pool(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed,
                              int64_t n_dim)
{
    return fbt_cuda_status(fbt_cuda_launch_mean_pool(fbt_cuda_of(b)->stream->handle, y->data, x->data,
                                                     packed->offsets->data, b->info.types->activations,
                                                     packed->n_sequences, n_dim),
                           "launch the pooling");
}

fbt_status fbt_cuda_label_logits(fbt_backend *b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                                 const fbt_buffer *labels, const fbt_buffer *bias, float scale, int64_t n,
                                 int64_t n_labels, int64_t n_dim)
{
    const fbt_cuda_label_logits_args args = {.logits = logits->data,
                                             .x = x->data,
                                             .dtype = dtype,
                                             .labels = labels->data,
                                             .bias = data_of(bias),
                                             .scale = scale,
                                             .n = n,
                                             .n_labels = n_labels,
                                             .n_dim = n_dim};
    return fbt_cuda_status(fbt_cuda_launch_label_logits(fbt_cuda_of(b)->stream->handle, &args),
                           "launch the label logits");
}

fbt_status fbt_cuda_loss(fbt_backend *b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
                         const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels)
{
    return fbt_cuda_status(fbt_cuda_launch_loss(fbt_cuda_of(b)->stream->handle, losses->data, predictions->data,
                                                logits->data, labels->data, kind, n, n_labels),
                           "launch the losses");
}
