/* Rotary positions: rows over threads. */
#include "kernels/cpu/cpu.h"

#include <inttypes.h>

static fbt_status check_positions(const fbt_rotary *rotary, int64_t n_rows)
{
    const int32_t *positions = rotary->positions->data;
    for (int64_t r = 0; r < n_rows; r++) {
        if (positions[r] < 0 || positions[r] >= rotary->cosine->n_rows) {
            return fbt_fail(FBT_ERR_ARG, "rotate: row %" PRId64 " has position %d, in tables of %" PRId64, r,
                            positions[r], rotary->cosine->n_rows);
        }
    }
    return FBT_OK;
}

fbt_status fbt_cpu_rotate(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                          const fbt_rotary *rotary, int64_t n_rows)
{
    const fbt_cpu *cpu = fbt_cpu_of(b);
    const fbt_status status = check_positions(rotary, n_rows);
    (void)x;
    if (status != FBT_OK) {
        return status;
    }
#pragma omp parallel for num_threads(cpu->n_threads) schedule(static)
    for (int64_t r = 0; r < n_rows; r++) {
        const int32_t position = ((const int32_t *)rotary->positions->data)[r];
        const fbt_row_turn turn = {.cosine = fbt_cpu_table_row(rotary->cosine, position),
                                   .sine = fbt_cpu_table_row(rotary->sine, position),
                                   .n_rotated = rotary->n_rotated};
        cpu->rows->rotate(fbt_cpu_heads_row(cpu, heads, r), b->info.types->activations, &turn, n_heads, head_dim);
    }
    return FBT_OK;
}
