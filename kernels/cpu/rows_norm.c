/* Row kernels: layer normalisation and the embedding row. */
#include "kernels/cpu/rows.h"
#include "kernels/cpu/simd_typed.h"

/* Sum over a row of (x - shift), or of its square: four running sums, so that additions overlap, joined in fixed order.
 */
VF_INLINE float row_sum(const void *x, fbt_dtype dtype, int64_t n_dim, float shift, int squared)
{
    const vf minus = vf_set(shift);
    vf sums[4] = {vf_set(0), vf_set(0), vf_set(0), vf_set(0)};
    int64_t i = 0;
    for (; i + 4 * VF <= n_dim; i += 4 * VF) {
        for (int k = 0; k < 4; k++) {
            const vf d = vf_sub(vf_load_typed(x, dtype, i + k * VF), minus);
            sums[k] = squared ? vf_fma(d, d, sums[k]) : vf_add(sums[k], d);
        }
    }
    for (; i + VF <= n_dim; i += VF) {
        const vf d = vf_sub(vf_load_typed(x, dtype, i), minus);
        sums[0] = squared ? vf_fma(d, d, sums[0]) : vf_add(sums[0], d);
    }
    if (i < n_dim) {
        float rest[VF] = {0};
        vf_store_n(rest, vf_sub(vf_load_typed_n(x, dtype, i, n_dim - i), minus), n_dim - i);
        const vf d = vf_load(rest);
        sums[1] = squared ? vf_fma(d, d, sums[1]) : vf_add(sums[1], d);
    }
    return vf_sum(vf_add(vf_add(sums[0], sums[1]), vf_add(sums[2], sums[3])));
}

/* gamma d + beta; without beta: gamma d. */
VF_INLINE vf scale_and_shift(vf d, vf gamma, const float *beta, int64_t i, int64_t n)
{
    return beta == NULL ? vf_mul(d, gamma) : vf_fma(d, gamma, n == VF ? vf_load(beta + i) : vf_load_n(beta + i, n));
}

/* Two passes: the variance from differences to the mean does not cancel where the mean is large. Without beta the mean
 * is left alone: RMS norm. */
VF_INLINE void normalise_row(void *y, fbt_dtype y_dtype, const void *x, fbt_dtype x_dtype, const float *gamma,
                             const float *beta, const float *added, int64_t n_dim, float epsilon)
{
    const float mean = beta == NULL ? 0 : row_sum(x, x_dtype, n_dim, 0, 0) / (float)n_dim;
    const float variance = row_sum(x, x_dtype, n_dim, mean, 1) / (float)n_dim;
    const vf minus = vf_set(mean), factor = vf_set(1.0f / sqrtf(variance + epsilon));
    int64_t i = 0;
    for (; i + VF <= n_dim; i += VF) {
        const vf d = vf_mul(vf_sub(vf_load_typed(x, x_dtype, i), minus), factor);
        vf r = scale_and_shift(d, vf_load(gamma + i), beta, i, VF);
        r = added ? vf_add(r, vf_load(added + i)) : r;
        vf_store_typed(y, y_dtype, i, r);
    }
    if (i < n_dim) {
        const int64_t n = n_dim - i;
        const vf d = vf_mul(vf_sub(vf_load_typed_n(x, x_dtype, i, n), minus), factor);
        vf r = scale_and_shift(d, vf_load_n(gamma + i, n), beta, i, n);
        r = added ? vf_add(r, vf_load_n(added + i, n)) : r;
        vf_store_typed_n(y, y_dtype, i, r, n);
    }
}

/* One copy of the loop for each pair of types. */
VF_INLINE void normalise_rows(void *y, fbt_dtype dtype, const void *x, fbt_dtype x_dtype, const float *gamma,
                              const float *beta, int64_t n_rows, int64_t n_dim, float epsilon)
{
    const int64_t y_bytes = n_dim * (dtype == FBT_BF16 ? 2 : 4), x_bytes = n_dim * (x_dtype == FBT_BF16 ? 2 : 4);
    for (int64_t r = 0; r < n_rows; r++) {
        normalise_row((char *)y + r * y_bytes, dtype, (const char *)x + r * x_bytes, x_dtype, gamma, beta, NULL, n_dim,
                      epsilon);
    }
}

void FBT_ROWS(layernorm)(void *y, fbt_dtype dtype, const void *x, fbt_dtype x_dtype, const float *gamma,
                         const float *beta, int64_t n_rows, int64_t n_dim, float epsilon)
{
    if (dtype == FBT_F32) {
        normalise_rows(y, FBT_F32, x, FBT_F32, gamma, beta, n_rows, n_dim, epsilon);
    } else if (x_dtype == FBT_F32) {
        normalise_rows(y, FBT_BF16, x, FBT_F32, gamma, beta, n_rows, n_dim, epsilon);
    } else {
        normalise_rows(y, FBT_BF16, x, FBT_BF16, gamma, beta, n_rows, n_dim, epsilon);
    }
}

/* row += term */
VF_INLINE void add_term(float *row, const void *term, fbt_dtype dtype, int64_t n_dim, int first)
{
    for (int64_t i = 0; i < n_dim; i += VF) {
        const int64_t n = n_dim - i < VF ? n_dim - i : VF;
        const vf x = vf_load_typed_n(term, dtype, i, n);
        vf_store_n(row + i, first ? x : vf_add(vf_load_n(row + i, n), x), n);
    }
}

void FBT_ROWS(embed)(void *y, fbt_dtype dtype, const fbt_row_terms *terms, const float *gamma, const float *beta,
                     const float *added, int64_t n_dim, float epsilon, float *row)
{
    int first = 1;
    for (int k = 0; k < 3; k++) {
        if (terms->rows[k] != NULL) {
            add_term(row, terms->rows[k], terms->dtypes[k], n_dim, first);
            first = 0;
        }
    }
    normalise_row(y, dtype, row, FBT_F32, gamma, beta, added, n_dim, epsilon);
}
