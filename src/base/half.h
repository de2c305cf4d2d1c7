/* The 16-bit floating types, one value at a time, for C and C++ on the host. Vectorised code has forms of its own
 * (kernels/cpu/simd_*.h), which give the same bits. */
#ifndef FBT_BASE_HALF_H
#define FBT_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float fbt_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* bfloat16 is the upper half of a float. */
static inline float fbt_bf16_to_float(uint16_t x)
{
    return fbt_float_of_bits((uint32_t)x << 16);
}

/* Rounds to nearest, ties to even; a NaN stays one, with its sign. */
static inline uint16_t fbt_bf16_from_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffU) > 0x7f800000U) {
        return (uint16_t)(bits >> 16 | 0x40U);
    }
    return (uint16_t)((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

/* IEEE binary16: exact, subnormals, infinities and NaNs included, where subnormal floats are flushed to zero too. */
static inline float fbt_f16_to_float(uint16_t x)
{
    const uint32_t sign = (uint32_t)(x & 0x8000U) << 16, exponent = x >> 10 & 0x1fU, fraction = x & 0x3ffU;
    uint32_t bits;
    if (exponent == 0) {
        const float magnitude = (float)fraction * 0x1p-24f;
        memcpy(&bits, &magnitude, sizeof bits);
    } else {
        bits = (exponent == 31 ? 0xffU : exponent + 112) << 23 | fraction << 13;
    }
    return fbt_float_of_bits(bits | sign);
}

#endif
