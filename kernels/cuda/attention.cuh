/* What the attention kernels share: which block does what, tiles in shared memory, the running softmax.
 *
 * A warp owns 16 queries of one head of one sequence and goes over the keys in tiles that start at multiples of the
 * tile's size. So a row's bits follow from its own sequence alone, and how many warps make a block is free.
 */
#ifndef FBT_CUDA_ATTENTION_CUH
#define FBT_CUDA_ATTENTION_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/kernels.h"

#include <float.h>
#include <limits.h>

enum {
    FBT_ATTENTION_WARP_ROWS = 16,
    FBT_ATTENTION_GROUP_KEYS = 16, /* tiles are filled up with zeros to a multiple */
};

/* Each launches the kernel of its precision for all queries, or the one-query kernel; sizes as in kernels.h. */
cudaError_t fbt_attention_bf16(cudaStream_t stream, const fbt_cuda_attention_args *args);
cudaError_t fbt_attention_fp32(cudaStream_t stream, const fbt_cuda_attention_args *args);
cudaError_t fbt_attention_one_query(cudaStream_t stream, const fbt_cuda_attention_args *args);

/* What one block works on. */
struct fbt_attention_work {
    unsigned sequence, column;  /* the head's first column           */
    unsigned first_row, n_keys; /* rows of the sequence              */
    unsigned first_query;       /* of the block, within the sequence */
};

/* Blocks are numbered along x alone, the one dimension of a grid that holds any number of sequences: parts of a
 * sequence's queries first, then heads, then sequences, so that neighbours share keys and values, or at least their
 * rows. */
__device__ __forceinline__ fbt_attention_work fbt_attention_take(const fbt_cuda_attention_args &args, unsigned n_parts,
                                                                 unsigned part_rows)
{
    const unsigned n_heads = static_cast<unsigned>(args.n_heads), head_dim = static_cast<unsigned>(args.head_dim);
    const unsigned part = blockIdx.x % n_parts, head = blockIdx.x / n_parts % n_heads;
    const unsigned sequence = blockIdx.x / n_parts / n_heads;
    const unsigned first_row = args.offsets[sequence];
    return {sequence, head * head_dim, first_row, args.offsets[sequence + 1] - first_row, part * part_rows};
}

/* The warp's number in its block. By a shuffle, so that the compiler knows that branches on it do not split the warp.
 */
__device__ __forceinline__ unsigned fbt_attention_warp()
{
    return __shfl_sync(0xffffffffU, threadIdx.x / FBT_WARP, 0);
}

/* Item of a row and column; a product of 32-bit numbers is one instruction. */
__device__ __forceinline__ uint64_t fbt_attention_item(unsigned row, int64_t stride, unsigned column)
{
    return static_cast<uint64_t>(row) * static_cast<uint32_t>(stride) + column;
}

/* Which keys a query attends to: all of its sequence. `key` counts within the sequence or tile that has n_keys. */
__device__ __forceinline__ bool fbt_attention_sees(unsigned key, unsigned n_keys)
{
    return key < n_keys;
}

/* A row-major matrix of n_columns items of type T in shared memory. The 16-byte chunks of a row are permuted such that
 * 8 neighbouring chunks of a row, and one chunk of 8 neighbouring rows, lie in different banks. */
template <typename T, unsigned n_columns> struct fbt_tile {
    static constexpr unsigned chunk_items = 16 / sizeof(T), n_chunks = n_columns / chunk_items;
    static constexpr unsigned n_permuted = n_chunks < 8 ? n_chunks : 8; /* chunks of a row that change places */
    static constexpr unsigned line_rows = 8 / n_permuted;               /* rows in the 128 bytes that all banks give */

    /* The item a chunk begins with. Kernels compute one place per lane and reach the others from it, which costs an
     * operation each and no registers: the place of chunk ^ i is place ^ i * chunk_items, also behind other tiles. */
    static __device__ __forceinline__ unsigned at(unsigned row, unsigned chunk)
    {
        return further(chunk * chunk_items, row);
    }

    /* The place n_rows rows after that of a row whose number shares no bit with n_rows. */
    static __device__ __forceinline__ unsigned further(unsigned place, unsigned n_rows)
    {
        return (place ^ n_rows / line_rows % n_permuted * chunk_items) + n_rows * n_columns;
    }

    /* The block starts copying n_rows rows of head_dim items; zeros in the columns past them and in the rows up to
     * n_padded_rows, a multiple of 8. A warp takes 8 rows at a time, whose permutations do not depend on which. */
    static __device__ __forceinline__ void copy(T *tile, const void *rows, int64_t stride, unsigned first_row,
                                                unsigned first_column, unsigned n_rows, unsigned n_padded_rows,
                                                unsigned head_dim)
    {
        const unsigned lane = threadIdx.x % FBT_WARP, lane_row = lane / n_chunks, chunk = lane % n_chunks;
        const unsigned to = at(lane_row, chunk), column = chunk * chunk_items, step = blockDim.x / FBT_WARP * 8;
        const T *from = static_cast<const T *>(rows) + (first_column + column);
        for (unsigned first = threadIdx.x / FBT_WARP * 8; first < n_padded_rows; first += step) {
#pragma unroll
            for (unsigned pass = 0; pass < 8; pass += FBT_WARP / n_chunks) {
                fbt_copy_async(tile + further(to, pass) + first * n_columns,
                               from + fbt_attention_item(first_row + lane_row + first + pass, stride, 0),
                               first + pass + lane_row < n_rows && column < head_dim);
            }
        }
    }
};

