/* simd.h for any processor: what the compiler makes of four floats at a time. */
#ifndef FBT_CPU_SIMD_PLAIN_H
#define FBT_CPU_SIMD_PLAIN_H

enum { VF = 4 };
typedef float vf __attribute__((vector_size(4 * sizeof(float))));

VF_INLINE vf vf_set(float x)
{
    return (vf){x, x, x, x};
}

VF_INLINE vf vf_load_n(const float *p, int64_t n)
{
    vf x = vf_set(0);
    memcpy(&x, p, (size_t)n * sizeof *p);
    return x;
}

VF_INLINE vf vf_load(const float *p)
{
    return vf_load_n(p, VF);
}

VF_INLINE void vf_store_n(float *p, vf x, int64_t n)
{
    memcpy(p, &x, (size_t)n * sizeof *p);
}

VF_INLINE void vf_store(float *p, vf x)
{
    vf_store_n(p, x, VF);
}

VF_INLINE vf vf_load_bf16_n(const uint16_t *p, int64_t n)
{
    vf x = vf_set(0);
    for (int i = 0; i < n; i++) {
        x[i] = fbt_bf16_to_float(p[i]);
    }
    return x;
}

VF_INLINE vf vf_load_bf16(const uint16_t *p)
{
    return vf_load_bf16_n(p, VF);
}

VF_INLINE vf vf_load_f16_n(const uint16_t *p, int64_t n)
{
    vf x = vf_set(0);
    for (int i = 0; i < n; i++) {
        x[i] = fbt_f16_to_float(p[i]);
    }
    return x;
}

VF_INLINE void vf_store_bf16_n(uint16_t *p, vf x, int64_t n)
{
    for (int i = 0; i < n; i++) {
        p[i] = fbt_bf16_from_float(x[i]);
    }
}

VF_INLINE void vf_store_bf16(uint16_t *p, vf x)
{
    vf_store_bf16_n(p, x, VF);
}

VF_INLINE vf vf_add(vf a, vf b)
{
    return a + b;
}

VF_INLINE vf vf_sub(vf a, vf b)
{
    return a - b;
}

VF_INLINE vf vf_mul(vf a, vf b)
{
    return a * b;
}

VF_INLINE vf vf_max(vf a, vf b)
{
    for (int i = 0; i < VF; i++) {
        a[i] = a[i] > b[i] ? a[i] : b[i];
    }
    return a;
}

VF_INLINE vf vf_min(vf a, vf b)
{
    for (int i = 0; i < VF; i++) {
        a[i] = a[i] < b[i] ? a[i] : b[i];
    }
    return a;
}

VF_INLINE vf vf_div(vf a, vf b)
{
    return a / b;
}

/* a < b ? x : y */
VF_INLINE vf vf_if_less(vf a, vf b, vf x, vf y)
{
    for (int i = 0; i < VF; i++) {
        y[i] = a[i] < b[i] ? x[i] : y[i];
    }
    return y;
}

/* a b + c */
VF_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return a * b + c;
}

/* c - a b */
VF_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return c - a * b;
}

VF_INLINE vf vf_round(vf x)
{
    for (int i = 0; i < VF; i++) {
        x[i] = rintf(x[i]);
    }
    return x;
}

/* x 2^n, n whole */
VF_INLINE vf vf_scale2(vf x, vf n)
{
    for (int i = 0; i < VF; i++) {
        x[i] *= exp2f(n[i]);
    }
    return x;
}

VF_INLINE float vf_sum(vf x)
{
    return (x[0] + x[2]) + (x[1] + x[3]);
}

VF_INLINE float vf_largest(vf x)
{
    const vf y = vf_max(x, (vf){x[2], x[3], x[0], x[1]});
    return y[0] > y[1] ? y[0] : y[1];
}

VF_INLINE void vf_transpose(vf r[VF])
{
    for (int i = 0; i < VF; i++) {
        for (int j = 0; j < i; j++) {
            const float x = r[i][j];
            r[i][j] = r[j][i];
            r[j][i] = x;
        }
    }
}

#endif
