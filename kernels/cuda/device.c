/* Which device this rank computes on, and what is wrong where there is none. */
#include "kernels/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OLDEST_MAJOR = 8 }; /* Ampere: the first with bfloat16 and TF32 on tensor cores */

/* Text of a version as CUDA counts them: 13000 is 13.0. */
static const char *version_text(int version, char text[16])
{
    snprintf(text, 16, "%d.%d", version / 1000, version % 1000 / 10);
    return text;
}

static fbt_status explain_no_device(cudaError_t code)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int driver = 0, runtime = 0;
    char driver_text[16], runtime_text[16];
    cudaGetLastError();
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
        return fbt_fail(FBT_ERR_BACKEND,
                        "backend.name is cuda, but this machine has no NVIDIA driver (libcuda.so.1 is not "
                        "there): set backend.name to cpu, or run where the driver is installed");
    }
    if (code == cudaErrorInsufficientDriver) {
        cudaRuntimeGetVersion(&runtime);
        return fbt_fail(FBT_ERR_BACKEND,
                        "backend.name is cuda, but this machine's NVIDIA driver is older than the CUDA runtime of this "
                        "build (driver: up to CUDA %s, runtime: %s): update the driver or build with an older toolkit",
                        version_text(driver, driver_text), version_text(runtime, runtime_text));
    }
    if (code == cudaErrorNoDevice || code == cudaSuccess) {
        return fbt_fail(FBT_ERR_BACKEND,
                        "backend.name is cuda, and this machine has a driver, but no CUDA device is visible: "
                        "CUDA_VISIBLE_DEVICES is %s%s%s",
                        visible == NULL ? "not set" : "'", visible == NULL ? "" : visible, visible == NULL ? "" : "'");
    }
    return fbt_cuda_status(code, "look for devices");
}

static void describe(fbt_cuda *cuda, const struct cudaDeviceProp *properties)
{
    int driver = 0, runtime = 0;
    char driver_text[16], runtime_text[16];
    const size_t blas = cublasLtGetVersion(); /* 13.1.2 is 130102 */
    const unsigned char *u = cuda->uuid;
    snprintf(cuda->name, sizeof cuda->name, "%s", properties->name);
    memcpy(cuda->uuid, properties->uuid.bytes, sizeof cuda->uuid);
    snprintf(cuda->id, sizeof cuda->id, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    snprintf(cuda->isa, sizeof cuda->isa, "sm_%d%d", properties->major, properties->minor);
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    snprintf(cuda->libraries, sizeof cuda->libraries, "CUDA runtime %s, driver %s, cuBLASLt %zu.%zu.%zu",
             version_text(runtime, runtime_text), version_text(driver, driver_text), blas / 10000, blas / 100 % 100,
             blas % 100);
}

static fbt_status count_devices(int *n)
{
    const cudaError_t code = cudaGetDeviceCount(n);
    return code != cudaSuccess || *n < 1 ? explain_no_device(code) : FBT_OK;
}

fbt_status fbt_cuda_probe(void)
{
    int n_devices = 0;
    return count_devices(&n_devices);
}

fbt_status fbt_cuda_device_open(fbt_cuda *cuda, int local_rank)
{
    fbt_status status = FBT_OK;
    int n_devices = 0;
    struct cudaDeviceProp properties;
    FBT_TRY(count_devices(&n_devices));
    cuda->device = local_rank % n_devices;
    FBT_TRY(fbt_cuda_status(cudaGetDeviceProperties(&properties, cuda->device), "describe its device"));
    if (properties.major < OLDEST_MAJOR) {
        FBT_FAIL(FBT_ERR_BACKEND,
                 "backend.name is cuda, but device %d (%s) has compute capability %d.%d; at least %d.0 is needed",
                 cuda->device, properties.name, properties.major, properties.minor, OLDEST_MAJOR);
    }
    FBT_TRY(fbt_cuda_status(cudaSetDevice(cuda->device), "take its device"));
    /* Waiting ranks must leave their core to those that work: there may be more ranks than cores. */
    FBT_TRY(fbt_cuda_status(cudaSetDeviceFlags(cudaDeviceScheduleBlockingSync), "set how to wait for its device"));
    cuda->n_processors = properties.multiProcessorCount;
    cuda->major = properties.major;
    cuda->minor = properties.minor;
    cuda->n_bytes = (int64_t)properties.totalGlobalMem;
    describe(cuda, &properties);
done:
    return status;
}

/* Operations of a cycle of one multiprocessor, an addition and a multiplication each counted: NVIDIA's white papers on
 * the architectures. Tensor cores with sums in float and without sparsity, as data centres have them. */
static int operations_of_a_cycle(const fbt_cuda *cuda, fbt_compute compute)
{
    static const struct {
        int major, minor, of[FBT_COMPUTE_I8 + 1];
    } rows[] = {
        {8, 0, {[FBT_COMPUTE_FP32] = 128, [FBT_COMPUTE_TF32] = 1024, [FBT_COMPUTE_BF16] = 2048}},
        {8, 6, {[FBT_COMPUTE_FP32] = 256, [FBT_COMPUTE_TF32] = 512, [FBT_COMPUTE_BF16] = 1024}},
        {8, 9, {[FBT_COMPUTE_FP32] = 256, [FBT_COMPUTE_TF32] = 512, [FBT_COMPUTE_BF16] = 1024}},
        {9, 0, {[FBT_COMPUTE_FP32] = 256, [FBT_COMPUTE_TF32] = 2048, [FBT_COMPUTE_BF16] = 4096}},
        {10, 0, {[FBT_COMPUTE_FP32] = 256, [FBT_COMPUTE_TF32] = 4096, [FBT_COMPUTE_BF16] = 8192}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].major == cuda->major && rows[i].minor == cuda->minor) {
            return rows[i].of[compute];
        }
    }
    return 0;
}

double fbt_cuda_nominal_flops(const fbt_cuda *cuda, fbt_compute compute)
{
    int kilohertz = 0;
    if (cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, cuda->device) != cudaSuccess) {
        cudaGetLastError();
    }
    return 1e3 * kilohertz * cuda->n_processors * operations_of_a_cycle(cuda, compute);
}
