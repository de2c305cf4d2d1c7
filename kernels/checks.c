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

fbt_status fbt_check_rows_of(const fbt_packed *packed)
{
    const int32_t *offsets = packed->host_offsets;
    if (packed->n_sequences < 1 || packed->n_rows < 1 || offsets == NULL) {
        return fbt_fail(FBT_ERR_ARG, "a batch cannot have %" PRId64 " sequences in %" PRId64 " rows%s",
                        packed->n_sequences, packed->n_rows, offsets == NULL ? " without offsets" : "");
    }
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        if (offsets[0] < 0 || offsets[s + 1] <= offsets[s] || offsets[s + 1] - offsets[s] > packed->max_length) {
            return fbt_fail(FBT_ERR_ARG, "sequence %" PRId64 " of a batch has rows %d to %d, of at most %" PRId64, s,
                            offsets[s], offsets[s + 1], packed->max_length);
        }
    }
    if (offsets[packed->n_sequences] - offsets[0] != packed->n_rows) {
        return fbt_fail(FBT_ERR_ARG, "a batch's sequences end at row %d, not at %" PRId64, offsets[packed->n_sequences],
                        offsets[0] + packed->n_rows);
    }
    return fbt_check_buffer(packed->offsets, packed->n_sequences + 1, sizeof(int32_t), "a batch's offsets");
}

int64_t fbt_packed_end(const fbt_packed *packed)
{
    return packed->host_offsets[packed->n_sequences];
}

fbt_status fbt_check_packed(const fbt_packed *packed)
{
    const fbt_status status = fbt_check_rows_of(packed);
    return status == FBT_OK && packed->host_offsets[0] != 0
               ? fbt_fail(FBT_ERR_ARG, "sequence 0 of a batch begins at row %d", packed->host_offsets[0])
               : status;
}

/* Operands that are either of the activation type or F32. */
static fbt_status check_dtype(const fbt_backend *b, fbt_dtype dtype, const char *what)
{
    if (dtype != b->info.types->activations && dtype != FBT_F32) {
        return fbt_fail(FBT_ERR_ARG, "%s: rows of type %d", what, (int)dtype);
    }
    return FBT_OK;
}

int64_t fbt_check_row_bytes(const fbt_backend *b, int64_t n_dim)
{
    return n_dim * (int64_t)fbt_dtype_bytes(b->info.types->activations);
}

fbt_status fbt_check_dim(const fbt_backend *b, int64_t n_dim, const char *what)
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

fbt_status fbt_check_norm(const fbt_backend *b, const fbt_norm *norm, int64_t n_dim, const char *what)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_norm_features(b, norm, what));
    FBT_TRY(fbt_check_dim(b, n_dim, what));
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
    FBT_TRY(fbt_check_rows_of(packed));
    if (!(p->rate >= 0 && p->rate <= 1) || p->vocab_size < 1 || p->vocab_size > INT32_MAX) {
        FBT_FAIL(FBT_ERR_ARG, "perturb: a rate of %g in a vocabulary of %" PRId64, p->rate, p->vocab_size);
    }
    FBT_TRY(fbt_check_buffer(tokens, fbt_packed_end(packed), sizeof(int32_t), "perturb, tokens"));
    FBT_TRY(fbt_check_buffer(origins, packed->n_sequences, sizeof(fbt_origin), "perturb, origins"));
    FBT_TRY(check_optional(frozen, fbt_packed_end(packed), 1, "perturb, frozen"));
done:
    return status;
}

