/* The block that runs and its threads: between kernel.cc, which makes them take turns, meeting.cc, where they wait for
 * each other, and access.cc, which watches what they touch. */
#ifndef FBT_CUDA_EMULATED_BLOCK_H
#define FBT_CUDA_EMULATED_BLOCK_H

#include "fibers.h"
#include "kernel.h"

#include <vector>

namespace emulated
{

enum { WARP = 32 };

enum class State { ready, at_barrier, in_warp, ended };

struct Copy {
    void *shared;
    const void *global;
    bool valid;
    uint64_t group;
};

struct Thread {
    Thread_place place;
    State state;
    Fiber *fiber;
    int number, lane, warp;
    Site site; /* where it waits */
    Warp_operation operation;
    void *argument;
    std::vector<Copy> copies; /* in flight */
    uint64_t n_groups;        /* committed */
};

struct Warp {
    Thread *lanes; /* [32] */
    Thread *first_waiting;
    int n_waiting;       /* in a warp operation */
    uint32_t n_barriers; /* __syncwarp so far   */
};

struct Block {
    const Kernel *kernel;
    std::vector<Thread> threads;
    std::vector<Thread *> ready;
    Thread *running;
    int n_at_barrier, n_ended;
    bool failed;
    uint32_t n_barriers; /* __syncthreads so far */
    std::vector<Warp> warps;
};
extern Block the_block;

void make_ready(Thread *thread);

/* The running thread waits: another goes on. Returns when it is its turn again. */
void wait();

/* Words that are not on the heap: a fiber that fails never gets to free it. */
struct Text {
    char words[256];
};
Text text_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
Text site_text(Site site);
Text call_text(Warp_operation operation, unsigned mask, Site site);

} // namespace emulated

#endif
