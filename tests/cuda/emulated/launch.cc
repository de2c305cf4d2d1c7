/* Stand-ins of the CUDA runtime: launching kernels, within the limits of an H100. */
#include "kernel.h"
#include "runtime.h"

#include <map>

namespace emulated
{

namespace
{

enum { SHARED_WITHOUT_ASKING = 48 * 1024, SHARED_AT_MOST = 227 * 1024 };

std::map<const void *, int> allowed_shared;

size_t shared_limit(const void *function)
{
    auto found = allowed_shared.find(function);
    return static_cast<size_t>(found != allowed_shared.end() ? found->second : SHARED_WITHOUT_ASKING);
}

cudaError_t check_shape(dim3 grid, dim3 block)
{
    bool has_blocks = grid.x > 0 && grid.y > 0 && grid.z > 0 && block.x > 0 && block.y > 0 && block.z > 0;
    bool grid_fits = grid.x <= 2147483647U && grid.y <= 65535 && grid.z <= 65535;
    bool block_fits = block.x <= 1024 && block.y <= 1024 && block.z <= 64 && block.x * block.y * block.z <= 1024;
    return has_blocks && grid_fits && block_fits ? cudaSuccess : cudaErrorInvalidConfiguration;
}

} // namespace

cudaError_t launch(const Kernel &kernel, const void *function, cudaStream_t stream)
{
    cudaError_t error = check_shape(kernel.grid, kernel.block);
    if (error == cudaSuccess && kernel.shared_bytes > shared_limit(function)) {
        error = cudaErrorInvalidValue;
    }
    if (error != cudaSuccess) {
        report("kernel %s: <<<(%u, %u, %u), (%u, %u, %u), %zu bytes>>> exceeds a limit", kernel.name.c_str(),
               kernel.grid.x, kernel.grid.y, kernel.grid.z, kernel.block.x, kernel.block.y, kernel.block.z,
               kernel.shared_bytes);
        return error;
    }
    error = enqueue(stream, kernel.name, [kernel] { return run_kernel(kernel); });
    return error != cudaSuccess ? cudaGetLastError() : cudaSuccess;
}

} // namespace emulated

extern "C" cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    bool is_known = attribute == cudaFuncAttributeMaxDynamicSharedMemorySize ||
                    attribute == cudaFuncAttributePreferredSharedMemoryCarveout;
    if (!is_known || value < 0 || value > emulated::SHARED_AT_MOST) {
        return emulated::note(cudaErrorInvalidValue);
    }
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
        emulated::allowed_shared[function] = value;
    }
    return cudaSuccess;
}
