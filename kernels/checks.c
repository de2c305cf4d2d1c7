#include "kernels/checks.h"

#include "base/prompt_mode.h"
#include "kernels/features.h"

#include <inttypes.h>

enum { WORD_BYTES = 4 }; /* of float and int32 */

/* ---- Parts. */

fbt_status fbt_check_buffer(const fbt_buffer *buffer, int64_t n_items, int64_t item_bytes, const char *what)
{
    int64_t n_bytes;
    if (buffer == NULL) {
        return fbt_fail(FBT_ERR_ARG, "%s: there is no buffer", what);
    }
    if (n_items < 0 || __builtin_mul_overflow(n_items, item_bytes, &n_bytes) || n_bytes > buffer->n_bytes) {
        return fbt_fail(FBT_ERR_ARG,
                        "%s: a buffer of %" PRId64 " bytes cannot hold %" PRId64 " items of %" PRId64 " bytes", what,
                        buffer->n_bytes, n_items, item_bytes);
    }
    return FBT_OK;
}

/* A buffer that may be left out. */
static fbt_status check_optional(const fbt_buffer *buffer, int64_t n_items, int64_t item_bytes, const char *what)
{
    return buffer == NULL ? FBT_OK : fbt_check_buffer(buffer, n_items, item_bytes, what);
}

fbt_status fbt_check_packed(const fbt_packed *packed)
{
    const int32_t *offsets = packed->host_offsets;
    if (packed->n_sequences < 1 || packed->n_rows < 1 || offsets == NULL) {
        return fbt_fail(FBT_ERR_ARG, "a batch cannot have %" PRId64 " sequences in %" PRId64 " rows%s",
                        packed->n_sequences, packed->n_rows, offsets == NULL ? " without offsets" : "");
    }
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        if (offsets[0] != 0 || offsets[s + 1] <= offsets[s] || offsets[s + 1] - offsets[s] > packed->max_length) {
            return fbt_fail(FBT_ERR_ARG, "sequence %" PRId64 " of a batch has rows %d to %d, of at most %" PRId64, s,
                            offsets[s], offsets[s + 1], packed->max_length);
        }
    }
    if (offsets[packed->n_sequences] != packed->n_rows) {
        return fbt_fail(FBT_ERR_ARG, "a batch's sequences end at row %d, not at %" PRId64, offsets[packed->n_sequences],
                        packed->n_rows);
    }
    return fbt_check_buffer(packed->offsets, packed->n_sequences + 1, sizeof(int32_t), "a batch's offsets");
}

static int64_t activation_bytes(const fbt_backend *b)
{
    return (int64_t)fbt_dtype_bytes(b->info.types->activations);
}

static int64_t row_bytes(const fbt_backend *b, int64_t n_dim)
{
    return n_dim * activation_bytes(b);
}

/* A row's length; n_dim < 2^40, so that bytes of rows can be counted. */
static fbt_status check_dim(const fbt_backend *b, int64_t n_dim, const char *what)
{
    if (n_dim < 1 || n_dim > (int64_t)1 << 40) {
        return fbt_fail(FBT_ERR_ARG, "%s: rows of %" PRId64, what, n_dim);
    }
    if (n_dim % b->info.size_multiple != 0) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "%s: backend %s takes rows of a multiple of %" PRId64 ", not of %" PRId64,
                        what, b->info.name, b->info.size_multiple, n_dim);
    }
    return FBT_OK;
}

/* Rows that are normalised, and what they are normalised by. */
static fbt_status check_norm(const fbt_backend *b, const fbt_norm *norm, int64_t n_dim, const char *what)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_norm_features(b, norm, what));
    FBT_TRY(check_dim(b, n_dim, what));
    if (n_dim > b->info.max_dim) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "%s: backend %s normalises rows of at most %" PRId64 ", not of %" PRId64, what,
                 b->info.name, b->info.max_dim, n_dim);
    }
    FBT_TRY(fbt_check_buffer(norm->gamma, n_dim, sizeof(float), what));
    FBT_TRY(check_optional(norm->beta, n_dim, sizeof(float), what));
done:
    return status;
}

/* ---- Constants. */

static int is_weight_type(fbt_dtype dtype)
{
    return dtype == FBT_F32 || dtype == FBT_F16 || dtype == FBT_BF16;
}

static int is_countable(int64_t n_rows, int64_t n_dim)
{
    int64_t n_items;
    return n_rows > 0 && n_dim > 0 && !__builtin_mul_overflow(n_rows, n_dim, &n_items) && n_items <= INT64_MAX / 16;
}

