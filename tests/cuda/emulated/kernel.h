/* Runs a kernel on the host: every CUDA thread is a fiber, every block a set of fibers that meet at barriers.
 *
 * Blocks run one after another in an order that the seed decides. Within a block a thread runs until it reaches a
 * barrier, a warp operation or its end; then any thread that can go on does, which one the seed decides. So whatever a
 * kernel leaves to chance differs from seed to seed. Threads that wait for each other in vain, or meet at different
 * places, end the launch with a sentence on stderr and cudaErrorLaunchFailure.
 *
 * One host thread at a time may use the emulation.
 */
#ifndef FBT_CUDA_EMULATED_KERNEL_H
#define FBT_CUDA_EMULATED_KERNEL_H

#include <cuda_runtime_api.h>

#include <memory>
#include <stddef.h>
#include <stdint.h>
#include <string>

namespace emulated
{

/* Where in the kernel's source something is called. */
struct Site {
    const char *file;
    int line;
};

struct Kernel {
    std::string name;
    dim3 grid, block;
    size_t shared_bytes;
    void (*run_thread)(const void *arguments);
    std::shared_ptr<const void> arguments;
    size_t argument_bytes;
};

/* Runs all blocks. Returns cudaErrorLaunchFailure when the kernel went wrong; the cause has been reported. */
cudaError_t run_kernel(const Kernel &kernel);

/* Seeds the order of what follows. At first: environment variable FBT_EMULATION_SEED, or 1. */
void set_seed(uint64_t seed);

/* A number below `bound` from the seeded stream. */
uint32_t random_below(uint32_t bound);

/* A running thread's place. */
struct Thread_place {
    uint3 thread, block;
    dim3 block_size, grid_size;
    unsigned char *shared;
    size_t shared_bytes;
};
extern const Thread_place *here;

/* Ends the launch from within a kernel: "kernel NAME, block B, thread T: MESSAGE". Does not return. */
[[noreturn]] void fail_kernel(const char *format, ...) __attribute__((format(printf, 1, 2)));

void block_barrier(Site site);

enum class Warp_operation { syncwarp, shuffle, vote, mma, ldmatrix, ldmatrix_trans };

/* Performs a warp operation once all lanes are there: arguments[l] is lane l's. */
typedef void (*Warp_perform)(void *const (&arguments)[32]);

/* Waits for all 32 lanes, which must come with the same operation and site; perform (or NULL) then runs once. */
void warp_call(Warp_operation operation, unsigned mask, Site site, void *argument, Warp_perform perform);

/* cp.async: see device.cuh. */
void copy_async(void *shared, const void *global, bool valid);
void copy_commit();
void copy_wait(int n_groups_left);

/* Fills memory with the pattern of what was never written: NaN in float, bfloat16 and half, -1 in integers. */
void poison(void *memory, size_t n_bytes);

} // namespace emulated

#endif
