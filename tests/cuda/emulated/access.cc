#include "access.h"

#include "block.h"
#include "runtime.h"

#include <map>
#include <memory>
#include <string.h>
#include <vector>

/* Of the linker: where the program lies in memory. Of the sanitizers' library, where the program has one: names a
 * place. */
extern "C" char __executable_start, _end;
extern "C" void __sanitizer_symbolize_pc(void *place, const char *format, char *text, size_t n_bytes)
    __attribute__((weak));

namespace emulated
{

bool is_watching;

namespace
{

enum { ITEM = 2, PAGE_ITEMS = 2048 }; /* bytes that share a record; records that are made at once */

enum class Readers : unsigned char { none, one, warp, block, blocks };

/* Who touched a place last, and when: how many barriers its block, and its warp, had passed. */
struct Touch {
    uint32_t block;
    uint32_t n_barriers, n_warp_barriers;
    uint16_t thread;
};

/* Knowledge of ITEM bytes. */
struct Record {
    uint64_t serial = 0; /* of the launch, or of the block for shared memory; another: nothing is known */
    Touch write, read;
    bool is_written, is_in_flight;
    Readers readers;
};

bool some_source_calls;
uint64_t launch_serial, block_serial;
std::vector<Record> shared_records;
std::map<uintptr_t, std::unique_ptr<Record[]>> device_records; /* by address / (ITEM * PAGE_ITEMS) */

/* ---- who ---- */

uint32_t block_number()
{
    const Thread_place &place = the_block.running->place;
    return place.block.x + place.grid_size.x * (place.block.y + place.grid_size.y * place.block.z);
}

Touch touch_of(const Thread &thread)
{
    size_t warp = static_cast<size_t>(thread.warp);
    uint32_t n_warp_barriers = warp < the_block.warps.size() ? the_block.warps[warp].n_barriers : 1;
    return {block_number(), the_block.n_barriers, n_warp_barriers, static_cast<uint16_t>(thread.number)};
}

bool same_warp(const Touch &a, const Touch &b)
{
    return a.thread / WARP == b.thread / WARP;
}

/* Whether what was done at `before` is done, to the eyes of who comes at `now`. */
bool is_ordered(const Touch &before, const Touch &now)
{
    if (before.block != now.block) {
        return false;
    }
    return before.thread == now.thread || before.n_barriers < now.n_barriers ||
           (same_warp(before, now) && before.n_warp_barriers < now.n_warp_barriers);
}

/* ---- what ---- */

struct Access {
    const char *address;
    size_t n_bytes;
    bool writes;
    const void *caller;
    bool is_collective; /* an operation of the warp, none of whose threads goes on before it is done */
};

/* " at FILE:LINE" where the caller is known, and where in shared memory. */
Text place_of(const Access &access)
{
    const char *shared = reinterpret_cast<const char *>(the_block.running->place.shared);
    bool is_shared = access.address >= shared && access.address < shared + the_block.running->place.shared_bytes;
    Text offset = is_shared ? text_of(" (offset %td)", access.address - shared) : text_of("%s", "");
    if (access.caller != nullptr && __sanitizer_symbolize_pc != nullptr) {
        char source[256];
        __sanitizer_symbolize_pc(const_cast<void *>(access.caller), "%S", source, sizeof source);
        const char *slash = strrchr(source, '/');
        return text_of("%s at %.200s", offset.words, slash != nullptr ? slash + 1 : source);
    }
    return offset;
}

[[noreturn]] void fail_access(const Access &access, const char *what)
{
    is_watching = false;
    fail_kernel("%s %zu bytes %s%s", access.writes ? "writes" : "reads", access.n_bytes, what, place_of(access).words);
}

[[noreturn]] void fail_race(const Access &access, const Touch &other, bool other_writes)
{
    Text what = text_of("that thread %u of block %u %s, without a barrier between", other.thread, other.block,
                        other_writes ? "wrote" : "read");
    fail_access(access, what.words);
}

/* ---- records ---- */

Record *device_record(const char *address)
{
    static uintptr_t last_number;
    static Record *last_page;
    uintptr_t item = reinterpret_cast<uintptr_t>(address) / ITEM, number = item / PAGE_ITEMS;
    if (last_page == nullptr || number != last_number) {
        std::unique_ptr<Record[]> &page = device_records[number];
        if (page == nullptr) {
            page = std::make_unique<Record[]>(PAGE_ITEMS);
        }
        last_page = page.get();
        last_number = number;
    }
    return &last_page[item % PAGE_ITEMS];
}

Record *refresh(Record *record, uint64_t serial)
{
    if (record->serial != serial) {
        record->serial = serial;
        record->is_written = record->is_in_flight = false;
        record->readers = Readers::none;
    }
    return record;
}

/* Whether all who read are done. The record names one of them: of several, the one proves nothing for the others. */
bool readers_are_done(const Record &record, const Touch &now)
{
    switch (record.readers) {
    case Readers::none:
        return true;
    case Readers::one:
        return is_ordered(record.read, now);
    case Readers::warp:
        return record.read.block == now.block &&
               (record.read.n_barriers < now.n_barriers ||
                (same_warp(record.read, now) && record.read.n_warp_barriers < now.n_warp_barriers));
    case Readers::block:
        return record.read.block == now.block && record.read.n_barriers < now.n_barriers;
    default:
        return false;
    }
}

/* The write that is about to happen where another thread wrote: fine if it changes nothing, as when all lanes of a
 * group store what they all know. */
struct Suspect {
    bool is_set;
    Access access;
    Touch other;
    char bytes[16]; /* before the write */
} suspect;

void suspect_write(const Access &access, const Touch &other)
{
    if (access.n_bytes > sizeof suspect.bytes) {
        fail_race(access, other, true);
    }
    suspect.is_set = true;
    suspect.access = access;
    suspect.other = other;
    memcpy(suspect.bytes, access.address, access.n_bytes);
}

void note_write(Record *record, const Access &access, const Touch &now)
{
    if (record->is_written && !is_ordered(record->write, now)) {
        suspect_write(access, record->write);
    }
    if (!readers_are_done(*record, now)) {
        fail_race(access, record->read, false);
    }
    record->write = now;
    record->is_written = true;
    record->readers = Readers::none;
}

Readers joined(const Record &record, const Touch &now)
{
    if (record.readers == Readers::none) {
        return Readers::one;
    }
    if (record.readers == Readers::blocks || record.read.block != now.block) {
        return Readers::blocks;
    }
    if (record.read.n_barriers < now.n_barriers) {
        return Readers::one;
    }
    if (record.readers == Readers::block || !same_warp(record.read, now)) {
        return Readers::block;
    }
    bool is_later = record.read.n_warp_barriers < now.n_warp_barriers;
    bool is_alone = record.readers == Readers::one && record.read.thread == now.thread;
    return is_later || is_alone ? Readers::one : Readers::warp;
}

void note_read(Record *record, const Access &access, const Touch &now)
{
    if (record->is_written && !is_ordered(record->write, now)) {
        fail_race(access, record->write, true);
    }
    bool is_first = record->readers == Readers::none || is_ordered(record->read, now);
    record->readers = joined(*record, now);
    record->read = now;
    if (access.is_collective && is_first) {
        record->read.n_warp_barriers--; /* done, to the eyes of the warp */
    }
}

void note_shared(const Access &access, size_t offset, const Touch &now)
{
    for (size_t item = offset / ITEM; item <= (offset + access.n_bytes - 1) / ITEM; item++) {
        Record *record = refresh(&shared_records[item], block_serial);
        if (record->is_in_flight) {
            fail_access(access, "of shared memory that an asynchronous copy is still to write");
        }
        if (access.writes) {
            note_write(record, access, now);
        } else {
            if (!record->is_written) {
                fail_access(access, "of shared memory that nothing wrote");
            }
            note_read(record, access, now);
        }
    }
}

void note_device(const Access &access, const Touch &now)
{
    for (const char *at = access.address; at < access.address + access.n_bytes; at += ITEM) {
        Record *record = refresh(device_record(at), launch_serial);
        if (access.writes) {
            note_write(record, access, now);
        } else {
            note_read(record, access, now);
        }
    }
}

/* ---- addresses ---- */

bool is_within(const Access &access, const void *start, size_t n_bytes)
{
    const char *first = static_cast<const char *>(start);
    return access.address >= first && access.address + access.n_bytes <= first + n_bytes;
}

/* Tells memory that a kernel may read but that holds no data of its own: the program, its parameters, its place in the
 * grid. */
bool is_constant(const Access &access)
{
    const std::vector<Thread> &threads = the_block.threads;
    return is_within(access, &__executable_start, static_cast<size_t>(&_end - &__executable_start)) ||
           is_within(access, the_block.kernel->arguments.get(), the_block.kernel->argument_bytes) ||
           is_within(access, threads.data(), threads.size() * sizeof threads[0]);
}

void note_access(const Access &access, const Thread &thread)
{
    const Thread_place &place = thread.place;
    if (is_within(access, place.shared, place.shared_bytes)) {
        note_shared(access, static_cast<size_t>(access.address - reinterpret_cast<const char *>(place.shared)),
                    touch_of(thread));
        return;
    }
    if (is_within(access, thread.fiber->stack, thread.fiber->stack_bytes) || (!access.writes && is_constant(access))) {
        return;
    }
    switch (kind_of_memory(access.address, access.n_bytes)) {
    case Memory::device:
        note_device(access, touch_of(thread));
        return;
    case Memory::pinned:
        return;
    default:
        fail_access(access, "that are not the device's");
    }
}

} // namespace

void watch_settle()
{
    if (suspect.is_set) {
        suspect.is_set = false;
        if (memcmp(suspect.bytes, suspect.access.address, suspect.access.n_bytes) != 0) {
            fail_race(suspect.access, suspect.other, true);
        }
    }
}

void watch_launch()
{
    launch_serial++;
    suspect.is_set = false;
}

void watch_block(size_t n_bytes)
{
    block_serial++;
    if (some_source_calls) {
        shared_records.resize((n_bytes + ITEM - 1) / ITEM);
    }
}

void watch_copy_start(const void *shared, const void *global)
{
    if (!some_source_calls) {
        return;
    }
    const Thread &self = *the_block.running;
    if (global != nullptr) {
        note_access({static_cast<const char *>(global), 16, false, nullptr, false}, self);
    }
    note_access({static_cast<const char *>(shared), 16, true, nullptr, false}, self);
    size_t first = static_cast<size_t>(static_cast<const unsigned char *>(shared) - self.place.shared) / ITEM;
    for (size_t i = 0; i < 16 / ITEM; i++) {
        shared_records[first + i].is_in_flight = true;
    }
}

void watch_copy_end(const void *shared)
{
    if (!some_source_calls) {
        return;
    }
    const Thread &self = *the_block.running;
    size_t first = static_cast<size_t>(static_cast<const unsigned char *>(shared) - self.place.shared) / ITEM;
    for (size_t i = 0; i < 16 / ITEM; i++) {
        shared_records[first + i].is_in_flight = false;
    }
    note_access({static_cast<const char *>(shared), 16, true, nullptr, false}, self);
}

void watch_row(int lane, const void *row)
{
    if (some_source_calls) {
        const Thread &running = *the_block.running;
        note_access({static_cast<const char *>(row), 16, false, nullptr, true},
                    the_block.threads[static_cast<size_t>(running.warp * WARP + lane)]);
    }
}

} // namespace emulated