fbt_status fbt_check_matrix(const fbt_backend *b, const fbt_matrix_spec *spec)
{
    if (spec->weight == NULL || !is_weight_type(spec->dtype) || !is_countable(spec->n_out, spec->n_in) ||
        (unsigned)spec->operation >= FBT_N_OPERATIONS) {
        return fbt_fail(FBT_ERR_ARG, "a matrix cannot have %" PRId64 " x %" PRId64 " weights%s", spec->n_out,
                        spec->n_in, spec->weight == NULL ? " that are not there" : "");
    }
    if (b->driver != NULL && !fbt_backend_has_types(b->driver, spec->types->name)) {
        return fbt_fail(FBT_ERR_ARG, "backend %s has no %s matrices", b->info.name, spec->types->name);
    }
    return FBT_OK;
}

fbt_status fbt_check_table(const void *rows, fbt_dtype dtype, int64_t n_rows, int64_t n_dim)
{
    if (rows == NULL || !is_weight_type(dtype) || !is_countable(n_rows, n_dim)) {
        return fbt_fail(FBT_ERR_ARG, "a lookup table cannot have %" PRId64 " rows of %" PRId64 "%s", n_rows, n_dim,
                        rows == NULL ? " that are not there" : "");
    }
    return FBT_OK;
}

/* ---- Operations. */

fbt_status fbt_check_perturb(const fbt_buffer *tokens, const fbt_perturbation *p, const fbt_buffer *origins,
                             const fbt_buffer *frozen, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_packed(packed));
    if (!(p->rate >= 0 && p->rate <= 1) || p->vocab_size < 1 || p->vocab_size > INT32_MAX) {
        FBT_FAIL(FBT_ERR_ARG, "perturb: a rate of %g in a vocabulary of %" PRId64, p->rate, p->vocab_size);
    }
    FBT_TRY(fbt_check_buffer(tokens, packed->n_rows, sizeof(int32_t), "perturb, tokens"));
    FBT_TRY(fbt_check_buffer(origins, packed->n_sequences, sizeof(fbt_origin), "perturb, origins"));
    FBT_TRY(check_optional(frozen, packed->n_rows, 1, "perturb, frozen"));
done:
    return status;
}

static fbt_status check_tables(const fbt_embedding *e)
{
    if (e->word == NULL || e->word->n_dim != e->n_dim || (e->position != NULL && e->position->n_dim != e->n_dim) ||
        e->position_offset < 0 || (e->type != NULL && e->type->n_dim != e->n_dim)) {
        return fbt_fail(FBT_ERR_ARG, "embed: the tables are not all there with rows of %" PRId64, e->n_dim);
    }
    if ((unsigned)e->mode > FBT_PROMPT_INPUT || (e->mode == FBT_PROMPT_NONE) != (e->n_prompt_tokens == 0) ||
        e->n_prompt_tokens < 0) {
        return fbt_fail(FBT_ERR_ARG, "embed: a prompt of %" PRId64 " tokens does not fit its mode", e->n_prompt_tokens);
    }
    return FBT_OK;
}

/* That each sequence has the rows that its prompt takes, and the table the positions that it takes. */
static fbt_status check_lengths(const fbt_embedding *e, const fbt_packed *packed)
{
    const int64_t n_prompt = e->n_prompt_tokens;
    const int64_t n_needed = e->mode == FBT_PROMPT_ADD ? n_prompt + 1 : n_prompt;
    const int64_t n_skipped = fbt_prompt_rows_without_position(e->mode, n_prompt);
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        const int32_t length = packed->host_offsets[s + 1] - packed->host_offsets[s];
        const int64_t n_positions = e->position_offset + length - n_skipped;
        if (length < n_needed) {
            return fbt_fail(FBT_ERR_ARG, "sequence %" PRId64 " has %d rows, too few for a prompt of %" PRId64 " tokens",
                            s, length, n_prompt);
        }
        if (e->position != NULL && n_positions > e->position->n_rows) {
            return fbt_fail(FBT_ERR_ARG,
                            "sequence %" PRId64 " of %d rows needs %" PRId64 " positions; the model has %" PRId64, s,
                            length, n_positions, e->position->n_rows);
        }
    }
    return FBT_OK;
}

