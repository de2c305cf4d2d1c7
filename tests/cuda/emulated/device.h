/* The device side of device.cuh on the host: included by it alone, compiled by a C++17 compiler.
 *
 * Kernels, device functions and launches keep their spelling. Only what the project's kernels use is here; floating
 * point atomics are left out on purpose (kernels.h, "Batch invariance"), and __shared__ variables do not compile.
 */
#ifndef FBT_CUDA_EMULATED_DEVICE_H
#define FBT_CUDA_EMULATED_DEVICE_H

#include "kernel.h"
#include "runtime.h"
#include "warp.h"

#include <math.h>
#include <string.h>
#include <tuple>
#include <type_traits>

#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif
/* Inlining is left to the compiler: forced, as on a device, it makes the sanitizers' code and its compilation several
 * times as long. */
#undef __forceinline__
#define __forceinline__ inline
#undef __shared__
#define __shared__ shared_variables_are_not_emulated_use_fbt_shared

#define threadIdx (emulated::here->thread)
#define blockIdx (emulated::here->block)
#define blockDim (emulated::here->block_size)
#define gridDim (emulated::here->grid_size)
#define warpSize 32

#define FBT_HERE                                                                                                       \
    emulated::Site                                                                                                     \
    {                                                                                                                  \
        file, line                                                                                                     \
    }
/* Every call that waits knows where it stands in the source, so that a hang can be told. */
#define FBT_CALLED_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()

/* ---- launching ---- */

namespace emulated
{

template <typename... Parameters> struct Launch {
    void (*kernel)(Parameters...);
    std::tuple<std::remove_cv_t<Parameters>...> arguments;

    static void run_thread(const void *launch)
    {
        const Launch *self = static_cast<const Launch *>(launch);
        std::apply(self->kernel, self->arguments);
    }
};

/* Arguments are converted to the kernel's parameters and kept by value, as a launch does. */
template <typename... Parameters, typename... Arguments>
cudaError_t launch_kernel(const char *name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                          cudaStream_t stream, Arguments &&...arguments)
{
    typedef Launch<Parameters...> Kept;
    static_assert((... && std::is_trivially_copyable<Parameters>::value), "kernel parameters are plain data");
    static_assert(sizeof(Kept) <= 4096, "kernel parameters take at most 4 KB");
    auto kept = std::make_shared<const Kept>(Kept{kernel, {static_cast<Parameters>(arguments)...}});
    return launch({name, grid, block, shared_bytes, Kept::run_thread, kept, sizeof(Kept)},
                  reinterpret_cast<const void *>(kernel), stream);
}

} // namespace emulated

#define FBT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                     \
    emulated::launch_kernel(#kernel, (kernel), (grid), (block), (shared_bytes), (stream), __VA_ARGS__)

template <typename Kernel> inline cudaError_t fbt_allow_shared(Kernel *kernel, int shared_bytes)
{
    return cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                shared_bytes);
}

inline unsigned char *fbt_shared()
{
    return emulated::here->shared;
}

/* ---- barriers and warp operations ---- */

inline void __syncthreads(FBT_CALLED_AT)
{
    emulated::block_barrier(FBT_HERE);
}

inline void __syncwarp(unsigned mask = 0xffffffffU, FBT_CALLED_AT)
{
    emulated::warp_call(emulated::Warp_operation::syncwarp, mask, FBT_HERE, nullptr, nullptr);
}

namespace emulated
{

inline int lane()
{
    const uint3 &t = here->thread;
    return static_cast<int>((t.x + here->block_size.x * (t.y + here->block_size.y * t.z)) % 32);
}

template <typename Value> Value shuffle(unsigned mask, Value value, int source, Site site)
{
    static_assert(sizeof value == 4 || sizeof value == 8, "shuffles move 4 or 8 bytes");
    Shuffle argument = {0, 0, source};
    memcpy(&argument.given, &value, sizeof value);
    warp_call(Warp_operation::shuffle, mask, site, &argument, perform_shuffle);
    memcpy(&value, &argument.taken, sizeof value);
    return value;
}

inline unsigned vote(unsigned mask, bool given, Site site)
{
    Vote argument = {given, 0};
    warp_call(Warp_operation::vote, mask, site, &argument, perform_vote);
    return argument.taken;
}

/* First lane of the section of `width` lanes that this lane is in. */
inline int section(int width)
{
    return lane() / width * width;
}

} // namespace emulated

template <typename Value> Value __shfl_sync(unsigned mask, Value value, int source, int width = 32, FBT_CALLED_AT)
{
    return emulated::shuffle(mask, value, emulated::section(width) + (source & (width - 1)), FBT_HERE);
}

template <typename Value>
Value __shfl_xor_sync(unsigned mask, Value value, int lane_mask, int width = 32, FBT_CALLED_AT)
{
    int source = emulated::lane() ^ lane_mask;
    return emulated::shuffle(mask, value, source < emulated::section(width) + width ? source : emulated::lane(),
                             FBT_HERE);
}

