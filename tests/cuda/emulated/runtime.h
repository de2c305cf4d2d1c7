/* Shared parts of the stand-ins of the CUDA runtime: reports, errors, memory, queues. The functions that stand in for
 * the runtime's own have their declarations in cuda_runtime_api.h. One host thread at a time may use them. */
#ifndef FBT_CUDA_EMULATED_RUNTIME_H
#define FBT_CUDA_EMULATED_RUNTIME_H

#include "kernel.h"

#include <cuda_runtime_api.h>

#include <functional>
#include <stddef.h>
#include <stdint.h>
#include <string>

namespace emulated
{

/* ---- errors (device.cc) ---- */

/* Writes "emulated CUDA: ..." to stderr. */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The last report, without the prefix; "": none yet. */
const std::string &last_report();

/* Keeps an error for cudaGetLastError and yields it. */
cudaError_t note(cudaError_t error);

/* The error that every call returns once a kernel went wrong; cudaSuccess: none. cudaDeviceReset clears it. */
cudaError_t sticky_error();
void set_sticky_error(cudaError_t error);

/* Number of devices; a value of an environment variable, or the default. */
int n_devices();
int64_t environment_number(const char *name, int64_t otherwise);
int current_device();

/* ---- memory (memory.cc) ---- */

/* Kind of these bytes, all of them: within one piece of device or pinned memory, or something else. */
enum class Memory { device, pinned, other };
Memory kind_of_memory(const void *memory, size_t n_bytes);

/* Whether a kernel may touch them. */
inline bool is_device_visible(const void *memory, size_t n_bytes)
{
    return kind_of_memory(memory, n_bytes) != Memory::other;
}

/* Between the two, the calling process may touch device memory; under ASan every access outside ends the program. */
void open_device_memory();
void close_device_memory();

/* ---- queues (streams.cc) ---- */

/* Queues work on a stream, or notes it in the graph that captures the stream. `run` is called when something waits for
 * it. */
cudaError_t enqueue(cudaStream_t stream, const std::string &name, std::function<cudaError_t()> run);

/* Called by an operation: to events it took so much longer. */
void let_time_pass(double seconds);

/* First check of a call that waits, allocates or frees: an error when a stream is being captured (which ends the
 * capture) or a kernel went wrong before. */
cudaError_t check_outside_capture(const char *call);

/* Runs everything that is queued on any stream, or all of one stream and whatever it waits for. */
cudaError_t run_all();
cudaError_t run_stream(cudaStream_t stream);

/* ---- launches (launch.cc) ---- */

/* Queues a kernel. Errors as of a real launch. `function` is the kernel's address. */
cudaError_t launch(const Kernel &kernel, const void *function, cudaStream_t stream);

} // namespace emulated

#endif
