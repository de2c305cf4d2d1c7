/* Loads and stores by element type. With a constant type the choice disappears when the function is inlined. Whole
 * vectors take the _n forms too, at no cost but a branch. */
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
    if (n >= VF) {
        return vf_load_typed(p, dtype, i);
    }
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
    if (n >= VF) {
        vf_store_typed(p, dtype, i, x);
    } else if (dtype == FBT_BF16) {
        vf_store_bf16_n((uint16_t *)p + i, x, n);
    } else {
        vf_store_n((float *)p + i, x, n);
    }
}

/* Fetches the lines where a product's results will lie, and its residual (or NULL), while its sums are made: of n_rows
 * rows, from element `at` on and every `stride` elements. */
VF_INLINE void vf_fetch_rows(const void *y, const void *residual, fbt_dtype dtype, int64_t at, int64_t stride,
                             int64_t n_rows)
{
    const int64_t item = (int64_t)fbt_dtype_bytes(dtype);
    for (int64_t r = 0; r < n_rows; r++) {
        const int64_t place = (at + r * stride) * item;
        __builtin_prefetch((const char *)y + place, 1, 3);
        if (residual != NULL) {
            __builtin_prefetch((const char *)residual + place, 0, 3);
        }
    }
}

#endif
