/* Apart from the other files because cpu.h and cuda.h both say what a buffer is. */
#include "kernels/cuda/convert.h"

#include "kernels/cpu/cpu.h"

#include <string.h>

void fbt_cuda_convert(void *y, fbt_dtype y_dtype, const void *x, fbt_dtype x_dtype, int64_t n)
{
    if (y_dtype == x_dtype) {
        memcpy(y, x, (size_t)n * fbt_dtype_bytes(y_dtype));
    } else {
        fbt_cpu_row_kernels()->convert(y, y_dtype, x, x_dtype, n);
    }
}