fbt_status fbt_check_embed(const fbt_backend *b, const fbt_buffer *x, const fbt_embedding *e, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_embedding_features(b, e));
    FBT_TRY(e->norm.gamma != NULL ? check_norm(b, &e->norm, e->n_dim, "embed, norm") : check_dim(b, e->n_dim, "embed"));
    FBT_TRY(check_tables(e));
    FBT_TRY(fbt_check_packed(packed));
    FBT_TRY(check_lengths(e, packed));
    FBT_TRY(fbt_check_buffer(packed->tokens, packed->n_rows, sizeof(int32_t), "embed, tokens"));
    if (e->mode != FBT_PROMPT_NONE) {
        FBT_TRY(fbt_check_buffer(packed->prompt_index, packed->n_sequences, sizeof(int32_t), "embed, prompt_index"));
        FBT_TRY(fbt_check_buffer(e->prompts, e->n_prompt_tokens, e->n_dim * WORD_BYTES, "embed, prompts"));
    }
    FBT_TRY(fbt_check_buffer(x, packed->n_rows, row_bytes(b, e->n_dim), "embed, x"));
done:
    return status;
}

/* A product's operand and result; what: "linear". */
static fbt_status check_product(const fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    const int64_t item = w == NULL ? 0 : (int64_t)fbt_dtype_bytes(w->types->activations);
    if (w == NULL) {
        FBT_FAIL(FBT_ERR_ARG, "linear: there is no matrix");
    }
    FBT_TRY(fbt_check_buffer(x, n_rows, w->n_in * item, "linear, x"));
    FBT_TRY(fbt_check_buffer(y, n_rows, w->n_out * item, "linear, y"));
    if (x == y) {
        FBT_FAIL(FBT_ERR_ARG, "linear: x and y are one buffer");
    }
done:
    return status;
}

fbt_status fbt_check_linear(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                            fbt_activation activation, int64_t n_rows)
{
    const fbt_status status = fbt_check_activation_features(b, activation);
    return status != FBT_OK ? status : check_product(y, x, w, n_rows);
}

fbt_status fbt_check_linear_residual(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x,
                                     const fbt_matrix *w, const fbt_buffer *residual, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_product(y, x, w, n_rows));
    if (w->types != b->info.types) {
        FBT_FAIL(FBT_ERR_ARG, "a product in %s cannot be added to a residual in %s", w->types->name,
                 b->info.types->name);
    }
    FBT_TRY(fbt_check_buffer(residual, n_rows, row_bytes(b, w->n_out), "linear, residual"));
done:
    return status;
}

fbt_status fbt_check_linear_norm(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                 const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_linear_residual(b, y, x, w, residual, n_rows));
    FBT_TRY(check_norm(b, norm, w->n_out, "linear_norm, norm"));
done:
    return status;
}

fbt_status fbt_check_layernorm(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_norm *norm,
                               int64_t n_rows, int64_t n_dim)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_norm(b, norm, n_dim, "layernorm, norm"));
    FBT_TRY(fbt_check_buffer(x, n_rows, row_bytes(b, n_dim), "layernorm, x"));
    FBT_TRY(fbt_check_buffer(y, n_rows, row_bytes(b, n_dim), "layernorm, y"));
done:
    return status;
}

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
    return fbt_check_buffer(heads->buffer, n_rows, row_bytes(b, heads->stride), what);
}

static fbt_status check_head_sizes(const fbt_backend *b, const fbt_attention *a)
{
    if (a->n_heads < 1 || a->head_dim < 1 || a->n_heads > 1 << 20 || a->head_dim > 1 << 20 || !(a->scale > 0)) {
        return fbt_fail(FBT_ERR_ARG, "attention: %" PRId64 " heads of %" PRId64 " with scale %g", a->n_heads,
                        a->head_dim, (double)a->scale);
    }
    if (a->head_dim % b->info.size_multiple != 0 || a->head_dim > b->info.max_head_dim) {
        return fbt_fail(FBT_ERR_UNSUPPORTED,
                        "attention: backend %s takes heads of a multiple of %" PRId64 " up to %" PRId64
                        ", not of %" PRId64,
                        b->info.name, b->info.size_multiple, b->info.max_head_dim, a->head_dim);
    }
    return FBT_OK;
}

