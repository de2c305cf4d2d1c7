/* Stacks that one host thread switches between. */
#ifndef FBT_CUDA_EMULATED_FIBERS_H
#define FBT_CUDA_EMULATED_FIBERS_H

#include <stddef.h>

namespace emulated
{

struct Thread;

/* A thread takes a fiber when it starts and leaves it when it ends; threads that never wait all run on the first. */
struct Fiber {
    void *context = nullptr;     /* where it goes on */
    const void *stack = nullptr; /* lowest address */
    size_t stack_bytes = 0;
    void *fake_stack = nullptr; /* ASan's */
    Thread *starts = nullptr;   /* thread to run when an idle fiber is switched to */
};

/* The caller's own stack. */
extern Fiber host;

/* Leaves `from`, which runs, for `to`; returns when something switches back. */
void switch_fiber(Fiber *from, Fiber *to);

/* A fiber that waits for `starts` to be set and to be switched to; then it calls fiber_main, which never returns. */
Fiber *take_fiber();
void leave_fiber(Fiber *fiber);
void fiber_main(Fiber *self);

/* Takes back all fibers as they are; what was on their stacks is forgotten. */
void abandon_fibers();

} // namespace emulated

#endif
