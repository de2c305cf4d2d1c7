/* Layer and RMS normalisation: rows over threads. */
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 32 };

fbt_status fbt_cpu_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_dtype x_dtype,
                             const fbt_norm *norm, int64_t n_rows, int64_t n_dim)
{
    const fbt_cpu *cpu = fbt_cpu_of(b);
    const fbt_dtype dtype = b->info.types->activations;
    const float *beta = norm->beta != NULL ? norm->beta->data : NULL;
    const int64_t y_bytes = n_dim * (int64_t)fbt_dtype_bytes(dtype);
    const int64_t x_bytes = n_dim * (int64_t)fbt_dtype_bytes(x_dtype);
#pragma omp parallel for num_threads(cpu->n_threads) schedule(static)
    for (int64_t r = 0; r < n_rows; r += ROWS_PER_TASK) {
        const int64_t n = n_rows - r < ROWS_PER_TASK ? n_rows - r : ROWS_PER_TASK;
        cpu->rows->layernorm((char *)y->data + r * y_bytes, dtype, (const char *)x->data + r * x_bytes, x_dtype,
                             norm->gamma->data, beta, n, n_dim, norm->epsilon);
    }
    return FBT_OK;
}

/* A row's heads lie one behind the other: each is a row to be normalised. */
fbt_status fbt_cpu_norm_heads(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                              const fbt_norm *norm, int64_t n_rows)
{
    const fbt_cpu *cpu = fbt_cpu_of(b);
    const fbt_dtype dtype = b->info.types->activations;
    (void)x;
#pragma omp parallel for num_threads(cpu->n_threads) schedule(static)
    for (int64_t r = 0; r < n_rows; r++) {
        void *row = fbt_cpu_heads_row(cpu, heads, r);
        cpu->rows->layernorm(row, dtype, row, dtype, norm->gamma->data, NULL, n_heads, head_dim, norm->epsilon);
    }
    return FBT_OK;
}
