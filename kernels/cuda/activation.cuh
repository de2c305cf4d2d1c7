/* Activations of one value. */
#ifndef FBT_CUDA_ACTIVATION_CUH
#define FBT_CUDA_ACTIVATION_CUH

#include "kernels/backend.h"
#include "kernels/cuda/device.cuh"

/* Exponentials are of base 2, which the device has, with the base's logarithm in their constants. */
static constexpr float FBT_LOG2_E = 1.44269504f;

/* x (1 + erf(x / sqrt 2)) / 2 as max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, with erfc by Abramowitz and Stegun 7.1.26: off
 * by less than 4e-7 where |x| < 9, which erff does not better, and closer where x is negative, since nothing cancels.
 * It takes fewer instructions than erff, so that the kernel waits for memory and not for arithmetic. */
__device__ __forceinline__ float fbt_gelu_erf(float x)
{
    const float size = fabsf(x), t = __fdividef(1.0f, 1.0f + 0.3275911f * 0.70710678f * size);
    float p = 0.5f * 1.061405429f;
    p = p * t + 0.5f * -1.453152027f;
    p = p * t + 0.5f * 1.421413741f;
    p = p * t + 0.5f * -0.284496736f;
    p = p * t + 0.5f * 0.254829592f;
    return fmaxf(x, 0) - p * t * size * exp2f(-0.5f * FBT_LOG2_E * x * x);
}

/* x (1 + tanh u) / 2 = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
__device__ __forceinline__ float fbt_gelu_tanh(float x)
{
    constexpr float factor = -1.5957691216f * FBT_LOG2_E;
    return __fdividef(x, 1.0f + exp2f(x * (factor + 0.044715f * factor * x * x)));
}

/* x / (1 + e^-x) */
__device__ __forceinline__ float fbt_silu(float x)
{
    return __fdividef(x, 1.0f + exp2f(-FBT_LOG2_E * x));
}

template <fbt_activation activation> __device__ __forceinline__ float fbt_activate(float x)
{
    if constexpr (activation == FBT_ACT_GELU_ERF) {
        return fbt_gelu_erf(x);
    } else if constexpr (activation == FBT_ACT_GELU_TANH) {
        return fbt_gelu_tanh(x);
    } else if constexpr (activation == FBT_ACT_RELU) {
        return x < 0 ? 0 : x; /* a NaN is kept */
    } else if constexpr (activation == FBT_ACT_TANH) {
        return tanhf(x);
    } else if constexpr (activation == FBT_ACT_SILU) {
        return fbt_silu(x);
    } else {
        return x;
    }
}

#endif
