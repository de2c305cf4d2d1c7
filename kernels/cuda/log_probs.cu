/* Log-probabilities of tokens, out of logits of a block of rows and a block of words at a time (online softmax:
 * Milakov, Gimelshein 2018, arXiv 1805.02867). */
#include "kernels/cuda/rows.cuh"

enum {
    WIDEN_BLOCK = 256,
    WIDEN_ITEMS = 8, /* of a thread */
    FOLD_BLOCK = 256,
    FOLD_ITEMS = FBT_CUDA_BLOCK_WORDS / FOLD_BLOCK, /* of a thread, which has all of its row's in registers */
    FOLD_WARPS = FOLD_BLOCK / FBT_WARP,
    PICK_BLOCK = 128,
};

template <typename S>
static __global__ void __launch_bounds__(WIDEN_BLOCK) widen_kernel(float *y, const S *x, int64_t n)
{
    const int64_t i = (static_cast<int64_t>(blockIdx.x) * WIDEN_BLOCK + threadIdx.x) * WIDEN_ITEMS;
    float v[WIDEN_ITEMS];
    if (i >= n) {
        return;
    }
    fbt_load_floats(v, x + i);
    const float low[4] = {v[0], v[1], v[2], v[3]}, high[4] = {v[4], v[5], v[6], v[7]};
    fbt_store_unit(y + i, low);
    fbt_store_unit(y + i + 4, high);
}

template <typename S> static cudaError_t launch_widen(cudaStream_t stream, float *y, const void *x, int64_t n)
{
    return FBT_LAUNCH(widen_kernel<S>, fbt_n_blocks(n, WIDEN_BLOCK * WIDEN_ITEMS), WIDEN_BLOCK, 0, stream, y,
                      static_cast<const S *>(x), n);
}

cudaError_t fbt_cuda_launch_widen(cudaStream_t stream, float *y, const void *x, fbt_dtype dtype, int64_t n)
{
    if (n == 0) {
        return cudaSuccess;
    }
    return dtype == FBT_BF16 ? launch_widen<__nv_bfloat16>(stream, y, x, n) : launch_widen<__half>(stream, y, x, n);
}

/* n neighbouring floats. */
template <int n> static __device__ __forceinline__ void load(float (&v)[n], const float *p)
{
    if constexpr (n > 1) {
        fbt_load_floats(v, p);
    } else {
        v[0] = *p;
    }
}

/* A thread's logits of one row, n at a time; minus infinity, which adds nothing, where the block has no word for it. */
template <int n> struct row_part {
    float v[FOLD_ITEMS / n][n];

    /* bias: of the block's words, or NULL. Loads without a branch overlap. */
    __device__ __forceinline__ row_part(const float *logits, const float *bias, int n_words)
    {
#pragma unroll
        for (int k = 0; k < FOLD_ITEMS / n; k++) {
            load(v[k], logits + (column(k) < n_words ? column(k) : 0));
        }
#pragma unroll
        for (int k = 0; k < FOLD_ITEMS / n; k++) {
            float added[n] = {};
            if (bias != nullptr) {
                load(added, bias + (column(k) < n_words ? column(k) : 0));
            }
#pragma unroll
            for (int j = 0; j < n; j++) {
                v[k][j] = column(k) < n_words ? v[k][j] + added[j] : -INFINITY;
            }
        }
    }

    static __device__ __forceinline__ int column(int k)
    {
        return (k * FOLD_BLOCK + static_cast<int>(threadIdx.x)) * n;
    }

    /* A NaN is passed over: the sum of exponentials has it. */
    __device__ __forceinline__ float largest() const
    {
        float most = -INFINITY;
#pragma unroll
        for (int k = 0; k < FOLD_ITEMS / n; k++) {
#pragma unroll
            for (int j = 0; j < n; j++) {
                most = fmaxf(most, v[k][j]);
            }
        }
        return most;
    }

    __device__ __forceinline__ float sum_exp(float most) const
    {
        float sum = 0;
#pragma unroll
        for (int k = 0; k < FOLD_ITEMS / n; k++) {
#pragma unroll
            for (int j = 0; j < n; j++) {
                sum += expf(v[k][j] - most);
            }
        }
        return sum;
    }
};

