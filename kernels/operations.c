/* The operations of a forward pass: each checks its arguments, does nothing for no rows, hands the rest to the backend,
 * and tells the profile what was done. */
#include "kernels/backend.h"

#include "kernels/checks.h"
#include "kernels/profiler.h"

#include <inttypes.h>

/* Bytes of n_operands results of w, or of what is added to them. */
static int64_t result_bytes(const fbt_matrix *w, fbt_dtype dtype, int64_t n_rows, int64_t n_operands)
{
    return n_operands * n_rows * w->n_out * (int64_t)fbt_dtype_bytes(dtype);
}

/* Whether there is anything to do for n rows; *status: whether there may be. */
static int has_rows(int64_t n, const char *what, fbt_status *status)
{
    *status = n < 0 ? fbt_fail(FBT_ERR_ARG, "%s: there cannot be %" PRId64 " rows", what, n) : FBT_OK;
    return n > 0;
}

/* Of a batch: rows without sequences, and the other way round, are refused with everything else. */
static int has_sequences(const fbt_packed *packed)
{
    return packed->n_rows != 0 || packed->n_sequences != 0;
}

fbt_status fbt_perturb(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                       const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    if (!has_sequences(packed)) {
        return FBT_OK;
    }
    FBT_TRY(b->ops->perturb != NULL ? FBT_OK : fbt_backend_lacks(b, "perturb"));
    FBT_TRY(fbt_check_perturb(tokens, perturbation, origins, frozen, packed));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->perturb(b, tokens, perturbation, origins, frozen, packed));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_EMBED, (fbt_work){.bytes = 2.0 * sizeof(int32_t) * (double)packed->n_rows}));
done:
    return status;
}

fbt_status fbt_embed(fbt_backend *b, fbt_buffer *x, const fbt_embedding *embedding, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    if (!has_sequences(packed)) {
        return FBT_OK;
    }
    FBT_TRY(b->ops->embed != NULL ? FBT_OK : fbt_backend_lacks(b, "embed"));
    FBT_TRY(fbt_check_embed(b, x, embedding, packed));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->embed(b, x, embedding, packed));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_EMBED, fbt_work_embedding(b, embedding, packed)));
done:
    return status;
}

fbt_status fbt_embed_rows(fbt_backend *b, fbt_buffer *x, const fbt_row_embedding *embedding, int64_t n_rows)
{
    fbt_status status;
    if (!has_rows(n_rows, "embed_rows", &status)) {
        return status;
    }
    FBT_TRY(b->ops->embed_rows != NULL ? FBT_OK : fbt_backend_lacks(b, "embed_rows"));
    FBT_TRY(fbt_check_embed_rows(b, x, embedding, n_rows));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->embed_rows(b, x, embedding, n_rows));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_EMBED, fbt_work_row_embedding(b, embedding, n_rows)));
done:
    return status;
}

fbt_status fbt_put_prompts(fbt_backend *b, fbt_buffer *x, fbt_dtype dtype, const fbt_layer_prompts *prompts,
                           int64_t n_rows)
{
    fbt_status status;
    if (!has_rows(n_rows, "put_prompts", &status)) {
        return status;
    }
    FBT_TRY(b->ops->put_prompts != NULL ? FBT_OK : fbt_backend_lacks(b, "put_prompts"));
    FBT_TRY(fbt_check_put_prompts(b, x, dtype, prompts, n_rows));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->put_prompts(b, x, dtype, prompts, n_rows));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_EMBED, fbt_work_copy(dtype, n_rows * prompts->n_dim)));
done:
    return status;
}

fbt_status fbt_linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                      fbt_activation activation, int64_t n_rows)
{
    fbt_status status;
    if (!has_rows(n_rows, "linear", &status)) {
        return status;
    }
    FBT_TRY(b->ops->linear != NULL ? FBT_OK : fbt_backend_lacks(b, "linear"));
    FBT_TRY(fbt_check_linear(b, y, x, w, activation, n_rows));
    FBT_TRY(fbt_profiler_begin_product(b, w, n_rows, result_bytes(w, w->types->activations, n_rows, 1)));
    FBT_TRY(b->ops->linear(b, y, x, w, activation, n_rows));
    FBT_TRY(fbt_profiler_end_product(b, FBT_OP_ACTIVATION, w, n_rows));
done:
    return status;
}

