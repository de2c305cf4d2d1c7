/* Loads and stores by element type. With a constant type the choice disappears when the function is inlined. */
#ifndef FBT_CPU_SIMD_TYPED_H
#define FBT_CPU_SIMD_TYPED_H

#include "kernels/backend.h"
#include "kernels/cpu/simd.h"

VF_INLINE vf vf_load_typed(const void *p, fbt_dtype dtype, int64_t i)
{
    switch (dtype) {
    case FBT_BF16:
        return vf_load_bf16((const uint16_t *)p + i);
    case FBT_F16:
        return vf_load_f16_n((const uint16_t *)p + i, VF);
    default:
        return vf_load((const float *)p + i);
    }
}

VF_INLINE vf vf_load_typed_n(const void *p, fbt_dtype dtype, int64_t i, int64_t n)
{
    switch (dtype) {
    case FBT_BF16:
        return vf_load_bf16_n((const uint16_t *)p + i, n);
    case FBT_F16:
        return vf_load_f16_n((const uint16_t *)p + i, n);
    default:
        return vf_load_n((const float *)p + i, n);
    }
}

VF_INLINE void vf_store_typed(void *p, fbt_dtype dtype, int64_t i, vf x)
{
    if (dtype == FBT_BF16) {
        vf_store_bf16((uint16_t *)p + i, x);
    } else {
        vf_store((float *)p + i, x);
    }
}

VF_INLINE void vf_store_typed_n(void *p, fbt_dtype dtype, int64_t i, vf x, int64_t n)
{
    if (dtype == FBT_BF16) {
        vf_store_bf16_n((uint16_t *)p + i, x, n);
    } else {
        vf_store_n((float *)p + i, x, n);
    }
}

#endif
