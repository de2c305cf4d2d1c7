/* linear on AMX tiles: blocks of rows over threads. A row's sum does not depend on its block, so blocks are as large as
 * the cache likes and as small as the threads need. */
#include "kernels/cpu/matrix.h"
#include "kernels/cpu/tiles.h"

#include <omp.h>

enum {
    MOST_BLOCK_BYTES = 1 << 20,
    MOST_BLOCK_ROWS = FBT_TILE_ROWS * 8
}; /* of x: half the second-level cache of such processors */

static int64_t block_rows(int64_t n_rows, int64_t x_row_bytes, int n_threads)
{
    int64_t rows = MOST_BLOCK_BYTES / x_row_bytes;
    rows = rows < FBT_TILE_ROWS ? FBT_TILE_ROWS : rows > MOST_BLOCK_ROWS ? MOST_BLOCK_ROWS : rows;
    int64_t n_blocks = (n_rows + rows - 1) / rows;
    n_blocks = (n_blocks + n_threads - 1) / n_threads * n_threads;
    rows = (n_rows + n_blocks - 1) / n_blocks;
    return (rows + FBT_TILE_ROWS - 1) / FBT_TILE_ROWS * FBT_TILE_ROWS;
}

static void multiply_block(const fbt_linear_call *call, int64_t row, int64_t n_rows, uint16_t *laid_out)
{
    const fbt_cpu_matrix *w = call->w;
    const fbt_tile_product product = {
        .x = laid_out,
        .weights = w->weights,
        .residual = call->residual != NULL ? (const uint16_t *)call->residual + row * w->base.n_out : NULL,
        .bias = w->bias,
        .y = (uint16_t *)call->y + row * w->base.n_out,
        .n_rows = n_rows,
        .n_in = w->base.n_in,
        .n_out = w->base.n_out,
        .activation = call->activation};
    fbt_tiles_lay_out_rows(laid_out, (const uint16_t *)call->x + row * w->base.n_in, n_rows, w->base.n_in);
    fbt_tiles_multiply(&product);
}

fbt_status fbt_cpu_linear_tiles(fbt_cpu *cpu, const fbt_linear_call *call)
{
    const int64_t rows = block_rows(call->n_rows, call->x_row_bytes, cpu->n_threads);
    const fbt_status status =
        fbt_cpu_scratch_need(cpu, fbt_tiles_count(rows, call->w->base.n_in) * (int64_t)sizeof(uint16_t));
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
