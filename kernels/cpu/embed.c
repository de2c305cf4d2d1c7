/* Embedding of tokens and prompts: sequences over threads. */
#include "kernels/cpu/cpu.h"

#include "base/prompt_mode.h"

#include <omp.h>

/* Parts of a row of a sequence. t counts rows from the first of the sequence. */
typedef struct fbt_embed_row {
    int is_copied;       /* the prompt's row as it is          */
    const float *prompt; /* row of the prompt, or NULL         */
    int64_t token;       /* -1: the prompt's row in its place  */
    int64_t position;    /* row of the position table          */
} fbt_embed_row;

static fbt_embed_row describe_row(const fbt_embedding *e, int32_t token, const float *prompt, int64_t t)
{
    const int64_t n_prompt = e->n_prompt_tokens;
    fbt_embed_row row = {.token = token, .position = e->position_offset + t};
    switch (e->mode) {
    case FBT_PROMPT_ADD:
        row.prompt = t >= 1 && t <= n_prompt ? prompt + (t - 1) * e->n_dim : NULL;
        break;
    case FBT_PROMPT_CAT:
        row.is_copied = t < n_prompt;
        row.prompt = row.is_copied ? prompt + t * e->n_dim : NULL;
        row.position -= n_prompt;
        break;
    case FBT_PROMPT_INPUT:
        row.prompt = t < n_prompt ? prompt + t * e->n_dim : NULL;
        row.token = t < n_prompt ? -1 : token;
        break;
    default:
        break;
    }
    return row;
}

static void embed_row(fbt_cpu *cpu, void *x, const fbt_embedding *e, const fbt_embed_row *row, float *scratch)
{
    const fbt_dtype dtype = cpu->base.info.types->activations;
    fbt_row_terms terms = {.dtypes = {FBT_F32, e->position->dtype, FBT_F32}};
    if (row->is_copied) {
        cpu->rows->convert(x, dtype, row->prompt, FBT_F32, e->n_dim);
        return;
    }
    if (row->token < 0) {
        terms.rows[0] = row->prompt;
    } else {
        terms.rows[0] = fbt_cpu_table_row(e->word, row->token);
        terms.dtypes[0] = e->word->dtype;
    }
    terms.rows[1] = fbt_cpu_table_row(e->position, row->position);
    if (e->type != NULL) {
        terms.rows[2] = fbt_cpu_table_row(e->type, 0);
        terms.dtypes[2] = e->type->dtype;
    }
    cpu->rows->embed(x, dtype, &terms, e->norm.gamma->data, e->norm.beta->data, row->token < 0 ? NULL : row->prompt,
                     e->n_dim, e->norm.epsilon, scratch);
}

/* That the tokens of a sequence are in the vocabulary, and its prompt is there. */
static fbt_status check_sequence(const fbt_embedding *e, const fbt_packed *packed, int64_t s)
{
    const int32_t first = packed->host_offsets[s], length = packed->host_offsets[s + 1] - first;
    const int64_t n_front = fbt_prompt_rows_in_front(e->mode, e->n_prompt_tokens);
    const int32_t *tokens = (const int32_t *)packed->tokens->data + first;
    for (int64_t t = n_front; t < length; t++) {
        if (tokens[t] < 0 || tokens[t] >= e->word->n_rows) {
            return fbt_fail(FBT_ERR_ARG, "token %d (sequence %lld, row %lld) is outside the vocabulary of %lld",
                            tokens[t], (long long)s, (long long)t, (long long)e->word->n_rows);
        }
    }
    if (e->mode != FBT_PROMPT_NONE) {
        const int64_t prompt_bytes = e->n_prompt_tokens * e->n_dim * (int64_t)sizeof(float);
        const int32_t prompt = ((const int32_t *)packed->prompt_index->data)[s];
        if (prompt < 0 || (prompt + 1) * prompt_bytes > e->prompts->n_bytes) {
            return fbt_fail(FBT_ERR_ARG, "sequence %lld asks for prompt %d of %lld", (long long)s, prompt,
                            (long long)(e->prompts->n_bytes / prompt_bytes));
        }
    }
    return FBT_OK;
}

static void embed_sequence(fbt_cpu *cpu, void *x, const fbt_embedding *e, const fbt_packed *packed, int64_t s)
{
    const int64_t item = (int64_t)fbt_dtype_bytes(cpu->base.info.types->activations);
    const int64_t first = packed->host_offsets[s], length = packed->host_offsets[s + 1] - first;
    const int32_t *tokens = (const int32_t *)packed->tokens->data + first;
    float *scratch = cpu->scratch[omp_get_thread_num()].data;
    const float *prompt = NULL;
    if (e->mode != FBT_PROMPT_NONE) {
        const int32_t index = ((const int32_t *)packed->prompt_index->data)[s];
        prompt = (const float *)e->prompts->data + index * e->n_prompt_tokens * e->n_dim;
    }
    for (int64_t t = 0; t < length; t++) {
        const fbt_embed_row row = describe_row(e, tokens[t], prompt, t);
        embed_row(cpu, (char *)x + (first + t) * e->n_dim * item, e, &row, scratch);
    }
}

fbt_status fbt_cpu_embed(fbt_backend *b, fbt_buffer *x, const fbt_embedding *e, const fbt_packed *packed)
{
    fbt_status status = FBT_OK;
    fbt_cpu *cpu = fbt_cpu_of(b);
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        FBT_TRY(check_sequence(e, packed, s));
    }
    FBT_TRY(fbt_cpu_scratch_need(cpu, e->n_dim * (int64_t)sizeof(float)));
#pragma omp parallel for num_threads(cpu->n_threads) schedule(dynamic, 4)
    for (int64_t s = 0; s < packed->n_sequences; s++) {
        embed_sequence(cpu, x->data, e, packed, s);
    }
done:
    return status;
}
