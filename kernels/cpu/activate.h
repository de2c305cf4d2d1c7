/* Activations on vectors of floats. Absolute error of the smooth ones below 5e-7. */
#ifndef FBT_CPU_ACTIVATE_H
#define FBT_CPU_ACTIVATE_H

#include "kernels/backend.h"
#include "kernels/cpu/simd.h"

/* max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, with erfc by Abramowitz and Stegun 7.1.26. */
VF_INLINE vf vf_gelu_erf(vf x)
{
    const vf size = vf_max(x, vf_sub(vf_set(0), x));
    const vf t = vf_div(vf_set(1), vf_fma(size, vf_set(0.3275911f * 0.70710678f), vf_set(1)));
    vf p = vf_set(0.5f * 1.061405429f);
    p = vf_fma(p, t, vf_set(0.5f * -1.453152027f));
    p = vf_fma(p, t, vf_set(0.5f * 1.421413741f));
    p = vf_fma(p, t, vf_set(0.5f * -0.284496736f));
    p = vf_fma(p, t, vf_set(0.5f * 0.254829592f));
    p = vf_mul(vf_mul(p, t), size);
    return vf_fnma(p, vf_exp(vf_mul(vf_mul(x, x), vf_set(-0.5f))), vf_max(vf_set(0), x));
}

/* x (1 + tanh u) / 2 = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
VF_INLINE vf vf_gelu_tanh(vf x)
{
    const vf cube = vf_fma(vf_mul(x, x), vf_set(0.044715f), vf_set(1));
    const vf minus2u = vf_mul(vf_mul(x, cube), vf_set(-1.5957691216f));
    return vf_div(x, vf_add(vf_set(1), vf_exp(vf_min(vf_set(88), minus2u))));
}

/* 1 - 2 / (1 + e^2x), and the series where that cancels. */
VF_INLINE vf vf_tanh(vf x)
{
    const vf e = vf_exp(vf_min(vf_set(88), vf_add(x, x))), x2 = vf_mul(x, x);
    const vf far = vf_sub(vf_set(1), vf_div(vf_set(2), vf_add(vf_set(1), e)));
    vf near = vf_fma(x2, vf_set(-17.0f / 315), vf_set(2.0f / 15));
    near = vf_fma(x2, near, vf_set(-1.0f / 3));
    near = vf_fma(vf_mul(x2, x), near, x);
    return vf_if_less(x2, vf_set(0.0625f), near, far);
}

/* x / (1 + e^-x) */
VF_INLINE vf vf_silu(vf x)
{
    return vf_div(x, vf_add(vf_set(1), vf_exp(vf_min(vf_set(88), vf_sub(vf_set(0), x)))));
}

VF_INLINE vf vf_activate(fbt_activation activation, vf x)
{
    switch (activation) {
    case FBT_ACT_GELU_ERF:
        return vf_gelu_erf(x);
    case FBT_ACT_GELU_TANH:
        return vf_gelu_tanh(x);
    case FBT_ACT_RELU:
        return vf_max(vf_set(0), x);
    case FBT_ACT_TANH:
        return vf_tanh(x);
    case FBT_ACT_SILU:
        return vf_silu(x);
    default:
        return x;
    }
}

#endif
