/* linear on integers of 8 bits: blocks of rows over threads, each of which quantises its rows and multiplies them by
 * all outputs. A row's result does not depend on its block, so blocks are as large as the cache likes and as small as
 * the threads need. */
#include "kernels/cpu/int8.h"
#include "kernels/cpu/matrix.h"

#include <omp.h>

enum { MOST_STRIPS_BYTES = 256 << 10 };

static int64_t block_rows(const fbt_int8_kernels *kernels, int64_t n_rows, int64_t n_in, int n_threads)
{
    const int64_t most_strips = MOST_STRIPS_BYTES / kernels->strip_bytes(n_in);
    const int64_t most = (most_strips > 1 ? most_strips : 1) * kernels->strip_rows;
    return fbt_block_rows(n_rows, most, kernels->strip_rows, n_threads);
}

static void multiply_block(const fbt_int8_kernels *kernels, const fbt_linear_call *call, int64_t row, int64_t n_rows,
                           char *strips)
{
    const fbt_cpu_matrix *w = call->w;
    const fbt_int8_product product = {.strips = strips,
                                      .panels = w->weights,
                                      .bias = w->bias,
                                      .residual =
                                          call->residual != NULL ? call->residual + row * call->y_row_bytes : NULL,
                                      .y = call->y + row * call->y_row_bytes,
                                      .dtype = call->y_dtype,
                                      .n_rows = n_rows,
                                      .n_in = w->base.n_in,
                                      .n_out = call->is_gated ? w->base.n_out / 2 : w->base.n_out,
                                      .activation = call->activation,
                                      .is_gated = call->is_gated};
    kernels->quantise(strips, call->x + row * call->x_row_bytes, w->base.types->activations, n_rows, w->base.n_in);
    kernels->multiply(&product);
}

fbt_status fbt_cpu_linear_int8(fbt_cpu *cpu, const fbt_linear_call *call)
{
    const fbt_int8_kernels *kernels = call->w->int8;
    const int64_t n_in = call->w->base.n_in, rows = block_rows(kernels, call->n_rows, n_in, cpu->n_threads);
    const fbt_status status = fbt_cpu_scratch_need(cpu, rows / kernels->strip_rows * kernels->strip_bytes(n_in));
    if (status != FBT_OK) {
        return status;
    }
#pragma omp parallel for num_threads(cpu->n_threads) schedule(dynamic, 1)
    for (int64_t row = 0; row < call->n_rows; row += rows) {
        const int64_t left = call->n_rows - row;
        multiply_block(kernels, call, row, left < rows ? left : rows, cpu->scratch[omp_get_thread_num()].data);
    }
    return FBT_OK;
}
