/* Operations that are one kernel each: its arguments, and the launch on the current stream. */
#include "kernels/cuda/cuda.h"

#include "kernels/features.h"

static fbt_cuda_packed describe_packed(const fbt_packed *packed)
{
    return (fbt_cuda_packed){.tokens = fbt_cuda_data(packed->tokens),
                             .offsets = fbt_cuda_data(packed->offsets),
                             .prompt_index = fbt_cuda_data(packed->prompt_index),
                             .n_sequences = packed->n_sequences,
                             .n_rows = packed->n_rows,
                             .max_length = packed->max_length};
}

fbt_status fbt_cuda_perturb(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                            const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed)
{
    const fbt_cuda_packed described = describe_packed(packed);
    return fbt_cuda_status(fbt_cuda_launch_perturb(fbt_cuda_of(b)->stream->handle, tokens->data, perturbation,
                                                   origins->data, fbt_cuda_data(frozen), &described),
                           "launch the perturbation");
}

fbt_status fbt_cuda_embed(fbt_backend *b, fbt_buffer *x, const fbt_embedding *e, const fbt_packed *packed)
{
    const fbt_cuda_stream *stream = fbt_cuda_of(b)->stream;
    const fbt_cuda_embed_args args = {.x = x->data,
                                      .dtype = b->info.types->activations,
                                      .word = fbt_cuda_lookup_of(e->word),
                                      .position = fbt_cuda_lookup_of(e->position),
                                      .type = fbt_cuda_lookup_of(e->type),
                                      .position_offset = e->position_offset,
                                      .norm = fbt_cuda_norm_of(&e->norm),
                                      .n_dim = e->n_dim,
                                      .mode = e->mode,
                                      .n_prompt_tokens = e->n_prompt_tokens,
                                      .prompts = fbt_cuda_data(e->prompts),
                                      .packed = describe_packed(packed),
                                      .error = stream->device_error};
    return fbt_cuda_status(fbt_cuda_launch_embed(stream->handle, &args), "launch the embedding");
}

fbt_status fbt_cuda_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype,
                              const fbt_norm *norm, int64_t n_rows, int64_t n_dim)
{
    const fbt_cuda_norm_args args = {.y = y->data,
                                     .x = x->data,
                                     .norm = fbt_cuda_norm_of(norm),
                                     .dtype = b->info.types->activations,
                                     .x_dtype = x_dtype,
                                     .n_rows = n_rows,
                                     .n_dim = n_dim};
    return fbt_cuda_status(fbt_cuda_launch_norm(fbt_cuda_of(b)->stream->handle, &args), "launch the norm");
}

static fbt_cuda_heads describe_heads(const fbt_heads *heads, fbt_dtype dtype)
{
    return (fbt_cuda_heads){.data = fbt_cuda_first_head(heads, dtype), .stride = heads->stride};
}

/* Of the sequences themselves and of the chain of their prefixes. */
static void describe_keys(fbt_cuda_attention_args *args, const fbt_attention *a)
{
    const fbt_packed *own = fbt_attention_keys(a);
    int i = 1;
    args->keys[0] = (fbt_cuda_keys){.k = describe_heads(&a->k, args->dtype),
                                    .v = describe_heads(&a->v, args->dtype),
                                    .offsets = own->offsets->data};
    args->max_keys = own->max_length;
    for (const fbt_prefix *p = a->prefix; p != NULL; p = p->before, i++) {
        args->keys[i] = (fbt_cuda_keys){.k = describe_heads(&p->k, args->dtype),
                                        .v = describe_heads(&p->v, args->dtype),
                                        .offsets = p->packed->offsets->data,
                                        .index = p->index->data};
        args->max_keys += p->packed->max_length;
    }
}

fbt_status fbt_cuda_attention(fbt_backend *b, fbt_buffer *y, const fbt_attention *a)
{
    const fbt_dtype dtype = b->info.types->activations;
    fbt_cuda_attention_args args = {.y = y->data,
                                    .q = describe_heads(&a->q, dtype),
                                    .offsets = a->packed->offsets->data,
                                    .n_sequences = a->packed->n_sequences,
                                    .max_queries = a->one_query ? 1 : a->packed->max_length,
                                    .one_query = a->one_query,
                                    .is_causal = a->is_causal,
                                    .n_heads = a->n_heads,
                                    .n_kv_heads = fbt_attention_kv_heads(a),
                                    .head_dim = a->head_dim,
                                    .scale = a->scale,
                                    .dtype = dtype};
    describe_keys(&args, a);
    return fbt_cuda_status(fbt_cuda_launch_attention(fbt_cuda_of(b)->stream->handle, &args), "launch attention");
}

fbt_status fbt_cuda_gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype,
                                const fbt_buffer *rows, int64_t n, int64_t n_dim)
{
    return fbt_cuda_status(
        fbt_cuda_launch_gather_rows(fbt_cuda_of(b)->stream->handle, y->data, x->data, rows->data, dtype, n, n_dim),
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
                                             .bias = fbt_cuda_data(bias),
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
