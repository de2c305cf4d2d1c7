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
template <unsigned padded> constexpr unsigned tile_keys = padded > 128 ? 16 : 32; /* what shared memory holds */
template <unsigned padded> constexpr unsigned lane_keys = tile_keys<padded> / 8;
constexpr unsigned lane_rows = FBT_ATTENTION_WARP_ROWS / 4;

template <unsigned padded> using tile = fbt_tile<float, padded>;
/* Of a warp: 16 rows of queries, a tile's keys. */
template <unsigned padded> using probability_tile = fbt_tile<float, tile_keys<padded>>;

using warp_sight = fbt_attention_sight<lane_rows>;

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
__device__ __forceinline__ void make_scores(float (&s)[lane_rows][lane_keys<padded>], const float *shared,
                                            unsigned queries, unsigned keys, unsigned head_dim, unsigned lane)
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

/* Scores of keys from `first` on that a row does not see. */
template <unsigned padded>
__device__ __forceinline__ void hide_keys(float (&s)[lane_rows][lane_keys<padded>], unsigned first,
                                          const warp_sight &sight, unsigned lane)
{
#pragma unroll
    for (unsigned i = 0; i < lane_rows; i++) {
        const unsigned seen = sight.of[i];
#pragma unroll
        for (unsigned j = 0; j < lane_keys<padded>; j++) {
            s[i][j] = first + lane % 8 + 8 * j < seen ? s[i][j] : -INFINITY;
        }
    }
}

