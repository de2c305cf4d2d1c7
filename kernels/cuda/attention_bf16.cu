/* Attention in bf16 on tensor cores: FlashAttention-2 (Dao 2023, arXiv 2307.08691).
 *
 * Keys and values come in tiles of 64 rows and are taken 32 at a time, and queries are read again for each, which
 * leaves registers for more warps: short sequences are bound by waiting for memory. Scores and sums are float;
 * probabilities are rounded to bf16 for the second product, the result once at the end.
 *
 * Fragments hold, in lane l, the rows l / 4 and l / 4 + 8 and of every 8 columns 2 (l % 4) and + 1: elements 0, 1 of
 * the upper row, 2, 3 of the lower. Arguments called `queries`, `keys`, `values` are the items of the block's shared
 * memory where these begin.
 */
#include "kernels/cuda/attention.cuh"

#include <math.h>

namespace
{
using item = __nv_bfloat16;

template <unsigned padded> constexpr unsigned tile_keys = padded > 128 ? 32 : 64; /* what shared memory holds */
constexpr unsigned group_keys = FBT_ATTENTION_GROUP_KEYS;                         /* a step of the second product */

/* A warp's values for its 16 rows of queries. */
template <unsigned padded> struct warp_rows {
    float o[padded / 8][4] = {};
    fbt_softmax_row softmax[2];
};

using warp_sight = fbt_attention_sight<2>;

/* d += a b with two neighbouring blocks of 8 columns, b as ldmatrix leaves it. */
__device__ __forceinline__ void multiply_pair(float (&left)[4], float (&right)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[4])
{
    const uint32_t b_left[2] = {b[0], b[1]}, b_right[2] = {b[2], b[3]};
    fbt_mma_bf16(left, a, b_left);
    fbt_mma_bf16(right, a, b_right);
}

/* s = q k^T */
template <unsigned padded, unsigned n_groups>
__device__ __forceinline__ void make_scores(float (&s)[2 * n_groups][4], const item *shared, unsigned queries,
                                            unsigned keys, unsigned lane)
{
    queries += fbt_tile<item, padded>::at(lane % 16, lane / 16);
    keys += fbt_tile<item, padded>::at(lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
    for (unsigned step = 0; step < padded / 16; step++) {
        uint32_t q[4];
        fbt_ldmatrix(q, shared + (queries ^ step * 16));
#pragma unroll
        for (unsigned group = 0; group < n_groups; group++) {
            uint32_t k[4];
            fbt_ldmatrix(k, shared + (keys ^ step * 16) + group * group_keys * padded);
            multiply_pair(s[2 * group], s[2 * group + 1], q, k);
        }
    }
}

/* Scores of keys from `first` on that a row does not see. */
template <unsigned n_groups>
__device__ __forceinline__ void hide_keys(float (&s)[2 * n_groups][4], unsigned first, const warp_sight &sight,
                                          unsigned lane)
{
    /* Against the lane's first column, so that what is compared with them are constants. */
    const unsigned column = first + lane % 4 * 2;
    const int n_seen[2] = {static_cast<int>(sight.of[0] - column), static_cast<int>(sight.of[1] - column)};
#pragma unroll
    for (int block = 0; block < static_cast<int>(2 * n_groups); block++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (block * 8 + i % 2 >= n_seen[i / 2]) {
                s[block][i] = -INFINITY;
            }
        }
    }
}

/* s becomes 2^(c (s - largest)); o and the sums of earlier tiles follow the new largest score. */
template <unsigned padded, unsigned n_groups>
__device__ __forceinline__ void make_probabilities(float (&s)[2 * n_groups][4], warp_rows<padded> &rows, float c)
{
#pragma unroll
    for (unsigned half = 0; half < 4; half += 2) {
        fbt_softmax_row &row = rows.softmax[half / 2];
        float largest = s[0][half];
#pragma unroll
        for (unsigned block = 0; block < 2 * n_groups; block++) {
            largest = fmaxf(largest, fmaxf(s[block][half], s[block][half + 1]));
        }
        const float factor = row.raise(fbt_lanes_max<4>(largest), c), offset = row.largest * c;
#pragma unroll
        for (unsigned block = 0; block < 2 * n_groups; block++) {
            s[block][half] = exp2f(fmaf(s[block][half], c, -offset));
            s[block][half + 1] = exp2f(fmaf(s[block][half + 1], c, -offset));
            row.sum += s[block][half] + s[block][half + 1];
        }
#pragma unroll
        for (unsigned block = 0; block < padded / 8; block++) {
            rows.o[block][half] *= factor;
            rows.o[block][half + 1] *= factor;
        }
    }
}

/* o += p v */
template <unsigned padded, unsigned n_groups>
__device__ __forceinline__ void add_values(warp_rows<padded> &rows, const float (&p)[2 * n_groups][4],
                                           const item *shared, unsigned values, unsigned lane)
{
    values += fbt_tile<item, padded>::at(lane % 16, lane / 16);
#pragma unroll
    for (unsigned group = 0; group < n_groups; group++) {
        const float(&left)[4] = p[2 * group], (&right)[4] = p[2 * group + 1];
        const uint32_t a[4] = {fbt_pack_bf16(left[0], left[1]), fbt_pack_bf16(left[2], left[3]),
                               fbt_pack_bf16(right[0], right[1]), fbt_pack_bf16(right[2], right[3])};
#pragma unroll
        for (unsigned block = 0; block < padded / 8; block += 2) {
            uint32_t b[4];
            fbt_ldmatrix_trans(b, shared + (values ^ block * 8) + group * group_keys * padded);
            multiply_pair(rows.o[block], rows.o[block + 1], a, b);
        }
    }
}

/* The 16 n_groups keys from `first` on. */
template <unsigned padded, unsigned n_groups>
__device__ __forceinline__ void attend(warp_rows<padded> &rows, const item *shared, unsigned queries, unsigned keys,
                                       unsigned first, const warp_sight &sight, float c, unsigned lane)
{
    float s[2 * n_groups][4] = {};
    make_scores<padded, n_groups>(s, shared, queries, keys, lane);
    if (sight.least() < first + n_groups * group_keys) {
        hide_keys<n_groups>(s, first, sight, lane);
    }
    make_probabilities<padded, n_groups>(s, rows, c);
    add_values<padded, n_groups>(rows, s, shared, keys + tile_keys<padded> * padded, lane);
}

/* A tile, as far as some row sees it, in steps of two groups. A group that none sees is left out: it would add zeros.
 */
template <unsigned padded>
__device__ __forceinline__ void attend_tile(warp_rows<padded> &rows, const item *shared, unsigned queries,
                                            unsigned keys, unsigned first, const warp_sight &sight, float c,
                                            unsigned lane)
{
    const unsigned end = min(first + tile_keys<padded>, sight.most());
#pragma unroll 1
    for (; first < end; first += 2 * group_keys, keys += 2 * group_keys * padded) {
        if (end - first > group_keys) {
            attend<padded, 2>(rows, shared, queries, keys, first, sight, c, lane);
        } else {
            attend<padded, 1>(rows, shared, queries, keys, first, sight, c, lane);
        }
    }
}

/* y = o / sum, by way of the shared memory of the warp's own queries so that whole rows are stored. */
template <unsigned padded>
__device__ __forceinline__ void store_rows(const warp_rows<padded> &rows, item *shared, unsigned queries,
                                           const fbt_attention_work &work, const fbt_cuda_attention_args &args,
                                           const fbt_attention_plan &plan, unsigned first_row, unsigned lane)
{
    using tile_rows = fbt_tile<item, padded>;
    const unsigned pair = queries + tile_rows::at(lane / 4, 0) + lane % 4 * 2;
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
        const float inverse = 1 / fbt_lanes_sum<4>(rows.softmax[half].sum);
#pragma unroll
        for (unsigned block = 0; block < padded / 8; block++) {
            const float *o = &rows.o[block][2 * half];
            *reinterpret_cast<uint32_t *>(shared + tile_rows::further(pair ^ block * 8, 8 * half)) =
                fbt_pack_bf16(o[0] * inverse, o[1] * inverse);
        }
    }
    __syncwarp();
    const unsigned chunk = lane % tile_rows::n_chunks, column = chunk * tile_rows::chunk_items;
    const unsigned lane_row = lane / tile_rows::n_chunks, place = queries + tile_rows::at(lane_row, chunk);
    item *y = static_cast<item *>(args.y) + column;
#pragma unroll
    for (unsigned i = 0; i < FBT_ATTENTION_WARP_ROWS; i += FBT_WARP / tile_rows::n_chunks) {
        const unsigned row = first_row + lane_row + i;
        if (row < work.n_rows && column < args.head_dim) {
            fbt_store16(y + fbt_attention_query(args, plan, work, row, args.n_heads * args.head_dim),
                        fbt_load16(shared + tile_rows::further(place, i)));
        }
    }
}

