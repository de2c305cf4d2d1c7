/* Readout of the last layer: chosen rows, pooled rows, label logits, losses. */
#include "kernels/cuda/rows.cuh"

enum {
    POOL_WARPS = 8,
    POOL_UNITS = 4, /* a warp's columns at once, units of each thread */
    LOGITS_BLOCK = 128,
    LOSS_BLOCK = 128,
    PLAIN_SHARED_BYTES = 48 << 10, /* what a launch may ask for without fbt_allow_shared */
};

/* x, y: rows of row_units units */
static __global__ void __launch_bounds__(fbt_tile::block)
    gather_kernel(uint4 *y, const uint4 *x, const int32_t *rows, int64_t n, int64_t row_units)
{
    constexpr int per_thread = fbt_tile::per_thread;
    const fbt_tile tile(n, row_units);
    uint4 units[per_thread];
    if (!tile.has(0)) {
        return;
    }
#pragma unroll
    for (int i = 0; i < per_thread; i++) {
        units[i] = x[tile.index(rows[tile.row(i)])];
    }
#pragma unroll
    for (int i = 0; i < per_thread; i++) {
        if (tile.has(i)) {
            y[tile.index(tile.row(i))] = units[i];
        }
    }
}

cudaError_t fbt_cuda_launch_gather_rows(cudaStream_t stream, void *y, const void *x, const int32_t *rows,
                                        fbt_dtype dtype, int64_t n, int64_t n_dim)
{
    const int64_t row_units = n_dim / (dtype == FBT_BF16 ? fbt_unit<__nv_bfloat16> : fbt_unit<float>);
    if (n == 0) {
        return cudaSuccess;
    }
    return FBT_LAUNCH(gather_kernel, fbt_tile::n_blocks(n, row_units), fbt_tile::block, 0, stream,
                      static_cast<uint4 *>(y), static_cast<const uint4 *>(x), rows, n, row_units);
}

/* Sums over `length` rows of `row_units` units of the columns that start at unit `first`, into sums: float [POOL_WARPS,
 * width] of shared memory, warp w's over rows w, w + POOL_WARPS, ... */
template <typename T>
static __device__ __forceinline__ void pool_columns(float *sums, const uint4 *x, int64_t length, int64_t row_units,
                                                    int64_t first)
{
    constexpr int unit = fbt_unit<T>, width = POOL_UNITS * FBT_WARP * unit;
    const int lane = threadIdx.x % FBT_WARP, warp = threadIdx.x / FBT_WARP;
    float total[POOL_UNITS][unit] = {};
    for (int64_t r = warp; r < length; r += POOL_WARPS) {
        fbt_elements<T, unit> elements[POOL_UNITS];
#pragma unroll
        for (int k = 0; k < POOL_UNITS; k++) {
            const int64_t column = first + k * FBT_WARP + lane;
            elements[k].load(x + r * row_units + (column < row_units ? column : first));
        }
#pragma unroll
        for (int k = 0; k < POOL_UNITS; k++) {
            float v[unit];
            elements[k].get(v);
#pragma unroll
            for (int j = 0; j < unit; j++) {
                total[k][j] += v[j];
            }
        }
    }
#pragma unroll
    for (int k = 0; k < POOL_UNITS; k++) {
#pragma unroll
        for (int j = 0; j < unit; j++) {
            sums[warp * width + (k * FBT_WARP + lane) * unit + j] = total[k][j];
        }
    }
}

