/* Kernels that test_emulation.cc runs: right ones, and ones with a mistake that the emulation must show. */
#ifndef FBT_TESTS_EMULATED_KERNELS_H
#define FBT_TESTS_EMULATED_KERNELS_H

#include "kernels/cuda/device.cuh"

/* sums[block] = sum of the block's part of x, by halving. `barrier` = false: the mistake. */
template <bool barrier> __global__ void sum_kernel(float *sums, const float *x)
{
    float *partial = reinterpret_cast<float *>(fbt_shared());
    partial[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
    for (unsigned distance = blockDim.x / 2; distance > 0; distance /= 2) {
        if (barrier) {
            __syncthreads();
        }
        if (threadIdx.x < distance) {
            partial[threadIdx.x] += partial[threadIdx.x + distance];
        }
    }
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = partial[0];
    }
}

/* y[t] = x[t] by way of shared memory and asynchronous copies of 16 bytes; rows from n_valid on are zero. */
template <bool waits> __global__ void copy_kernel(float *y, const float *x, int n_valid)
{
    float *tile = reinterpret_cast<float *>(fbt_shared());
    int t = static_cast<int>(threadIdx.x);
    fbt_copy_async(tile + 4 * t, x + 4 * t, t < n_valid);
    fbt_copy_commit();
    fbt_copy_async(tile + 4 * (blockDim.x + t), x + 4 * t, true);
    fbt_copy_commit();
    if (waits) {
        fbt_copy_wait<1>();
    }
    fbt_store16(y + 4 * t, fbt_load16(tile + 4 * t));
    fbt_copy_wait<0>();
}

/* d = a b, one warp: a [16, 16], b [8, 16] (column-major B), d [16, 8]; by ldmatrix or by hand-made fragments. */
template <bool by_ldmatrix> __global__ void product_kernel(float *d, const __nv_bfloat16 *a, const __nv_bfloat16 *b)
{
    __nv_bfloat16 *tile_a = reinterpret_cast<__nv_bfloat16 *>(fbt_shared()), *tile_b = tile_a + 16 * 16;
    int lane = static_cast<int>(threadIdx.x), group = lane / 4, pair = 2 * (lane % 4);
    fbt_store16(tile_a + 8 * lane, fbt_load16(a + 8 * lane));
    if (lane < 16) {
        fbt_store16(tile_b + 8 * lane, fbt_load16(b + 8 * lane));
    }
    __syncwarp();
    uint32_t fragment_a[4], fragment_b[4];
    if (by_ldmatrix) {
        fbt_ldmatrix(fragment_a, tile_a + 16 * (lane % 16) + 8 * (lane / 16));
        fbt_ldmatrix(fragment_b, tile_b + 16 * (lane % 8) + 8 * (lane / 8 % 2));
    } else {
        for (int i = 0; i < 4; i++) {
            fragment_a[i] = *reinterpret_cast<const uint32_t *>(tile_a + 16 * (group + i % 2 * 8) + pair + i / 2 * 8);
        }
        for (int i = 0; i < 2; i++) {
            fragment_b[i] = *reinterpret_cast<const uint32_t *>(tile_b + 16 * group + pair + i * 8);
        }
    }
    float sum[4] = {0, 0, 0, 0};
    uint32_t half_b[2] = {fragment_b[0], fragment_b[1]};
    fbt_mma_bf16(sum, fragment_a, half_b);
    for (int i = 0; i < 4; i++) {
        d[8 * (group + i / 2 * 8) + pair + i % 2] = sum[i];
    }
}

/* out[32 i + lane]: r[i] of ldmatrix and ldmatrix_trans over an 8 x 32 tile whose items are their own numbers. */
__global__ void indices_kernel(uint32_t *plain, uint32_t *transposed)
{
    uint16_t *tile = reinterpret_cast<uint16_t *>(fbt_shared());
    int lane = static_cast<int>(threadIdx.x);
    for (int i = lane; i < 8 * 32; i += 32) {
        tile[i] = static_cast<uint16_t>(i);
    }
    __syncwarp();
    uint32_t r[4];
    fbt_ldmatrix(r, tile + 32 * (lane % 8) + 8 * (lane / 8));
    for (int i = 0; i < 4; i++) {
        plain[32 * i + lane] = r[i];
    }
    fbt_ldmatrix_trans(r, tile + 32 * (lane % 8) + 8 * (lane / 8));
    for (int i = 0; i < 4; i++) {
        transposed[32 * i + lane] = r[i];
    }
}

