#include "shared_memory.h"

#include "runtime.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

namespace emulated
{

namespace
{

/* Contents of a handle. The file: one page with a Header, then the memory. */
struct Ticket {
    pid_t process;
    int file, device;
    size_t n_bytes;
};

struct Header {
    volatile int withdrawn;
};

bool write_all(int file, const void *from, size_t n_bytes, size_t offset)
{
    const char *bytes = static_cast<const char *>(from);
    while (n_bytes > 0) {
        ssize_t n = pwrite(file, bytes, n_bytes, static_cast<off_t>(offset));
        if (n <= 0) {
            return false;
        }
        bytes += n;
        offset += static_cast<size_t>(n);
        n_bytes -= static_cast<size_t>(n);
    }
    return true;
}

/* Puts pages of the file, or fresh ones (file = -1), where `memory` is. */
bool replace_pages(void *memory, size_t n_bytes, int file)
{
    int flags = file >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    off_t offset = file >= 0 ? static_cast<off_t>(page_bytes()) : 0;
    return mmap(memory, whole_pages(n_bytes), PROT_READ | PROT_WRITE, MAP_FIXED | flags, file, offset) != MAP_FAILED;
}

cudaError_t move_to_file(void *memory, size_t n_bytes, int *file)
{
    int made = memfd_create("fbt-emulated-device-memory", MFD_CLOEXEC);
    if (made < 0 || ftruncate(made, static_cast<off_t>(page_bytes() + whole_pages(n_bytes))) != 0 ||
        !write_all(made, memory, n_bytes, page_bytes()) || !replace_pages(memory, n_bytes, made)) {
        report("cudaIpcGetMemHandle: cannot share %zu bytes", n_bytes);
        if (made >= 0) {
            close(made);
        }
        return cudaErrorMemoryAllocation;
    }
    *file = made;
    return cudaSuccess;
}

} // namespace

size_t page_bytes()
{
    return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

size_t whole_pages(size_t n_bytes)
{
    return (n_bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

cudaError_t export_memory(cudaIpcMemHandle_t *handle, void *memory, size_t n_bytes, int device, int *file)
{
    if (n_bytes < LEAST_SHARED_BYTES) {
        report("cudaIpcGetMemHandle: memory of %zu bytes cannot be shared here, only of %d or more", n_bytes,
               LEAST_SHARED_BYTES);
        return cudaErrorNotSupported;
    }
    cudaError_t error = *file >= 0 ? cudaSuccess : move_to_file(memory, n_bytes, file);
    if (error == cudaSuccess) {
        Ticket ticket = {getpid(), *file, device, n_bytes};
        static_assert(sizeof ticket <= sizeof handle->reserved, "a ticket fits into a handle");
        memset(handle, 0, sizeof *handle);
        memcpy(handle->reserved, &ticket, sizeof ticket);
    }
    return error;
}

cudaError_t import_memory(const cudaIpcMemHandle_t &handle, int device, void **memory, size_t *n_bytes)
{
    Ticket ticket;
    memcpy(&ticket, handle.reserved, sizeof ticket);
    if (environment_number("FBT_EMULATION_NO_IPC", 0) != 0) {
        return cudaErrorMapBufferObjectFailed;
    }
    if (ticket.process == getpid()) {
        report("cudaIpcOpenMemHandle: the memory is this process's own");
        return cudaErrorDeviceUninitialized;
    }
    if (ticket.device != device) {
        report("cudaIpcOpenMemHandle: the memory is on device %d, the current one is %d", ticket.device, device);
        return cudaErrorInvalidDevice;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/fd/%d", static_cast<long>(ticket.process), ticket.file);
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        report("cudaIpcOpenMemHandle: cannot open %s", path);
        return cudaErrorMapBufferObjectFailed;
    }
    size_t n_mapped = page_bytes() + whole_pages(ticket.n_bytes);
    void *mapped = mmap(nullptr, n_mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) {
        return cudaErrorMapBufferObjectFailed;
    }
    *memory = static_cast<char *>(mapped) + page_bytes();
    *n_bytes = ticket.n_bytes;
    return cudaSuccess;
}

void unmap_import(void *memory, size_t n_bytes)
{
    munmap(static_cast<char *>(memory) - page_bytes(), page_bytes() + whole_pages(n_bytes));
}

void withdraw_export(int file, void *memory, size_t n_bytes)
{
    Header header;
    header.withdrawn = 1;
    if (!write_all(file, const_cast<int *>(&header.withdrawn), sizeof header, 0) ||
        !replace_pages(memory, n_bytes, -1)) {
        perror("emulated CUDA: cannot take shared memory back");
        abort();
    }
    close(file);
}

bool exporter_is_gone(const void *imported)
{
    const char *start = static_cast<const char *>(imported) - page_bytes();
    return reinterpret_cast<const Header *>(start)->withdrawn != 0;
}

} // namespace emulated
