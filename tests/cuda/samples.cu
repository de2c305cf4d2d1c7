/* Kernels with one fault each, and one without any: what test_checks.py looks for them in. */
#include "kernels/cuda/device.cuh"

__global__ void good(uint4 *y, const __nv_bfloat16 *x, int n_tiles)
{
    unsigned char *tile = fbt_shared() + threadIdx.x * 16;
    float d[4] = {};
#pragma unroll 1
    for (int i = 0; i < n_tiles; i++) {
        uint32_t a[4], b[4];
        fbt_copy_async(tile, x + (i * 128 + threadIdx.x) * 8, true);
        fbt_copy_commit();
        fbt_copy_wait<0>();
        __syncthreads();
        fbt_ldmatrix(a, tile);
        fbt_ldmatrix_trans(b, tile);
        fbt_mma_bf16(d, a, {b[0], b[1]});
        __syncthreads();
    }
    y[threadIdx.x] =
        make_uint4(__float_as_uint(d[0]), __float_as_uint(d[1]), __float_as_uint(d[2]), __float_as_uint(d[3]));
}

__global__ void product_without_shared(uint4 *y, const uint4 *x, int n_tiles)
{
    float d[4] = {};
#pragma unroll 1
    for (int i = 0; i < n_tiles; i++) {
        const uint4 a = x[(2 * i) * 32 + threadIdx.x], b = x[(2 * i + 1) * 32 + threadIdx.x];
        fbt_mma_bf16(d, {a.x, a.y, a.z, a.w}, {b.x ^ b.z, b.y ^ b.w});
    }
    y[threadIdx.x] =
        make_uint4(__float_as_uint(d[0]), __float_as_uint(d[1]), __float_as_uint(d[2]), __float_as_uint(d[3]));
}

__global__ void __launch_bounds__(1024, 2) spills(uint4 *y, const uint4 *x)
{
    uint4 v[16];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        v[i] = x[i * 1024 + threadIdx.x];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 16; i++) {
        y[i * 1024 + threadIdx.x] = v[15 - i];
    }
}

__global__ void computed_index(uint4 *y, const uint4 *x, int n)
{
    uint4 v[8];
    for (int i = 0; i < n; i++) {
        v[i % 8] = x[i];
    }
    for (int i = 0; i < n; i++) {
        y[i] = v[i * 3 % 8];
    }
}

__global__ void atomic(float *y, const float4 *x)
{
    atomicAdd(y, x[threadIdx.x].x + x[threadIdx.x].w);
}

__global__ void doubled(uint4 *y, const uint4 *x)
{
    uint4 v = x[threadIdx.x];
    v.x = __float_as_uint(static_cast<float>(__uint_as_float(v.x) * 0.1));
    y[threadIdx.x] = v;
}

__global__ void narrow(uint32_t *y, const uint2 *x)
{
    y[threadIdx.x] = x[threadIdx.x].x + x[threadIdx.x].y;
}
