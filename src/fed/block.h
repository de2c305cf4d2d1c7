/* A block of the search point z: the part that a round searches, while the others stay. All of z, but for prompt.deep
 * alternate: there each layer's part is one, and rounds take them in turn, from the first layer to the last and on from
 * the first (Sun et al. 2022, arXiv 2205.11200, algorithm 1; with one generation a round, the authors' deepbbt.py). */
#ifndef FBT_FED_BLOCK_H
#define FBT_FED_BLOCK_H

#include "config/settings.h"

#include <stdint.h>

typedef struct fbt_block {
    const double *z;  /* [d]: the point that candidates replace a part of, borrowed                  */
    int64_t first, n; /* candidates are z[first] .. z[first + n - 1]; n = 0: all of z, which is NULL */
} fbt_block;

/* The block of a round >= 1, from 0, and where it begins. */
int64_t fbt_block_of_round(const fbt_settings *settings, uint32_t round);
int64_t fbt_block_first(const fbt_settings *settings, uint32_t round);

/* Makes search points z: [n_rows, d] of candidates x: [n_rows, block->n]. */
void fbt_block_complete(const fbt_block *block, int64_t d, int64_t n_rows, const double *x, double *z);

/* Numbers of z beside the block, in their order: others: [d - block->n]. */
void fbt_block_get_others(const fbt_block *block, int64_t d, double *others);
/* Puts them into z: [d], whose block stays. */
void fbt_block_set_others(const fbt_block *block, int64_t d, const double *others, double *z);

#endif
