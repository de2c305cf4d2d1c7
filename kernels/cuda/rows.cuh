/* Rows in registers: how threads share the elements of a row, and what they do with them in float.
 *
 * A unit is 16 bytes of the activation type: what a thread loads or stores at once. How a row is laid over threads
 * depends on its length alone, and so does the order of its sums.
 */
#ifndef FBT_CUDA_ROWS_CUH
#define FBT_CUDA_ROWS_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

template <typename T> constexpr int fbt_unit = 16 / static_cast<int>(sizeof(T));

__device__ __forceinline__ float2 fbt_unpack(uint32_t pair, __nv_bfloat16)
{
    return fbt_unpack_bf16(pair);
}

__device__ __forceinline__ float2 fbt_unpack(uint32_t pair, __half)
{
    return make_float2(__half2float(__ushort_as_half(static_cast<unsigned short>(pair & 0xffffU))),
                       __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16))));
}

/* n consecutive elements (4 or 8) of type S as they lie in memory. What is loaded is kept so until all loads are under
 * way. */
template <typename S, int n> struct fbt_elements {
    static_assert(n == 4 || n == 8, "a unit of some activation type");
    static constexpr int n_words = n * static_cast<int>(sizeof(S)) / 4;

    uint32_t words[n_words];

    /* p is aligned to the n elements, to 16 bytes at most. */
    __device__ __forceinline__ void load(const void *p)
    {
        if constexpr (n_words == 2) {
            const uint2 pair = *static_cast<const uint2 *>(p);
            words[0] = pair.x;
            words[1] = pair.y;
        } else {
#pragma unroll
            for (int i = 0; i < n_words; i += 4) {
                const uint4 four = fbt_load16(static_cast<const uint4 *>(p) + i / 4);
                words[i] = four.x;
                words[i + 1] = four.y;
                words[i + 2] = four.z;
                words[i + 3] = four.w;
            }
        }
    }

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int i = 0; i < n_words; i++) {
            words[i] = 0;
        }
    }

    __device__ __forceinline__ void get(float (&v)[n]) const
    {
        if constexpr (sizeof(S) == sizeof(float)) {
#pragma unroll
            for (int i = 0; i < n; i++) {
                v[i] = __uint_as_float(words[i]);
            }
        } else {
#pragma unroll
            for (int i = 0; i < n / 2; i++) {
                const float2 two = fbt_unpack(words[i], S());
                v[2 * i] = two.x;
                v[2 * i + 1] = two.y;
            }
        }
    }
};

template <typename S, int n> __device__ __forceinline__ void fbt_load_floats(float (&v)[n], const S *p)
{
    fbt_elements<S, n> elements;
    elements.load(p);
    elements.get(v);
}

/* A unit, rounded to its type: 4 floats or 8 bfloat16. */
__device__ __forceinline__ void fbt_store_unit(void *p, const float (&v)[4])
{
    fbt_store16(p,
                make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3])));
}

__device__ __forceinline__ void fbt_store_unit(void *p, const float (&v)[8])
{
    fbt_store16(p, make_uint4(fbt_pack_bf16(v[0], v[1]), fbt_pack_bf16(v[2], v[3]), fbt_pack_bf16(v[4], v[5]),
                              fbt_pack_bf16(v[6], v[7])));
}

/* Sum over the n_threads threads (a warp or the block) in every one of them; partial: [n_threads / 32] floats of shared
 * memory for a block, used for one sum alone. */
template <int n_threads> __device__ __forceinline__ float fbt_sum_threads(float value, float *partial)
{
    value = fbt_warp_sum(value);
    if constexpr (n_threads > FBT_WARP) {
        if (threadIdx.x % FBT_WARP == 0) {
            partial[threadIdx.x / FBT_WARP] = value;
        }
        __syncthreads();
        value = 0;
        for (int w = 0; w < n_threads / FBT_WARP; w++) {
            value += partial[w];
        }
    }
    return value;
}

/* A row of up to n_threads * n_units units over a warp or a block: its thread i holds units i, i + n_threads, ... What
 * a thread holds beyond the row's n_dim elements is never stored. */