/* A block per sequence. Each element of y is written, read again and scaled by one thread. */
template <typename T>
static __global__ void __launch_bounds__(POOL_WARPS *FBT_WARP)
    mean_pool_kernel(float *y, const uint4 *x, const int32_t *offsets, int64_t n_dim)
{
    constexpr int unit = fbt_unit<T>, width = POOL_UNITS * FBT_WARP * unit, block = POOL_WARPS * FBT_WARP;
    float *sums = reinterpret_cast<float *>(fbt_shared());
    const int64_t s = blockIdx.x, first_row = offsets[s], length = offsets[s + 1] - first_row;
    const int64_t row_units = n_dim / unit;
    float squares = 0;
    y += s * n_dim;
    for (int64_t first = 0; first < row_units; first += POOL_UNITS * FBT_WARP) {
        pool_columns<T>(sums, x + first_row * row_units, length, row_units, first);
        __syncthreads();
        for (int64_t c = threadIdx.x; c < width && first * unit + c < n_dim; c += block) {
            float mean = 0;
            for (int w = 0; w < POOL_WARPS; w++) {
                mean += sums[w * width + c];
            }
            mean /= static_cast<float>(length);
            y[first * unit + c] = mean;
            squares += mean * mean;
        }
        __syncthreads();
    }
    const float norm = sqrtf(fbt_sum_threads<block>(squares, sums));
    const float factor = norm == 0 ? 0 : 1.0f / norm; /* a mean of zero has no direction and stays zero */
    for (int64_t first = 0; first < n_dim; first += width) {
        for (int64_t c = threadIdx.x; c < width && first + c < n_dim; c += block) {
            y[first + c] *= factor;
        }
    }
}

template <typename T>
static cudaError_t launch_mean_pool(cudaStream_t stream, float *y, const void *x, const int32_t *offsets,
                                    int64_t n_sequences, int64_t n_dim)
{
    const int shared_bytes = POOL_WARPS * POOL_UNITS * FBT_WARP * fbt_unit<T> * static_cast<int>(sizeof(float));
    return FBT_LAUNCH(mean_pool_kernel<T>, static_cast<unsigned>(n_sequences), POOL_WARPS * FBT_WARP, shared_bytes,
                      stream, y, static_cast<const uint4 *>(x), offsets, n_dim);
}

cudaError_t fbt_cuda_launch_mean_pool(cudaStream_t stream, float *y, const void *x, const int32_t *offsets,
                                      fbt_dtype dtype, int64_t n_sequences, int64_t n_dim)
{
    if (n_sequences == 0) {
        return cudaSuccess;
    }
    return dtype == FBT_BF16 ? launch_mean_pool<__nv_bfloat16>(stream, y, x, offsets, n_sequences, n_dim)
                             : launch_mean_pool<float>(stream, y, x, offsets, n_sequences, n_dim);
}

/* A block per row of x, which it keeps in shared memory; a warp per label. Columns that are 128 apart are added first,
 * then those 64 apart, and so on down to neighbours: where terms that are not 0 begin changes no sum of them. */
template <typename T>
static __global__ void __launch_bounds__(LOGITS_BLOCK) label_logits_kernel(const fbt_cuda_label_logits_args a)
{
    constexpr int unit = fbt_unit<T>;
    float *row = reinterpret_cast<float *>(fbt_shared());
    const T *x = static_cast<const T *>(a.x) + blockIdx.x * a.n_dim;
    for (int64_t i = static_cast<int64_t>(threadIdx.x) * unit; i < a.n_dim; i += LOGITS_BLOCK * unit) {
        float v[unit];
        fbt_load_floats(v, x + i);
#pragma unroll
        for (int j = 0; j < unit; j++) {
            row[i + j] = v[j];
        }
    }
    __syncthreads();
    const int64_t lane = threadIdx.x % FBT_WARP;
    for (int64_t c = threadIdx.x / FBT_WARP; c < a.n_labels; c += LOGITS_BLOCK / FBT_WARP) {
        float sums[4] = {};
#pragma unroll 4
        for (int64_t i = lane * 4; i < a.n_dim; i += FBT_WARP * 4) {
            float label[4], mine[4];
            fbt_load_floats(label, a.labels + c * a.n_dim + i);
            fbt_load_floats(mine, row + i);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                sums[j] += mine[j] * label[j];
            }
        }
        const float dot =
            (fbt_warp_sum(sums[0]) + fbt_warp_sum(sums[2])) + (fbt_warp_sum(sums[1]) + fbt_warp_sum(sums[3]));
        if (lane == 0) {
            a.logits[blockIdx.x * a.n_labels + c] = a.scale * (dot + (a.bias == nullptr ? 0 : a.bias[c]));
        }
    }
}

