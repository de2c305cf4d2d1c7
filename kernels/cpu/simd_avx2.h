/* simd.h for AVX2 with FMA and F16C. */
#ifndef FBT_CPU_SIMD_AVX2_H
#define FBT_CPU_SIMD_AVX2_H

#include <immintrin.h>

typedef __m256 vf;
enum { VF = 8 };

VF_INLINE __m256i vf_mask(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

VF_INLINE vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}

VF_INLINE vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

VF_INLINE vf vf_load_n(const float *p, int64_t n)
{
    return _mm256_maskload_ps(p, vf_mask(n));
}

VF_INLINE void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x);
}

VF_INLINE void vf_store_n(float *p, vf x, int64_t n)
{
    _mm256_maskstore_ps(p, vf_mask(n), x);
}

VF_INLINE vf vf_widen_bf16(__m128i x)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

VF_INLINE __m128i vf_load_halves_n(const uint16_t *p, int64_t n)
{
    __m128i x = _mm_setzero_si128();
    memcpy(&x, p, (size_t)n * sizeof *p);
    return x;
}

VF_INLINE vf vf_load_bf16(const uint16_t *p)
{
    return vf_widen_bf16(_mm_loadu_si128((const __m128i *)p));
}

VF_INLINE vf vf_load_bf16_n(const uint16_t *p, int64_t n)
{
    return vf_widen_bf16(vf_load_halves_n(p, n));
}

VF_INLINE vf vf_load_f16_n(const uint16_t *p, int64_t n)
{
    return _mm256_cvtph_ps(vf_load_halves_n(p, n));
}

VF_INLINE __m128i vf_narrow_bf16(vf x)
{
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

VF_INLINE void vf_store_bf16(uint16_t *p, vf x)
{
    _mm_storeu_si128((__m128i *)p, vf_narrow_bf16(x));
}

VF_INLINE void vf_store_bf16_n(uint16_t *p, vf x, int64_t n)
{
    const __m128i halves = vf_narrow_bf16(x);
    memcpy(p, &halves, (size_t)n * sizeof *p);
}

VF_INLINE vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

VF_INLINE vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

VF_INLINE vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

VF_INLINE vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

VF_INLINE vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

VF_INLINE vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}

/* a < b ? x : y */
VF_INLINE vf vf_if_less(vf a, vf b, vf x, vf y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

/* a b + c */
VF_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* c - a b */
VF_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

VF_INLINE vf vf_round(vf x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* x 2^n, n whole, -126 <= n <= 127 */
VF_INLINE vf vf_scale2(vf x, vf n)
{
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

VF_INLINE float vf_sum(vf x)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

VF_INLINE float vf_largest(vf x)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* First within halves of 128 bits, then the halves. */
VF_INLINE void vf_transpose(vf r[VF])
{
    vf t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        r[i] = t[i];
    }
}

#endif