template <typename Type, int n_threads, int n_units> struct fbt_row {
    using T = Type;
    static constexpr int unit = fbt_unit<T>;
    static constexpr int block = n_threads == FBT_WARP ? 4 * FBT_WARP : n_threads;
    static constexpr int rows_per_block = block / n_threads;
    static constexpr int shared_bytes =
        n_threads == FBT_WARP ? 0 : 2 * n_threads / FBT_WARP * static_cast<int>(sizeof(float));

    float v[n_units][unit];

    /* Which row of the launch is this thread's. */
    static __device__ __forceinline__ int64_t number()
    {
        return static_cast<int64_t>(blockIdx.x) * rows_per_block + threadIdx.x / n_threads;
    }

    static __device__ __forceinline__ bool is_first_thread()
    {
        return threadIdx.x % n_threads == 0;
    }

    static __device__ __forceinline__ int column(int k)
    {
        return (k * n_threads + static_cast<int>(threadIdx.x) % n_threads) * unit;
    }

    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int k = 0; k < n_units; k++) {
#pragma unroll
            for (int j = 0; j < unit; j++) {
                v[k][j] = 0;
            }
        }
    }

    /* The thread's elements of a row of type S; p = NULL: zeros. Where the row has none for it, the thread loads others
     * that are dropped later: loads without a branch overlap. */
    template <typename S> struct term {
        fbt_elements<S, unit> of[n_units];

        __device__ __forceinline__ term(const S *p, int n_dim)
        {
#pragma unroll
            for (int k = 0; k < n_units; k++) {
                if (p == nullptr) {
                    of[k].clear();
                } else {
                    of[k].load(p + (column(k) < n_dim ? column(k) : 0));
                }
            }
        }
    };

    template <typename S> __device__ __forceinline__ void add(const term<S> &x)
    {
#pragma unroll
        for (int k = 0; k < n_units; k++) {
            float added[unit];
            x.of[k].get(added);
#pragma unroll
            for (int j = 0; j < unit; j++) {
                v[k][j] += added[j];
            }
        }
    }

    __device__ __forceinline__ void store(T *p, int n_dim) const
    {
#pragma unroll
        for (int k = 0; k < n_units; k++) {
            if (column(k) < n_dim) {
                fbt_store_unit(p + column(k), v[k]);
            }
        }
    }

    /* The thread's share of the sum, or of the sum of squares. */
    __device__ __forceinline__ float share_of_sum(bool squared) const
    {
        float sums[unit] = {};
#pragma unroll
        for (int k = 0; k < n_units; k++) {
#pragma unroll
            for (int j = 0; j < unit; j++) {
                sums[j] += squared ? v[k][j] * v[k][j] : v[k][j];
            }
        }
#pragma unroll
        for (int n = unit / 2; n > 0; n /= 2) {
#pragma unroll
            for (int j = 0; j < n; j++) {
                sums[j] += sums[j + n];
            }
        }
        return sums[0];
    }

    __device__ __forceinline__ void clear_beyond(int n_dim)
    {
#pragma unroll
        for (int k = 0; k < n_units; k++) {
#pragma unroll
            for (int j = 0; j < unit; j++) {
                v[k][j] = column(k) < n_dim ? v[k][j] : 0;
            }
        }
    }

    /* Takes the mean off. */
    __device__ __forceinline__ void centre(int n_dim, float *partial)
    {
        const float mean = fbt_sum_threads<n_threads>(share_of_sum(false), partial) / static_cast<float>(n_dim);
#pragma unroll
        for (int k = 0; k < n_units; k++) {
#pragma unroll
            for (int j = 0; j < unit; j++) {
                v[k][j] -= column(k) < n_dim ? mean : 0;
            }
        }
    }

    /* The norm of the row; partial: shared_bytes of shared memory. The variance from differences to the mean does not
     * cancel where the mean is large. */
    template <fbt_norm_kind kind>
    __device__ __forceinline__ void normalise(const fbt_cuda_norm &norm, int n_dim, float *partial)
    {
        clear_beyond(n_dim);
        if constexpr (kind == FBT_NORM_LAYER) {
            centre(n_dim, partial);
        }
        const float sum = fbt_sum_threads<n_threads>(share_of_sum(true), partial + n_threads / FBT_WARP);
        const float factor = 1.0f / sqrtf(sum / static_cast<float>(n_dim) + norm.epsilon);
#pragma unroll
        for (int k = 0; k < n_units; k++) {
            const int from = column(k) < n_dim ? column(k) : 0;
            float scale[unit], shift[unit] = {};
            fbt_load_floats(scale, norm.gamma + from);
            if constexpr (kind == FBT_NORM_LAYER) {
                fbt_load_floats(shift, norm.beta + from);
            }
#pragma unroll
            for (int j = 0; j < unit; j++) {
                v[k][j] = v[k][j] * factor * scale[j] + shift[j];
            }
        }
    }
};

