/* Embedding by lists, and prompts at layers' inputs: rows over threads. */
#include "kernels/cpu/cpu.h"

#include <inttypes.h>

/* One row of the lists; token or prompt -1: none. */
typedef struct fbt_listed_row {
    int64_t token, position, prompt;
} fbt_listed_row;

static fbt_listed_row read_row(const fbt_row_embedding *e, int64_t i)
{
    return (fbt_listed_row){.token = ((const int32_t *)e->tokens->data)[i],
                            .position =
                                e->position != NULL ? e->position_offset + ((const int32_t *)e->positions->data)[i] : 0,
                            .prompt = e->prompts != NULL ? ((const int32_t *)e->prompt_rows->data)[i] : -1};
}

static fbt_status check_row(const fbt_row_embedding *e, const fbt_listed_row *row, int64_t i)
{
    const int64_t n_prompt_rows = e->prompts != NULL ? e->prompts->n_bytes / (e->n_dim * (int64_t)sizeof(float)) : 0;
    if (row->token < -1 || row->token >= e->word->n_rows) {
        return fbt_fail(FBT_ERR_ARG, "token %" PRId64 " (row %" PRId64 ") is outside the vocabulary of %" PRId64,
                        row->token, i, e->word->n_rows);
    }
    if (row->prompt < -1 || row->prompt >= n_prompt_rows) {
        return fbt_fail(FBT_ERR_ARG, "row %" PRId64 " asks for row %" PRId64 " of %" PRId64 " prompt rows", i,
                        row->prompt, n_prompt_rows);
    }
    if (row->token < 0 && row->prompt < 0) {
        return fbt_fail(FBT_ERR_ARG, "row %" PRId64 " has neither a token nor a prompt's row", i);
    }
    if (e->position != NULL && (row->position < e->position_offset || row->position >= e->position->n_rows)) {
        return fbt_fail(FBT_ERR_ARG, "row %" PRId64 " has position %" PRId64 ", in a table of %" PRId64, i,
                        row->position, e->position->n_rows);
    }
    return FBT_OK;
}

static void embed_row(const fbt_cpu *cpu, void *x, const fbt_row_embedding *e, int64_t i)
{
    const fbt_listed_row row = read_row(e, i);
    fbt_row_terms terms = {.dtypes = {e->word->dtype, FBT_F32, FBT_F32}};
    if (row.token >= 0) {
        terms.rows[0] = fbt_cpu_table_row(e->word, row.token);
    }
    if (row.prompt >= 0) {
        terms.rows[1] = (const float *)e->prompts->data + row.prompt * e->n_dim;
    }
    if (e->position != NULL) {
        terms.rows[2] = fbt_cpu_table_row(e->position, row.position);
        terms.dtypes[2] = e->position->dtype;
    }
    cpu->rows->sum(x, cpu->base.info.types->residual, &terms, e->n_dim);
}

fbt_status fbt_cpu_embed_rows(fbt_backend *b, fbt_buffer *x, const fbt_row_embedding *e, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    const fbt_cpu *cpu = fbt_cpu_of(b);
    const int64_t row_bytes = e->n_dim * (int64_t)fbt_dtype_bytes(b->info.types->residual);
    for (int64_t i = 0; i < n_rows; i++) {
        const fbt_listed_row row = read_row(e, i);
        FBT_TRY(check_row(e, &row, i));
    }
#pragma omp parallel for num_threads(cpu->n_threads) schedule(static)
    for (int64_t i = 0; i < n_rows; i++) {
        embed_row(cpu, (char *)x->data + i * row_bytes, e, i);
    }
done:
    return status;
}

static void put_prompt(const fbt_cpu *cpu, void *x, fbt_dtype dtype, const fbt_layer_prompts *p, int32_t row)
{
    const float *prompt = (const float *)p->prompts->data + row * p->n_dim;
    const fbt_row_terms terms = {.rows = {p->adds ? x : NULL, prompt}, .dtypes = {dtype, FBT_F32}};
    cpu->rows->sum(x, dtype, &terms, p->n_dim);
}

fbt_status fbt_cpu_put_prompts(fbt_backend *b, fbt_buffer *x, fbt_dtype dtype, const fbt_layer_prompts *prompts,
                               int64_t n_rows)
{
    fbt_status status = FBT_OK;
    const fbt_cpu *cpu = fbt_cpu_of(b);
    const int32_t *rows = prompts->rows->data;
    const int64_t row_bytes = prompts->n_dim * (int64_t)fbt_dtype_bytes(dtype);
    const int64_t n_prompt_rows = prompts->prompts->n_bytes / (prompts->n_dim * (int64_t)sizeof(float));
    for (int64_t i = 0; i < n_rows; i++) {
        if (rows[i] < -1 || rows[i] >= n_prompt_rows) {
            FBT_FAIL(FBT_ERR_ARG, "row %" PRId64 " asks for row %" PRId32 " of %" PRId64 " prompt rows", i, rows[i],
                     n_prompt_rows);
        }
    }
#pragma omp parallel for num_threads(cpu->n_threads) schedule(static)
    for (int64_t i = 0; i < n_rows; i++) {
        if (rows[i] >= 0) {
            put_prompt(cpu, (char *)x->data + i * row_bytes, dtype, prompts, rows[i]);
        }
    }
done:
    return status;
}
