/* Between floating types on the host. */
#ifndef FBT_CUDA_CONVERT_H
#define FBT_CUDA_CONVERT_H

#include "kernels/backend.h"

/* y: [n] of y_dtype from x of x_dtype; equal types, or any floating type to F32 or BF16 (rounded to nearest, ties to
 * even). */
void fbt_cuda_convert(void *y, fbt_dtype y_dtype, const void *x, fbt_dtype x_dtype, int64_t n);

#endif