static fbt_status check_tables(const fbt_embedding *e)
{
    if (e->word == NULL || e->word->n_dim != e->n_dim || e->position == NULL || e->position->n_dim != e->n_dim ||
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
        if (n_positions > e->position->n_rows) {
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
    FBT_TRY(fbt_check_norm(b, &e->norm, e->n_dim, "embed, norm"));
    FBT_TRY(check_tables(e));
    FBT_TRY(fbt_check_packed(packed));
    FBT_TRY(check_lengths(e, packed));
    FBT_TRY(fbt_check_buffer(packed->tokens, packed->n_rows, sizeof(int32_t), "embed, tokens"));
    if (e->mode != FBT_PROMPT_NONE) {
        FBT_TRY(fbt_check_buffer(packed->prompt_index, packed->n_sequences, sizeof(int32_t), "embed, prompt_index"));
        FBT_TRY(fbt_check_buffer(e->prompts, e->n_prompt_tokens, e->n_dim * WORD_BYTES, "embed, prompts"));
    }
    FBT_TRY(fbt_check_buffer(x, packed->n_rows, fbt_check_row_bytes(b, e->n_dim), "embed, x"));
done:
    return status;
}

/* Prompts come with their rows' numbers; tables and positions are there or not. */
static fbt_status check_row_tables(const fbt_row_embedding *e)
{
    if (e->word == NULL || e->word->n_dim != e->n_dim || (e->position != NULL && e->position->n_dim != e->n_dim)) {
        return fbt_fail(FBT_ERR_ARG, "embed_rows: the tables are not all there with rows of %" PRId64, e->n_dim);
    }
    if (e->position_offset < 0) {
        return fbt_fail(FBT_ERR_ARG, "embed_rows: position_offset is %" PRId64, e->position_offset);
    }
    return (e->prompts == NULL) == (e->prompt_rows == NULL)
               ? FBT_OK
               : fbt_fail(FBT_ERR_ARG, "embed_rows: there are prompts without prompt_rows, or the other way round");
}

fbt_status fbt_check_embed_rows(const fbt_backend *b, const fbt_buffer *x, const fbt_row_embedding *e, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_dim(b, e->n_dim, "embed_rows"));
    FBT_TRY(check_row_tables(e));
    FBT_TRY(fbt_check_buffer(e->tokens, n_rows, sizeof(int32_t), "embed_rows, tokens"));
    if (e->position != NULL) {
        FBT_TRY(fbt_check_buffer(e->positions, n_rows, sizeof(int32_t), "embed_rows, positions"));
    }
    FBT_TRY(check_optional(e->prompts, 1, e->n_dim * WORD_BYTES, "embed_rows, prompts"));
    FBT_TRY(check_optional(e->prompt_rows, n_rows, sizeof(int32_t), "embed_rows, prompt_rows"));
    FBT_TRY(fbt_check_buffer(x, n_rows, e->n_dim * (int64_t)fbt_dtype_bytes(b->info.types->residual), "embed_rows, x"));
done:
    return status;
}

/* A product's operand and result, of y_dtype. */
static fbt_status check_product(const fbt_buffer *y, fbt_dtype y_dtype, const fbt_buffer *x, const fbt_matrix *w,
                                int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_buffer(x, n_rows, w->n_in * (int64_t)fbt_dtype_bytes(w->types->activations), "linear, x"));
    FBT_TRY(fbt_check_buffer(y, n_rows, w->n_out * (int64_t)fbt_dtype_bytes(y_dtype), "linear, y"));
    if (x == y) {
        FBT_FAIL(FBT_ERR_ARG, "linear: x and y are one buffer");
    }
done:
    return status;
}

static fbt_status check_matrix(const fbt_matrix *w)
{
    return w == NULL ? fbt_fail(FBT_ERR_ARG, "linear: there is no matrix") : FBT_OK;
}

fbt_status fbt_check_linear(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                            fbt_activation activation, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_activation_features(b, activation));
    FBT_TRY(check_matrix(w));
    FBT_TRY(check_product(y, w->types->activations, x, w, n_rows));
done:
    return status;
}

/* Both y and residual are of `dtype`. */
static fbt_status check_added(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                              const fbt_buffer *residual, fbt_dtype dtype, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_matrix(w));
    FBT_TRY(check_product(y, dtype, x, w, n_rows));
    if (w->types != b->info.types) {
        FBT_FAIL(FBT_ERR_ARG, "a product in %s cannot be added to a residual in %s", w->types->name,
                 b->info.types->name);
    }
    FBT_TRY(fbt_check_buffer(residual, n_rows, w->n_out * (int64_t)fbt_dtype_bytes(dtype), "linear, residual"));
done:
    return status;
}

fbt_status fbt_check_linear_residual(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x,
                                     const fbt_matrix *w, const fbt_buffer *residual, int64_t n_rows)
{
    return check_added(b, y, x, w, residual, b->info.types->residual, n_rows);
}

fbt_status fbt_check_linear_norm(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                 const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_added(b, y, x, w, residual, b->info.types->activations, n_rows));
    FBT_TRY(fbt_check_norm(b, norm, w->n_out, "linear_norm, norm"));
done:
    return status;
}

fbt_status fbt_check_layernorm(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype,
                               const fbt_norm *norm, int64_t n_rows, int64_t n_dim)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_dtype(b, x_dtype, "layernorm, x"));
    FBT_TRY(fbt_check_norm(b, norm, n_dim, "layernorm, norm"));
    FBT_TRY(fbt_check_buffer(x, n_rows, n_dim * (int64_t)fbt_dtype_bytes(x_dtype), "layernorm, x"));
    FBT_TRY(fbt_check_buffer(y, n_rows, fbt_check_row_bytes(b, n_dim), "layernorm, y"));
    if (x == y && x_dtype != b->info.types->activations) {
        FBT_FAIL(FBT_ERR_ARG, "layernorm: x and y are one buffer, of two types");
    }
done:
    return status;
}

