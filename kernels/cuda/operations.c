/* Operations that are one kernel each: checks, and the launch on the current lane. */
#include "kernels/cuda/cuda.h"

#include "kernels/checks.h"

static int64_t item_bytes(const fbt_backend *b)
{
    return (int64_t)fbt_dtype_bytes(b->info.types->activations);
}

/* Kernels take rows 16 bytes at a time. */
static fbt_status check_width(int64_t n_dim, const char *what)
{
    if (n_dim < 1) {
        return fbt_fail(FBT_ERR_ARG, "%s: rows of %lld", what, (long long)n_dim);
    }
    if (n_dim % FBT_CUDA_WIDTH != 0) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "%s: the CUDA backend takes rows of a multiple of %d, not of %lld", what,
                        FBT_CUDA_WIDTH, (long long)n_dim);
    }
    return FBT_OK;
}

static fbt_status check_norm(const fbt_norm *norm, int64_t n_dim, const char *what)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_cuda_check_buffer(norm->gamma, n_dim, sizeof(float), what));
    FBT_TRY(fbt_cuda_check_buffer(norm->beta, n_dim, sizeof(float), what));
done:
    return status;
}

static const void *data_of(const fbt_buffer *buffer)
{
    return buffer == NULL ? NULL : buffer->data;
}

/* The device's side of a batch; needs_* : what the kernel reads beside the offsets. */
static fbt_status describe_packed(const fbt_packed *packed, int needs_tokens, int needs_prompts,
                                  fbt_cuda_packed *described)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_packed(packed));
    if (packed->n_sequences > 0) {
        FBT_TRY(fbt_cuda_check_buffer(packed->offsets, packed->n_sequences + 1, sizeof(int32_t), "a batch's offsets"));
    }
    if (needs_tokens) {
        FBT_TRY(fbt_cuda_check_buffer(packed->tokens, packed->n_rows, sizeof(int32_t), "a batch's tokens"));
    }
    if (needs_prompts) {
        FBT_TRY(fbt_cuda_check_buffer(packed->prompt_index, packed->n_sequences, sizeof(int32_t),
                                      "a batch's prompt indices"));
    }
    *described = (fbt_cuda_packed){.tokens = data_of(packed->tokens),
                                   .offsets = data_of(packed->offsets),
                                   .prompt_index = data_of(packed->prompt_index),
                                   .n_sequences = packed->n_sequences,
                                   .n_rows = packed->n_rows,
                                   .max_length = packed->max_length};
done:
    return status;
}

fbt_status fbt_cuda_perturb(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                            const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    fbt_cuda_packed described;
    FBT_TRY(describe_packed(packed, 0, 0, &described));
    if (!(perturbation->rate >= 0 && perturbation->rate <= 1) || perturbation->vocab_size < 1 ||
        perturbation->vocab_size > INT32_MAX) {
        FBT_FAIL(FBT_ERR_ARG, "perturb: a rate of %g in a vocabulary of %lld", perturbation->rate,
                 (long long)perturbation->vocab_size);
    }
    FBT_TRY(fbt_cuda_check_buffer(tokens, packed->n_rows, sizeof(int32_t), "perturb, tokens"));
    FBT_TRY(fbt_cuda_check_buffer(origins, packed->n_sequences, sizeof(fbt_origin), "perturb, origins"));
    if (frozen != NULL) {
        FBT_TRY(fbt_cuda_check_buffer(frozen, packed->n_rows, 1, "perturb, frozen"));
    }
    if (packed->n_sequences > 0) {
        FBT_TRY(fbt_cuda_status(fbt_cuda_launch_perturb(fbt_cuda_of(b)->lane->stream, tokens->data, perturbation,
                                                        data_of(origins), data_of(frozen), &described),
                                "launch the perturbation"));
    }
done:
    return status;
}

static fbt_cuda_lookup lookup_of(const fbt_table *table)
{
    return table == NULL ? (fbt_cuda_lookup){0}
                         : (fbt_cuda_lookup){.rows = table->rows, .dtype = table->dtype, .n_rows = table->n_rows};
}

