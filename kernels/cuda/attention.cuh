/* Shared parts of the attention kernels: which block does what, tiles in shared memory, the running softmax.
 *
 * A warp owns 16 rows of queries and goes over the keys in tiles that start at multiples of the tile's size, and within
 * them in steps. Keys that a row does not see add zeros. So a row's bits follow from the row and from the keys that it
 * sees, in order, alone: wherever these lie, whatever comes behind them, and however many warps make a block.
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

/* Each launches the kernel of its precision; sizes as in kernels.h. */
cudaError_t fbt_attention_bf16(cudaStream_t stream, const fbt_cuda_attention_args *args);
cudaError_t fbt_attention_fp32(cudaStream_t stream, const fbt_cuda_attention_args *args);

/* Constants of a launch, worked out on the host. */
struct fbt_attention_plan {
    unsigned n_parts;    /* blocks for each K/V head of each sequence */
    unsigned group;      /* heads that share a K/V head               */
    unsigned reciprocal; /* of the group: fbt_attention_divide        */
    float c;             /* fbt_softmax_row                           */
};

/* Work of one block: rows of one K/V head of one sequence, of which each query has one for every head of the
 * group, neighbours in this order. So keys and values are loaded once for the group, and few queries fill a tile. */
struct fbt_attention_work {
    unsigned sequence, kv_head;
    unsigned first_query, n_queries; /* rows of q and y of the sequence      */
    unsigned first_row, n_rows;      /* of the block, and of the head in all */
};

/* row / group. The reciprocal is 2^31 / group, rounded down; 2 row + 1 keeps the quotient's rounding away from whole
 * numbers as long as row * group < 2^30. */
__device__ __forceinline__ unsigned fbt_attention_divide(unsigned row, const fbt_attention_plan &plan)
{
    return __umulhi(2 * row + 1, plan.reciprocal);
}

/* Item of a row and column; a product of 32-bit numbers is one instruction. */
__device__ __forceinline__ uint64_t fbt_attention_item(unsigned row, int64_t stride, unsigned column)
{
    return static_cast<uint64_t>(row) * static_cast<uint32_t>(stride) + column;
}

/* Where the keys of a sequence lie: its own are source 0, those of its prefix 1, of the prefix's prefix 2. Keys are
 * numbered through from the outermost source to the sequence's own. */
struct fbt_attention_chain {
    static constexpr unsigned n_sources = FBT_CUDA_KEY_SOURCES;
    unsigned begin[n_sources]; /* first key of a source           */
    unsigned shift[n_sources]; /* from a key's number to its row  */
    unsigned n_keys;

    __device__ __forceinline__ fbt_attention_chain(const fbt_cuda_attention_args &args, unsigned sequence)
    {
        int32_t number = static_cast<int32_t>(sequence);
        unsigned n[n_sources];
#pragma unroll
        for (unsigned i = 0; i < n_sources; i++) {
            const fbt_cuda_keys &keys = args.keys[i];
            if (i > 0) {
                number = number < 0 || keys.offsets == nullptr ? -1 : keys.index[number];
            }
            shift[i] = number < 0 ? 0U : static_cast<unsigned>(keys.offsets[number]);
            n[i] = number < 0 ? 0U : keys.offsets[number + 1] - shift[i];
        }
        n_keys = 0;
#pragma unroll
        for (unsigned i = n_sources; i-- > 0;) {
            begin[i] = n_keys;
            shift[i] -= n_keys;
            n_keys += n[i];
        }
    }

    /* Where the head begins in a key's row of k or v. */
    template <typename T>
    __device__ __forceinline__ const T *find(const fbt_cuda_attention_args &args, fbt_cuda_heads fbt_cuda_keys::*what,
                                             unsigned kv_head, unsigned key) const
    {
        const void *data = (args.keys[n_sources - 1].*what).data;
        int64_t stride = (args.keys[n_sources - 1].*what).stride;
        unsigned row = key + shift[n_sources - 1];
#pragma unroll
        for (unsigned i = n_sources - 1; i-- > 0;) {
            const bool is_here = key >= begin[i];
            data = is_here ? (args.keys[i].*what).data : data;
            stride = is_here ? (args.keys[i].*what).stride : stride;
            row = is_here ? key + shift[i] : row;
        }
        return static_cast<const T *>(data) +
               fbt_attention_item(row, stride, kv_head * static_cast<unsigned>(args.head_dim));
    }
};

/* Blocks are numbered along x alone, the one dimension of a grid that holds any number of sequences: parts of a
 * sequence's queries first, then heads, then sequences, so that neighbours share keys and values, or at least their
 * rows. The last parts, which see most where attention is causal, begin. */
