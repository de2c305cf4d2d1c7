/* The operations as models call them: each is handed to the backend's table. */
#include "kernels/backend.h"

#include "kernels/backend_ops.h"
#include "kernels/features.h"

static const int64_t MOST_ITEMS = INT64_MAX / 16; /* of a matrix or table: their bytes can be counted */

void fbt_backend_close(fbt_backend *b)
{
    b->ops->close(b);
}

void fbt_backend_get_info(const fbt_backend *b, fbt_backend_info *info)
{
    *info = b->info;
}

const fbt_types *fbt_backend_types(const fbt_backend *b)
{
    return b->info.types;
}

fbt_status fbt_backend_get_memory(fbt_backend *b, fbt_backend_memory *memory)
{
    return b->ops->memory(b, memory);
}

void fbt_stream_select(fbt_backend *b, int lane)
{
    b->ops->select_lane(b, lane);
}

fbt_status fbt_buffer_new(fbt_backend *b, int64_t n_bytes, fbt_buffer **buffer)
{
    return b->ops->buffer_new(b, n_bytes, buffer);
}

void fbt_buffer_free(fbt_backend *b, fbt_buffer *buffer)
{
    b->ops->buffer_free(b, buffer);
}

fbt_status fbt_buffer_write(fbt_backend *b, fbt_buffer *buffer, const void *host, int64_t n_bytes)
{
    return b->ops->write(b, buffer, host, n_bytes);
}

fbt_status fbt_buffer_read(fbt_backend *b, void *host, const fbt_buffer *buffer, int64_t n_bytes)
{
    return b->ops->read(b, host, buffer, n_bytes);
}

fbt_status fbt_stream_sync(fbt_backend *b)
{
    return b->ops->sync(b);
}

fbt_status fbt_graph_begin(fbt_backend *b, const void *key, int64_t n_bytes, int *is_known)
{
    return b->ops->pass_begin(b, key, n_bytes, is_known);
}

fbt_status fbt_graph_end(fbt_backend *b, fbt_status status)
{
    return b->ops->pass_end(b, status);
}

fbt_status fbt_event_record(fbt_backend *b, int64_t index)
{
    return b->ops->stamp(b, index);
}

fbt_status fbt_event_seconds(fbt_backend *b, int64_t index, double *seconds)
{
    return b->ops->stamp_seconds(b, index, seconds);
}

void fbt_watch_products(fbt_backend *b, fbt_status (*queued)(void *context), void *context)
{
    b->ops->watch_products(b, queued, context);
}

fbt_status fbt_share_export(fbt_backend *b, fbt_share *share)
{
    return b->ops->share_export(b, share);
}

fbt_status fbt_share_import(fbt_backend *b, const fbt_share *share)
{
    return b->ops->share_import(b, share);
}

fbt_status fbt_matrix_new(fbt_backend *b, const fbt_matrix_spec *spec, fbt_matrix **matrix)
{
    fbt_status status = FBT_OK;
    fbt_matrix_spec whole = *spec;
    int64_t n_items;
    *matrix = NULL;
    whole.types = spec->types != NULL ? spec->types : b->info.types;
    if (spec->weight == NULL || spec->dtype == FBT_I32 || spec->n_out < 1 || spec->n_in < 1 ||
        __builtin_mul_overflow(spec->n_out, spec->n_in, &n_items) || n_items > MOST_ITEMS) {
        FBT_FAIL(FBT_ERR_ARG, "a matrix cannot have %lld x %lld weights", (long long)spec->n_out,
                 (long long)spec->n_in);
    }
    if (b->driver != NULL && !fbt_backend_has_types(b->driver, whole.types->name)) {
        FBT_FAIL(FBT_ERR_ARG, "backend %s has no %s matrices", b->info.name, whole.types->name);
    }
    FBT_TRY(b->ops->matrix_new(b, &whole, matrix));
done:
    return status;
}

void fbt_matrix_free(fbt_backend *b, fbt_matrix *matrix)
{
    b->ops->matrix_free(b, matrix);
}

fbt_status fbt_table_new(fbt_backend *b, const void *rows, fbt_dtype dtype, int64_t n_rows, int64_t n_dim,
                         fbt_table **table)
{
    return b->ops->table_new(b, rows, dtype, n_rows, n_dim, table);
}

void fbt_table_free(fbt_backend *b, fbt_table *table)
{
    b->ops->table_free(b, table);
}

fbt_status fbt_perturb(fbt_backend *b, fbt_buffer *tokens, const fbt_perturbation *perturbation,
                       const fbt_buffer *origins, const fbt_buffer *frozen, const fbt_packed *packed)
{
    return b->ops->perturb(b, tokens, perturbation, origins, frozen, packed);
}

fbt_status fbt_embed(fbt_backend *b, fbt_buffer *x, const fbt_embedding *embedding, const fbt_packed *packed)
{
    const fbt_status status = fbt_check_embedding_features(b, embedding);
    return status != FBT_OK ? status : b->ops->embed(b, x, embedding, packed);
}

fbt_status fbt_linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                      fbt_activation activation, int64_t n_rows)
{
    const fbt_status status = fbt_check_activation_features(b, activation);
    return status != FBT_OK ? status : b->ops->linear(b, y, x, w, activation, n_rows);
}

fbt_status fbt_linear_norm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                           const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows)
{
    const fbt_status status = fbt_check_norm_features(b, norm, "linear_norm");
    return status != FBT_OK ? status : b->ops->linear_norm(b, y, x, w, residual, norm, n_rows);
}

fbt_status fbt_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_norm *norm, int64_t n_rows,
                         int64_t n_dim)
{
    const fbt_status status = fbt_check_norm_features(b, norm, "layernorm");
    return status != FBT_OK ? status : b->ops->layernorm(b, y, x, norm, n_rows, n_dim);
}

fbt_status fbt_attend(fbt_backend *b, fbt_buffer *y, const fbt_attention *attention)
{
    const fbt_status status = fbt_check_attention_features(b, attention);
    return status != FBT_OK ? status : b->ops->attention(b, y, attention);
}

fbt_status fbt_gather_rows(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_buffer *rows, int64_t n,
                           int64_t n_dim)
{
    return b->ops->gather_rows(b, y, x, rows, n, n_dim);
}

fbt_status fbt_mean_pool(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed, int64_t n_dim)
{
    return b->ops->mean_pool(b, y, x, packed, n_dim);
}

fbt_status fbt_label_logits(fbt_backend *b, fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                            const fbt_buffer *labels, const fbt_buffer *bias, float scale, int64_t n, int64_t n_labels,
                            int64_t n_dim)
{
    return b->ops->label_logits(b, logits, x, dtype, labels, bias, scale, n, n_labels, n_dim);
}

fbt_status fbt_losses(fbt_backend *b, fbt_buffer *losses, fbt_buffer *predictions, const fbt_buffer *logits,
                      const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels)
{
    return b->ops->loss(b, losses, predictions, logits, labels, kind, n, n_labels);
}

fbt_status fbt_library_product(fbt_backend *b, const fbt_types *types, const int64_t size[3], int n_repeats,
                               double *best_s)
{
    return b->ops->library_product(b, types, size, n_repeats, best_s);
}

fbt_status fbt_library_copy(fbt_backend *b, int64_t n_bytes, int n_repeats, double *best_s)
{
    return b->ops->library_copy(b, n_bytes, n_repeats, best_s);
}