template <typename Value>
Value __shfl_down_sync(unsigned mask, Value value, unsigned delta, int width = 32, FBT_CALLED_AT)
{
    int source = emulated::lane() + static_cast<int>(delta);
    return emulated::shuffle(mask, value, source < emulated::section(width) + width ? source : emulated::lane(),
                             FBT_HERE);
}

template <typename Value>
Value __shfl_up_sync(unsigned mask, Value value, unsigned delta, int width = 32, FBT_CALLED_AT)
{
    int source = emulated::lane() - static_cast<int>(delta);
    return emulated::shuffle(mask, value, source >= emulated::section(width) ? source : emulated::lane(), FBT_HERE);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, FBT_CALLED_AT)
{
    return emulated::vote(mask, predicate != 0, FBT_HERE);
}

inline int __any_sync(unsigned mask, int predicate, FBT_CALLED_AT)
{
    return emulated::vote(mask, predicate != 0, FBT_HERE) != 0;
}

inline int __all_sync(unsigned mask, int predicate, FBT_CALLED_AT)
{
    return emulated::vote(mask, predicate != 0, FBT_HERE) == mask;
}

inline void fbt_mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], FBT_CALLED_AT)
{
    emulated::Mma argument = {d, a, b};
    emulated::warp_call(emulated::Warp_operation::mma, 0xffffffffU, FBT_HERE, &argument, emulated::perform_mma);
}

inline void fbt_ldmatrix(uint32_t (&r)[4], const void *row, FBT_CALLED_AT)
{
    emulated::Ldmatrix argument = {r, row};
    emulated::warp_call(emulated::Warp_operation::ldmatrix, 0xffffffffU, FBT_HERE, &argument,
                        emulated::perform_ldmatrix);
}

inline void fbt_ldmatrix_trans(uint32_t (&r)[4], const void *row, FBT_CALLED_AT)
{
    emulated::Ldmatrix argument = {r, row};
    emulated::warp_call(emulated::Warp_operation::ldmatrix_trans, 0xffffffffU, FBT_HERE, &argument,
                        emulated::perform_ldmatrix_trans);
}

inline unsigned fbt_thread_here()
{
    return threadIdx.x;
}

#undef FBT_HERE
#undef FBT_CALLED_AT

/* ---- asynchronous copies: what the destination held is gone at once, what is copied comes at the wait ---- */

inline void fbt_copy_async(void *shared, const void *global, bool valid)
{
    emulated::copy_async(shared, global, valid);
}

inline void fbt_copy_commit()
{
    emulated::copy_commit();
}

template <int n> inline void fbt_copy_wait()
{
    emulated::copy_wait(n);
}

inline void fbt_store16(void *address, uint4 value)
{
    *static_cast<uint4 *>(address) = value;
}

/* ---- arithmetic ---- */

inline unsigned __float_as_uint(float value)
{
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float __uint_as_float(unsigned bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline int __float_as_int(float value)
{
    return static_cast<int>(__float_as_uint(value));
}

inline float __int_as_float(int bits)
{
    return __uint_as_float(static_cast<unsigned>(bits));
}

inline float rsqrtf(float x)
{
    return static_cast<float>(1 / sqrt(static_cast<double>(x)));
}

inline float __frsqrt_rn(float x)
{
    return rsqrtf(x);
}

inline float __fsqrt_rn(float x)
{
    return sqrtf(x);
}

inline float __frcp_rn(float x)
{
    return 1 / x;
}

inline float __fdiv_rn(float x, float y)
{
    return x / y;
}

inline float __fdividef(float x, float y)
{
    return x / y;
}

inline float __expf(float x)
{
    return expf(x);
}

inline float __logf(float x)
{
    return logf(x);
}

inline float __fmaf_rn(float x, float y, float z)
{
    return fmaf(x, y, z);
}

/* Through memory, so that no compiler fuses them into a multiply-add. */
inline float __fmul_rn(float x, float y)
{
    volatile float product = x * y;
    return product;
}

inline float __fadd_rn(float x, float y)
{
    volatile float sum = x + y;
    return sum;
}

inline unsigned __umulhi(unsigned x, unsigned y)
{
    return static_cast<unsigned>((static_cast<uint64_t>(x) * y) >> 32);
}

inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y)
{
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(x) * y) >> 64);
}

inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

inline int __clz(int x)
{
    return x != 0 ? __builtin_clz(static_cast<unsigned>(x)) : 32;
}

inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

template <typename Value> inline Value __ldg(const Value *address)
{
    return *address;
}

template <typename X, typename Y> constexpr std::common_type_t<X, Y> min(X x, Y y)
{
    typedef std::common_type_t<X, Y> Common;
    return static_cast<Common>(y) < static_cast<Common>(x) ? static_cast<Common>(y) : static_cast<Common>(x);
}

template <typename X, typename Y> constexpr std::common_type_t<X, Y> max(X x, Y y)
{
    typedef std::common_type_t<X, Y> Common;
    return static_cast<Common>(x) < static_cast<Common>(y) ? static_cast<Common>(y) : static_cast<Common>(x);
}

#endif
