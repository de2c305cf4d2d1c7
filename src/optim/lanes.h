/* Eight doubles at once, by whatever instructions the file is compiled for. Every operation rounds as its scalar does,
 * and a fused one fuses on every processor, so that the copies of one function agree to the last bit. */
#ifndef FBT_OPTIM_LANES_H
#define FBT_OPTIM_LANES_H

#define LANES_INLINE static inline __attribute__((always_inline))

enum { LANES = 8 };

#ifdef __AVX512F__
#include <immintrin.h>

typedef __m512d lanes;

LANES_INLINE lanes lanes_set(double x)
{
    return _mm512_set1_pd(x);
}

LANES_INLINE lanes lanes_load(const double *p)
{
    return _mm512_loadu_pd(p);
}

LANES_INLINE void lanes_store(double *p, lanes x)
{
    _mm512_storeu_pd(p, x);
}

LANES_INLINE lanes lanes_add(lanes a, lanes b)
{
    return _mm512_add_pd(a, b);
}

LANES_INLINE lanes lanes_multiply(lanes a, lanes b)
{
    return _mm512_mul_pd(a, b);
}

/* a b + c, rounded once. */
LANES_INLINE lanes lanes_fused(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_pd(a, b, c);
}

#elif defined __AVX2__ && defined __FMA__
#include <immintrin.h>

typedef struct lanes {
    __m256d low, high;
} lanes;

LANES_INLINE lanes lanes_set(double x)
{
    return (lanes){_mm256_set1_pd(x), _mm256_set1_pd(x)};
}

LANES_INLINE lanes lanes_load(const double *p)
{
    return (lanes){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)};
}

LANES_INLINE void lanes_store(double *p, lanes x)
{
    _mm256_storeu_pd(p, x.low);
    _mm256_storeu_pd(p + 4, x.high);
}

LANES_INLINE lanes lanes_add(lanes a, lanes b)
{
    return (lanes){_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
}

LANES_INLINE lanes lanes_multiply(lanes a, lanes b)
{
    return (lanes){_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)};
}

LANES_INLINE lanes lanes_fused(lanes a, lanes b, lanes c)
{
    return (lanes){_mm256_fmadd_pd(a.low, b.low, c.low), _mm256_fmadd_pd(a.high, b.high, c.high)};
}

#else
#include <math.h>
#include <string.h>

typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));

LANES_INLINE lanes lanes_set(double x)
{
    return (lanes){x, x, x, x, x, x, x, x};
}

LANES_INLINE lanes lanes_load(const double *p)
{
    lanes x;
    memcpy(&x, p, sizeof x);
    return x;
}

LANES_INLINE void lanes_store(double *p, lanes x)
{
    memcpy(p, &x, sizeof x);
}

LANES_INLINE lanes lanes_add(lanes a, lanes b)
{
    return a + b;
}

LANES_INLINE lanes lanes_multiply(lanes a, lanes b)
{
    return a * b;
}

LANES_INLINE lanes lanes_fused(lanes a, lanes b, lanes c)
{
    for (int i = 0; i < LANES; i++) {
        c[i] = fma(a[i], b[i], c[i]);
    }
    return c;
}
#endif

/* In the order of fbt_vector_dot. */
LANES_INLINE double lanes_sum(lanes x)
{
    double at[LANES];
    lanes_store(at, x);
    return ((at[0] + at[4]) + (at[1] + at[5])) + ((at[2] + at[6]) + (at[3] + at[7]));
}

#endif
