/* linear on AMX tiles: blocks of rows over threads. A row's sum does not depend on its block, so blocks are as large as
 * the cache likes and as small as the threads need. */
#include "kernels/cpu/matrix.h"
#include "kernels/cpu/tiles.h"

#include <omp.h>

enum { MOST_BLOCK_ROWS = FBT_TILE_ROWS * 8 };

/* Bytes of a block of x, laid out. */
static int64_t block_bytes(int64_t rows, int64_t n_in)
{
    return fbt_tiles_count(rows, n_in) * (int64_t)sizeof(uint16_t);
}

static void multiply_block(const fbt_linear_call *call, int64_t row, int64_t n_rows, void *scratch)
{
    const fbt_cpu_matrix *w = call->w;
    uint16_t *laid_out = scratch;
    const int64_t n_out = call->is_gated ? w->base.n_out / 2 : w->base.n_out;
    const fbt_tile_product product = {.x = laid_out,
                                      .weights = w->weights,
                                      .residual =
                                          call->residual != NULL ? call->residual + row * call->y_row_bytes : NULL,
                                      .bias = w->bias,
                                      .y = call->y + row * call->y_row_bytes,
                                      .partial = (char *)scratch + block_bytes(n_rows, w->base.n_in),
                                      .n_rows = n_rows,
                                      .n_in = w->base.n_in,
                                      .n_out = n_out,
                                      .activation = call->activation,
                                      .is_gated = call->is_gated,
                                      .is_wide = fbt_linear_is_wide(call)};
    fbt_tiles_lay_out_rows(laid_out, (const uint16_t *)(const void *)(call->x + row * call->x_row_bytes), n_rows,
                           w->base.n_in);
    fbt_tiles_multiply(&product);
}

fbt_status fbt_cpu_linear_tiles(fbt_cpu *cpu, const fbt_linear_call *call)
{
    const int64_t rows = fbt_block_rows(call->n_rows, MOST_BLOCK_ROWS, FBT_TILE_ROWS, cpu->n_threads);
    const int64_t n_in = call->w->base.n_in;
    const fbt_status status = fbt_cpu_scratch_need(cpu, block_bytes(rows, n_in) + fbt_tiles_partial_bytes(rows, n_in));
    if (status != FBT_OK) {
        return status;
    }
#pragma omp parallel num_threads(cpu->n_threads)
    {
        fbt_tiles_begin();
#pragma omp for schedule(dynamic, 1)
        for (int64_t row = 0; row < call->n_rows; row += rows) {
            const int64_t left = call->n_rows - row;
            multiply_block(call, row, left < rows ? left : rows, cpu->scratch[omp_get_thread_num()].data);
        }
        fbt_tiles_end();
    }
    return FBT_OK;
}
