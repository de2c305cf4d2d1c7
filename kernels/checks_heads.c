/* Checks of what takes rows as heads: attention, rotary positions, norms of heads. */
#include "kernels/checks.h"

#include "kernels/features.h"

#include <inttypes.h>

/* `width` elements from a column of rows on, of which n_rows are there. */
static fbt_status check_heads(const fbt_backend *b, const fbt_heads *heads, int64_t n_rows, int64_t width,
                              const char *what)
{
    const int64_t multiple = b->info.size_multiple;
    if (heads->column < 0 || heads->column > (int64_t)1 << 40 || heads->stride < heads->column + width ||
        heads->stride > (int64_t)1 << 40) {
        return fbt_fail(FBT_ERR_ARG, "%s takes %" PRId64 " elements from column %" PRId64 " of rows of %" PRId64, what,
                        width, heads->column, heads->stride);
    }
    if (heads->stride % multiple != 0 || heads->column % multiple != 0) {
        return fbt_fail(FBT_ERR_UNSUPPORTED,
                        "%s: backend %s takes columns and rows of a multiple of %" PRId64 ", not column %" PRId64
                        " of rows of %" PRId64,
                        what, b->info.name, multiple, heads->column, heads->stride);
    }
    return fbt_check_buffer(heads->buffer, n_rows, fbt_check_row_bytes(b, heads->stride), what);
}

static fbt_status check_head_sizes(const fbt_backend *b, int64_t n_heads, int64_t head_dim, const char *what)
{
    if (n_heads < 1 || head_dim < 1 || n_heads > 1 << 20 || head_dim > 1 << 20) {
        return fbt_fail(FBT_ERR_ARG, "%s: %" PRId64 " heads of %" PRId64, what, n_heads, head_dim);
    }
    if (head_dim % b->info.size_multiple != 0 || head_dim > b->info.max_head_dim) {
        return fbt_fail(FBT_ERR_UNSUPPORTED,
                        "%s: backend %s takes heads of a multiple of %" PRId64 " up to %" PRId64 ", not of %" PRId64,
                        what, b->info.name, b->info.size_multiple, b->info.max_head_dim, head_dim);
    }
    return FBT_OK;
}

/* Heads that an operation changes in place. */
static fbt_status check_own_heads(const fbt_backend *b, const fbt_buffer *x, const fbt_heads *heads, int64_t n_heads,
                                  int64_t head_dim, int64_t n_rows, const char *what)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_head_sizes(b, n_heads, head_dim, what));
    FBT_TRY(check_heads(b, heads, n_rows, n_heads * head_dim, what));
    if (x != heads->buffer) {
        FBT_FAIL(FBT_ERR_ARG, "%s: x is not the buffer of its heads", what);
    }
done:
    return status;
}

fbt_status fbt_check_norm_heads(const fbt_backend *b, const fbt_buffer *x, const fbt_heads *heads, int64_t n_heads,
                                int64_t head_dim, const fbt_norm *norm, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_own_heads(b, x, heads, n_heads, head_dim, n_rows, "norm_heads"));
    FBT_TRY(fbt_check_norm(b, norm, head_dim, "norm_heads, norm"));
    if (norm->kind != FBT_NORM_RMS) {
        FBT_FAIL(FBT_ERR_ARG, "norm_heads: the norm is of kind layer, not rms");
    }
done:
    return status;
}

fbt_status fbt_check_rotate(const fbt_backend *b, const fbt_buffer *x, const fbt_heads *heads, int64_t n_heads,
                            int64_t head_dim, const fbt_rotary *rotary, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    const fbt_table *const tables[] = {rotary->cosine, rotary->sine};
    FBT_TRY(check_own_heads(b, x, heads, n_heads, head_dim, n_rows, "rotate"));
    if (rotary->n_rotated < 2 || rotary->n_rotated % 2 != 0 || rotary->n_rotated > head_dim) {
        FBT_FAIL(FBT_ERR_ARG, "rotate: n_rotated is %" PRId64 " in heads of %" PRId64, rotary->n_rotated, head_dim);
    }
    for (int i = 0; i < 2; i++) {
        if (tables[i] == NULL || tables[i]->dtype != FBT_F32 || tables[i]->n_dim != rotary->n_rotated / 2) {
            FBT_FAIL(FBT_ERR_ARG, "rotate: there is no table of %s with rows of %" PRId64 " floats",
                     i == 0 ? "cosines" : "sines", rotary->n_rotated / 2);
        }
    }
    if (tables[0]->n_rows != tables[1]->n_rows) {
        FBT_FAIL(FBT_ERR_ARG, "rotate: cosines of %" PRId64 " positions and sines of %" PRId64, tables[0]->n_rows,
                 tables[1]->n_rows);
    }
    FBT_TRY(fbt_check_buffer(rotary->positions, n_rows, sizeof(int32_t), "rotate, positions"));
done:
    return status;
}

