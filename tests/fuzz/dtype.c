#include "kernels/backend.h"

/* As in kernels/backend.c, which would bring all backends with it. */
size_t fbt_dtype_bytes(fbt_dtype dtype)
{
    return dtype == FBT_F32 || dtype == FBT_I32 ? 4 : 2;
}
