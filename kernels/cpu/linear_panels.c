/* linear by panels: blocks of rows and outputs over threads. A row's sum does not depend on its block, so blocks are as
 * large as the caches like and as small as the threads need. */
#include "kernels/cpu/matrix.h"
#include "kernels/cpu/panels.h"

#include <omp.h>

/* Of a block: the most that the second-level cache (512 KiB) likes, and the least that is worth its copy of x. */
enum { MOST_ROWS = 192, LEAST_ROWS = 48, MOST_OUTPUTS = 512, LEAST_OUTPUTS = 128, BLOCKS_PER_THREAD = 4 };

/* How a product is cut: blocks of so many rows and outputs, and how many there are. */
typedef struct panel_cut {
    int64_t rows, outputs, n_row_blocks, n_output_blocks;
} panel_cut;

/* Into how many blocks of at most `most` to cut n: `wanted`, if then none has less than `least`. */
static int64_t n_blocks(int64_t n, int64_t most, int64_t least, int64_t wanted)
{
    const int64_t fewest = fbt_n_parts(n, most), limit = n / least;
    wanted = wanted < limit ? wanted : limit;
    return wanted > fewest ? wanted : fewest;
}

static panel_cut cut(const fbt_panel_kernels *k, int64_t n_rows, int64_t n_out, int64_t most_outputs, int n_threads)
{
    const int64_t wanted = n_threads > 1 ? BLOCKS_PER_THREAD * (int64_t)n_threads : 1;
    int64_t by_row = fbt_n_parts(n_rows, MOST_ROWS);
    const int64_t by_output = n_blocks(n_out, most_outputs, LEAST_OUTPUTS, fbt_n_parts(wanted, by_row));
    by_row = n_blocks(n_rows, MOST_ROWS, LEAST_ROWS, fbt_n_parts(wanted, by_output));
    panel_cut c = {.rows = fbt_n_parts(fbt_n_parts(n_rows, by_row), k->n_rows) * k->n_rows,
                   .outputs = fbt_n_parts(fbt_n_parts(n_out, by_output), k->n_outputs) * k->n_outputs};
    c.n_row_blocks = fbt_n_parts(n_rows, c.rows);
    c.n_output_blocks = fbt_n_parts(n_out, c.outputs);
    return c;
}

static void multiply_block(const fbt_linear_call *call, const panel_cut *c, int64_t n_out, int64_t row, int64_t output,
                           void *scratch)
{
    const fbt_panel_kernels *kernels = call->w->panels;
    const int64_t at = row * call->y_row_bytes + output * (int64_t)fbt_dtype_bytes(call->y_dtype);
    const int64_t n_in = call->w->base.n_in, rows_left = call->n_rows - row, outputs_left = n_out - output;
    const char *weights = (const char *)call->w->weights + output / kernels->n_outputs * kernels->panel_bytes(n_in);
    const float *bias = (const float *)call->w->bias + output;
    const fbt_panel_product product = {
        .x = call->x + row * call->x_row_bytes,
        .weights = weights,
        .factor_weights = call->is_gated ? weights + n_out / kernels->n_outputs * kernels->panel_bytes(n_in) : NULL,
        .bias = bias,
        .factor_bias = call->is_gated ? bias + n_out : NULL,
        .residual = call->residual != NULL ? call->residual + at : NULL,
        .y = call->y + at,
        .y_dtype = call->y_dtype,
        .n_rows = rows_left < c->rows ? rows_left : c->rows,
        .n_in = n_in,
        .n_out = outputs_left < c->outputs ? outputs_left : c->outputs,
        .y_stride = n_out,
        .activation = call->activation};
    kernels->multiply(&product, scratch);
}

/* Blocks of the same outputs follow each other, so that threads share their weights in the last cache. */
fbt_status fbt_cpu_linear_panels(fbt_cpu *cpu, const fbt_linear_call *call)
{
    const fbt_panel_kernels *kernels = call->w->panels;
    const int64_t n_halves = call->is_gated ? 2 : 1, n_out = call->w->base.n_out / n_halves;
    const panel_cut c = cut(kernels, call->n_rows, n_out, MOST_OUTPUTS / n_halves, cpu->n_threads);
    const fbt_status status = fbt_cpu_scratch_need(cpu, kernels->scratch_bytes(c.rows, n_halves * c.outputs));
    if (status != FBT_OK) {
        return status;
    }
#pragma omp parallel for num_threads(cpu->n_threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < c.n_row_blocks * c.n_output_blocks; i++) {
        multiply_block(call, &c, n_out, i % c.n_row_blocks * c.rows, i / c.n_row_blocks * c.outputs,
                       cpu->scratch[omp_get_thread_num()].data);
    }
    return FBT_OK;
}
