#include "fibers.h"

#include <boost/context/detail/fcontext.hpp>

#include <memory>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#if defined(__SSE2__)
#include <pmmintrin.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace emulated
{

Fiber host;

namespace
{

namespace context = boost::context::detail;

enum { STACK_BYTES = 256 * 1024 };

std::vector<std::unique_ptr<Fiber>> fibers; /* all that were ever made */
std::vector<Fiber *> idle;

/* After a switch: notes where the one that was left goes on, and who is here. */
void arrive(Fiber *self, context::transfer_t transfer)
{
    Fiber *left = static_cast<Fiber *>(transfer.data);
    left->context = transfer.fctx;
#if defined(__SANITIZE_ADDRESS__)
    const void *stack;
    size_t stack_bytes;
    __sanitizer_finish_switch_fiber(self->fake_stack, &stack, &stack_bytes);
    if (left == &host) {
        host.stack = stack;
        host.stack_bytes = stack_bytes;
    }
#else
    (void)self;
#endif
}

/* Floats too small for a whole significand are zero to kernels (-ftz), and to nobody else: a switch of contexts keeps
 * each one's own mode. Processors other than x86 leave them as they are. */
void flush_small_floats()
{
#if defined(__SSE2__)
    _mm_setcsr(_mm_getcsr() | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON);
#endif
}

Fiber *entered; /* the fiber that is switched to for the first time */

void begin(context::transfer_t transfer)
{
    Fiber *self = entered;
    arrive(self, transfer);
    flush_small_floats();
    fiber_main(self);
}

void reset(Fiber *fiber)
{
    ASAN_UNPOISON_MEMORY_REGION(fiber->stack, fiber->stack_bytes);
    fiber->fake_stack = nullptr;
    char *top = static_cast<char *>(const_cast<void *>(fiber->stack)) + fiber->stack_bytes;
    fiber->context = context::make_fcontext(top, fiber->stack_bytes, begin);
}

Fiber *new_fiber()
{
    /* The lowest page stays closed, so that an overflow ends the program instead of spoiling another stack. */
    size_t guard = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void *memory = mmap(nullptr, guard + STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, guard, PROT_NONE) != 0) {
        perror("emulated CUDA: no memory for the stack of a thread");
        abort();
    }
    auto fiber = std::make_unique<Fiber>();
    fiber->stack = static_cast<char *>(memory) + guard;
    fiber->stack_bytes = STACK_BYTES;
    reset(fiber.get());
    fibers.push_back(std::move(fiber));
    return fibers.back().get();
}

} // namespace

void switch_fiber(Fiber *from, Fiber *to)
{
    entered = to;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_bytes);
#endif
    arrive(from, context::jump_fcontext(to->context, from));
}

Fiber *take_fiber()
{
    if (idle.empty()) {
        return new_fiber();
    }
    Fiber *fiber = idle.back();
    idle.pop_back();
    return fiber;
}

void leave_fiber(Fiber *fiber)
{
    idle.push_back(fiber);
}

void abandon_fibers()
{
    idle.clear();
    for (const auto &fiber : fibers) {
        reset(fiber.get());
        idle.push_back(fiber.get());
    }
}

} // namespace emulated