__global__ void shuffles_kernel(int *out, double *wide)
{
    int lane = static_cast<int>(threadIdx.x % 32);
    int *mine = out + 8 * threadIdx.x;
    mine[0] = __shfl_sync(0xffffffffU, lane, 5);
    mine[1] = __shfl_sync(0xffffffffU, lane, lane + 1, 8);
    mine[2] = __shfl_xor_sync(0xffffffffU, lane, 3);
    mine[3] = __shfl_down_sync(0xffffffffU, lane, 2);
    mine[4] = __shfl_up_sync(0xffffffffU, lane, 2);
    mine[5] = static_cast<int>(__ballot_sync(0xffffffffU, lane % 3 == 0));
    mine[6] = __any_sync(0xffffffffU, lane == 7);
    mine[7] = __all_sync(0xffffffffU, lane != 7);
    wide[threadIdx.x] = __shfl_xor_sync(0xffffffffU, lane + 0.25, 1);
}

enum Mistake {
    SKIPS_BARRIER,    /* half the block ends before a barrier      */
    SPLITS_BARRIER,   /* two halves meet in different barriers     */
    SKIPS_WARP,       /* a lane misses a warp operation            */
    SPLITS_WARP,      /* lanes come to different warp operations   */
    PARTIAL_MASK,     /* a warp operation that is not of all lanes */
    UNWAITED_COPY,    /* ends with a copy in flight                */
    CROOKED_COPY,     /* asynchronous copy to an address not / 16  */
    COPY_OUTSIDE,     /* asynchronous copy that leaves the block   */
    COPY_FROM_HOST,   /* asynchronous copy that reads host memory  */
    CROOKED_LDMATRIX, /* row address not a multiple of 16          */
};

__global__ void mistaken_kernel(Mistake mistake, const float *x)
{
    float *shared = reinterpret_cast<float *>(fbt_shared());
    unsigned t = threadIdx.x;
    uint32_t r[4] = {};
    switch (mistake) {
    case SKIPS_BARRIER:
        if (t < blockDim.x / 2) {
            __syncthreads();
        }
        break;
    case SPLITS_BARRIER:
        if (t < blockDim.x / 2) {
            __syncthreads();
        } else {
            __syncthreads();
        }
        break;
    case SKIPS_WARP:
        if (t != 3) {
            fbt_warp_sum(1);
        }
        break;
    case SPLITS_WARP:
        if (t % 2 == 0) {
            __syncwarp();
        } else {
            fbt_warp_sum(1);
        }
        break;
    case PARTIAL_MASK:
        __syncwarp(1U);
        break;
    case UNWAITED_COPY:
        fbt_copy_async(shared + 4 * t, x, true);
        break;
    case CROOKED_COPY:
        fbt_copy_async(shared + 4 * t + 1, x, true);
        break;
    case COPY_OUTSIDE:
        fbt_copy_async(shared + 4 * blockDim.x + 4, x, true);
        break;
    case COPY_FROM_HOST:
        fbt_copy_async(shared + 4 * t, &r, true);
        break;
    case CROOKED_LDMATRIX:
        fbt_ldmatrix(r, shared + t);
        break;
    }
}

enum Stray { READS_PAST_MEMORY, READS_PAST_SHARED, CROOKED_LOAD };

/* y[t] = x[2 t] x[2 t + 1] */
__global__ void pairs_kernel(float *y, const float *x)
{
    y[threadIdx.x] = x[2 * threadIdx.x] * x[2 * threadIdx.x + 1];
}

/* Mistakes that only the sanitizers see. */
__global__ void stray_kernel(float *y, const float *x, Stray stray, int n)
{
    float *shared = reinterpret_cast<float *>(fbt_shared());
    switch (stray) {
    case READS_PAST_MEMORY:
        y[0] = x[n];
        break;
    case READS_PAST_SHARED:
        y[0] = shared[n];
        break;
    default:
        y[0] = __uint_as_float(fbt_load16(x + 1).x);
        break;
    }
}

__global__ void barriers_kernel(int *out, int n_barriers)
{
    int *count = reinterpret_cast<int *>(fbt_shared());
    for (int i = 0; i < n_barriers; i++) {
        if (static_cast<int>(threadIdx.x) == i % static_cast<int>(blockDim.x)) {
            *count = i;
        }
        __syncthreads();
    }
    out[threadIdx.x] = *count;
}

/* order[k] = number of the block that came k-th. */
__global__ void order_kernel(unsigned *order, unsigned *n)
{
    order[(*n)++] = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
}

#endif
