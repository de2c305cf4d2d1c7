/* Blocks that a multiprocessor holds at once, by the rules in NVIDIA's cuda_occupancy.h.
 *
 * Reads lines "CAPABILITY REGISTERS STATIC_BYTES DYNAMIC_BYTES THREADS", CAPABILITY 80, 90 or 100; writes one number
 * for each.
 */
#include <cuda_occupancy.h>

#include <cstdio>

namespace
{
/* CUDA C++ Programming Guide, "Technical Specifications per Compute Capability". */
bool describe(int capability, cudaOccDeviceProp *device)
{
    const size_t shared_kb = capability == 80 ? 164 : 228;
    if (capability != 80 && capability != 90 && capability != 100) {
        return false;
    }
    *device = cudaOccDeviceProp();
    device->computeMajor = capability / 10;
    device->computeMinor = capability % 10;
    device->maxThreadsPerBlock = 1024;
    device->maxThreadsPerMultiprocessor = 2048;
    device->regsPerBlock = device->regsPerMultiprocessor = 65536;
    device->warpSize = 32;
    device->sharedMemPerBlock = 48 << 10;
    device->sharedMemPerMultiprocessor = shared_kb << 10;
    device->sharedMemPerBlockOptin = (shared_kb - 1) << 10;
    device->reservedSharedMemPerBlock = 1 << 10;
    device->numSms = 1;
    return true;
}
} // namespace

int main()
{
    int capability, registers, threads;
    size_t static_bytes, dynamic_bytes;
    while (std::scanf("%d %d %zu %zu %d", &capability, &registers, &static_bytes, &dynamic_bytes, &threads) == 5) {
        cudaOccDeviceProp device;
        cudaOccFuncAttributes kernel = {};
        cudaOccDeviceState state = {};
        cudaOccResult result;
        if (!describe(capability, &device)) {
            std::fprintf(stderr, "unknown capability %d\n", capability);
            return 1;
        }
        kernel.maxThreadsPerBlock = 1024;
        kernel.numRegs = registers;
        kernel.sharedSizeBytes = static_bytes;
        kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
        kernel.maxDynamicSharedSizeBytes = device.sharedMemPerBlockOptin - static_bytes;
        if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, dynamic_bytes) !=
            CUDA_OCC_SUCCESS) {
            std::fprintf(stderr, "no occupancy for %d registers, %d threads\n", registers, threads);
            return 1;
        }
        std::printf("%d\n", result.activeBlocksPerMultiprocessor);
    }
    return 0;
}