fbt_status fbt_check_attend(const fbt_backend *b, const fbt_buffer *y, const fbt_attention *a)
{
    fbt_status status = FBT_OK;
    const int64_t width = a->n_heads * a->head_dim, kv_width = fbt_attention_kv_heads(a) * a->head_dim;
    const fbt_packed *keys = fbt_attention_keys(a);
    const int64_t n_queries = a->one_query ? a->packed->n_sequences : a->packed->n_rows;
    FBT_TRY(check_head_sizes(b, a));
    FBT_TRY(fbt_check_attention_features(b, a));
    FBT_TRY(fbt_check_packed(a->packed));
    FBT_TRY(fbt_check_packed(keys));
    FBT_TRY(check_heads(b, &a->q, n_queries, width, "attention, q"));
    FBT_TRY(check_heads(b, &a->k, keys->n_rows, kv_width, "attention, k"));
    FBT_TRY(check_heads(b, &a->v, keys->n_rows, kv_width, "attention, v"));
    FBT_TRY(fbt_check_buffer(y, n_queries, row_bytes(b, width), "attention, y"));
    if (y == a->q.buffer || y == a->k.buffer || y == a->v.buffer) {
        FBT_FAIL(FBT_ERR_ARG, "attention: y is the buffer of an operand");
    }
done:
    return status;
}

fbt_status fbt_check_gather_rows(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_buffer *rows,
                                 int64_t n, int64_t n_dim)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_dim(b, n_dim, "gather_rows"));
    FBT_TRY(fbt_check_buffer(x, 1, row_bytes(b, n_dim), "gather_rows, x"));
    FBT_TRY(fbt_check_buffer(y, n, row_bytes(b, n_dim), "gather_rows, y"));
    FBT_TRY(fbt_check_buffer(rows, n, sizeof(int32_t), "gather_rows, rows"));
done:
    return status;
}

fbt_status fbt_check_mean_pool(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed,
                               int64_t n_dim)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_dim(b, n_dim, "mean_pool"));
    FBT_TRY(fbt_check_packed(packed));
    FBT_TRY(fbt_check_buffer(x, packed->n_rows, row_bytes(b, n_dim), "mean_pool, x"));
    FBT_TRY(fbt_check_buffer(y, packed->n_sequences, n_dim * WORD_BYTES, "mean_pool, y"));
done:
    return status;
}

static fbt_status check_n_labels(int64_t n_labels, const char *what)
{
    return n_labels < 1 || n_labels > INT32_MAX ? fbt_fail(FBT_ERR_ARG, "%s: %" PRId64 " labels", what, n_labels)
                                                : FBT_OK;
}

fbt_status fbt_check_label_logits(const fbt_backend *b, const fbt_buffer *logits, const fbt_buffer *x, fbt_dtype dtype,
                                  const fbt_buffer *labels, const fbt_buffer *bias, int64_t n, int64_t n_labels,
                                  int64_t n_dim)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_n_labels(n_labels, "label_logits"));
    FBT_TRY(check_dim(b, n_dim, "label_logits"));
    if (dtype != FBT_F32 && dtype != FBT_BF16) {
        FBT_FAIL(FBT_ERR_ARG, "label_logits: x cannot be of type %d", (int)dtype);
    }
    FBT_TRY(fbt_check_buffer(x, n, n_dim * (int64_t)fbt_dtype_bytes(dtype), "label_logits, x"));
    FBT_TRY(fbt_check_buffer(labels, n_labels, n_dim * WORD_BYTES, "label_logits, labels"));
    FBT_TRY(fbt_check_buffer(logits, n, n_labels * WORD_BYTES, "label_logits, logits"));
    FBT_TRY(check_optional(bias, n_labels, sizeof(float), "label_logits, bias"));
done:
    return status;
}

fbt_status fbt_check_losses(const fbt_buffer *losses, const fbt_buffer *predictions, const fbt_buffer *logits,
                            const fbt_buffer *labels, fbt_loss kind, int64_t n, int64_t n_labels)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_n_labels(n_labels, "losses"));
    if ((unsigned)kind > FBT_LOSS_ACCURACY) {
        FBT_FAIL(FBT_ERR_ARG, "losses: there is no loss %d", (int)kind);
    }
    FBT_TRY(fbt_check_buffer(losses, n, sizeof(float), "losses, losses"));
    FBT_TRY(fbt_check_buffer(predictions, n, sizeof(int32_t), "losses, predictions"));
    FBT_TRY(fbt_check_buffer(logits, n, n_labels * WORD_BYTES, "losses, logits"));
    FBT_TRY(fbt_check_buffer(labels, n, sizeof(int32_t), "losses, labels"));
done:
    return status;
}