/* Puts 2^(c (s - largest)) into shared memory; o and the sums of earlier tiles follow the new largest score. */
template <unsigned padded>
__device__ __forceinline__ void make_probabilities(lane_state<padded> &state, float *shared, unsigned probabilities,
                                                   const float (&s)[lane_rows][lane_keys<padded>], float c,
                                                   unsigned lane)
{
    probabilities += probability_tile<padded>::at(lane / 8, lane % 8 / 4);
#pragma unroll
    for (unsigned i = 0; i < lane_rows; i++) {
        fbt_softmax_row &softmax = state.softmax[i];
        float largest = s[i][0];
#pragma unroll
        for (unsigned j = 1; j < lane_keys<padded>; j++) {
            largest = fmaxf(largest, s[i][j]);
        }
        const float factor = softmax.raise(fbt_lanes_max<8>(largest), c);
#pragma unroll
        for (unsigned j = 0; j < lane_keys<padded>; j++) {
            const float p = exp2f((s[i][j] - softmax.largest) * c);
            softmax.sum += p;
            shared[probability_tile<padded>::further((probabilities + lane % 4) ^ 8 * j, 4 * i)] = p;
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
        p[i] = load4(shared + probability_tile<padded>::further(probabilities, 4 * i));
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
    probabilities += probability_tile<padded>::at(lane / 8, 0);
    values += tile<padded>::at(0, lane % 8);
#pragma unroll 1
    for (unsigned key = 0; key < n_keys; key += 8, values += 8 * padded) {
        add_four_values<padded>(state, shared, probabilities ^ key, values);
        add_four_values<padded>(state, shared, probabilities ^ (key + 4), tile<padded>::further(values, 4));
    }
}

template <unsigned padded>
__device__ __forceinline__ void store_rows(const lane_state<padded> &state, const fbt_attention_work &work,
                                           const fbt_cuda_attention_args &args, const fbt_attention_plan &plan,
                                           unsigned first_row, unsigned lane)
{
#pragma unroll
    for (unsigned i = 0; i < lane_rows; i++) {
        const float inverse = 1 / fbt_lanes_sum<8>(state.softmax[i].sum);
        const unsigned row = first_row + lane / 8 + 4 * i;
        float *y =
            static_cast<float *>(args.y) + fbt_attention_query(args, plan, work, row, args.n_heads * args.head_dim);
#pragma unroll
        for (unsigned x = 0; x < padded / 32; x++) {
            const unsigned column = (lane % 8 + 8 * x) * 4;
            if (row < work.n_rows && column < args.head_dim) {
                const float4 o = state.o[i][x];
                fbt_store16(y + column, make_uint4(__float_as_uint(o.x * inverse), __float_as_uint(o.y * inverse),
                                                   __float_as_uint(o.z * inverse), __float_as_uint(o.w * inverse)));
            }
        }
    }
}

/* A tile, as far as some row sees it. */
template <unsigned padded>
__device__ __forceinline__ void attend_tile(lane_state<padded> &state, float *shared, unsigned queries,
                                            unsigned probabilities, unsigned keys, unsigned first,
                                            const warp_sight &sight, unsigned head_dim, float c, unsigned lane)
{
    const unsigned n_keys = min(sight.most() - first, tile_keys<padded>);
    float s[lane_rows][lane_keys<padded>] = {};
    if (n_keys > tile_keys<padded> / 2) {
        make_scores<padded, lane_keys<padded>>(s, shared, queries, keys, head_dim, lane);
    } else {
        make_scores<padded, lane_keys<padded> / 2>(s, shared, queries, keys, head_dim, lane);
    }
    if (sight.least() < first + tile_keys<padded>) {
        hide_keys<padded>(s, first, sight, lane);
    }
    make_probabilities<padded>(state, shared, probabilities, s, c, lane);
    __syncwarp();
    add_values<padded>(state, shared, probabilities, keys + tile_keys<padded> * padded, n_keys, lane);
}

/* Shared memory: the block's queries, the warps' probabilities, then the stages of keys and values. */
template <unsigned padded, int max_warps, int min_blocks>
__global__ void __launch_bounds__(max_warps *FBT_WARP, min_blocks)
    attention(const fbt_cuda_attention_args args, const fbt_attention_plan plan)
{
    const unsigned part_rows = blockDim.x / FBT_WARP * FBT_ATTENTION_WARP_ROWS;
    const fbt_attention_work work = fbt_attention_take(args, plan, part_rows);
    if (work.first_row >= work.n_rows) {
        return;
    }
    float *shared = reinterpret_cast<float *>(fbt_shared());
    const unsigned head_dim = static_cast<unsigned>(args.head_dim);
    tile<padded>::copy(shared, work.n_rows - work.first_row, part_rows, head_dim, [&](unsigned row) {
        return static_cast<const float *>(args.q.data) +
               fbt_attention_query(args, plan, work, work.first_row + row, args.q.stride);
    });
    const unsigned lane = threadIdx.x % FBT_WARP, tile_row = fbt_attention_warp() * FBT_ATTENTION_WARP_ROWS;
    const unsigned warp_row = work.first_row + tile_row;
    const unsigned probabilities = part_rows * padded, stages = probabilities + part_rows * tile_keys<padded>;
    const fbt_attention_chain chain(args, work.sequence);
    const warp_sight sight(args, plan, work, chain.n_keys, warp_row + lane / 8);
    lane_state<padded> state;
    const fbt_key_tiles<float, padded, tile_keys<padded>> tiles = {
        args, chain, work.kv_head, fbt_attention_sees(args, plan, work, chain.n_keys, work.first_row + part_rows - 1)};
    tiles.for_each(shared, stages, [&](unsigned keys, unsigned first) {
        if (warp_row < work.n_rows && first < sight.most()) {
            attend_tile(state, shared, tile_row * padded, probabilities + tile_row * tile_keys<padded>, keys, first,
                        sight, head_dim, plan.c, lane);
        }
    });
    if (warp_row < work.n_rows) {
        store_rows(state, work, args, plan, warp_row, lane);
    }
}

template <unsigned padded> int64_t shared_bytes(int64_t n_warps, int64_t max_keys)
{
    const int64_t n_queries = n_warps * FBT_ATTENTION_WARP_ROWS;
    return (n_queries *
            (padded + tile_keys<padded>)+fbt_key_tiles<float, padded, tile_keys<padded>>::n_items(max_keys)) *
           static_cast<int64_t>(sizeof(float));
}

template <unsigned padded, int max_warps, int min_blocks>
cudaError_t launch(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    return fbt_attention_launch(attention<padded, max_warps, min_blocks>, stream, args, max_warps,
                                shared_bytes<padded>);
}
} // namespace

/* Warps and blocks per multiprocessor: what registers and shared memory allow without spilling. */
cudaError_t fbt_attention_fp32(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    if (args->head_dim <= 32) {
        return launch<32, 5, 3>(stream, args);
    }
    if (args->head_dim <= 64) {
        return launch<64, 5, 3>(stream, args);
    }
    return args->head_dim <= 128 ? launch<128, 3, 2>(stream, args) : launch<256, 2, 2>(stream, args);
}