/* The largest of the block's values, in every thread; partial: [FOLD_WARPS] floats of shared memory. */
static __device__ __forceinline__ float largest_of_block(float value, float *partial)
{
    value = fbt_warp_max(value);
    if (threadIdx.x % FBT_WARP == 0) {
        partial[threadIdx.x / FBT_WARP] = value;
    }
    __syncthreads();
    for (int w = 0; w < FOLD_WARPS; w++) {
        value = fmaxf(value, partial[w]);
    }
    return value;
}

/* A block has a row. Rows begin at multiples of 16 bytes where n is 4. */
template <int n> static __global__ void __launch_bounds__(FOLD_BLOCK) fold_logits_kernel(const fbt_cuda_logits_block a)
{
    float *partial = reinterpret_cast<float *>(fbt_shared());
    const int64_t row = blockIdx.x;
    const float *bias = a.bias == nullptr ? nullptr : a.bias + a.first_word;
    const row_part<n> part(a.logits + row * a.n_words, bias, static_cast<int>(a.n_words));
    const float most = largest_of_block(part.largest(), partial);
    const float sum = fbt_sum_threads<FOLD_BLOCK>(part.sum_exp(most), partial + FOLD_WARPS);
    if (threadIdx.x != 0) {
        return;
    }
    if (a.first_word == 0) {
        a.largest[row] = most;
        a.sum[row] = sum;
    } else {
        const float before = a.largest[row], both = fmaxf(before, most);
        a.largest[row] = both;
        a.sum[row] = a.sum[row] * expf(before - both) + sum * expf(most - both);
    }
}

cudaError_t fbt_cuda_launch_fold_logits(cudaStream_t stream, const fbt_cuda_logits_block *block)
{
    const int shared_bytes = 2 * FOLD_WARPS * static_cast<int>(sizeof(float));
    if (block->n_words > FBT_CUDA_BLOCK_WORDS) {
        return cudaErrorInvalidValue;
    }
    return FBT_LAUNCH((block->n_words % 4 == 0 ? fold_logits_kernel<4> : fold_logits_kernel<1>),
                      static_cast<unsigned>(block->n_rows), FOLD_BLOCK, shared_bytes, stream, *block);
}

/* A thread per target. A token that is none gives NaN and reads nothing. */
static __global__ void __launch_bounds__(PICK_BLOCK)
    pick_logits_kernel(const fbt_cuda_logits_block a, const fbt_cuda_targets targets)
{
    const int64_t i = static_cast<int64_t>(blockIdx.x) * PICK_BLOCK + threadIdx.x;
    if (i >= targets.n) {
        return;
    }
    const int64_t row = targets.rows[i] - a.first_row, token = targets.tokens[i], word = token - a.first_word;
    if (token < 0 || token >= a.n_vocabulary) {
        *targets.error = FBT_CUDA_ERROR_TOKEN;
        targets.y[i] = NAN;
        return;
    }
    const bool is_here = word >= 0 && word < a.n_words, is_last = a.first_word + a.n_words == a.n_vocabulary;
    if (row < 0 || row >= a.n_rows || !(is_here || is_last)) {
        return;
    }
    const float bias = a.bias == nullptr ? 0 : a.bias[token];
    const float logit = is_here ? a.logits[row * a.n_words + word] + bias : targets.y[i];
    targets.y[i] = is_last ? logit - a.largest[row] - logf(a.sum[row]) : logit;
}

cudaError_t fbt_cuda_launch_pick_logits(cudaStream_t stream, const fbt_cuda_logits_block *block,
                                        const fbt_cuda_targets *targets)
{
    if (targets->n == 0) {
        return cudaSuccess;
    }
    return FBT_LAUNCH(pick_logits_kernel, fbt_n_blocks(targets->n, PICK_BLOCK), PICK_BLOCK, 0, stream, *block,
                      *targets);
}
