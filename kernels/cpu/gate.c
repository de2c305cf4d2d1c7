/* Gated activation: rows over threads. */
#include "kernels/cpu/cpu.h"

fbt_status fbt_cpu_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
                        int64_t n_dim)
{
    const fbt_cpu *cpu = fbt_cpu_of(b);
    const fbt_dtype dtype = b->info.types->activations;
    const int64_t row_bytes = n_dim * (int64_t)fbt_dtype_bytes(dtype);
#pragma omp parallel for num_threads(cpu->n_threads) schedule(static)
    for (int64_t r = 0; r < n_rows; r++) {
        cpu->rows->gate((char *)y->data + r * row_bytes, (const char *)x->data + r * 2 * row_bytes, dtype, activation,
                        n_dim);
    }
    return FBT_OK;
}
