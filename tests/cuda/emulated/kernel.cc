/* Blocks, the turns of their threads, and what is said when they hang. */
#include "kernel.h"

#include "access.h"
#include "block.h"
#include "runtime.h"

#include <map>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace emulated
{

const Thread_place *here;
Block the_block;

namespace
{

uint64_t initial_seed()
{
    const char *text = getenv("FBT_EMULATION_SEED");
    return text != nullptr ? strtoull(text, nullptr, 10) : 1;
}

uint64_t &random_state()
{
    static uint64_t state = initial_seed() * 0x9e3779b97f4a7c15ULL + 1;
    return state;
}

/* xorshift64* (Vigna 2016). */
uint32_t random_word()
{
    uint64_t &x = random_state();
    x = x != 0 ? x : 1;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return static_cast<uint32_t>((x * 0x2545f4914f6cdd1dULL) >> 32);
}

/* ---- turns ---- */

Thread *pick_ready()
{
    std::vector<Thread *> &ready = the_block.ready;
    if (ready.empty()) {
        return nullptr;
    }
    uint32_t i = random_below(static_cast<uint32_t>(ready.size()));
    Thread *thread = ready[i];
    ready[i] = ready.back();
    ready.pop_back();
    return thread;
}

void run_on(Thread *thread, Fiber *fiber)
{
    thread->fiber = fiber;
    fiber->starts = thread;
}

void set_running(Thread *thread)
{
    the_block.running = thread;
    here = &thread->place;
}

void end_thread(Thread *thread)
{
    if (!thread->copies.empty()) {
        fail_kernel("the thread ends with an asynchronous copy that it did not wait for");
    }
    thread->state = State::ended;
    thread->fiber = nullptr;
    the_block.n_ended++;
}

void run_thread(Thread *thread)
{
    const Kernel &kernel = *the_block.kernel;
    is_watching = true;
    kernel.run_thread(kernel.arguments.get());
    is_watching = false;
    watch_settle();
    end_thread(thread);
}

/* ---- blocks ---- */

void start_block(const Kernel &kernel, uint3 number, unsigned char *shared)
{
    Block &block = the_block;
    poison(shared, kernel.shared_bytes);
    block.n_at_barrier = block.n_ended = 0;
    block.n_barriers = 0;
    block.ready.clear();
    for (Thread &thread : block.threads) {
        int n = thread.number;
        int width = static_cast<int>(kernel.block.x), height = static_cast<int>(kernel.block.y);
        uint3 index = {static_cast<unsigned>(n % width), static_cast<unsigned>(n / width % height),
                       static_cast<unsigned>(n / width / height)};
        thread.place = {index, number, kernel.block, kernel.grid, shared, kernel.shared_bytes};
        thread.fiber = nullptr;
        thread.n_groups = 0;
        thread.copies.clear();
        make_ready(&thread);
    }
    /* A barrier each, so that what came before it has a number. */
    for (Warp &warp : block.warps) {
        warp.n_waiting = 0;
        warp.n_barriers = 1;
    }
    watch_block(kernel.shared_bytes);
}

Text waiting_text(const Thread &thread)
{
    switch (thread.state) {
    case State::at_barrier:
        return text_of("wait in __syncthreads at %s", site_text(thread.site).words);
    case State::in_warp:
        return text_of("wait in %s", call_text(thread.operation, ~0U, thread.site).words);
    case State::ended:
        return text_of("have ended");
    default:
        return text_of("can run");
    }
}

/* Why nothing can run: how many threads wait where. */
void report_hang()
{
    std::map<std::string, int> counts;
    for (const Thread &thread : the_block.threads) {
        counts[waiting_text(thread).words]++;
    }
    std::string text;
    for (const auto &[what, n] : counts) {
        text += (text.empty() ? "" : ", ") + std::to_string(n) + (n == 1 ? " thread: " : " threads ") + what;
    }
    uint3 b = the_block.threads[0].place.block;
    report("kernel %s, block (%u, %u, %u) hangs: %s", the_block.kernel->name.c_str(), b.x, b.y, b.z, text.c_str());
    the_block.failed = true;
}

/* Stacks of threads that will never go on are taken back as they are. */
void abandon_block()
{
    for (Thread &thread : the_block.threads) {
        thread.copies.clear();
    }
    abandon_fibers();
}

bool run_block(const Kernel &kernel, uint3 number, unsigned char *shared)
{
    start_block(kernel, number, shared);
    Thread *first = pick_ready();
    run_on(first, take_fiber());
    set_running(first);
    switch_fiber(&host, first->fiber);
    here = nullptr;
    if (!the_block.failed && the_block.n_ended != static_cast<int>(the_block.threads.size())) {
        report_hang();
    }
    if (the_block.failed) {
        abandon_block();
    }
    return !the_block.failed;
}

void set_up_threads(const Kernel &kernel)
{
    the_block.kernel = &kernel;
    the_block.failed = false;
    the_block.threads.resize(static_cast<size_t>(kernel.block.x) * kernel.block.y * kernel.block.z);
    int n = 0;
    for (Thread &thread : the_block.threads) {
        thread.number = n;
        thread.lane = n % WARP;
        thread.warp = n / WARP;
        n++;
    }
    the_block.warps.resize(the_block.threads.size() / WARP);
    for (size_t i = 0; i < the_block.warps.size(); i++) {
        the_block.warps[i].lanes = &the_block.threads[i * WARP];
    }
}

uint3 block_number(uint64_t i, const dim3 &grid)
{
    return {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
            static_cast<unsigned>(i / grid.x / grid.y)};
}

/* Numbers 0 .. n - 1 in random order (Fisher and Yates). */
std::vector<uint64_t> shuffled(uint64_t n)
{
    std::vector<uint64_t> order(n);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t j = random_below(static_cast<uint32_t>(i + 1));
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

} // namespace

void fiber_main(Fiber *self)
{
    for (;;) {
        run_thread(self->starts);
        Thread *next = pick_ready();
        if (next != nullptr && next->fiber == nullptr) {
            run_on(next, self);
            set_running(next);
            continue;
        }
        leave_fiber(self);
        if (next != nullptr) {
            set_running(next);
        }
        switch_fiber(self, next != nullptr ? next->fiber : &host);
    }
}

void make_ready(Thread *thread)
{
    thread->state = State::ready;
    the_block.ready.push_back(thread);
}

/* Where no thread can go on, the host finds out why. */
void wait()
{
    Thread *self = the_block.running, *next = pick_ready();
    if (next == self) {
        return;
    }
    if (next == nullptr) {
        switch_fiber(self->fiber, &host);
        return;
    }
    if (next->fiber == nullptr) {
        run_on(next, take_fiber());
    }
    set_running(next);
    switch_fiber(self->fiber, next->fiber);
}

void set_seed(uint64_t seed)
{
    random_state() = seed * 0x9e3779b97f4a7c15ULL + 1;
}

uint32_t random_below(uint32_t bound)
{
    return static_cast<uint32_t>((static_cast<uint64_t>(random_word()) * bound) >> 32);
}

void poison(void *memory, size_t n_bytes)
{
    memset(memory, 0xff, n_bytes);
}

Text text_of(const char *format, ...)
{
    Text text;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text.words, sizeof text.words, format, arguments);
    va_end(arguments);
    return text;
}

Text site_text(Site site)
{
    const char *slash = strrchr(site.file, '/');
    return text_of("%s:%d", slash != nullptr ? slash + 1 : site.file, site.line);
}

Text call_text(Warp_operation operation, unsigned mask, Site site)
{
    static const char *const names[] = {"__syncwarp", "a shuffle", "a vote", "mma", "ldmatrix", "ldmatrix_trans"};
    return text_of("%s of lanes %08x at %s", names[static_cast<int>(operation)], mask, site_text(site).words);
}

void fail_kernel(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    is_watching = false;
    Thread *self = the_block.running;
    uint3 b = self->place.block, t = self->place.thread;
    report("kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s", the_block.kernel->name.c_str(), b.x, b.y, b.z, t.x,
           t.y, t.z, text);
    the_block.failed = true;
    switch_fiber(self->fiber, &host);
    abort();
}

cudaError_t run_kernel(const Kernel &kernel)
{
    set_up_threads(kernel);
    void *shared = nullptr;
    /* Its own allocation of exactly this size: ASan sees what leaves it. */
    if (posix_memalign(&shared, 128, kernel.shared_bytes) != 0) {
        return cudaErrorMemoryAllocation;
    }
    uint64_t n_blocks = static_cast<uint64_t>(kernel.grid.x) * kernel.grid.y * kernel.grid.z;
    bool fine = true;
    watch_launch();
    for (uint64_t i : shuffled(n_blocks)) {
        fine = run_block(kernel, block_number(i, kernel.grid), static_cast<unsigned char *>(shared));
        if (!fine) {
            break;
        }
    }
    free(shared);
    return fine ? cudaSuccess : cudaErrorLaunchFailure;
}

} // namespace emulated