template <typename T> static cudaError_t launch_label_logits(cudaStream_t stream, const fbt_cuda_label_logits_args &a)
{
    const int64_t shared_bytes = a.n_dim * static_cast<int64_t>(sizeof(float));
    if (shared_bytes > INT32_MAX) {
        return cudaErrorInvalidValue;
    }
    if (shared_bytes > PLAIN_SHARED_BYTES) {
        const cudaError_t error = fbt_allow_shared(label_logits_kernel<T>, static_cast<int>(shared_bytes));
        if (error != cudaSuccess) {
            return error;
        }
    }
    return FBT_LAUNCH(label_logits_kernel<T>, static_cast<unsigned>(a.n), LOGITS_BLOCK, static_cast<int>(shared_bytes),
                      stream, a);
}

cudaError_t fbt_cuda_launch_label_logits(cudaStream_t stream, const fbt_cuda_label_logits_args *args)
{
    if (args->n == 0) {
        return cudaSuccess;
    }
    return args->dtype == FBT_BF16 ? launch_label_logits<__nv_bfloat16>(stream, *args)
                                   : launch_label_logits<float>(stream, *args);
}

/* The first largest logit, by a warp. A NaN compares as not larger: in front it stays. */
static __device__ __forceinline__ int32_t first_largest(const float *logits, int32_t n_labels)
{
    float value = logits[0];
    int32_t largest = 0;
    for (int32_t c = threadIdx.x % FBT_WARP; c < n_labels; c += FBT_WARP) {
        if (logits[c] > value) {
            value = logits[c];
            largest = c;
        }
    }
    for (int distance = FBT_WARP / 2; distance > 0; distance /= 2) {
        const float other_value = __shfl_xor_sync(0xffffffffU, value, distance);
        const int32_t other = __shfl_xor_sync(0xffffffffU, largest, distance);
        if (other_value > value || (other_value == value && other < largest)) {
            value = other_value;
            largest = other;
        }
    }
    return largest;
}

/* The sample's loss, by a warp. label: 0 .. n_labels - 1. */
static __device__ __forceinline__ float loss_of(const float *logits, int32_t n_labels, int32_t label, int32_t largest,
                                                fbt_loss kind)
{
    float sum = 0;
    if (kind == FBT_LOSS_ACCURACY) {
        return largest == label ? -1.0f : 0.0f;
    }
    for (int32_t c = threadIdx.x % FBT_WARP; c < n_labels; c += FBT_WARP) {
        if (kind == FBT_LOSS_CE) {
            sum += expf(logits[c] - logits[largest]);
        } else {
            const float margin = 2 - logits[label] + logits[c];
            sum += c == label || margin <= 0 ? 0 : margin; /* a NaN is kept */
        }
    }
    sum = fbt_warp_sum(sum);
    return kind == FBT_LOSS_CE ? logf(sum) + (logits[largest] - logits[label]) : sum;
}

/* A warp per sample. A label that is none gives NaN and reads nothing. */
static __global__ void __launch_bounds__(LOSS_BLOCK)
    loss_kernel(float *losses, int32_t *predictions, const float *logits, const int32_t *labels, fbt_loss kind,
                int64_t n, int32_t n_labels)
{
    const int64_t i = static_cast<int64_t>(blockIdx.x) * (LOSS_BLOCK / FBT_WARP) + threadIdx.x / FBT_WARP;
    if (i >= n) {
        return;
    }
    const int32_t label = labels[i];
    logits += i * n_labels;
    const int32_t largest = first_largest(logits, n_labels);
    const float loss = label < 0 || label >= n_labels ? NAN : loss_of(logits, n_labels, label, largest, kind);
    if (threadIdx.x % FBT_WARP == 0) {
        losses[i] = loss;
        predictions[i] = largest;
    }
}

cudaError_t fbt_cuda_launch_loss(cudaStream_t stream, float *losses, int32_t *predictions, const float *logits,
                                 const int32_t *labels, fbt_loss kind, int64_t n, int64_t n_labels)
{
    if (n == 0) {
        return cudaSuccess;
    }
    return FBT_LAUNCH(loss_kernel, fbt_n_blocks(n, LOSS_BLOCK / FBT_WARP), LOSS_BLOCK, 0, stream, losses, predictions,
                      logits, labels, kind, n, static_cast<int32_t>(n_labels));
}
