/* Vectors of floats: one set of names, implemented for AVX-512, AVX2 with FMA, and plain C.
 *
 * Files that include this header are compiled once per instruction set (CMakeLists.txt), each copy with the widest set
 * it may use, and the backend picks a copy when it opens. vf holds VF floats. The _n forms touch the first n lanes of
 * memory only (0 < n <= VF); lanes beyond are zero when loaded. Sums over lanes have a fixed order. vf_transpose: VF
 * vectors as the rows of a square.
 */
#ifndef FBT_CPU_SIMD_H
#define FBT_CPU_SIMD_H

#include "base/half.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define VF_INLINE static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "kernels/cpu/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "kernels/cpu/simd_avx2.h"
#else
#include "kernels/cpu/simd_plain.h"
#endif

/* e^x for x <= 88; 0 below about -87.3. Cody-Waite reduction by ln 2 in two parts and the polynomial of degree 6 of
 * Cephes' expf; relative error below 2e-7. */
VF_INLINE vf vf_exp(vf x)
{
    x = vf_max(vf_set(-87.33654f), x); /* in this order a NaN stays one */
    const vf n = vf_round(vf_mul(x, vf_set(1.44269504f)));
    vf r = vf_fnma(n, vf_set(0.693359375f), x);
    r = vf_fnma(n, vf_set(-2.12194440e-4f), r);
    vf p = vf_set(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set(5.0000001201e-1f));
    p = vf_fma(p, vf_mul(r, r), vf_add(r, vf_set(1.0f)));
    return vf_scale2(p, n);
}

#endif
