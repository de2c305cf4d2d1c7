/* Stand-ins of the CUDA runtime: devices, versions, errors. */
#include "runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace emulated
{

namespace
{

std::string &the_report()
{
    static std::string text;
    return text;
}

cudaError_t last_error = cudaSuccess, sticky = cudaSuccess;
int device = 0;

struct Error_text {
    cudaError_t error;
    const char *name, *text;
};

#define ERROR_TEXT(name, text)                                                                                         \
    {                                                                                                                  \
        name, #name, text                                                                                              \
    }
const Error_text error_texts[] = {
    ERROR_TEXT(cudaSuccess, "no error"),
    ERROR_TEXT(cudaErrorInvalidValue, "invalid argument"),
    ERROR_TEXT(cudaErrorMemoryAllocation, "out of memory"),
    ERROR_TEXT(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    ERROR_TEXT(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    ERROR_TEXT(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    ERROR_TEXT(cudaErrorInvalidDevice, "invalid device ordinal"),
    ERROR_TEXT(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    ERROR_TEXT(cudaErrorNotReady, "device not ready"),
    ERROR_TEXT(cudaErrorNotSupported, "operation not supported"),
    ERROR_TEXT(cudaErrorDeviceUninitialized, "invalid device context"),
    ERROR_TEXT(cudaErrorMapBufferObjectFailed, "mapping of buffer object failed"),
    ERROR_TEXT(cudaErrorLaunchFailure, "unspecified launch failure"),
    ERROR_TEXT(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    ERROR_TEXT(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    ERROR_TEXT(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    ERROR_TEXT(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    ERROR_TEXT(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    ERROR_TEXT(cudaErrorStreamCaptureImplicit,
               "operation would make the legacy stream depend on a capturing blocking stream"),
};

const Error_text *find_text(cudaError_t error)
{
    for (const Error_text &text : error_texts) {
        if (text.error == error) {
            return &text;
        }
    }
    return nullptr;
}

cudaError_t check_driver()
{
    if (environment_number("FBT_EMULATION_NO_DRIVER", 0) != 0) {
        return cudaErrorInsufficientDriver;
    }
    return n_devices() > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t check_device(int number)
{
    cudaError_t error = check_driver();
    if (error != cudaSuccess) {
        return error;
    }
    return number >= 0 && number < n_devices() ? cudaSuccess : cudaErrorInvalidDevice;
}

} // namespace

void report(const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    the_report() = text;
    fprintf(stderr, "emulated CUDA: %s\n", text);
}

const std::string &last_report()
{
    return the_report();
}

cudaError_t note(cudaError_t error)
{
    if (error != cudaSuccess) {
        last_error = error;
    }
    return error;
}

cudaError_t sticky_error()
{
    return sticky;
}

void set_sticky_error(cudaError_t error)
{
    sticky = error;
}

int64_t environment_number(const char *name, int64_t otherwise)
{
    const char *text = getenv(name);
    return text != nullptr && *text != '\0' ? strtoll(text, nullptr, 10) : otherwise;
}

int n_devices()
{
    return static_cast<int>(environment_number("FBT_EMULATION_DEVICES", 1));
}

int current_device()
{
    return device;
}

} // namespace emulated

using emulated::note;

extern "C" {

cudaError_t cudaGetDeviceCount(int *count)
{
    cudaError_t error = emulated::check_driver();
    *count = error == cudaSuccess ? emulated::n_devices() : 0;
    return note(error);
}

cudaError_t cudaSetDevice(int number)
{
    cudaError_t error = emulated::check_device(number);
    if (error == cudaSuccess) {
        emulated::device = number;
        error = emulated::sticky_error();
    }
    return note(error);
}

cudaError_t cudaSetDeviceFlags(unsigned int)
{
    return note(emulated::check_driver());
}

cudaError_t cudaGetDevice(int *number)
{
    *number = emulated::device;
    return note(emulated::check_driver());
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int number)
{
    cudaError_t error = emulated::check_device(number);
    if (error != cudaSuccess) {
        return note(error);
    }
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "emulated CUDA device");
    memcpy(properties->uuid.bytes, "fbt-emulation", 13);
    properties->uuid.bytes[15] = static_cast<char>(number);
    properties->major = 9;
    properties->minor = 0;
    properties->totalGlobalMem = static_cast<size_t>(emulated::environment_number("FBT_EMULATION_MEMORY_MB", 4096))
                                 << 20;
    properties->multiProcessorCount = 4;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->sharedMemPerBlock = 48 * 1024;
    properties->sharedMemPerBlockOptin = 227 * 1024;
    properties->sharedMemPerMultiprocessor = 228 * 1024;
    properties->regsPerBlock = 65536;
    properties->l2CacheSize = 50 << 20;
    properties->unifiedAddressing = 1;
    properties->canMapHostMemory = 1;
    properties->concurrentKernels = 1;
    properties->asyncEngineCount = 2;
    properties->pciBusID = number + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int number)
{
    struct cudaDeviceProp properties;
    cudaError_t error = cudaGetDeviceProperties(&properties, number);
    if (error != cudaSuccess) {
        return error;
    }
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
        *value = properties.major;
        return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
        *value = properties.minor;
        return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
        *value = properties.multiProcessorCount;
        return cudaSuccess;
    case cudaDevAttrClockRate: /* kHz */
        *value = 1000000;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = static_cast<int>(properties.sharedMemPerBlockOptin);
        return cudaSuccess;
    default:
        emulated::report("cudaDeviceGetAttribute: attribute %d has no stand-in", static_cast<int>(attribute));
        return note(cudaErrorInvalidValue);
    }
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = emulated::environment_number("FBT_EMULATION_NO_DRIVER", 0) != 0 ? 0 : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = emulated::last_error;
    emulated::last_error = emulated::sticky;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return emulated::last_error;
}

const char *cudaGetErrorString(cudaError_t error)
{
    const emulated::Error_text *text = emulated::find_text(error);
    return text != nullptr ? text->text : "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t error)
{
    const emulated::Error_text *text = emulated::find_text(error);
    return text != nullptr ? text->name : "unrecognized error code";
}

} /* extern "C" */
