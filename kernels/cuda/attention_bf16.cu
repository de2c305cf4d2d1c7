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

constexpr unsigned tile_keys = 64;
constexpr unsigned group_keys = FBT_ATTENTION_GROUP_KEYS; /* a step of the second product */

/* What a warp keeps for its 16 queries. */
template <unsigned padded> struct warp_rows {
    float o[padded / 8][4] = {};
    fbt_softmax_row softmax[2];
};

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

/* Only the last group of a tile can hold rows past the sequence's end. */
template <unsigned n_groups>
__device__ __forceinline__ void hide_keys(float (&s)[2 * n_groups][4], unsigned n_keys, unsigned lane)
{
#pragma unroll
    for (unsigned block = 2 * n_groups - 2; block < 2 * n_groups; block++) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            if (!fbt_attention_sees(block * 8 + lane % 4 * 2 + i % 2, n_keys)) {
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

/* The next 16 n_groups keys, of which the first n_keys are the sequence's. */
template <unsigned padded, unsigned n_groups>
__device__ __forceinline__ void attend(warp_rows<padded> &rows, const item *shared, unsigned queries, unsigned keys,
                                       unsigned n_keys, float c, unsigned lane)
{
    float s[2 * n_groups][4] = {};
    make_scores<padded, n_groups>(s, shared, queries, keys, lane);
    if (n_keys < n_groups * group_keys) {
        hide_keys<n_groups>(s, n_keys, lane);
    }
    make_probabilities<padded, n_groups>(s, rows, c);
    add_values<padded, n_groups>(rows, s, shared, keys + tile_keys * padded, lane);
}

/* A tile in steps of two groups. A group past the end is left out: it would add zeros. */
template <unsigned padded>
__device__ __forceinline__ void attend_tile(warp_rows<padded> &rows, const item *shared, unsigned queries,
                                            unsigned keys, unsigned n_keys, float c, unsigned lane)
{
#pragma unroll 1
    for (unsigned first = 0; first < n_keys; first += 2 * group_keys) {
        if (n_keys - first > group_keys) {
            attend<padded, 2>(rows, shared, queries, keys + first * padded, n_keys - first, c, lane);
        } else {
            attend<padded, 1>(rows, shared, queries, keys + first * padded, n_keys - first, c, lane);
        }
    }
}

/* y = o / sum, by way of the shared memory of the warp's own queries so that whole rows are stored. */
template <unsigned padded>
__device__ __forceinline__ void store_rows(const warp_rows<padded> &rows, item *shared, unsigned queries,
                                           const fbt_attention_work &work, const fbt_cuda_attention_args &args,
                                           unsigned first_query, unsigned lane)
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
    const unsigned width = static_cast<unsigned>(args.n_heads * args.head_dim);
    item *y = static_cast<item *>(args.y) +
              fbt_attention_item(work.first_row + first_query + lane_row, width, work.column + column);
#pragma unroll
    for (unsigned row = 0; row < FBT_ATTENTION_WARP_ROWS; row += FBT_WARP / tile_rows::n_chunks) {
        if (first_query + lane_row + row < work.n_keys && column < args.head_dim) {
            fbt_store16(y + fbt_attention_item(row, width, 0), fbt_load16(shared + tile_rows::further(place, row)));
        }
    }
}

/* Shared memory: the block's queries, then the stages of keys and values. */
template <unsigned padded, int max_warps, int min_blocks>
__global__ void __launch_bounds__(max_warps *FBT_WARP, min_blocks)
    attention(const fbt_cuda_attention_args args, const unsigned n_parts, const float c)
{
    const unsigned part_rows = blockDim.x / FBT_WARP * FBT_ATTENTION_WARP_ROWS;
    const fbt_attention_work work = fbt_attention_take(args, n_parts, part_rows);
    if (work.first_query >= work.n_keys) {
        return;
    }
    item *shared = reinterpret_cast<item *>(fbt_shared());
    const unsigned n_queries = work.n_keys - work.first_query;
    fbt_tile<item, padded>::copy(shared, args.q, args.q_stride, work.first_row + work.first_query, work.column,
                                 n_queries, part_rows, static_cast<unsigned>(args.head_dim));
    const unsigned lane = threadIdx.x % FBT_WARP, warp_row = fbt_attention_warp() * FBT_ATTENTION_WARP_ROWS;
    warp_rows<padded> rows;
    fbt_key_tiles<item, padded, tile_keys>::for_each(
        shared, part_rows * padded, work, args, warp_row < n_queries,
        [&](unsigned keys, unsigned n_keys) { attend_tile(rows, shared, warp_row * padded, keys, n_keys, c, lane); });
    if (warp_row < n_queries) {
        store_rows(rows, shared, warp_row * padded, work, args, work.first_query + warp_row, lane);
    }
}

template <unsigned padded> int64_t shared_bytes(int n_warps, int64_t max_length)
{
    const int64_t n_queries = n_warps * FBT_ATTENTION_WARP_ROWS;
    const int64_t n_items = n_queries * padded + fbt_key_tiles<item, padded, tile_keys>::n_items(max_length);
    return n_items * static_cast<int64_t>(sizeof(item));
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

/* Warps and blocks per multiprocessor: what registers allow without spilling. */
cudaError_t fbt_attention_bf16(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    if (args->head_dim <= 32) {
        return launch<32, 5, 5>(stream, args);
    }
    return args->head_dim <= 64 ? launch<64, 5, 4>(stream, args) : launch<128, 4, 3>(stream, args);
}
