/* Layer normalisation: rows over threads. */
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 32 };

fbt_status fbt_cpu_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_norm *norm, int64_t n_rows,
                             int64_t n_dim)
{
    const fbt_cpu *cpu = fbt_cpu_of(b);
    const fbt_dtype dtype = b->info.types->activations;
    const float *beta = norm->beta != NULL ? norm->beta->data : NULL;
    const int64_t row_bytes = n_dim * (int64_t)fbt_dtype_bytes(dtype);
#pragma omp parallel for num_threads(cpu->n_threads) schedule(static)
    for (int64_t r = 0; r < n_rows; r += ROWS_PER_TASK) {
        const int64_t n = n_rows - r < ROWS_PER_TASK ? n_rows - r : ROWS_PER_TASK;
        cpu->rows->layernorm((char *)y->data + r * row_bytes, (const char *)x->data + r * row_bytes, dtype,
                             norm->gamma->data, beta, n, n_dim, norm->epsilon);
    }
    return FBT_OK;
}
