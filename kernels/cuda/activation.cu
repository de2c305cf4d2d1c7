/* Bias and activation after a product, in place. */
#include "kernels/cuda/rows.cuh"

/* Exponentials are of base 2, which the device has, with the base's logarithm in their constants. */
static constexpr float LOG2_E = 1.44269504f;

/* x (1 + erf(x / sqrt 2)) / 2 as max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, with erfc by Abramowitz and Stegun 7.1.26: off
 * by less than 4e-7 where |x| < 9, which erff does not better, and closer where x is negative, since nothing cancels.
 * It takes fewer instructions than erff, so that the kernel waits for memory and not for arithmetic. */
static __device__ __forceinline__ float gelu_erf(float x)
{
    const float size = fabsf(x), t = __fdividef(1.0f, 1.0f + 0.3275911f * 0.70710678f * size);
    float p = 0.5f * 1.061405429f;
    p = p * t + 0.5f * -1.453152027f;
    p = p * t + 0.5f * 1.421413741f;
    p = p * t + 0.5f * -0.284496736f;
    p = p * t + 0.5f * 0.254829592f;
    return fmaxf(x, 0) - p * t * size * exp2f(-0.5f * LOG2_E * x * x);
}

/* x (1 + tanh u) / 2 = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
static __device__ __forceinline__ float gelu_tanh(float x)
{
    constexpr float factor = -1.5957691216f * LOG2_E;
    return __fdividef(x, 1.0f + exp2f(x * (factor + 0.044715f * factor * x * x)));
}

template <fbt_activation activation> static __device__ __forceinline__ float activate(float x)
{
    if constexpr (activation == FBT_ACT_GELU_ERF) {
        return gelu_erf(x);
    } else if constexpr (activation == FBT_ACT_GELU_TANH) {
        return gelu_tanh(x);
    } else if constexpr (activation == FBT_ACT_RELU) {
        return x < 0 ? 0 : x; /* a NaN is kept */
    } else if constexpr (activation == FBT_ACT_TANH) {
        return tanhf(x);
    } else {
        return x;
    }
}

/* y: [n_rows, row_units] units of type T */
template <typename T, fbt_activation activation>
static __global__ void __launch_bounds__(fbt_tile::block)
    bias_activation_kernel(uint4 *y, const float *bias, int64_t n_rows, int64_t row_units)
{
    constexpr int unit = fbt_unit<T>, n = fbt_tile::per_thread;
    const fbt_tile tile(n_rows, row_units);
    fbt_elements<T, unit> elements[n];
    float shift[unit] = {};
    if (!tile.has(0)) {
        return;
    }
#pragma unroll
    for (int i = 0; i < n; i++) {
        elements[i].load(y + tile.index(tile.row(i)));
    }
    if (bias != nullptr) {
        fbt_load_floats(shift, bias + tile.unit * unit);
    }
#pragma unroll
    for (int i = 0; i < n; i++) {
        float x[unit];
        elements[i].get(x);
#pragma unroll
        for (int j = 0; j < unit; j++) {
            x[j] = activate<activation>(x[j] + shift[j]);
        }
        if (tile.has(i)) {
            fbt_store_unit(y + tile.index(tile.row(i)), x);
        }
    }
}

template <typename T, fbt_activation activation>
static cudaError_t launch_one(cudaStream_t stream, void *y, const float *bias, int64_t n_rows, int64_t n_dim)
{
    const int64_t row_units = n_dim / fbt_unit<T>;
    return FBT_LAUNCH((bias_activation_kernel<T, activation>), fbt_tile::n_blocks(n_rows, row_units), fbt_tile::block,
                      0, stream, static_cast<uint4 *>(y), bias, n_rows, row_units);
}

template <typename T>
static cudaError_t launch_typed(cudaStream_t stream, void *y, const float *bias, fbt_activation activation,
                                int64_t n_rows, int64_t n_dim)
{
    switch (activation) {
    case FBT_ACT_GELU_ERF:
        return launch_one<T, FBT_ACT_GELU_ERF>(stream, y, bias, n_rows, n_dim);
    case FBT_ACT_GELU_TANH:
        return launch_one<T, FBT_ACT_GELU_TANH>(stream, y, bias, n_rows, n_dim);
    case FBT_ACT_RELU:
        return launch_one<T, FBT_ACT_RELU>(stream, y, bias, n_rows, n_dim);
    case FBT_ACT_TANH:
        return launch_one<T, FBT_ACT_TANH>(stream, y, bias, n_rows, n_dim);
    default:
        return launch_one<T, FBT_ACT_NONE>(stream, y, bias, n_rows, n_dim);
    }
}

cudaError_t fbt_cuda_launch_bias_activation(cudaStream_t stream, void *y, const float *bias, fbt_activation activation,
                                            fbt_dtype dtype, int64_t n_rows, int64_t n_dim)
{
    if (n_rows == 0) {
        return cudaSuccess;
    }
    return dtype == FBT_BF16 ? launch_typed<__nv_bfloat16>(stream, y, bias, activation, n_rows, n_dim)
                                           : launch_typed<float>(stream, y, bias, activation, n_rows, n_dim);
}