/* ---- what the compiler calls ---- */

#define NOTE(n, writes)                                                                                                \
    if (emulated::is_watching) {                                                                                       \
        emulated::watch_settle();                                                                                      \
        emulated::note_access({static_cast<const char *>(address), static_cast<size_t>(n), (writes),                   \
                               __builtin_return_address(0), false},                                                    \
                              *emulated::the_block.running);                                                           \
    }

#define ACCESS_FUNCTIONS(n)                                                                                            \
    void __tsan_read##n(void *address)                                                                                 \
    {                                                                                                                  \
        NOTE(n, false)                                                                                                 \
    }                                                                                                                  \
    void __tsan_write##n(void *address)                                                                                \
    {                                                                                                                  \
        NOTE(n, true)                                                                                                  \
    }                                                                                                                  \
    void __tsan_unaligned_read##n(void *address)                                                                       \
    {                                                                                                                  \
        NOTE(n, false)                                                                                                 \
    }                                                                                                                  \
    void __tsan_unaligned_write##n(void *address)                                                                      \
    {                                                                                                                  \
        NOTE(n, true)                                                                                                  \
    }

extern "C" {

void __tsan_init(void)
{
    emulated::some_source_calls = true;
}

ACCESS_FUNCTIONS(1)
ACCESS_FUNCTIONS(2)
ACCESS_FUNCTIONS(4)
ACCESS_FUNCTIONS(8)
ACCESS_FUNCTIONS(16)

void __tsan_read_range(void *address, long n_bytes)
{
    NOTE(n_bytes, false)
}

void __tsan_write_range(void *address, long n_bytes)
{
    NOTE(n_bytes, true)
}

/* Of host code alone, such as shared_ptr: kernels have neither virtual functions nor atomics. */
void __tsan_vptr_update(void *, void *)
{
}

unsigned __tsan_atomic32_fetch_add(volatile void *address, unsigned value, int)
{
    return __atomic_fetch_add(static_cast<volatile unsigned *>(address), value, __ATOMIC_SEQ_CST);
}

} /* extern "C" */
