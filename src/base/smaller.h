/* The smaller and the larger of two integers, their order, and rounding up. */
#ifndef FBT_BASE_SMALLER_H
#define FBT_BASE_SMALLER_H

#include <stdint.h>

static inline int64_t fbt_smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t fbt_larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The least multiple of `multiple` > 0 that is not below n >= 0. */
static inline int64_t fbt_round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* For qsort of int64_t: rising. */
static inline int fbt_compare_integers(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

#endif