/* Keys and values in two stages of shared memory: tile i in stage i % 2, values behind keys. */
template <typename T, unsigned padded, unsigned tile_keys> struct fbt_key_tiles {
    using rows = fbt_tile<T, padded>;
    static constexpr unsigned stage_items = 2 * tile_keys * padded;

    /* Items of shared memory that sequences of up to max_length need. */
    static int64_t n_items(int64_t max_length)
    {
        return (max_length > tile_keys ? 2 : 1) * static_cast<int64_t>(stage_items);
    }

    /* Starts copying a tile, as one group of asynchronous copies: an empty one past the last tile. Rows are padded to
     * what a step of the products takes, so that a probability of zero never meets a value that is no number. */
    static __device__ __forceinline__ void start(T *stages, unsigned tile, const fbt_attention_work &work,
                                                 const fbt_cuda_attention_args &args)
    {
        const unsigned first = tile * tile_keys;
        if (first < work.n_keys) {
            const unsigned n_keys = min(work.n_keys - first, tile_keys),
                           head_dim = static_cast<unsigned>(args.head_dim);
            const unsigned n_padded =
                (n_keys + FBT_ATTENTION_GROUP_KEYS - 1) / FBT_ATTENTION_GROUP_KEYS * FBT_ATTENTION_GROUP_KEYS;
            T *keys = stages + tile % 2 * stage_items;
            rows::copy(keys, args.k, args.k_stride, work.first_row + first, work.column, n_keys, n_padded, head_dim);
            rows::copy(keys + tile_keys * padded, args.v, args.v_stride, work.first_row + first, work.column, n_keys,
                       n_padded, head_dim);
        }
        fbt_copy_commit();
    }

    /* Calls attend(stage, n_keys) for every tile in order, in the warps with is_active: stage is the item of shared
     * memory where the tile's keys begin. While a tile is attended to, the next one is on its way. Copies that were
     * started before, without a commit, have landed when attend is called. */
    template <typename Attend>
    static __device__ __forceinline__ void for_each(T *shared, unsigned stages, const fbt_attention_work &work,
                                                    const fbt_cuda_attention_args &args, bool is_active, Attend attend)
    {
#pragma unroll 1
        for (unsigned started = 0; started < (work.n_keys + tile_keys - 1) / tile_keys + 2; started++) {
            if (started >= 2) {
                fbt_copy_wait<1>();
                __syncthreads();
                if (is_active) {
                    const unsigned first = (started - 2) * tile_keys;
                    attend(stages + started % 2 * stage_items, min(work.n_keys - first, tile_keys));
                }
                if (started * tile_keys < work.n_keys) {
                    __syncthreads(); /* the next copies overwrite what attend reads */
                }
            }
            start(shared + stages, started, work, args);
        }
    }
};

/* Running softmax of one row of scores (Milakov and Gimelshein 2018, arXiv 1805.02867): sum of 2^(c (score - largest)),
 * c = scale log2(e) > 0. It begins with a largest score that is finite, so that rows without any key so far stay
 * numbers. */
struct fbt_softmax_row {
    float largest = -FLT_MAX, sum = 0;

    /* Takes a tile's largest score into account; returns what earlier terms are to be multiplied by. */
    __device__ __forceinline__ float raise(float tile_largest, float c)
    {
        const float before = largest;
        largest = fmaxf(before, tile_largest);
        const float factor = exp2f((before - largest) * c);
        sum *= factor;
        return factor;
    }
};

/* Maximum and sum over n_lanes neighbouring lanes, a power of two, in each of them. */
template <int n_lanes> __device__ __forceinline__ float fbt_lanes_max(float value)
{
#pragma unroll
    for (int distance = 1; distance < n_lanes; distance *= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, distance));
    }
    return value;
}

template <int n_lanes> __device__ __forceinline__ float fbt_lanes_sum(float value)
{
#pragma unroll
    for (int distance = 1; distance < n_lanes; distance *= 2) {
        value += __shfl_xor_sync(0xffffffffU, value, distance);
    }
    return value;
}

/* Warps per block: enough for the longest sequence, if max_warps are. */
inline int fbt_attention_warps(int64_t max_length, int max_warps)
{
    const int64_t n_warps = (max_length + FBT_ATTENTION_WARP_ROWS - 1) / FBT_ATTENTION_WARP_ROWS;
    return n_warps < max_warps ? static_cast<int>(n_warps) : max_warps;
}

/* Queues kernel(args, n_parts, c), c as in fbt_softmax_row, with n_parts blocks for every head of every sequence. It is
 * allowed the same memory at every launch, most_shared_bytes, since recorded passes hold launches of other sizes. */
template <typename Kernel>
cudaError_t fbt_attention_launch(Kernel *attention_kernel, cudaStream_t stream, const fbt_cuda_attention_args *args,
                                 int n_warps, int64_t n_parts, int64_t shared_bytes, int64_t most_shared_bytes)
{
    const int64_t n_blocks = args->n_sequences * args->n_heads * n_parts;
    const float c = args->scale * 1.44269504088896341f; /* log2(e) */
    if (n_blocks > INT_MAX) {
        return cudaErrorInvalidConfiguration;
    }
    const cudaError_t error = fbt_allow_shared(attention_kernel, static_cast<int>(most_shared_bytes));
    if (error != cudaSuccess) {
        return error;
    }
    return FBT_LAUNCH(attention_kernel, dim3(static_cast<unsigned>(n_blocks)),
                      dim3(static_cast<unsigned>(n_warps * FBT_WARP)), static_cast<size_t>(shared_bytes), stream, *args,
                      static_cast<unsigned>(n_parts), c);
}

#endif
