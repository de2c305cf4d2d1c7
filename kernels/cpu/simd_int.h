/* Vectors of VF integers of 32 bits, and dot products of 8-bit ones: for AVX2, AVX-512, and AVX-512 with VNNI (int8.h).
 *
 * VI_STEP elements q of a row or an output are one lane's in a step of a sum. In memory a row's are 32 bits, of q as
 * wide as they fit, with VNNI of q + offset; an output's are VI_STEP bytes, VI_WEIGHT_BYTES for all lanes.
 * vi_store_rows: VF elements of each of two rows, a step every `stride` bytes. */
#ifndef FBT_CPU_SIMD_INT_H
#define FBT_CPU_SIMD_INT_H

#include "kernels/cpu/simd.h"

/* Four steps of two rows. */
VF_INLINE void vi_store_steps(char *to, int64_t stride, __m128i a, __m128i b)
{
    const __m128i low = _mm_unpacklo_epi32(a, b), high = _mm_unpackhi_epi32(a, b);
    _mm_storel_epi64((__m128i *)(void *)to, low);
    _mm_storel_epi64((__m128i *)(void *)(to + stride), _mm_unpackhi_epi64(low, low));
    _mm_storel_epi64((__m128i *)(void *)(to + 2 * stride), high);
    _mm_storel_epi64((__m128i *)(void *)(to + 3 * stride), _mm_unpackhi_epi64(high, high));
}

#ifdef __AVX512F__

typedef __m512i vi;

VF_INLINE vi vi_set(int32_t x)
{
    return _mm512_set1_epi32(x);
}

VF_INLINE vi vi_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

VF_INLINE void vi_store(void *p, vi x)
{
    _mm512_storeu_si512(p, x);
}

VF_INLINE vi vi_max(vi a, vi b)
{
    return _mm512_max_epi32(a, b);
}

VF_INLINE vi vi_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}

VF_INLINE int32_t vi_first(vi x)
{
    return _mm_cvtsi128_si32(_mm512_castsi512_si128(x));
}

/* Bits of |x|. */
VF_INLINE vi vi_size_bits(vf x)
{
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}

VF_INLINE int32_t vi_largest(vi x)
{
    return _mm512_reduce_max_epi32(x);
}

/* To nearest, to even between two. */
VF_INLINE vi vi_round(vf x)
{
    return _mm512_cvtps_epi32(x);
}

VF_INLINE vf vi_to_float(vi x)
{
    return _mm512_cvtepi32_ps(x);
}

#ifdef __AVX512VNNI__

enum { VI_STEP = 4, VI_WEIGHT_BYTES = 64 };

VF_INLINE vi vi_start(int32_t offset, const void *sums)
{
    return vi_sub(vi_set(0), _mm512_mullo_epi32(vi_set(offset), vi_load(sums)));
}

VF_INLINE vi vi_load_weights(const void *p)
{
    return vi_load(p);
}

VF_INLINE vi vi_dot(vi sum, vi x, vi w)
{
    return _mm512_dpbusd_epi32(sum, x, w);
}

VF_INLINE void vi_store_rows(char *to, int64_t stride, vi a, vi a_offset, vi b, vi b_offset)
{
    vi_store_steps(to, stride, _mm512_cvtepi32_epi8(_mm512_add_epi32(a, a_offset)),
                   _mm512_cvtepi32_epi8(_mm512_add_epi32(b, b_offset)));
}

#else

enum { VI_STEP = 2, VI_WEIGHT_BYTES = 32 };

VF_INLINE vi vi_load_weights(const void *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(p));
}

VF_INLINE vi vi_dot(vi sum, vi x, vi w)
{
    return _mm512_add_epi32(sum, _mm512_madd_epi16(x, w));
}

VF_INLINE void vi_store_rows(char *to, int64_t stride, vi a, vi a_offset, vi b, vi b_offset)
{
    (void)a_offset;
    (void)b_offset;
    const __m256i p = _mm512_cvtepi32_epi16(a), q = _mm512_cvtepi32_epi16(b);
    vi_store_steps(to, stride, _mm256_castsi256_si128(p), _mm256_castsi256_si128(q));
    vi_store_steps(to + 4 * stride, stride, _mm256_extracti128_si256(p, 1), _mm256_extracti128_si256(q, 1));
}

#endif

#else

typedef __m256i vi;
enum { VI_STEP = 2, VI_WEIGHT_BYTES = 16 };

VF_INLINE vi vi_set(int32_t x)
{
    return _mm256_set1_epi32(x);
}

VF_INLINE vi vi_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

VF_INLINE void vi_store(void *p, vi x)
{
    _mm256_storeu_si256(p, x);
}

VF_INLINE vi vi_max(vi a, vi b)
{
    return _mm256_max_epi32(a, b);
}

VF_INLINE vi vi_sub(vi a, vi b)
{
    return _mm256_sub_epi32(a, b);
}

VF_INLINE int32_t vi_first(vi x)
{
    return _mm_cvtsi128_si32(_mm256_castsi256_si128(x));
}

VF_INLINE vi vi_size_bits(vf x)
{
    return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
}

VF_INLINE int32_t vi_largest(vi x)
{
    __m128i y = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_max_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(y, _mm_shuffle_epi32(y, 0xb1)));
}

VF_INLINE vi vi_round(vf x)
{
    return _mm256_cvtps_epi32(x);
}

VF_INLINE vf vi_to_float(vi x)
{
    return _mm256_cvtepi32_ps(x);
}

VF_INLINE vi vi_load_weights(const void *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(p));
}

VF_INLINE vi vi_dot(vi sum, vi x, vi w)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
}

VF_INLINE __m128i vi_narrow(vi x)
{
    return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}

VF_INLINE void vi_store_rows(char *to, int64_t stride, vi a, vi a_offset, vi b, vi b_offset)
{
    (void)a_offset;
    (void)b_offset;
    vi_store_steps(to, stride, vi_narrow(a), vi_narrow(b));
}

#endif

#ifndef __AVX512VNNI__
/* Rows are signed: there is no offset. */
VF_INLINE vi vi_start(int32_t offset, const void *sums)
{
    (void)offset;
    (void)sums;
    return vi_set(0);
}
#endif

/* The largest of what vi_size_bits gives, as a number. */
VF_INLINE float vi_largest_float(vi sizes)
{
    const int32_t bits = vi_largest(sizes);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* 32 bits from anywhere, in all lanes. */
VF_INLINE vi vi_set_bytes(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return vi_set(x);
}

#endif