fbt_status fbt_linear_residual(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                               const fbt_buffer *residual, int64_t n_rows)
{
    fbt_status status;
    if (!has_rows(n_rows, "linear_residual", &status)) {
        return status;
    }
    FBT_TRY(b->ops->linear_residual != NULL ? FBT_OK : fbt_backend_lacks(b, "linear_residual"));
    FBT_TRY(fbt_check_linear_residual(b, y, x, w, residual, n_rows));
    FBT_TRY(fbt_profiler_begin_product(b, w, n_rows, result_bytes(w, w->types->residual, n_rows, 2)));
    FBT_TRY(b->ops->linear_residual(b, y, x, w, residual, n_rows));
    FBT_TRY(fbt_profiler_end_product(b, FBT_OP_ACTIVATION, w, n_rows));
done:
    return status;
}

fbt_status fbt_linear_norm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                           const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows)
{
    fbt_status status;
    if (!has_rows(n_rows, "linear_norm", &status)) {
        return status;
    }
    FBT_TRY(b->ops->linear_norm != NULL ? FBT_OK : fbt_backend_lacks(b, "linear_norm"));
    FBT_TRY(fbt_check_linear_norm(b, y, x, w, residual, norm, n_rows));
    FBT_TRY(fbt_profiler_begin_product(b, w, n_rows, result_bytes(w, w->types->activations, n_rows, 2)));
    FBT_TRY(b->ops->linear_norm(b, y, x, w, residual, norm, n_rows));
    FBT_TRY(fbt_profiler_end_product(b, FBT_OP_NORM, w, n_rows));
done:
    return status;
}

fbt_status fbt_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype, const fbt_norm *norm,
                         int64_t n_rows, int64_t n_dim)
{
    fbt_status status;
    if (!has_rows(n_rows, "layernorm", &status)) {
        return status;
    }
    FBT_TRY(b->ops->layernorm != NULL ? FBT_OK : fbt_backend_lacks(b, "layernorm"));
    FBT_TRY(fbt_check_layernorm(b, y, x, x_dtype, norm, n_rows, n_dim));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->layernorm(b, y, x, x_dtype, norm, n_rows, n_dim));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_NORM, fbt_work_norm(b, x_dtype, n_rows * n_dim)));
done:
    return status;
}

fbt_status fbt_norm_heads(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                          const fbt_norm *norm, int64_t n_rows)
{
    fbt_status status;
    if (!has_rows(n_rows, "norm_heads", &status)) {
        return status;
    }
    FBT_TRY(b->ops->norm_heads != NULL ? FBT_OK : fbt_backend_lacks(b, "norm_heads"));
    FBT_TRY(fbt_check_norm_heads(b, x, heads, n_heads, head_dim, norm, n_rows));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->norm_heads(b, x, heads, n_heads, head_dim, norm, n_rows));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_NORM, fbt_work_activations(b, 2 * n_rows * n_heads * head_dim)));
done:
    return status;
}

fbt_status fbt_rotate(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                      const fbt_rotary *rotary, int64_t n_rows)
{
    fbt_status status;
    if (!has_rows(n_rows, "rotate", &status)) {
        return status;
    }
    FBT_TRY(b->ops->rotate != NULL ? FBT_OK : fbt_backend_lacks(b, "rotate"));
    FBT_TRY(fbt_check_rotate(b, x, heads, n_heads, head_dim, rotary, n_rows));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->rotate(b, x, heads, n_heads, head_dim, rotary, n_rows));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_ROTATE, fbt_work_activations(b, 2 * n_rows * n_heads * rotary->n_rotated)));
done:
    return status;
}

fbt_status fbt_attend(fbt_backend *b, fbt_buffer *y, const fbt_attention *attention)
{
    fbt_status status = FBT_OK;
    if (!has_sequences(attention->packed)) {
        return FBT_OK;
    }
    FBT_TRY(b->ops->attention != NULL ? FBT_OK : fbt_backend_lacks(b, "attention"));
    FBT_TRY(fbt_check_attend(b, y, attention));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->attention(b, y, attention));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_ATTENTION, fbt_work_attention(b, attention)));
done:
    return status;
}

fbt_status fbt_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
                    int64_t n_dim)
{
    fbt_status status;
    if (!has_rows(n_rows, "gate", &status)) {
        return status;
    }
    FBT_TRY(b->ops->gate != NULL ? FBT_OK : fbt_backend_lacks(b, "gate"));
    FBT_TRY(fbt_check_gate(b, y, x, activation, n_rows, n_dim));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->gate(b, y, x, activation, n_rows, n_dim));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_ACTIVATION, fbt_work_activations(b, 3 * n_rows * n_dim)));
done:
    return status;
}