fbt_status fbt_check_linear_gate(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *wide, const fbt_buffer *x,
                                 const fbt_matrix *w, fbt_activation activation, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_linear(b, wide, x, w, FBT_ACT_NONE, n_rows));
    if (w->n_out % 2 != 0) {
        FBT_FAIL(FBT_ERR_ARG, "linear_gate: a matrix of %lld outputs is no gate's", (long long)w->n_out);
    }
    if (w->types != b->info.types) {
        FBT_FAIL(FBT_ERR_ARG, "linear_gate: a product in %s for a gate in %s", w->types->name, b->info.types->name);
    }
    FBT_TRY(fbt_check_gate(b, y, wide, activation, n_rows, w->n_out / 2));
    if (x == y) {
        FBT_FAIL(FBT_ERR_ARG, "linear_gate: x and y are one buffer");
    }
done:
    return status;
}

fbt_status fbt_check_gate(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, fbt_activation activation,
                          int64_t n_rows, int64_t n_dim)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_activation(activation, "gate"));
    FBT_TRY(fbt_check_dim(b, n_dim, "gate"));
    FBT_TRY(fbt_check_buffer(x, n_rows, 2 * fbt_check_row_bytes(b, n_dim), "gate, x"));
    FBT_TRY(fbt_check_buffer(y, n_rows, fbt_check_row_bytes(b, n_dim), "gate, y"));
    if (x == y) {
        FBT_FAIL(FBT_ERR_ARG, "gate: x and y are one buffer");
    }
done:
    return status;
}

fbt_status fbt_check_gather_rows(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, fbt_dtype dtype,
                                 const fbt_buffer *rows, int64_t n, int64_t n_dim)
{
    fbt_status status = FBT_OK;
    const int64_t item = (int64_t)fbt_dtype_bytes(dtype);
    FBT_TRY(check_dtype(b, dtype, "gather_rows"));
    FBT_TRY(fbt_check_dim(b, n_dim, "gather_rows"));
    FBT_TRY(fbt_check_buffer(x, 1, n_dim * item, "gather_rows, x"));
    FBT_TRY(fbt_check_buffer(y, n, n_dim * item, "gather_rows, y"));
    FBT_TRY(fbt_check_buffer(rows, n, sizeof(int32_t), "gather_rows, rows"));
done:
    return status;
}

fbt_status fbt_check_put_prompts(const fbt_backend *b, const fbt_buffer *x, fbt_dtype dtype,
                                 const fbt_layer_prompts *prompts, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_dtype(b, dtype, "put_prompts"));
    FBT_TRY(fbt_check_dim(b, prompts->n_dim, "put_prompts"));
    FBT_TRY(fbt_check_buffer(x, n_rows, prompts->n_dim * (int64_t)fbt_dtype_bytes(dtype), "put_prompts, x"));
    FBT_TRY(fbt_check_buffer(prompts->prompts, 1, prompts->n_dim * (int64_t)sizeof(float), "put_prompts, prompts"));
    FBT_TRY(fbt_check_buffer(prompts->rows, n_rows, sizeof(int32_t), "put_prompts, rows"));
    if (x == prompts->prompts) {
        FBT_FAIL(FBT_ERR_ARG, "put_prompts: x and the prompts are one buffer");
    }
done:
    return status;
}

fbt_status fbt_check_mean_pool(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x, const fbt_packed *packed,
                               int64_t n_dim)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_check_dim(b, n_dim, "mean_pool"));
    FBT_TRY(fbt_check_packed(packed));
    FBT_TRY(fbt_check_buffer(x, packed->n_rows, fbt_check_row_bytes(b, n_dim), "mean_pool, x"));
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
    FBT_TRY(fbt_check_dim(b, n_dim, "label_logits"));
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

fbt_status fbt_check_token_log_probs(const fbt_backend *b, const fbt_buffer *y, const fbt_buffer *x,
                                     const fbt_vocabulary *vocabulary, const fbt_token_targets *targets, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    const fbt_table *words = vocabulary->words;
    if (words == NULL || words->n_rows > INT32_MAX) {
        FBT_FAIL(FBT_ERR_ARG, "token_log_probs: %s", words == NULL ? "there are no words" : "there are too many words");
    }
    FBT_TRY(fbt_check_dim(b, words->n_dim, "token_log_probs"));
    FBT_TRY(check_optional(vocabulary->bias, words->n_rows, WORD_BYTES, "token_log_probs, bias"));
    FBT_TRY(fbt_check_buffer(x, n_rows, fbt_check_row_bytes(b, words->n_dim), "token_log_probs, x"));
    FBT_TRY(fbt_check_buffer(targets->rows, targets->n, WORD_BYTES, "token_log_probs, rows"));
    FBT_TRY(fbt_check_buffer(targets->tokens, targets->n, WORD_BYTES, "token_log_probs, tokens"));
    FBT_TRY(fbt_check_buffer(y, targets->n, WORD_BYTES, "token_log_probs, y"));
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