__device__ __forceinline__ fbt_attention_work fbt_attention_take(const fbt_cuda_attention_args &args,
                                                                 const fbt_attention_plan &plan, unsigned part_rows)
{
    const unsigned head = blockIdx.x / plan.n_parts, n_kv_heads = static_cast<unsigned>(args.n_kv_heads);
    const unsigned sequence = head / n_kv_heads, part = plan.n_parts - 1 - blockIdx.x % plan.n_parts;
    const unsigned first_query = args.one_query ? sequence : static_cast<unsigned>(args.offsets[sequence]);
    const unsigned n_queries = args.one_query ? 1U : args.offsets[sequence + 1] - first_query;
    return {sequence, head % n_kv_heads, first_query, n_queries, part * part_rows, n_queries * plan.group};
}

/* Where the head begins in the row of q or y that belongs to a row of the work. */
__device__ __forceinline__ uint64_t fbt_attention_query(const fbt_cuda_attention_args &args,
                                                        const fbt_attention_plan &plan, const fbt_attention_work &work,
                                                        unsigned row, int64_t stride)
{
    const unsigned query = fbt_attention_divide(row, plan), head = (work.kv_head - query) * plan.group + row;
    return fbt_attention_item(work.first_query + query, stride, head * static_cast<unsigned>(args.head_dim));
}

/* Number of keys, from the first on, that a row of the work sees. */
__device__ __forceinline__ unsigned fbt_attention_sees(const fbt_cuda_attention_args &args,
                                                       const fbt_attention_plan &plan, const fbt_attention_work &work,
                                                       unsigned n_keys, unsigned row)
{
    return args.is_causal ? min(n_keys - work.n_queries + 1 + fbt_attention_divide(row, plan), n_keys) : n_keys;
}

/* Sight of a warp's 16 rows: a lane has n of them, lane_row + i * 16 / n, more from lane to lane. The warp's least
 * and most come from the lanes that have them, which takes an instruction where keeping them took a register. */
template <unsigned n> struct fbt_attention_sight {
    unsigned of[n];

    __device__ __forceinline__ fbt_attention_sight(const fbt_cuda_attention_args &args, const fbt_attention_plan &plan,
                                                   const fbt_attention_work &work, unsigned n_keys, unsigned first_row)
    {
#pragma unroll
        for (unsigned i = 0; i < n; i++) {
            of[i] = fbt_attention_sees(args, plan, work, n_keys, first_row + i * (FBT_ATTENTION_WARP_ROWS / n));
        }
    }

    __device__ __forceinline__ unsigned least() const
    {
        return __shfl_sync(0xffffffffU, of[0], 0);
    }

    __device__ __forceinline__ unsigned most() const
    {
        return __shfl_sync(0xffffffffU, of[n - 1], FBT_WARP - 1);
    }
};

/* The warp's number in its block. By a shuffle, so that the compiler knows that branches on it do not split the warp.
 */
__device__ __forceinline__ unsigned fbt_attention_warp()
{
    return __shfl_sync(0xffffffffU, threadIdx.x / FBT_WARP, 0);
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

    /* The block starts copying the rows 0 .. n_rows - 1 of head_dim items that begin at row_at(row); zeros in the
     * columns past them and in the rows up to n_padded_rows, a multiple of 8. A warp takes 8 rows at a time, whose
     * permutations do not depend on which. */
    template <typename RowAt>
    static __device__ __forceinline__ void copy(T *tile, unsigned n_rows, unsigned n_padded_rows, unsigned head_dim,
                                                RowAt row_at)
    {
        constexpr unsigned n_across = n_chunks < 32 ? n_chunks : 32;
        const unsigned thread = fbt_thread_here(), lane = thread % FBT_WARP;
        const unsigned lane_row = lane / n_across, chunk = lane % n_across;
        const unsigned to = at(lane_row, chunk), column = chunk * chunk_items, step = blockDim.x / FBT_WARP * 8;
#pragma unroll 1
        for (unsigned first = thread / FBT_WARP * 8; first < n_padded_rows; first += step) {
#pragma unroll
            for (unsigned pass = 0; pass < 8; pass += FBT_WARP / n_across) {
                const unsigned row = first + pass + lane_row;
                const T *from = row_at(row) + column;
#pragma unroll
                for (unsigned i = 0; i < n_columns; i += n_across * chunk_items) {
                    fbt_copy_async(tile + further(to, pass) + first * n_columns + i, from + i,
                                   row < n_rows && column + i < head_dim);
                }
            }
        }
    }
};