/* launch(row), row an fbt_row that holds n_dim elements of type T: a warp's to 1024, a block's to 8192. Errors:
 * cudaErrorInvalidValue beyond that. */
template <typename T, typename Launch> cudaError_t fbt_with_row(int64_t n_dim, Launch launch)
{
    constexpr int eight = 8 / fbt_unit<T>; /* units of 8 elements */
    if (n_dim <= 256) {
        return launch(fbt_row<T, 32, eight>());
    }
    if (n_dim <= 512) {
        return launch(fbt_row<T, 32, 2 * eight>());
    }
    if (n_dim <= 768) {
        return launch(fbt_row<T, 32, 3 * eight>());
    }
    if (n_dim <= 1024) {
        return launch(fbt_row<T, 32, 4 * eight>());
    }
    if (n_dim <= 2048) {
        return launch(fbt_row<T, 256, eight>());
    }
    if (n_dim <= 4096) {
        return launch(fbt_row<T, 256, 2 * eight>());
    }
    return n_dim <= 8192 ? launch(fbt_row<T, 256, 4 * eight>()) : cudaErrorInvalidValue;
}

/* Blocks of `size` items that cover n. */
inline unsigned fbt_n_blocks(int64_t n, int64_t size)
{
    return static_cast<unsigned>((n + size - 1) / size);
}

/* For what is done to every unit alike: a block takes a tile of `height` rows by 32 units of a matrix [n_rows,
 * row_units] of units. A warp covers 512 consecutive bytes; a thread has up to per_thread units, one below the other.
 */
struct fbt_tile {
    static constexpr int n_warps = 8, per_thread = 4, height = n_warps * per_thread, block = n_warps * FBT_WARP;

    int64_t n_rows, row_units;
    int64_t first_row; /* the thread's; it has every n_warps-th from there on */
    int64_t unit;      /* the thread's column                                 */

    static unsigned n_blocks(int64_t n_rows, int64_t row_units)
    {
        return fbt_n_blocks(n_rows, height) * fbt_n_blocks(row_units, FBT_WARP);
    }

    __device__ __forceinline__ fbt_tile(int64_t matrix_rows, int64_t matrix_row_units)
    {
        const unsigned n_across = static_cast<unsigned>((matrix_row_units + FBT_WARP - 1) / FBT_WARP);
        n_rows = matrix_rows;
        row_units = matrix_row_units;
        first_row = static_cast<int64_t>(blockIdx.x / n_across) * height + threadIdx.x / FBT_WARP;
        unit = static_cast<int64_t>(blockIdx.x % n_across) * FBT_WARP + threadIdx.x % FBT_WARP;
    }

    __device__ __forceinline__ bool has(int i) const
    {
        return unit < row_units && first_row + i * n_warps < n_rows;
    }

    /* Row of the thread's i-th unit; of its first where it has no i-th: loads without a branch overlap. */
    __device__ __forceinline__ int64_t row(int i) const
    {
        return has(i) ? first_row + i * n_warps : first_row;
    }

    __device__ __forceinline__ int64_t index(int64_t row) const
    {
        return row * row_units + unit;
    }
};

#endif