/* ---- Attention. */

/* That every query sees a key. */
static fbt_status check_causal(const fbt_attention *a)
{
    const int32_t *queries = a->packed->host_offsets, *keys = fbt_attention_keys(a)->host_offsets;
    for (int64_t s = 0; a->is_causal && !a->one_query && s < a->packed->n_sequences; s++) {
        const int32_t n_queries = queries[s + 1] - queries[s], n_keys = keys[s + 1] - keys[s];
        if (n_keys < n_queries) {
            return fbt_fail(FBT_ERR_ARG, "attention: sequence %" PRId64 " is causal with %d queries and %d keys", s,
                            n_queries, n_keys);
        }
    }
    return FBT_OK;
}

/* One link of the chain. n_seeing: sequences that see one of its prefixes each. */
static fbt_status check_prefix(const fbt_backend *b, const fbt_attention *a, const fbt_prefix *prefix, int64_t n_seeing)
{
    fbt_status status = FBT_OK;
    const int64_t width = fbt_attention_kv_heads(a) * a->head_dim;
    FBT_TRY(fbt_check_rows_of(prefix->packed));
    FBT_TRY(check_heads(b, &prefix->k, fbt_packed_end(prefix->packed), width, "attention, the prefix's k"));
    FBT_TRY(check_heads(b, &prefix->v, fbt_packed_end(prefix->packed), width, "attention, the prefix's v"));
    FBT_TRY(fbt_check_buffer(prefix->index, n_seeing, sizeof(int32_t), "attention, the prefix's index"));
    if (prefix->host_index == NULL) {
        FBT_FAIL(FBT_ERR_ARG, "attention: the prefix's index is not on the host");
    }
    for (int64_t s = 0; s < n_seeing; s++) {
        if (prefix->host_index[s] < -1 || prefix->host_index[s] >= prefix->packed->n_sequences) {
            FBT_FAIL(FBT_ERR_ARG, "attention: sequence %" PRId64 " sees prefix %d of %" PRId64, s,
                     prefix->host_index[s], prefix->packed->n_sequences);
        }
    }
done:
    return status;
}

static fbt_status check_operands(const fbt_backend *b, const fbt_buffer *y, const fbt_attention *a)
{
    fbt_status status = FBT_OK;
    const int64_t width = a->n_heads * a->head_dim, kv_width = fbt_attention_kv_heads(a) * a->head_dim;
    const int64_t n_queries = a->one_query ? a->packed->n_sequences : fbt_packed_end(a->packed);
    const int64_t n_keys = fbt_packed_end(fbt_attention_keys(a));
    FBT_TRY(check_heads(b, &a->q, n_queries, width, "attention, q"));
    FBT_TRY(check_heads(b, &a->k, n_keys, kv_width, "attention, k"));
    FBT_TRY(check_heads(b, &a->v, n_keys, kv_width, "attention, v"));
    FBT_TRY(fbt_check_buffer(y, n_queries, fbt_check_row_bytes(b, width), "attention, y"));
    if (y == a->q.buffer || y == a->k.buffer || y == a->v.buffer) {
        FBT_FAIL(FBT_ERR_ARG, "attention: y is the buffer of an operand");
    }
done:
    return status;
}

static fbt_status check_chain(const fbt_backend *b, const fbt_buffer *y, const fbt_attention *a)
{
    fbt_status status = FBT_OK;
    int64_t n_seeing = a->packed->n_sequences;
    int n = 0;
    for (const fbt_prefix *prefix = a->prefix; prefix != NULL; prefix = prefix->before) {
        if (++n > FBT_MAX_PREFIXES) {
            FBT_FAIL(FBT_ERR_ARG, "attention: a chain of more than %d prefixes", FBT_MAX_PREFIXES);
        }
        FBT_TRY(check_prefix(b, a, prefix, n_seeing));
        if (y == prefix->k.buffer || y == prefix->v.buffer) {
            FBT_FAIL(FBT_ERR_ARG, "attention: y is the buffer of a prefix");
        }
        n_seeing = prefix->packed->n_sequences;
    }
done:
    return status;
}

fbt_status fbt_check_attend(const fbt_backend *b, const fbt_buffer *y, const fbt_attention *a)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_head_sizes(b, a->n_heads, a->head_dim, "attention"));
    if (!(a->scale > 0)) {
        FBT_FAIL(FBT_ERR_ARG, "attention: scale is %g", (double)a->scale);
    }
    FBT_TRY(fbt_check_attention_features(b, a));
    FBT_TRY(fbt_check_rows_of(a->packed));
    FBT_TRY(fbt_check_rows_of(fbt_attention_keys(a)));
    FBT_TRY(check_causal(a));
    FBT_TRY(check_operands(b, y, a));
    FBT_TRY(check_chain(b, y, a));
done:
    return status;
}