/* Blocks that get registers to be resident together; before 9.0 shared memory holds one less anyway. */
constexpr int resident(int n_blocks)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    return n_blocks - 1;
#else
    return n_blocks;
#endif
}

/* Shared memory: the block's queries, then the stages of keys and values. */
template <unsigned padded, int max_warps, int min_blocks>
__global__ void __launch_bounds__(max_warps *FBT_WARP, resident(min_blocks))
    attention(const fbt_cuda_attention_args args, const fbt_attention_plan plan)
{
    const unsigned part_rows = blockDim.x / FBT_WARP * FBT_ATTENTION_WARP_ROWS;
    const fbt_attention_work work = fbt_attention_take(args, plan, part_rows);
    if (work.first_row >= work.n_rows) {
        return;
    }
    item *shared = reinterpret_cast<item *>(fbt_shared());
    fbt_tile<item, padded>::copy(shared, work.n_rows - work.first_row, part_rows, static_cast<unsigned>(args.head_dim),
                                 [&](unsigned row) {
                                     return static_cast<const item *>(args.q.data) +
                                            fbt_attention_query(args, plan, work, work.first_row + row, args.q.stride);
                                 });
    const unsigned lane = threadIdx.x % FBT_WARP, tile_row = fbt_attention_warp() * FBT_ATTENTION_WARP_ROWS;
    const unsigned warp_row = work.first_row + tile_row;
    const fbt_attention_chain chain(args, work.sequence);
    const warp_sight sight(args, plan, work, chain.n_keys, warp_row + lane / 4);
    warp_rows<padded> rows;
    const fbt_key_tiles<item, padded, tile_keys<padded>> tiles = {
        args, chain, work.kv_head, fbt_attention_sees(args, plan, work, chain.n_keys, work.first_row + part_rows - 1)};
    tiles.for_each(shared, part_rows * padded, [&](unsigned keys, unsigned first) {
        if (warp_row < work.n_rows && first < sight.most()) {
            attend_tile(rows, shared, tile_row * padded, keys, first, sight, plan.c, lane);
        }
    });
    if (warp_row < work.n_rows) {
        store_rows(rows, shared, tile_row * padded, work, args, plan, warp_row, lane);
    }
}

template <unsigned padded> int64_t shared_bytes(int64_t n_warps, int64_t max_keys)
{
    const int64_t n_queries = n_warps * FBT_ATTENTION_WARP_ROWS;
    return (n_queries * padded + fbt_key_tiles<item, padded, tile_keys<padded>>::n_items(max_keys)) *
           static_cast<int64_t>(sizeof(item));
}

template <unsigned padded, int max_warps, int min_blocks>
cudaError_t launch(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    return fbt_attention_launch(attention<padded, max_warps, min_blocks>, stream, args, max_warps,
                                shared_bytes<padded>);
}
} // namespace

/* Warps and blocks per multiprocessor: what registers allow without spilling. */
cudaError_t fbt_attention_bf16(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    if (args->head_dim <= 32) {
        return launch<32, 5, 4>(stream, args);
    }
    if (args->head_dim <= 64) {
        return launch<64, 5, 4>(stream, args);
    }
    return args->head_dim <= 128 ? launch<128, 4, 3>(stream, args) : launch<256, 4, 2>(stream, args);
}
