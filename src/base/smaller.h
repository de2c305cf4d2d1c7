/* The smaller and the larger of two integers. */
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

#endif
