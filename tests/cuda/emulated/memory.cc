/* Stand-ins of the CUDA runtime: memory of the device and pinned memory of the host.
 *
 * Every cudaMalloc is its own allocation of the bytes asked for, so that ASan sees what leaves it, filled with the
 * poison of fibers.h and closed to the host (large ones at their ends). The registry keeps addresses inverted: what the
 * program forgets to free is a leak to LeakSanitizer.
 */
#include "kernel.h"
#include "runtime.h"
#include "shared_memory.h"

#include <map>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace emulated
{

namespace
{

enum class Kind { device, pinned, imported };

struct Piece {
    size_t n_bytes;
    Kind kind;
    int device;
    int file; /* of an export; -1: none */
};

/* By ~address, so that the greatest address not above p is the first key not below ~p. */
std::map<uintptr_t, Piece> pieces;
int window = 0;
size_t used_bytes = 0;

uintptr_t key_of(const void *memory)
{
    return ~reinterpret_cast<uintptr_t>(memory);
}

void *address_of(uintptr_t key)
{
    return reinterpret_cast<void *>(~key);
}

/* The piece that holds [memory, memory + n_bytes), or NULL. */
const Piece *find_piece(const void *memory, size_t n_bytes)
{
    auto found = pieces.lower_bound(key_of(memory));
    if (found == pieces.end()) {
        return nullptr;
    }
    size_t offset = static_cast<size_t>(found->first - key_of(memory));
    return offset <= found->second.n_bytes && n_bytes <= found->second.n_bytes - offset ? &found->second : nullptr;
}

size_t total_bytes()
{
    return static_cast<size_t>(environment_number("FBT_EMULATION_MEMORY_MB", 4096)) << 20;
}

/* Bytes behind the piece in its last page. */
size_t tail_bytes(size_t n_bytes)
{
    return n_bytes >= LEAST_SHARED_BYTES ? whole_pages(n_bytes) - n_bytes : 0;
}

/* work(start, bytes) on a piece, of a large one on both its ends: what is done to every byte whenever somebody waits
 * would take most of the time. */
template <typename Work> void for_both_ends(void *memory, size_t n_bytes, Work work)
{
    const size_t end_bytes = n_bytes > 4 << 20 ? 1 << 20 : n_bytes;
    work(memory, end_bytes);
    if (end_bytes < n_bytes) {
        work(static_cast<char *>(memory) + n_bytes - end_bytes, end_bytes);
    }
}

/* To the host. */
void close_piece(void *memory, const Piece &piece)
{
    if (piece.kind != Kind::pinned && window == 0) {
        for_both_ends(memory, piece.n_bytes, [](void *start, size_t n) { ASAN_POISON_MEMORY_REGION(start, n); });
    }
}

void open_piece(void *memory, const Piece &piece)
{
    for_both_ends(memory, piece.n_bytes, [](void *start, size_t n) { ASAN_UNPOISON_MEMORY_REGION(start, n); });
}

void add_piece(void *memory, size_t n_bytes, Kind kind)
{
    ASAN_POISON_MEMORY_REGION(static_cast<char *>(memory) + n_bytes, tail_bytes(n_bytes));
    Piece piece = {n_bytes, kind, current_device(), -1};
    pieces[key_of(memory)] = piece;
    close_piece(memory, piece);
}

cudaError_t allocate(void **memory, size_t n_bytes, size_t alignment, Kind kind)
{
    alignment = n_bytes >= LEAST_SHARED_BYTES ? page_bytes() : alignment;
    if (posix_memalign(memory, alignment, n_bytes + tail_bytes(n_bytes)) != 0) {
        return note(cudaErrorMemoryAllocation);
    }
    for_both_ends(*memory, n_bytes, poison);
    add_piece(*memory, n_bytes, kind);
    return cudaSuccess;
}

cudaError_t free_piece(const char *call, void *memory, Kind kind)
{
    cudaError_t error = check_outside_capture(call);
    if ((error != cudaSuccess && error != sticky_error()) || memory == nullptr) {
        return note(error);
    }
    auto found = pieces.find(key_of(memory));
    if (found == pieces.end() || found->second.kind != kind) {
        report("%s: %p is not the start of memory that it could free", call, memory);
        return note(cudaErrorInvalidValue);
    }
    error = run_all();
    const Piece piece = found->second;
    pieces.erase(found);
    ASAN_UNPOISON_MEMORY_REGION(memory, piece.n_bytes + tail_bytes(piece.n_bytes));
    if (kind == Kind::imported) {
        unmap_import(memory, piece.n_bytes);
        return note(error);
    }
    if (piece.file >= 0) {
        withdraw_export(piece.file, memory, piece.n_bytes);
    }
    used_bytes -= kind == Kind::device ? piece.n_bytes : 0;
    free(memory);
    return note(error);
}

bool is_side(const Piece *piece, bool wants_device)
{
    return piece != nullptr && (piece->kind == Kind::pinned) != wants_device;
}

/* Fault of one side of a copy; NULL: none. Pageable memory is fit for a copy that waits, and for it alone.
 */
const char *side_fault(const void *memory, size_t n_bytes, bool on_device, bool waits)
{
    const Piece *piece = find_piece(memory, n_bytes);
    if (on_device) {
        return is_side(piece, true) ? nullptr : "is not within device memory";
    }
    if (is_side(piece, false) || (waits && piece == nullptr)) {
        return nullptr;
    }
    return piece == nullptr ? "is not pinned memory, which a copy that does not wait needs" : "is device memory";
}

cudaError_t check_copy(const char *call, void *to, const void *from, size_t n_bytes, enum cudaMemcpyKind kind,
                       bool waits)
{
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind == cudaMemcpyDefault) {
        to_device = is_side(find_piece(to, n_bytes), true);
        from_device = is_side(find_piece(from, n_bytes), true);
    }
    const char *fault = side_fault(to, n_bytes, to_device, waits);
    if (fault != nullptr) {
        report("%s: the destination of %zu bytes %s", call, n_bytes, fault);
        return cudaErrorInvalidValue;
    }
    fault = side_fault(from, n_bytes, from_device, waits);
    if (fault != nullptr) {
        report("%s: the source of %zu bytes %s", call, n_bytes, fault);
        return cudaErrorInvalidValue;
    }
    return cudaSuccess;
}

cudaError_t queue_copy(const char *call, void *to, const void *from, size_t n_bytes, enum cudaMemcpyKind kind,
                       cudaStream_t stream, bool waits)
{
    if (n_bytes == 0) {
        return cudaSuccess;
    }
    cudaError_t error = check_copy(call, to, from, n_bytes, kind, waits);
    if (error != cudaSuccess) {
        return note(error);
    }
    return enqueue(stream, call, [=] {
        memmove(to, from, n_bytes);
        return cudaSuccess;
    });
}

} // namespace