fbt_status fbt_linear_gate(fbt_backend *b, fbt_buffer *y, fbt_buffer *wide, const fbt_buffer *x, const fbt_matrix *w,
                           fbt_activation activation, int64_t n_rows)
{
    fbt_status status;
    if (!has_rows(n_rows, "linear_gate", &status)) {
        return status;
    }
    FBT_TRY(fbt_check_linear_gate(b, y, wide, x, w, activation, n_rows));
    if (!w->makes_gate) {
        FBT_TRY(fbt_linear(b, wide, x, w, FBT_ACT_NONE, n_rows));
        return fbt_gate(b, y, wide, activation, n_rows, w->n_out / 2);
    }
    FBT_TRY(fbt_profiler_begin_product(b, w, n_rows, result_bytes(w, w->types->activations, n_rows, 1) / 2));
    FBT_TRY(b->ops->linear_gate(b, y, x, w, activation, n_rows));
    FBT_TRY(fbt_profiler_end_product(b, FBT_OP_ACTIVATION, w, n_rows));
done:
    return status;
}

fbt_status fbt_gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype, const fbt_buffer *rows,
                           int64_t n, int64_t n_dim)
{
    fbt_status status;
    if (!has_rows(n, "gather_rows", &status)) {
        return status;
    }
    FBT_TRY(b->ops->gather_rows != NULL ? FBT_OK : fbt_backend_lacks(b, "gather_rows"));
    FBT_TRY(fbt_check_gather_rows(b, y, x, dtype, rows, n, n_dim));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->gather_rows(b, y, x, dtype, rows, n, n_dim));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_READOUT, fbt_work_copy(dtype, n * n_dim)));
done:
    return status;
}

fbt_status fbt_mean_pool(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed, int64_t n_dim)
{
    fbt_status status = FBT_OK;
    fbt_work work;
    if (!has_sequences(packed)) {
        return FBT_OK;
    }
    FBT_TRY(b->ops->mean_pool != NULL ? FBT_OK : fbt_backend_lacks(b, "mean_pool"));
    FBT_TRY(fbt_check_mean_pool(b, y, x, packed, n_dim));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->mean_pool(b, y, x, packed, n_dim));
    work = fbt_work_activations(b, packed->n_rows * n_dim);
    work.bytes += (double)(packed->n_sequences * n_dim) * sizeof(float);
    FBT_TRY(fbt_profiler_end(b, FBT_OP_READOUT, work));
done:
    return status;
}

fbt_status fbt_label_logits(fbt_backend *b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                            const fbt_buffer *labels, const fbt_buffer *bias, float scale, int64_t n, int64_t n_labels,
                            int64_t n_dim)
{
    fbt_status status;
    double n_bytes;
    if (!has_rows(n, "label_logits", &status)) {
        return status;
    }
    FBT_TRY(b->ops->label_logits != NULL ? FBT_OK : fbt_backend_lacks(b, "label_logits"));
    FBT_TRY(fbt_check_label_logits(b, logits, x, dtype, labels, bias, n, n_labels, n_dim));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->label_logits(b, logits, x, dtype, labels, bias, scale, n, n_labels, n_dim));
    n_bytes = (double)n * (double)n_dim * (double)fbt_dtype_bytes(dtype) +
              sizeof(float) * (double)n_labels * ((double)n_dim + (double)n);
    FBT_TRY(fbt_profiler_end(b, FBT_OP_READOUT, (fbt_work){.bytes = n_bytes}));
done:
    return status;
}

fbt_status fbt_token_log_probs(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_vocabulary *vocabulary,
                               const fbt_token_targets *targets, int64_t n_rows)
{
    fbt_status status;
    if (!has_rows(n_rows, "token_log_probs", &status)) {
        return status;
    }
    FBT_TRY(b->ops->token_log_probs != NULL ? FBT_OK : fbt_backend_lacks(b, "token_log_probs"));
    FBT_TRY(fbt_check_token_log_probs(b, y, x, vocabulary, targets, n_rows));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->token_log_probs(b, y, x, vocabulary, targets, n_rows));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_READOUT, fbt_work_vocabulary(b, vocabulary, n_rows)));
done:
    return status;
}

fbt_status fbt_losses(fbt_backend *b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
                      const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels)
{
    fbt_status status;
    if (!has_rows(n, "losses", &status)) {
        return status;
    }
    FBT_TRY(b->ops->loss != NULL ? FBT_OK : fbt_backend_lacks(b, "losses"));
    FBT_TRY(fbt_check_losses(losses, predictions, logits, labels, kind, n, n_labels));
    FBT_TRY(fbt_profiler_begin(b));
    FBT_TRY(b->ops->loss(b, losses, predictions, logits, labels, kind, n, n_labels));
    FBT_TRY(fbt_profiler_end(b, FBT_OP_READOUT, (fbt_work){0})); /* a few words a sample */
done:
    return status;
}
