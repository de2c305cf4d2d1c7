/* Comparison of two results bit by bit, on the device: copies of them to the host would take a hundred times as long.
 */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

enum { COMPARE_BLOCK = 256, COMPARE_PER_THREAD = 16 };

/* Whoever finds a difference stores the same word. */
static __global__ void __launch_bounds__(COMPARE_BLOCK)
    compare_kernel(int32_t *differs, const uint16_t *a, const uint16_t *b, int64_t n)
{
    const int64_t first = static_cast<int64_t>(blockIdx.x) * COMPARE_BLOCK * COMPARE_PER_THREAD + threadIdx.x;
    unsigned difference = 0;
    for (int i = 0; i < COMPARE_PER_THREAD; i++) {
        const int64_t at = first + i * COMPARE_BLOCK;
        if (at < n) {
            difference |= static_cast<unsigned>(a[at] ^ b[at]);
        }
    }
    if (difference != 0) {
        *differs = 1;
    }
}

cudaError_t fbt_cuda_launch_compare(cudaStream_t stream, int32_t *differs, const void *a, const void *b,
                                    int64_t n_bytes)
{
    const int64_t n = n_bytes / static_cast<int64_t>(sizeof(uint16_t));
    if (n == 0) {
        return cudaSuccess;
    }
    const unsigned n_blocks = static_cast<unsigned>((n - 1) / (COMPARE_BLOCK * COMPARE_PER_THREAD) + 1);
    return FBT_LAUNCH(compare_kernel, n_blocks, COMPARE_BLOCK, 0, stream, differs, static_cast<const uint16_t *>(a),
                      static_cast<const uint16_t *>(b), n);
}
