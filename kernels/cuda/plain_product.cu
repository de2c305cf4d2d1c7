/* y = activation(x W^T + bias + residual) on the ordinary cores, for the shapes that cuBLASLt has nothing for: rows of
 * any length and alignment.
 *
 * A block makes a tile of 64 rows by 64 columns, a thread 4 x 4 of it: rows and columns 16 apart, so that a warp reads
 * neighbouring words of shared memory. Every sum is one thread's, over n_in in its order: a row's bits depend on the
 * row alone, which needs no trial (choose.c).
 */
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/rows.cuh"

namespace
{
constexpr int block_threads = 256, tile_size = 64, step = 16, per_thread = 4, apart = tile_size / per_thread;
constexpr int pitch = tile_size + 1; /* of shared memory: what one thread after another writes lies in other banks */

__device__ __forceinline__ float to_float(float x)
{
    return x;
}

__device__ __forceinline__ float to_float(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

__device__ __forceinline__ void store(float *y, float value)
{
    *y = value;
}

__device__ __forceinline__ void store(__nv_bfloat16 *y, float value)
{
    *y = __float2bfloat16(value);
}

/* tile[k][i] = matrix[first + i, first_k + k] for a step of k; zero outside the matrix [n, n_in]. */
template <typename X>
__device__ __forceinline__ void load_tile(float *tile, const X *matrix, int64_t first, int64_t n, int64_t first_k,
                                          int64_t n_in)
{
    const int k = static_cast<int>(threadIdx.x) % step;
#pragma unroll
    for (int i = static_cast<int>(threadIdx.x) / step; i < tile_size; i += block_threads / step) {
        const bool is_inside = first + i < n && first_k + k < n_in;
        tile[k * pitch + i] = is_inside ? to_float(matrix[(first + i) * n_in + first_k + k]) : 0.0f;
    }
}

template <typename X, typename Y, fbt_activation activation>
__global__ void __launch_bounds__(block_threads) plain_product_kernel(const fbt_cuda_plain_product_args a)
{
    float *x = reinterpret_cast<float *>(fbt_shared()), *w = x + step * pitch;
    const int64_t n_across = (a.n_out + tile_size - 1) / tile_size;
    const int64_t first_row = blockIdx.x / n_across * tile_size, first_out = blockIdx.x % n_across * tile_size;
    const int row = static_cast<int>(threadIdx.x) / apart, out = static_cast<int>(threadIdx.x) % apart;
    float sums[per_thread][per_thread] = {};
    for (int64_t first = 0; first < a.n_in; first += step) {
        load_tile(x, static_cast<const X *>(a.x), first_row, a.n_rows, first, a.n_in);
        load_tile(w, static_cast<const X *>(a.weight), first_out, a.n_out, first, a.n_in);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < step; k++) {
#pragma unroll
            for (int i = 0; i < per_thread; i++) {
#pragma unroll
                for (int j = 0; j < per_thread; j++) {
                    sums[i][j] = fmaf(x[k * pitch + row + i * apart], w[k * pitch + out + j * apart], sums[i][j]);
                }
            }
        }
        __syncthreads(); /* the next step's tiles overwrite what is read here */
    }
    for (int i = 0; i < per_thread; i++) {
        for (int j = 0; j < per_thread; j++) {
            const int64_t r = first_row + row + i * apart, c = first_out + out + j * apart;
            if (r < a.n_rows && c < a.n_out) {
                const int64_t at = r * a.n_out + c;
                float value = sums[i][j];
                value += a.residual == nullptr ? 0.0f : to_float(static_cast<const Y *>(a.residual)[at]);
                value += a.bias == nullptr ? 0.0f : to_float(static_cast<const Y *>(a.bias)[c]);
                store(static_cast<Y *>(a.y) + at, fbt_activate<activation>(value));
            }
        }
    }
}

template <typename X, typename Y> cudaError_t launch(cudaStream_t stream, const fbt_cuda_plain_product_args &args)
{
    const auto kernel = args.activation == FBT_ACT_RELU        ? plain_product_kernel<X, Y, FBT_ACT_RELU>
                        : args.activation == FBT_ACT_GELU_TANH ? plain_product_kernel<X, Y, FBT_ACT_GELU_TANH>
                                                               : plain_product_kernel<X, Y, FBT_ACT_NONE>;
    const unsigned n_blocks = fbt_n_blocks(args.n_rows, tile_size) * fbt_n_blocks(args.n_out, tile_size);
    return FBT_LAUNCH(kernel, n_blocks, block_threads, 2 * step * pitch * sizeof(float), stream, args);
}
} // namespace

cudaError_t fbt_cuda_launch_plain_product(cudaStream_t stream, const fbt_cuda_plain_product_args *args)
{
    if (args->n_rows == 0) {
        return cudaSuccess;
    }
    if (args->dtype == FBT_F32) {
        return args->y_dtype == FBT_F32 ? launch<float, float>(stream, *args) : cudaErrorInvalidValue;
    }
    return args->y_dtype == FBT_F32 ? launch<__nv_bfloat16, float>(stream, *args)
                                    : launch<__nv_bfloat16, __nv_bfloat16>(stream, *args);
}