static fbt_status check_embedding(const fbt_embedding *e)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_width(e->n_dim, "embed"));
    if (e->word->n_dim != e->n_dim || e->position->n_dim != e->n_dim || e->position_offset < 0 ||
        (e->type != NULL && e->type->n_dim != e->n_dim)) {
        FBT_FAIL(FBT_ERR_ARG, "embed: the tables' rows are not all of %lld", (long long)e->n_dim);
    }
    if ((e->mode == FBT_PROMPT_NONE) != (e->n_prompt_tokens == 0) || e->n_prompt_tokens < 0) {
        FBT_FAIL(FBT_ERR_ARG, "embed: a prompt of %lld tokens does not fit its mode", (long long)e->n_prompt_tokens);
    }
    FBT_TRY(check_norm(&e->norm, e->n_dim, "embed, norm"));
    if (e->mode != FBT_PROMPT_NONE) {
        FBT_TRY(
            fbt_cuda_check_buffer(e->prompts, e->n_prompt_tokens, e->n_dim * (int64_t)sizeof(float), "embed, prompts"));
    }
done:
    return status;
}

fbt_status fbt_cuda_embed(fbt_backend *b, fbt_buffer *x, const fbt_embedding *e, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    const fbt_cuda_lane *lane = fbt_cuda_of(b)->lane;
    fbt_cuda_embed_args args = {.dtype = b->info.types->activations,
                                .word = lookup_of(e->word),
                                .position = lookup_of(e->position),
                                .type = lookup_of(e->type),
                                .position_offset = e->position_offset,
                                .epsilon = e->norm.epsilon,
                                .n_dim = e->n_dim,
                                .mode = e->mode,
                                .n_prompt_tokens = e->n_prompt_tokens,
                                .prompts = data_of(e->prompts),
                                .error = lane->device_error};
    FBT_TRY(check_embedding(e));
    FBT_TRY(describe_packed(packed, 1, e->mode != FBT_PROMPT_NONE, &args.packed));
    FBT_TRY(fbt_cuda_check_buffer(x, packed->n_rows, e->n_dim * item_bytes(b), "embed, x"));
    args.x = x->data;
    args.gamma = e->norm.gamma->data;
    args.beta = e->norm.beta->data;
    FBT_TRY(fbt_cuda_status(fbt_cuda_launch_embed(lane->stream, &args), "launch the embedding"));
done:
    return status;
}

fbt_status fbt_cuda_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_norm *norm, int64_t n_rows,
                              int64_t n_dim)
{
    fbt_status status = FBT_OK;
    fbt_cuda_norm_args args;
    FBT_TRY(check_width(n_dim, "layernorm"));
    FBT_TRY(fbt_cuda_check_buffer(x, n_rows, n_dim * item_bytes(b), "layernorm, x"));
    FBT_TRY(fbt_cuda_check_buffer(y, n_rows, n_dim * item_bytes(b), "layernorm, y"));
    FBT_TRY(check_norm(norm, n_dim, "layernorm, norm"));
    args = (fbt_cuda_norm_args){.y = y->data,
                                .x = x->data,
                                .gamma = norm->gamma->data,
                                .beta = norm->beta->data,
                                .epsilon = norm->epsilon,
                                .dtype = b->info.types->activations,
                                .n_rows = n_rows,
                                .n_dim = n_dim};
    FBT_TRY(fbt_cuda_status(fbt_cuda_launch_norm(fbt_cuda_of(b)->lane->stream, &args), "launch the norm"));
done:
    return status;
}

