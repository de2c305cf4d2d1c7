/* Where the threads of a block wait for each other: barriers, warp operations; and for their own asynchronous copies.
 */
#include "access.h"
#include "block.h"
#include "runtime.h"

#include <string.h>

namespace emulated
{

namespace
{

/* Marks the rest of a scope as the emulation's doing, not the kernel's. */
class Aside
{
  public:
    Aside()
    {
        is_watching = false;
        watch_settle();
    }
    Aside(const Aside &) = delete;
    Aside &operator=(const Aside &) = delete;
    ~Aside()
    {
        is_watching = true;
    }
};

bool same_site(Site a, Site b)
{
    return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0);
}

/* device.cuh: warp operations are called by all 32 threads of a warp. */
void check_mask(unsigned mask, Warp_operation operation, Site site)
{
    if (mask != ~0U) {
        fail_kernel("%s is not of all 32 lanes", call_text(operation, mask, site).words);
    }
    if (the_block.threads.size() % WARP != 0) {
        fail_kernel("%s in a block of %zu threads: not all are whole warps", call_text(operation, mask, site).words,
                    the_block.threads.size());
    }
}

void check_same_call(const Thread &self, const Thread &other)
{
    if (other.operation != self.operation || !same_site(other.site, self.site)) {
        fail_kernel("lane %d comes to %s while lane %d waits in %s", self.lane,
                    call_text(self.operation, ~0U, self.site).words, other.lane,
                    call_text(other.operation, ~0U, other.site).words);
    }
}

void perform_together(Warp *warp, Warp_operation operation, Warp_perform perform)
{
    if (perform != nullptr) {
        void *arguments[WARP];
        for (int lane = 0; lane < WARP; lane++) {
            arguments[lane] = warp->lanes[lane].argument;
        }
        perform(arguments);
    }
    /* Of the warp operations __syncwarp alone orders memory. */
    if (operation == Warp_operation::syncwarp) {
        warp->n_barriers++;
    }
    warp->n_waiting = 0;
    for (int lane = 0; lane < WARP; lane++) {
        make_ready(&warp->lanes[lane]);
    }
}

void check_same_barrier(Site site)
{
    for (const Thread &thread : the_block.threads) {
        if (!same_site(thread.site, site)) {
            fail_kernel("threads of the block meet in different __syncthreads: thread %d at %s, others at %s",
                        thread.number, site_text(thread.site).words, site_text(site).words);
        }
    }
}

void check_copy(const Thread_place &place, const unsigned char *to, const void *from, bool valid)
{
    if (to < place.shared || to + 16 > place.shared + place.shared_bytes) {
        fail_kernel("an asynchronous copy writes outside the block's shared memory (offset %td of %zu bytes)",
                    to - place.shared, place.shared_bytes);
    }
    if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || reinterpret_cast<uintptr_t>(from) % 16 != 0) {
        fail_kernel("an asynchronous copy's address is not a multiple of 16 (from %p to shared offset %td)", from,
                    to - place.shared);
    }
    if (valid && !is_device_visible(from, 16)) {
        fail_kernel("an asynchronous copy reads outside device memory (%p)", from);
    }
}

void land(Copy copy)
{
    if (copy.valid) {
        memcpy(copy.shared, copy.global, 16);
    } else {
        memset(copy.shared, 0, 16);
    }
    watch_copy_end(copy.shared);
}

} // namespace

void block_barrier(Site site)
{
    Aside aside;
    Block &block = the_block;
    Thread *self = block.running;
    self->state = State::at_barrier;
    self->site = site;
    if (++block.n_at_barrier == static_cast<int>(block.threads.size())) {
        check_same_barrier(site);
        block.n_at_barrier = 0;
        block.n_barriers++;
        for (Thread &thread : block.threads) {
            make_ready(&thread);
        }
    }
    wait();
}

void warp_call(Warp_operation operation, unsigned mask, Site site, void *argument, Warp_perform perform)
{
    Aside aside;
    Thread *self = the_block.running;
    check_mask(mask, operation, site);
    self->state = State::in_warp;
    self->operation = operation;
    self->site = site;
    self->argument = argument;
    Warp *warp = &the_block.warps[static_cast<size_t>(self->warp)];
    if (warp->n_waiting == 0) {
        warp->first_waiting = self;
    } else {
        check_same_call(*self, *warp->first_waiting);
    }
    if (++warp->n_waiting == WARP) {
        perform_together(warp, operation, perform);
    }
    wait();
}

void copy_async(void *shared, const void *global, bool valid)
{
    Aside aside;
    Thread *self = the_block.running;
    check_copy(self->place, static_cast<const unsigned char *>(shared), global, valid);
    watch_copy_start(shared, valid ? global : nullptr);
    /* Old bytes may be gone from now on, new ones may not be there before the wait. */
    poison(shared, 16);
    self->copies.push_back({shared, global, valid, self->n_groups});
}

void copy_commit()
{
    the_block.running->n_groups++;
}

void copy_wait(int n_groups_left)
{
    Aside aside;
    Thread *self = the_block.running;
    std::vector<Copy> &copies = self->copies;
    auto landed = copies.begin();
    while (landed != copies.end() && landed->group + static_cast<uint64_t>(n_groups_left) < self->n_groups) {
        land(*landed++);
    }
    copies.erase(copies.begin(), landed);
}

} // namespace emulated