Memory kind_of_memory(const void *memory, size_t n_bytes)
{
    const Piece *piece = find_piece(memory, n_bytes);
    if (piece == nullptr) {
        return Memory::other;
    }
    return piece->kind == Kind::pinned ? Memory::pinned : Memory::device;
}

void open_device_memory()
{
    if (window++ > 0) {
        return;
    }
    for (const auto &[key, piece] : pieces) {
        open_piece(address_of(key), piece);
        if (piece.kind == Kind::imported && exporter_is_gone(address_of(key))) {
            report("memory that another process shared is used after that process freed it");
            set_sticky_error(cudaErrorIllegalAddress);
        }
    }
}

void close_device_memory()
{
    if (--window > 0) {
        return;
    }
    for (const auto &[key, piece] : pieces) {
        close_piece(address_of(key), piece);
    }
}

} // namespace emulated

using emulated::note;

extern "C" {

cudaError_t cudaMalloc(void **memory, size_t n_bytes)
{
    cudaError_t error = emulated::check_outside_capture("cudaMalloc");
    if (error != cudaSuccess) {
        return note(error);
    }
    if (n_bytes == 0) {
        *memory = nullptr;
        return cudaSuccess;
    }
    if (emulated::used_bytes + n_bytes > emulated::total_bytes()) {
        return note(cudaErrorMemoryAllocation);
    }
    error = emulated::allocate(memory, n_bytes, 256, emulated::Kind::device);
    if (error == cudaSuccess) {
        emulated::used_bytes += n_bytes;
    }
    return error;
}

cudaError_t cudaFree(void *memory)
{
    return emulated::free_piece("cudaFree", memory, emulated::Kind::device);
}

cudaError_t cudaHostAlloc(void **memory, size_t n_bytes, unsigned int)
{
    cudaError_t error = emulated::check_outside_capture("cudaHostAlloc");
    return error == cudaSuccess ? emulated::allocate(memory, n_bytes, 64, emulated::Kind::pinned) : note(error);
}

cudaError_t cudaMallocHost(void **memory, size_t n_bytes)
{
    return cudaHostAlloc(memory, n_bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *memory)
{
    return emulated::free_piece("cudaFreeHost", memory, emulated::Kind::pinned);
}

cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned int)
{
    const emulated::Piece *piece = emulated::find_piece(host, 1);
    if (piece == nullptr || piece->kind != emulated::Kind::pinned) {
        return note(cudaErrorInvalidValue);
    }
    *device = host;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *total_bytes = emulated::total_bytes();
    *free_bytes = *total_bytes > emulated::used_bytes ? *total_bytes - emulated::used_bytes : 0;
    return note(emulated::sticky_error());
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n_bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    return emulated::queue_copy("cudaMemcpyAsync", to, from, n_bytes, kind, stream, false);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t n_bytes, enum cudaMemcpyKind kind)
{
    cudaError_t error = emulated::check_outside_capture("cudaMemcpy");
    if (error == cudaSuccess) {
        error = emulated::queue_copy("cudaMemcpy", to, from, n_bytes, kind, nullptr, true);
    }
    return note(error == cudaSuccess ? emulated::run_stream(nullptr) : error);
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t n_bytes, cudaStream_t stream)
{
    if (!emulated::is_device_visible(memory, n_bytes)) {
        emulated::report("cudaMemsetAsync: the %zu bytes are not within device memory", n_bytes);
        return note(cudaErrorInvalidValue);
    }
    return emulated::enqueue(stream, "cudaMemsetAsync", [=] {
        memset(memory, value, n_bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaMemset(void *memory, int value, size_t n_bytes)
{
    cudaError_t error = emulated::check_outside_capture("cudaMemset");
    return error == cudaSuccess ? cudaMemsetAsync(memory, value, n_bytes, nullptr) : note(error);
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *handle, void *memory)
{
    auto found = emulated::pieces.find(emulated::key_of(memory));
    if (found == emulated::pieces.end() || found->second.kind != emulated::Kind::device) {
        emulated::report("cudaIpcGetMemHandle: %p is not the start of device memory", memory);
        return note(cudaErrorInvalidValue);
    }
    emulated::Piece &piece = found->second;
    emulated::open_device_memory();
    cudaError_t error = emulated::export_memory(handle, memory, piece.n_bytes, piece.device, &piece.file);
    emulated::close_device_memory();
    return note(error);
}

cudaError_t cudaIpcOpenMemHandle(void **memory, cudaIpcMemHandle_t handle, unsigned int)
{
    size_t n_bytes = 0;
    cudaError_t error = emulated::check_outside_capture("cudaIpcOpenMemHandle");
    if (error == cudaSuccess) {
        error = emulated::import_memory(handle, emulated::current_device(), memory, &n_bytes);
    }
    if (error == cudaSuccess) {
        emulated::add_piece(*memory, n_bytes, emulated::Kind::imported);
    }
    return note(error);
}

cudaError_t cudaIpcCloseMemHandle(void *memory)
{
    return emulated::free_piece("cudaIpcCloseMemHandle", memory, emulated::Kind::imported);
}

} /* extern "C" */
