/* Vocabulary of the kernels: warp sums, 16-byte accesses, tensor core fragments, asynchronous copies, launching.
 *
 * Everything that plain C++ lacks goes through this header. nvcc compiles it to instructions; with FBT_CUDA_EMULATED a C++
 * compiler takes tests/cuda/emulated/device.h instead, which runs every thread as a fiber on the host. Rules that keep a kernel the
 * same under both:
 *   - shared memory is one dynamic block per launch, got by fbt_shared() and cut up by the kernel (no __shared__ variables);
 *   - launches go through FBT_LAUNCH;
 *   - no PTX outside this file;
 *   - warp operations are called by all 32 threads of a warp.
 */
#ifndef FBT_CUDA_DEVICE_CUH
#define FBT_CUDA_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

enum { FBT_WARP = 32 };

#ifdef FBT_CUDA_EMULATED
#include "tests/cuda/emulated/device.h"
#else

/* Queues kernel<<<grid, block, shared_bytes, stream>>>(...) and yields what cudaGetLastError returns. More than 48 KB of
 * shared memory must have been allowed with fbt_allow_shared. */
#define FBT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                     \
    ((kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__), cudaGetLastError())

/* Lets a kernel use `shared_bytes` of dynamic shared memory. */
template <typename Kernel>
inline cudaError_t fbt_allow_shared(Kernel *kernel, int shared_bytes)
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                shared_bytes);
}

/* The block's dynamic shared memory, 128-byte aligned, uninitialised. */
__device__ __forceinline__ unsigned char *fbt_shared()
{
    extern __shared__ __align__(128) unsigned char block_memory[];
    return block_memory;
}

/* D += A B on tensor cores: A 16 x 16 row-major, B 16 x 8 column-major, D 16 x 8 float; fragments as PTX's
 * mma.m16n8k16 lays them out over the warp (PTX ISA, "Matrix Fragments for mma.m16n8k16"). Lane l holds, with
 * g = l / 4 and t = l % 4 (each cell below is two neighbouring items, 2t and 2t + 1, of the lane's row or column g):
 *
 *     A        columns 0..7  columns 8..15        B        columns 0..7        D        columns 0..7
 *     row g      | a[0]    |   a[2]    |      rows 0..7   | b[0]  |      row g      | d[0] d[1] |
 *     row g + 8  | a[1]    |   a[3]    |      rows 8..15  | b[1]  |      row g + 8  | d[2] d[3] |
 *
 *     A, D: items 2t, 2t + 1 of the row;  B: rows 2t, 2t + 1 of column g
 *
 * So D of one product, packed to 16 bits, is A of the next: d[0..1], d[2..3] of the left block are a[0], a[1], those of
 * the right block a[2], a[3]. Attention's second product takes the probabilities so. */
__device__ __forceinline__ void fbt_mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Four 8 x 8 matrices of 16-bit items from shared memory: lane l gives the 16-byte aligned address of row l % 8 of
 * matrix l / 8, and gets of matrix i the items 2 (l % 4), +1 of row l / 4 in r[i]; _trans: of the transposed matrix. */
__device__ __forceinline__ void fbt_ldmatrix(uint32_t (&r)[4], const void *row)
{
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

__device__ __forceinline__ void fbt_ldmatrix_trans(uint32_t (&r)[4], const void *row)
{
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

/* Starts copying 16 bytes from global to shared memory, both 16-byte aligned; writes zeros (and reads nothing) where not
 * `valid`. The copies since the last commit form a group; wait<n> returns when all but the thread's n latest groups have
 * landed; other threads see them after a barrier that follows. */
__device__ __forceinline__ void fbt_copy_async(void *shared, const void *global, bool valid)
{
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    int n_bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(address), "l"(global), "r"(n_bytes) : "memory");
}

__device__ __forceinline__ void fbt_copy_commit()
{
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}

template <int n>
__device__ __forceinline__ void fbt_copy_wait()
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(n) : "memory");
}

/* threadIdx.x, read where the call stands: what follows from it is then not kept in registers from before a loop on. */
__device__ __forceinline__ unsigned fbt_thread_here()
{
    unsigned thread;
    asm volatile("mov.u32 %0, %%tid.x;\n" : "=r"(thread));
    return thread;
}

/* Stores 16 bytes to global memory at once; the address must be 16-byte aligned. Left to itself the compiler stores words
 * that lie in registers apart one by one. */
__device__ __forceinline__ void fbt_store16(void *address, uint4 value)
{
    asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};\n" ::"l"(__cvta_generic_to_global(address)), "r"(value.x),
                 "r"(value.y), "r"(value.z), "r"(value.w)
                 : "memory");
}

#endif /* FBT_CUDA_EMULATED */

/* Loads 16 bytes at once; the address must be 16-byte aligned. */
__device__ __forceinline__ uint4 fbt_load16(const void *address)
{
    return *static_cast<const uint4 *>(address);
}

/* Sum and maximum over the warp's 32 values, in every lane, in an order that only the lane numbers decide. */
__device__ __forceinline__ float fbt_warp_sum(float value)
{
    for (int distance = FBT_WARP / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(0xffffffffU, value, distance);
    }
    return value;
}

__device__ __forceinline__ float fbt_warp_max(float value)
{
    for (int distance = FBT_WARP / 2; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, distance));
    }
    return value;
}

/* Two floats as two bfloat16, `low` in the low half, rounded to nearest even; and back. */
__device__ __forceinline__ uint32_t fbt_pack_bf16(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&pair);
}

__device__ __forceinline__ float2 fbt_unpack_bf16(uint32_t pair)
{
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000U));
}

#endif