/* Keys and values in two stages of shared memory: tile i in stage i % 2, values behind keys. */
template <typename T, unsigned padded, unsigned tile_keys> struct fbt_key_tiles {
    using rows = fbt_tile<T, padded>;
    static constexpr unsigned stage_items = 2 * tile_keys * padded;

    const fbt_cuda_attention_args &args;
    const fbt_attention_chain &chain;
    unsigned kv_head;
    unsigned n_keys; /* that the block sees */

    /* Items of shared memory that sequences of up to max_keys need. */
    static int64_t n_items(int64_t max_keys)
    {
        return (max_keys > tile_keys ? 2 : 1) * static_cast<int64_t>(stage_items);
    }

    /* Starts copying a tile, as one group of asynchronous copies: an empty one past the last tile. Rows are padded to
     * what a step of the products takes, so that a probability of zero never meets a value that is no number. */
    __device__ __forceinline__ void start(T *stages, unsigned tile) const
    {
        const unsigned first = tile * tile_keys;
        if (first < n_keys) {
            const unsigned n = min(n_keys - first, tile_keys), head_dim = static_cast<unsigned>(args.head_dim);
            const unsigned n_padded =
                (n + FBT_ATTENTION_GROUP_KEYS - 1) / FBT_ATTENTION_GROUP_KEYS * FBT_ATTENTION_GROUP_KEYS;
            T *keys = stages + tile % 2 * stage_items;
            rows::copy(keys, n, n_padded, head_dim,
                       [&](unsigned row) { return chain.find<T>(args, &fbt_cuda_keys::k, kv_head, first + row); });
            rows::copy(keys + tile_keys * padded, n, n_padded, head_dim,
                       [&](unsigned row) { return chain.find<T>(args, &fbt_cuda_keys::v, kv_head, first + row); });
        }
        fbt_copy_commit();
    }

    /* Calls attend(stage, first) for every tile in order: stage is the item of shared memory where the tile's keys
     * begin, first its first key. While a tile is attended to, the next one is on its way. Copies that were started
     * before, without a commit, have landed when attend is called. */
    template <typename Attend> __device__ __forceinline__ void for_each(T *shared, unsigned stages, Attend attend) const
    {
#pragma unroll 1
        for (unsigned started = 0; started < (n_keys + tile_keys - 1) / tile_keys + 2; started++) {
            if (started >= 2) {
                fbt_copy_wait<1>();
                __syncthreads();
                attend(stages + started % 2 * stage_items, (started - 2) * tile_keys);
                if (started * tile_keys < n_keys) {
                    __syncthreads(); /* the next copies overwrite what attend reads */
                }
            }
            start(shared + stages, started);
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

/* Queues kernel(args, plan) for what the sizes need, with blocks of up to max_warps warps, evenly filled, and
 * shared_bytes(n_warps, max_keys) of shared memory. The kernel is allowed the same memory at every launch, since
 * recorded graphs hold launches of other sizes. */
template <typename Kernel>
cudaError_t fbt_attention_launch(Kernel *attention_kernel, cudaStream_t stream, const fbt_cuda_attention_args *args,
                                 int max_warps, int64_t (*shared_bytes)(int64_t n_warps, int64_t max_keys))
{
    const int64_t group = args->n_heads / args->n_kv_heads, n_rows = args->max_queries * group;
    const int64_t n_tiles = (n_rows + FBT_ATTENTION_WARP_ROWS - 1) / FBT_ATTENTION_WARP_ROWS;
    const int64_t n_parts = (n_tiles + max_warps - 1) / max_warps, n_warps = (n_tiles + n_parts - 1) / n_parts;
    const int64_t n_blocks = args->n_sequences * args->n_kv_heads * n_parts;
    const fbt_attention_plan plan = {static_cast<unsigned>(n_parts), static_cast<unsigned>(group),
                                     static_cast<unsigned>((INT64_C(1) << 31) / group),
                                     args->scale * 1.44269504088896341f}; /* log2(e) */
    if (n_blocks > INT_MAX || n_rows * group >= 1 << 30) {
        return cudaErrorInvalidConfiguration;
    }
    const cudaError_t error = fbt_allow_shared(attention_kernel, static_cast<int>(shared_bytes(max_warps, INT64_MAX)));
    if (error != cudaSuccess) {
        return error;
    }
    return FBT_LAUNCH(attention_kernel, dim3(static_cast<unsigned>(n_blocks)),
                      dim3(static_cast<unsigned>(n_warps * FBT_WARP)),
                      static_cast<size_t>(shared_bytes(n_warps, args->max_keys)), stream, *args, plan);
}

#endif
