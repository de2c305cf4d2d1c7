/* Layer normalisation: rows over threads. */
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 32 };

fbt_status fbt_cpu_layernorm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_norm *norm, int64_t n_rows,
                             int64_t n_dim)
{
    fbt_status status = FBT_OK;
    const fbt_cpu *cpu = fbt_cpu_of(b);
    const fbt_dtype dtype = b->info.types->activations;
    const float *beta = norm->beta != NULL ? norm->beta->data : NULL;
    const int64_t row_bytes = n_dim * (int64_t)fbt_dtype_bytes(dtype);
    FBT_TRY(fbt_cpu_check_size(x, n_rows, row_bytes, "layernorm, x"));
    FBT_TRY(fbt_cpu_check_size(y, n_rows, row_bytes, "layernorm, y"));
    FBT_TRY(fbt_cpu_check_size(norm->gamma, n_dim, sizeof(float), "layernorm, gamma"));
    if (norm->kind != FBT_NORM_RMS) {
        FBT_TRY(fbt_cpu_check_size(norm->beta, n_dim, sizeof(float), "layernorm, beta"));
    }
    if (n_dim < 1) {
        FBT_FAIL(FBT_ERR_ARG, "layernorm: rows of %lld", (long long)n_dim);
    }
#pragma omp parallel for num_threads(cpu->n_threads) schedule(static)
    for (int64_t r = 0; r < n_rows; r += ROWS_PER_TASK) {
        const int64_t n = n_rows - r < ROWS_PER_TASK ? n_rows - r : ROWS_PER_TASK;
        cpu->rows->layernorm((char *)y->data + r * row_bytes, (const char *)x->data + r * row_bytes, dtype,
                             norm->gamma->data, beta, n, n_dim, norm->epsilon);
    }
done:
    return status;
}
