/* A walk over the keys of all parts of a group of heads. */
#ifndef FBT_CPU_KEY_WALK_H
#define FBT_CPU_KEY_WALK_H

#include "kernels/cpu/rows.h"

/* The next key is row `row` of `part`. */
typedef struct fbt_key_walk {
    const fbt_key_rows *part;
    int64_t row;
} fbt_key_walk;

/* Moves past the next key; returns its row in walk->part. There must be one. */
static inline int64_t fbt_walk_on(fbt_key_walk *walk)
{
    for (; walk->row == walk->part->n; walk->part++) {
        walk->row = 0;
    }
    return walk->row++;
}

/* The next key, or its value; a walk is over one of the two. */
static inline const void *fbt_walk_key(fbt_key_walk *walk, fbt_dtype dtype)
{
    const int64_t row = fbt_walk_on(walk);
    return (const char *)walk->part->k + row * walk->part->k_stride * (dtype == FBT_BF16 ? 2 : 4);
}

static inline const void *fbt_walk_value(fbt_key_walk *walk, fbt_dtype dtype)
{
    const int64_t row = fbt_walk_on(walk);
    return (const char *)walk->part->v + row * walk->part->v_stride * (dtype == FBT_BF16 ? 2 : 4);
}

#endif
