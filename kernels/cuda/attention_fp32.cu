/* Attention in fp32, fused multiply-adds on the ordinary cores: same course as attention_bf16.cu, tiles of 32 keys.
 *
 * A lane takes 4 of its warp's queries, rows lane / 8 + 4 i, and every eighth key, or chunk of 4 columns of the result,
 * from lane % 8 on, so that a value read from shared memory enters 4 products. Arguments called `queries`, `keys`,
 * `probabilities`, `values` are the items of the block's shared memory where these begin.
 */
#include "kernels/cuda/attention.cuh"

#include <math.h>

namespace
{
constexpr unsigned tile_keys = 32;
constexpr unsigned lane_keys = tile_keys / 8, lane_rows = FBT_ATTENTION_WARP_ROWS / 4;

template <unsigned padded> using tile = fbt_tile<float, padded>;
using probability_tile = fbt_tile<float, tile_keys>; /* of a warp: 16 queries, a tile's keys */

template <unsigned padded> struct lane_state {
    float4 o[lane_rows][padded / 32] = {};
    fbt_softmax_row softmax[lane_rows];
};

__device__ __forceinline__ float4 load4(const float *address)
{
    return *reinterpret_cast<const float4 *>(address);
}

__device__ __forceinline__ float dot4(float4 a, float4 b, float sum)
{
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

__device__ __forceinline__ void add4(float4 &sum, float a, float4 b)
{
    sum = make_float4(fmaf(a, b.x, sum.x), fmaf(a, b.y, sum.y), fmaf(a, b.z, sum.z), fmaf(a, b.w, sum.w));
}

/* s = q k^T for the first n_lane_keys of the lane's keys. */
template <unsigned padded, unsigned n_lane_keys>
__device__ __forceinline__ void make_scores(float (&s)[lane_rows][lane_keys], const float *shared, unsigned queries,
                                            unsigned keys, unsigned head_dim, unsigned lane)
{
    queries += tile<padded>::at(lane / 8, 0);
    keys += tile<padded>::at(lane % 8, 0);
#pragma unroll 1
    for (unsigned column = 0; column < head_dim; column += 4) {
        float4 q[lane_rows];
#pragma unroll
        for (unsigned i = 0; i < lane_rows; i++) {
            q[i] = load4(shared + tile<padded>::further(queries ^ column, 4 * i));
        }
#pragma unroll
        for (unsigned j = 0; j < n_lane_keys; j++) {
            const float4 k = load4(shared + tile<padded>::further(keys ^ column, 8 * j));
#pragma unroll
            for (unsigned i = 0; i < lane_rows; i++) {
                s[i][j] = dot4(q[i], k, s[i][j]);
            }
        }
    }
}

/* Puts 2^(c (s - largest)) into shared memory; o and the sums of earlier tiles follow the new largest score. */
template <unsigned padded>
__device__ __forceinline__ void make_probabilities(lane_state<padded> &state, float *shared, unsigned probabilities,
                                                   float (&s)[lane_rows][lane_keys], unsigned n_keys, float c,
                                                   unsigned lane)
{
    probabilities += probability_tile::at(lane / 8, lane % 8 / 4);
#pragma unroll
    for (unsigned i = 0; i < lane_rows; i++) {
        fbt_softmax_row &softmax = state.softmax[i];
        float largest = -INFINITY;
#pragma unroll
        for (unsigned j = 0; j < lane_keys; j++) {
            s[i][j] = fbt_attention_sees(lane % 8 + 8 * j, n_keys) ? s[i][j] : -INFINITY;
            largest = fmaxf(largest, s[i][j]);
        }
        const float factor = softmax.raise(fbt_lanes_max<8>(largest), c);
#pragma unroll
        for (unsigned j = 0; j < lane_keys; j++) {
            const float p = exp2f((s[i][j] - softmax.largest) * c);
            softmax.sum += p;
            shared[probability_tile::further((probabilities + lane % 4) ^ 8 * j, 4 * i)] = p;
        }
#pragma unroll
        for (unsigned x = 0; x < padded / 32; x++) {
            float4 &o = state.o[i][x];
            o = make_float4(o.x * factor, o.y * factor, o.z * factor, o.w * factor);
        }
    }
}

/* o += p v for 4 keys. */
template <unsigned padded>
__device__ __forceinline__ void add_four_values(lane_state<padded> &state, const float *shared, unsigned probabilities,
                                                unsigned values)
{
    float4 p[lane_rows];
#pragma unroll
    for (unsigned i = 0; i < lane_rows; i++) {
        p[i] = load4(shared + probability_tile::further(probabilities, 4 * i));
    }
#pragma unroll
    for (unsigned x = 0; x < padded / 32; x++) {
        float4 v[4];
#pragma unroll
        for (unsigned j = 0; j < 4; j++) {
            v[j] = load4(shared + tile<padded>::further(values, j) + 32 * x);
        }
#pragma unroll
        for (unsigned i = 0; i < lane_rows; i++) {
            add4(state.o[i][x], p[i].x, v[0]);
            add4(state.o[i][x], p[i].y, v[1]);
            add4(state.o[i][x], p[i].z, v[2]);
            add4(state.o[i][x], p[i].w, v[3]);
        }
    }
}

/* o += p v, 8 keys at a time: probabilities and values past the last key are zero. */
template <unsigned padded>
__device__ __forceinline__ void add_values(lane_state<padded> &state, const float *shared, unsigned probabilities,
                                           unsigned values, unsigned n_keys, unsigned lane)
{
    probabilities += probability_tile::at(lane / 8, 0);
    values += tile<padded>::at(0, lane % 8);
#pragma unroll 1
    for (unsigned key = 0; key < n_keys; key += 8, values += 8 * padded) {
        add_four_values<padded>(state, shared, probabilities ^ key, values);
        add_four_values<padded>(state, shared, probabilities ^ (key + 4), tile<padded>::further(values, 4));
    }
}

template <unsigned padded>
__device__ __forceinline__ void store_rows(const lane_state<padded> &state, const fbt_attention_work &work,
                                           const fbt_cuda_attention_args &args, unsigned first_query, unsigned lane)
{
    const unsigned n_rows = work.n_keys - first_query, width = static_cast<unsigned>(args.n_heads * args.head_dim);
#pragma unroll
    for (unsigned i = 0; i < lane_rows; i++) {
        const float inverse = 1 / fbt_lanes_sum<8>(state.softmax[i].sum);
        const unsigned row = lane / 8 + 4 * i;
#pragma unroll
        for (unsigned x = 0; x < padded / 32; x++) {
            const unsigned column = (lane % 8 + 8 * x) * 4;
            if (row < n_rows && column < args.head_dim) {
                const float4 o = state.o[i][x];
                float *y = static_cast<float *>(args.y) +
                           fbt_attention_item(work.first_row + first_query + row, width, work.column + column);
                *reinterpret_cast<float4 *>(y) =
                    make_float4(o.x * inverse, o.y * inverse, o.z * inverse, o.w * inverse);
            }
        }
    }
}

/* A tile of which n_keys rows are the sequence's. */
template <unsigned padded>
__device__ __forceinline__ void attend_tile(lane_state<padded> &state, float *shared, unsigned queries,
                                            unsigned probabilities, unsigned keys, unsigned n_keys, unsigned head_dim,
                                            float c, unsigned lane)
{
    float s[lane_rows][lane_keys] = {};
    if (n_keys > tile_keys / 2) {
        make_scores<padded, lane_keys>(s, shared, queries, keys, head_dim, lane);
    } else {
        make_scores<padded, lane_keys / 2>(s, shared, queries, keys, head_dim, lane);
    }
    make_probabilities<padded>(state, shared, probabilities, s, n_keys, c, lane);
    __syncwarp();
    add_values<padded>(state, shared, probabilities, keys + tile_keys * padded, n_keys, lane);
}

/* Shared memory: the block's queries, the warps' probabilities, then the stages of keys and values. */
template <unsigned padded, int max_warps, int min_blocks>
__global__ void __launch_bounds__(max_warps *FBT_WARP, min_blocks)
    attention(const fbt_cuda_attention_args args, const unsigned n_parts, const float c)
{
    const unsigned part_rows = blockDim.x / FBT_WARP * FBT_ATTENTION_WARP_ROWS;
    const fbt_attention_work work = fbt_attention_take(args, n_parts, part_rows);
    if (work.first_query >= work.n_keys) {
        return;
    }
    float *shared = reinterpret_cast<float *>(fbt_shared());
    const unsigned n_queries = work.n_keys - work.first_query, head_dim = static_cast<unsigned>(args.head_dim);
    tile<padded>::copy(shared, args.q, args.q_stride, work.first_row + work.first_query, work.column, n_queries,
                       part_rows, head_dim);
    const unsigned lane = threadIdx.x % FBT_WARP, warp_row = fbt_attention_warp() * FBT_ATTENTION_WARP_ROWS;
    const unsigned probabilities = part_rows * padded, stages = probabilities + part_rows * tile_keys;
    lane_state<padded> state;
    fbt_key_tiles<float, padded, tile_keys>::for_each(
        shared, stages, work, args, warp_row < n_queries, [&](unsigned keys, unsigned n_keys) {
            attend_tile(state, shared, warp_row * padded, probabilities + warp_row * tile_keys, keys, n_keys, head_dim,
                        c, lane);
        });
    if (warp_row < n_queries) {
        store_rows(state, work, args, work.first_query + warp_row, lane);
    }
}

template <unsigned padded> int64_t shared_bytes(int n_warps, int64_t max_length)
{
    const int64_t n_queries = n_warps * FBT_ATTENTION_WARP_ROWS;
    const int64_t n_items =
        n_queries * (padded + tile_keys) + fbt_key_tiles<float, padded, tile_keys>::n_items(max_length);
    return n_items * static_cast<int64_t>(sizeof(float));
}

template <unsigned padded, int max_warps, int min_blocks>
cudaError_t launch(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    const int n_warps = fbt_attention_warps(args->max_length, max_warps);
    const int64_t part_rows = n_warps * FBT_ATTENTION_WARP_ROWS;
    return fbt_attention_launch(
        attention<padded, max_warps, min_blocks>, stream, args, n_warps, (args->max_length + part_rows - 1) / part_rows,
        shared_bytes<padded>(n_warps, args->max_length), shared_bytes<padded>(max_warps, INT64_MAX));
}
} // namespace

/* Warps and blocks per multiprocessor: what registers and shared memory allow without spilling. */
cudaError_t fbt_attention_fp32(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    if (args->head_dim <= 32) {
        return launch<32, 5, 3>(stream, args);
    }
    return args->head_dim <= 64 ? launch<64, 5, 3>(stream, args) : launch<128, 3, 2>(stream, args);
}
