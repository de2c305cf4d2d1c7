#include "fed/block.h"

#include <string.h>

int64_t fbt_block_of_round(const fbt_settings *settings, uint32_t round)
{
    return (int64_t)(round - 1) % fbt_settings_n_blocks(settings);
}

int64_t fbt_block_first(const fbt_settings *settings, uint32_t round)
{
    return fbt_block_of_round(settings, round) * fbt_settings_searched(settings);
}

static void copy(double *to, const double *from, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof *to);
}

void fbt_block_complete(const fbt_block *block, int64_t d, int64_t n_rows, const double *x, double *z)
{
    if (block->n == 0 || block->n == d) {
        copy(z, x, n_rows * d);
        return;
    }
    for (int64_t i = 0; i < n_rows; i++) {
        copy(z + i * d, block->z, d);
        copy(z + i * d + block->first, x + i * block->n, block->n);
    }
}

void fbt_block_get_others(const fbt_block *block, int64_t d, double *others)
{
    const int64_t end = block->first + block->n;
    copy(others, block->z, block->first);
    copy(others + block->first, block->z + end, d - end);
}

void fbt_block_set_others(const fbt_block *block, int64_t d, const double *others, double *z)
{
    const int64_t end = block->first + block->n;
    copy(z, others, block->first);
    copy(z + end, others + block->first, d - end);
}
