/* Device memory that another process opens (cudaIpc*).
 *
 * Exporting puts an anonymous file of Linux (memfd) in the place of the memory's pages, contents kept; the other
 * process maps the file through /proc. So both see what either writes from then on, and the system frees the file with
 * the last process that holds it, however that ended.
 */
#ifndef FBT_CUDA_EMULATED_SHARED_MEMORY_H
#define FBT_CUDA_EMULATED_SHARED_MEMORY_H

#include <cuda_runtime_api.h>
#include <stddef.h>

namespace emulated
{

enum {
    LEAST_SHARED_BYTES = 64 * 1024
}; /* memory of at least so many bytes is made of whole pages and can be exported */

size_t page_bytes();
size_t whole_pages(size_t n_bytes);

/* memory: whole pages. *file: -1 before the first export. FBT_EMULATION_NO_IPC=1: imports fail, as where processes may
 * not see each other's memory. */
cudaError_t export_memory(cudaIpcMemHandle_t *handle, void *memory, size_t n_bytes, int device, int *file);
cudaError_t import_memory(const cudaIpcMemHandle_t &handle, int device, void **memory, size_t *n_bytes);
void unmap_import(void *memory, size_t n_bytes);

/* Gives the pages back to the process, before it frees them; importers can tell. */
void withdraw_export(int file, void *memory, size_t n_bytes);
bool exporter_is_gone(const void *imported);

} // namespace emulated

#endif