static fbt_status check_heads(const fbt_heads *heads, int64_t n_rows, int64_t width, int64_t item, const char *what)
{
    if (heads->column < 0 || width < 1 || heads->stride < heads->column + width) {
        return fbt_fail(FBT_ERR_ARG, "%s takes %lld elements from column %lld of rows of %lld", what, (long long)width,
                        (long long)heads->column, (long long)heads->stride);
    }
    if (heads->stride % FBT_CUDA_WIDTH != 0 || heads->column % FBT_CUDA_WIDTH != 0) {
        return fbt_fail(
            FBT_ERR_UNSUPPORTED,
            "%s: the CUDA backend takes columns and rows of a multiple of %d, not column %lld of rows of %lld", what,
            FBT_CUDA_WIDTH, (long long)heads->column, (long long)heads->stride);
    }
    return fbt_cuda_check_buffer(heads->buffer, n_rows, heads->stride * item, what);
}

static const void *first_head(const fbt_heads *heads, int64_t item)
{
    return (const char *)heads->buffer->data + heads->column * item;
}

static fbt_status check_attention(const fbt_attention *a)
{
    if (a->n_heads < 1 || a->head_dim < 1 || !(a->scale > 0)) {
        return fbt_fail(FBT_ERR_ARG, "attention: %lld heads of %lld with scale %g", (long long)a->n_heads,
                        (long long)a->head_dim, (double)a->scale);
    }
    if (a->head_dim % FBT_CUDA_WIDTH != 0 || a->head_dim > FBT_CUDA_MAX_HEAD_DIM) {
        return fbt_fail(FBT_ERR_UNSUPPORTED,
                        "attention: the CUDA backend takes heads of a multiple of %d up to %d, not of %lld",
                        FBT_CUDA_WIDTH, FBT_CUDA_MAX_HEAD_DIM, (long long)a->head_dim);
    }
    return FBT_OK;
}

fbt_status fbt_cuda_attention(fbt_backend *b, fbt_buffer *y, const fbt_attention *a)
{
    fbt_status status = FBT_OK;
    const fbt_packed *packed = a->packed;
    const int64_t item = item_bytes(b), width = a->n_heads * a->head_dim;
    const int64_t n_queries = a->one_query ? packed->n_sequences : packed->n_rows;
    fbt_cuda_packed described;
    fbt_cuda_attention_args args;
    FBT_TRY(check_attention(a));
    FBT_TRY(describe_packed(packed, 0, 0, &described));
    FBT_TRY(check_heads(&a->q, n_queries, width, item, "attention, q"));
    FBT_TRY(check_heads(&a->k, packed->n_rows, width, item, "attention, k"));
    FBT_TRY(check_heads(&a->v, packed->n_rows, width, item, "attention, v"));
    FBT_TRY(fbt_cuda_check_buffer(y, n_queries, width * item, "attention, y"));
    args = (fbt_cuda_attention_args){.y = y->data,
                                     .q = first_head(&a->q, item),
                                     .k = first_head(&a->k, item),
                                     .v = first_head(&a->v, item),
                                     .q_stride = a->q.stride,
                                     .k_stride = a->k.stride,
                                     .v_stride = a->v.stride,
                                     .offsets = described.offsets,
                                     .n_sequences = described.n_sequences,
                                     .max_length = described.max_length,
                                     .one_query = a->one_query,
                                     .n_heads = a->n_heads,
                                     .head_dim = a->head_dim,
                                     .scale = a->scale,
                                     .dtype = b->info.types->activations};
    FBT_TRY(fbt_cuda_status(fbt_cuda_launch_attention(fbt_cuda_of(b)->lane->stream, &args), "launch attention"));
done:
    return status;
}

fbt_status fbt_cuda_gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_buffer *rows, int64_t n,
                                int64_t n_dim)
{
    fbt_status status = FBT_OK;
    if (n == 0) {
        return FBT_OK;
    }
    FBT_TRY(check_width(n_dim, "gather_rows"));
    FBT_TRY(fbt_cuda_check_buffer(x, 1, n_dim * item_bytes(b), "gather_rows, x"));
    FBT_TRY(fbt_cuda_check_buffer(y, n, n_dim * item_bytes(b), "gather_rows, y"));
    FBT_TRY(fbt_cuda_check_buffer(rows, n, sizeof(int32_t), "gather_rows, rows"));
    FBT_TRY(fbt_cuda_status(fbt_cuda_launch_gather_rows(fbt_cuda_of(b)->lane->stream, y->data, x->data, rows->data,
                                                        b->info.types->activations, n, n_dim),
                            "launch the gathering of rows"));
done:
    return status;
}

