/* Watches every access of a kernel to memory, where its source was compiled for that.
 *
 * A source compiled with -fsanitize=thread calls a function before each access that may not be the thread's own affair.
 * Those functions are here instead of in that sanitizer's library. They end the launch when
 *   - the address is neither device memory, pinned memory, the block's shared memory, the thread's own stack, nor a
 * constant;
 *   - shared memory is read that nothing wrote before in this block, or that an asynchronous copy is still to write;
 *   - two threads touch the same place, one of them writes, and nothing orders them: in a block, a __syncthreads
 * between or, in a warp, a __syncwarp (shuffles order nothing); between blocks, nothing does. What ldmatrix read is
 * read for all lanes. Pinned memory may be written by many: the error word of a kernel is. Sources compiled without
 * cost nothing and are not watched, but for asynchronous copies and ldmatrix, which know the state only once some
 * source is compiled so.
 */
#ifndef FBT_CUDA_EMULATED_ACCESS_H
#define FBT_CUDA_EMULATED_ACCESS_H

#include <stddef.h>

namespace emulated
{

/* Whether the kernel's own code runs, as opposed to the emulation's or the host's. */
extern bool is_watching;

void watch_launch();
void watch_block(size_t n_shared_bytes);

/* The running thread is about to wait or end: its last access is over. */
void watch_settle();

/* On behalf of the running thread. */
void watch_copy_start(const void *shared, const void *global); /* 16 bytes; global: NULL where zeros are written */
void watch_copy_end(const void *shared);

/* On behalf of the thread of a lane of the running thread's warp: ldmatrix reads 16 bytes. */
void watch_row(int lane, const void *row);

} // namespace emulated

#endif
