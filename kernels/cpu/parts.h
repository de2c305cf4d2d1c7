/* Cutting into parts. */
#ifndef FBT_CPU_PARTS_H
#define FBT_CPU_PARTS_H

#include "base/smaller.h"

#include <stdint.h>

/* Parts that n is cut into, the last one perhaps smaller. */
static inline int64_t fbt_n_parts(int64_t n, int64_t part)
{
    return (n + part - 1) / part;
}

/* Rows of a block where blocks of n_rows are shared among threads: a multiple of `step` and at most `most`, which is
 * one; as many blocks for each thread. */
static inline int64_t fbt_block_rows(int64_t n_rows, int64_t most, int64_t step, int n_threads)
{
    const int64_t n_blocks = fbt_n_parts(fbt_n_parts(n_rows, most), n_threads) * n_threads;
    return fbt_n_parts(fbt_n_parts(n_rows, n_blocks), step) * step;
}

#endif
