/* Operations on heads in place: their norm, and rotary positions. */
#include "kernels/cuda/rows.cuh"

#include <limits.h>

/* A warp has a head. */
template <typename T> using head_row = fbt_row<T, FBT_WARP, 8 / fbt_unit<T>>;

template <typename T>
static __global__ void __launch_bounds__(head_row<T>::block)
    norm_heads_kernel(const fbt_cuda_rows_of_heads x, const fbt_cuda_norm norm)
{
    const int head_dim = static_cast<int>(x.head_dim);
    const unsigned n_heads = static_cast<unsigned>(x.n_heads), number = static_cast<unsigned>(head_row<T>::number());
    if (number / n_heads >= x.n_rows) {
        return;
    }
    T *head = static_cast<T *>(x.data) + number / n_heads * x.stride + number % n_heads * x.head_dim;
    const typename head_row<T>::template term<T> found(head, head_dim);
    head_row<T> row;
    row.clear();
    row.add(found);
    row.template normalise<FBT_NORM_RMS>(norm, head_dim, reinterpret_cast<float *>(fbt_shared()));
    __syncwarp(); /* lanes past the end of the head have read what another lane writes */
    row.store(head, head_dim);
}

cudaError_t fbt_cuda_launch_norm_heads(cudaStream_t stream, const fbt_cuda_rows_of_heads *x, const fbt_cuda_norm *norm)
{
    const int64_t n_heads = x->n_rows * x->n_heads;
    if (n_heads == 0) {
        return cudaSuccess;
    }
    if (x->head_dim > FBT_WARP * 8 || n_heads > INT_MAX) {
        return cudaErrorInvalidValue;
    }
    return FBT_LAUNCH((x->dtype == FBT_BF16 ? norm_heads_kernel<__nv_bfloat16> : norm_heads_kernel<float>),
                      fbt_n_blocks(n_heads, head_row<float>::rows_per_block), head_row<float>::block, 0, stream, *x,
                      *norm);
}

static __device__ __forceinline__ float as_float(float x)
{
    return x;
}

static __device__ __forceinline__ float as_float(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

static __device__ __forceinline__ void store_one(float *p, float x)
{
    *p = x;
}

static __device__ __forceinline__ void store_one(__nv_bfloat16 *p, float x)
{
    *p = __float2bfloat16_rn(x);
}

/* n neighbouring elements: a unit, or one where halves of heads are not made of units. */
template <int n, typename T> static __device__ __forceinline__ void load_part(float (&v)[n], const T *p)
{
    if constexpr (n > 1) {
        fbt_load_floats(v, p);
    } else {
        v[0] = as_float(*p);
    }
}

template <int n, typename T> static __device__ __forceinline__ void store_part(T *p, const float (&v)[n])
{
    if constexpr (n > 1) {
        fbt_store_unit(p, v);
    } else {
        store_one(p, v[0]);
    }
}

enum { ROTATE_BLOCK = 256, HEADS_PER_THREAD = 4 };

/* n pairs of a row: a thread takes them in every n_groups-th head, by one sine and cosine each. */
template <typename T, int n>
static __global__ void __launch_bounds__(ROTATE_BLOCK)
    rotate_kernel(const fbt_cuda_rows_of_heads x, const fbt_cuda_rotary rotary, const unsigned n_groups)
{
    const unsigned half = static_cast<unsigned>(rotary.n_rotated) / 2, n_parts = half / n;
    const unsigned thread = blockIdx.x * ROTATE_BLOCK + threadIdx.x, part = thread % n_parts * n;
    const unsigned group = thread / n_parts % n_groups, row = thread / n_parts / n_groups;
    float cosine[n], sine[n];
    if (row >= x.n_rows) {
        return;
    }
    const int64_t position = rotary.positions[row], at = position * half + part;
    if (position < 0 || position >= rotary.n_positions) {
        *rotary.error = FBT_CUDA_ERROR_POSITION;
        return;
    }
    load_part(cosine, rotary.cosine + at);
    load_part(sine, rotary.sine + at);
#pragma unroll 1
    for (unsigned head = group; head < x.n_heads; head += n_groups) {
        T *left = static_cast<T *>(x.data) + row * x.stride + head * x.head_dim + part, *right = left + half;
        float a[n], b[n];
        load_part(a, left);
        load_part(b, right);
#pragma unroll
        for (int i = 0; i < n; i++) {
            const float turned = a[i] * cosine[i] - b[i] * sine[i];
            b[i] = b[i] * cosine[i] + a[i] * sine[i];
            a[i] = turned;
        }
        store_part(left, a);
        store_part(right, b);
    }
}

template <typename T, int n>
static cudaError_t launch_rotate(cudaStream_t stream, const fbt_cuda_rows_of_heads &x, const fbt_cuda_rotary &rotary)
{
    const int64_t n_groups = (x.n_heads + HEADS_PER_THREAD - 1) / HEADS_PER_THREAD;
    const int64_t n_threads = x.n_rows * n_groups * (rotary.n_rotated / 2 / n);
    if (n_threads > INT_MAX) {
        return cudaErrorInvalidValue;
    }
    return FBT_LAUNCH((rotate_kernel<T, n>), fbt_n_blocks(n_threads, ROTATE_BLOCK), ROTATE_BLOCK, 0, stream, x, rotary,
                      static_cast<unsigned>(n_groups));
}

template <typename T>
static cudaError_t launch_typed(cudaStream_t stream, const fbt_cuda_rows_of_heads &x, const fbt_cuda_rotary &rotary)
{
    return rotary.n_rotated / 2 % fbt_unit<T> == 0 ? launch_rotate<T, fbt_unit<T>>(stream, x, rotary)
                                                   : launch_rotate<T, 1>(stream, x, rotary);
}

cudaError_t fbt_cuda_launch_rotate(cudaStream_t stream, const fbt_cuda_rows_of_heads *x, const fbt_cuda_rotary *rotary)
{
    if (x->n_rows == 0) {
        return cudaSuccess;
    }
    return x->dtype == FBT_BF16 ? launch_typed<__nv_bfloat16>(stream, *x, *rotary)
                                : launch_typed<float>(stream, *x, *rotary);
}