fbt_status fbt_cuda_mean_pool(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed,
                              int64_t n_dim)
{
    fbt_status status = FBT_OK;
    fbt_cuda_packed described;
    FBT_TRY(check_width(n_dim, "mean_pool"));
    FBT_TRY(describe_packed(packed, 0, 0, &described));
    FBT_TRY(fbt_cuda_check_buffer(x, packed->n_rows, n_dim * item_bytes(b), "mean_pool, x"));
    FBT_TRY(fbt_cuda_check_buffer(y, packed->n_sequences, n_dim * (int64_t)sizeof(float), "mean_pool, y"));
    FBT_TRY(fbt_cuda_status(fbt_cuda_launch_mean_pool(fbt_cuda_of(b)->lane->stream, y->data, x->data, described.offsets,
                                                      b->info.types->activations, described.n_sequences, n_dim),
                            "launch the pooling"));
done:
    return status;
}

fbt_status fbt_cuda_label_logits(fbt_backend *b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                                 const fbt_buffer *labels, const fbt_buffer *bias, float scale, int64_t n,
                                 int64_t n_labels, int64_t n_dim)
{
    fbt_status status = FBT_OK;
    fbt_cuda_label_logits_args args;
    if (n_labels < 1 || (dtype != FBT_F32 && dtype != FBT_BF16)) {
        FBT_FAIL(FBT_ERR_ARG, "label_logits: %lld labels of %lld", (long long)n_labels, (long long)n_dim);
    }
    FBT_TRY(check_width(n_dim, "label_logits"));
    FBT_TRY(fbt_cuda_check_buffer(x, n, n_dim * (int64_t)fbt_dtype_bytes(dtype), "label_logits, x"));
    FBT_TRY(fbt_cuda_check_buffer(labels, n_labels, n_dim * (int64_t)sizeof(float), "label_logits, labels"));
    FBT_TRY(fbt_cuda_check_buffer(logits, n, n_labels * (int64_t)sizeof(float), "label_logits, logits"));
    if (bias != NULL) {
        FBT_TRY(fbt_cuda_check_buffer(bias, n_labels, sizeof(float), "label_logits, bias"));
    }
    args = (fbt_cuda_label_logits_args){.logits = logits->data,
                                        .x = x->data,
                                        .dtype = dtype,
                                        .labels = labels->data,
                                        .bias = data_of(bias),
                                        .scale = scale,
                                        .n = n,
                                        .n_labels = n_labels,
                                        .n_dim = n_dim};
    FBT_TRY(
        fbt_cuda_status(fbt_cuda_launch_label_logits(fbt_cuda_of(b)->lane->stream, &args), "launch the label logits"));
done:
    return status;
}

fbt_status fbt_cuda_loss(fbt_backend *b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
                         const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels)
{
    fbt_status status = FBT_OK;
    if (n_labels < 1) {
        FBT_FAIL(FBT_ERR_ARG, "loss: %lld labels", (long long)n_labels);
    }
    FBT_TRY(fbt_cuda_check_buffer(losses, n, sizeof(float), "loss, losses"));
    FBT_TRY(fbt_cuda_check_buffer(predictions, n, sizeof(int32_t), "loss, predictions"));
    FBT_TRY(fbt_cuda_check_buffer(logits, n, n_labels * (int64_t)sizeof(float), "loss, logits"));
    FBT_TRY(fbt_cuda_check_buffer(labels, n, sizeof(int32_t), "loss, labels"));
    FBT_TRY(fbt_cuda_status(fbt_cuda_launch_loss(fbt_cuda_of(b)->lane->stream, losses->data, predictions->data,
                                                 logits->data, labels->data, kind, n, n_labels),
                            "launch the losses"));
done:
    return status;
}
