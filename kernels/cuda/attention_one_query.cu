/* Attention of one query per sequence: bound by reading keys and values, so all of a block's threads read.
 *
 * A group of neighbouring lanes holds one row, 16 bytes a lane; the block's groups take the rows in turn, each with a
 * running softmax of its own, and are put together in order at the end.
 */
#include "kernels/cuda/attention.cuh"

#include <math.h>

namespace
{
constexpr unsigned n_warps = 4;
constexpr unsigned group_rows = 4; /* a group reads at once: what hides the memory's latency */

/* 16 bytes as floats. */
__device__ __forceinline__ void unpack(float (&to)[4], uint4 from)
{
    to[0] = __uint_as_float(from.x);
    to[1] = __uint_as_float(from.y);
    to[2] = __uint_as_float(from.z);
    to[3] = __uint_as_float(from.w);
}

__device__ __forceinline__ void unpack(float (&to)[8], uint4 from)
{
    const uint32_t pairs[4] = {from.x, from.y, from.z, from.w};
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        const float2 pair = fbt_unpack_bf16(pairs[i]);
        to[2 * i] = pair.x;
        to[2 * i + 1] = pair.y;
    }
}

__device__ __forceinline__ void store(float *y, float value)
{
    *y = value;
}

__device__ __forceinline__ void store(__nv_bfloat16 *y, float value)
{
    *y = __float2bfloat16_rn(value);
}

template <typename T, unsigned padded> struct group {
    static constexpr unsigned lane_items = 16 / sizeof(T), n_lanes = padded / lane_items;
    static constexpr unsigned n_groups = n_warps * FBT_WARP / n_lanes;
    fbt_softmax_row softmax;
    float o[lane_items] = {};

    /* Rows first + i * n_groups of k and v, as far as they exist. All lanes of the warp. */
    __device__ __forceinline__ void attend(const float (&q)[lane_items], const uint4 (&k)[group_rows],
                                           const uint4 (&v)[group_rows], unsigned first, unsigned n_keys, float c)
    {
        float s[group_rows], largest = -INFINITY, row[lane_items];
#pragma unroll
        for (unsigned i = 0; i < group_rows; i++) {
            unpack(row, k[i]);
            s[i] = 0;
#pragma unroll
            for (unsigned j = 0; j < lane_items; j++) {
                s[i] = fmaf(q[j], row[j], s[i]);
            }
            s[i] = fbt_lanes_sum<n_lanes>(s[i]);
            s[i] = fbt_attention_sees(first + i * n_groups, n_keys) ? s[i] : -INFINITY;
            largest = fmaxf(largest, s[i]);
        }
        const float factor = softmax.raise(largest, c);
#pragma unroll
        for (unsigned j = 0; j < lane_items; j++) {
            o[j] *= factor;
        }
#pragma unroll
        for (unsigned i = 0; i < group_rows; i++) {
            const float p = exp2f((s[i] - softmax.largest) * c);
            softmax.sum += p;
            unpack(row, v[i]);
#pragma unroll
            for (unsigned j = 0; j < lane_items; j++) {
                o[j] = fmaf(p, row[j], o[j]);
            }
        }
    }
};

/* The block's result from its groups: a thread takes a column. Shared memory: softmax and o of every group. */
template <typename T, unsigned padded>
__device__ __forceinline__ void put_together(const group<T, padded> &own, T *y, unsigned head_dim, float c)
{
    constexpr unsigned n_groups = group<T, padded>::n_groups;
    float *largest = reinterpret_cast<float *>(fbt_shared()), *sum = largest + n_groups, *o = sum + n_groups;
    const unsigned number = threadIdx.x / own.n_lanes, column = threadIdx.x % own.n_lanes * own.lane_items;
    largest[number] = own.softmax.largest;
    sum[number] = own.softmax.sum;
#pragma unroll
    for (unsigned j = 0; j < own.lane_items; j += 4) {
        *reinterpret_cast<float4 *>(o + number * padded + column + j) =
            make_float4(own.o[j], own.o[j + 1], own.o[j + 2], own.o[j + 3]);
    }
    __syncthreads();
    if (threadIdx.x < head_dim) {
        fbt_softmax_row all;
        float value = 0;
        for (unsigned i = 0; i < n_groups; i++) {
            value *= all.raise(largest[i], c);
            const float factor = exp2f((largest[i] - all.largest) * c);
            all.sum += factor * sum[i];
            value += factor * o[i * padded + threadIdx.x];
        }
        store(y + threadIdx.x, value / all.sum);
    }
}

template <typename T, unsigned padded>
__global__ void __launch_bounds__(n_warps *FBT_WARP)
    attention(const fbt_cuda_attention_args args, const unsigned n_parts, const float c)
{
    using own_group = group<T, padded>;
    const fbt_attention_work work = fbt_attention_take(args, n_parts, 0);
    const unsigned column = threadIdx.x % own_group::n_lanes * own_group::lane_items;
    const bool in_head = column < args.head_dim;
    const T *k = static_cast<const T *>(args.k) + work.column + column;
    const T *v = static_cast<const T *>(args.v) + work.column + column;
    float q[own_group::lane_items] = {};
    if (in_head) {
        unpack(q, fbt_load16(static_cast<const T *>(args.q) +
                             fbt_attention_item(work.sequence, args.q_stride, work.column + column)));
    }
    own_group own;
#pragma unroll 1
    for (unsigned first = 0; first < work.n_keys; first += own_group::n_groups * group_rows) {
        uint4 keys[group_rows] = {}, values[group_rows] = {};
#pragma unroll
        for (unsigned i = 0; i < group_rows; i++) {
            const unsigned row = first + i * own_group::n_groups + threadIdx.x / own_group::n_lanes;
            if (row < work.n_keys && in_head) {
                keys[i] = fbt_load16(k + fbt_attention_item(work.first_row + row, args.k_stride, 0));
                values[i] = fbt_load16(v + fbt_attention_item(work.first_row + row, args.v_stride, 0));
            }
        }
        own.attend(q, keys, values, first + threadIdx.x / own_group::n_lanes, work.n_keys, c);
    }
    T *y = static_cast<T *>(args.y) + fbt_attention_item(work.sequence, args.n_heads * args.head_dim, work.column);
    put_together(own, y, static_cast<unsigned>(args.head_dim), c);
}

template <typename T, unsigned padded> cudaError_t launch(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    constexpr int64_t shared_bytes = group<T, padded>::n_groups * (2 + padded) * sizeof(float);
    return fbt_attention_launch(attention<T, padded>, stream, args, n_warps, 1, shared_bytes, shared_bytes);
}

template <typename T> cudaError_t launch(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    if (args->head_dim <= 32) {
        return launch<T, 32>(stream, args);
    }
    return args->head_dim <= 64 ? launch<T, 64>(stream, args) : launch<T, 128>(stream, args);
}
} // namespace

cudaError_t fbt_attention_one_query(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    return args->dtype == FBT_BF16 ? launch<__nv_bfloat16>(stream, args) : launch<float>(stream, args);
}
