/* Row kernels: conversion, pooling and dot products. */
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd_typed.h"

void FBT_ROWS(convert)(void *y, fbt_dtype y_dtype, const void *x, fbt_dtype x_dtype, int64_t n)
{
    for (int64_t i = 0; i < n; i += VF) {
        const int64_t m = n - i < VF ? n - i : VF;
        vf_store_typed_n(y, y_dtype, i, vf_load_typed_n(x, x_dtype, i, m), m);
    }
}

VF_INLINE float dot_typed(const void *x, fbt_dtype dtype, const float *y, int64_t n_dim)
{
    vf sums[4] = {vf_set(0), vf_set(0), vf_set(0), vf_set(0)};
    int64_t i = 0;
    for (; i + 4 * VF <= n_dim; i += 4 * VF) {
        for (int k = 0; k < 4; k++) {
            sums[k] = vf_fma(vf_load_typed(x, dtype, i + k * VF), vf_load(y + i + k * VF), sums[k]);
        }
    }
    for (; i < n_dim; i += VF) {
        const int64_t n = n_dim - i < VF ? n_dim - i : VF;
        sums[0] = vf_fma(vf_load_typed_n(x, dtype, i, n), vf_load_n(y + i, n), sums[0]);
    }
    return vf_sum(vf_add(vf_add(sums[0], sums[1]), vf_add(sums[2], sums[3])));
}

float FBT_ROWS(dot)(const void *x, fbt_dtype dtype, const float *y, int64_t n_dim)
{
    return dtype == FBT_BF16 ? dot_typed(x, FBT_BF16, y, n_dim) : dot_typed(x, FBT_F32, y, n_dim);
}

void FBT_ROWS(mean_pool)(float *y, const void *x, fbt_dtype dtype, int64_t n_rows, int64_t n_dim)
{
    for (int64_t i = 0; i < n_dim; i += VF) {
        const int64_t n = n_dim - i < VF ? n_dim - i : VF;
        vf sum = vf_set(0);
        for (int64_t r = 0; r < n_rows; r++) {
            sum = vf_add(sum, vf_load_typed_n(x, dtype, r * n_dim + i, n));
        }
        vf_store_n(y + i, vf_mul(sum, vf_set(1.0f / (float)n_rows)), n);
    }
    /* A mean of zero has no direction and stays zero. */
    const float norm = sqrtf(dot_typed(y, FBT_F32, y, n_dim));
    const vf factor = vf_set(norm == 0 ? 0 : 1.0f / norm);
    for (int64_t i = 0; i < n_dim; i += VF) {
        const int64_t n = n_dim - i < VF ? n_dim - i : VF;
        vf_store_n(y + i, vf_mul(vf_load_n(y + i, n), factor), n);
    }
}
