/* Constant memory: slabs of device memory that matrices and tables are carved from, one piece behind the other.
 *
 * Which slab a piece goes to depends only on the sizes of the pieces before it, so that a rank that imported the slabs
 * and makes the same matrices and tables finds each at its place. Space is given back by whole slabs.
 */
#include "kernels/cuda/cuda.h"

#include "base/memory.h"
#include "base/smaller.h"

#include <stdlib.h>

/* Drivers map memory by pages of 2 MiB: a slab of whole pages shares none with another allocation, and a handle of it
 * passes nothing else to other ranks. */
static const int64_t page_bytes = 2 << 20, largest_slab_bytes = 256 << 20;

fbt_status fbt_cuda_arena_add(fbt_cuda_arena *arena, char *data, int64_t n_bytes, int is_imported)
{
    fbt_cuda_slab *slab;
    const fbt_status status = fbt_memory_alloc(&slab, 1, sizeof *slab);
    if (status != FBT_OK) {
        return status;
    }
    *slab = (fbt_cuda_slab){.data = data, .n_bytes = n_bytes, .is_imported = is_imported};
    if (arena->last == NULL) {
        arena->first = slab;
    } else {
        arena->last->next = slab;
    }
    arena->last = slab;
    arena->n_slabs++;
    return FBT_OK;
}

static void free_slab(fbt_cuda_slab *slab)
{
    if (slab->is_imported) {
        cudaIpcCloseMemHandle(slab->data);
    } else {
        cudaFree(slab->data);
    }
    free(slab);
}

void fbt_cuda_arena_close(fbt_cuda_arena *arena)
{
    while (arena->first != NULL) {
        fbt_cuda_slab *slab = arena->first;
        arena->first = slab->next;
        free_slab(slab);
    }
    *arena = (fbt_cuda_arena){0};
}

/* Twice the last slab, so that small models take little and large ones few slabs; a large piece has a slab of its own.
 */
static fbt_status add_slab(fbt_cuda *cuda, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    fbt_cuda_arena *arena = &cuda->constants;
    char *data = NULL;
    int64_t slab_bytes = page_bytes;
    for (int64_t i = 0; i < arena->n_slabs && slab_bytes < largest_slab_bytes; i++) {
        slab_bytes *= 2;
    }
    slab_bytes = fbt_larger(slab_bytes, fbt_round_up(n_bytes, page_bytes));
    FBT_TRY(fbt_cuda_malloc(cuda, slab_bytes, &data));
    FBT_TRY(fbt_cuda_arena_add(arena, data, slab_bytes, 0));
    data = NULL;
    arena->current = arena->last;
done:
    cudaFree(data);
    return status;
}

static int has_room(const fbt_cuda_slab *slab, int64_t n_bytes)
{
    return slab != NULL && slab->n_bytes - slab->n_used >= n_bytes;
}

/* The slab of an imported piece: the exporting rank went on to the next where the last was full. */
static fbt_status find_imported(fbt_cuda_arena *arena, int64_t n_bytes)
{
    if (arena->has_freed) {
        return fbt_fail(FBT_ERR_ARG, "nothing may be freed before all shared matrices and tables were made");
    }
    arena->current = arena->current == NULL ? arena->first : arena->current;
    if (!has_room(arena->current, n_bytes)) {
        arena->current = arena->current->next;
    }
    if (!has_room(arena->current, n_bytes) || !arena->current->is_imported) {
        return fbt_fail(FBT_ERR_ARG,
                        "constant %lld is not among those that were shared: all ranks must make the same "
                        "matrices and tables in the same order",
                        (long long)arena->n_pieces);
    }
    return FBT_OK;
}

static fbt_status check_imported(const fbt_cuda_arena *arena)
{
    if (arena->n_pieces == arena->n_shared_pieces && arena->n_bytes != arena->n_shared_bytes) {
        return fbt_fail(FBT_ERR_ARG,
                        "%lld matrices and tables come to %lld bytes here, and to %lld where they were shared",
                        (long long)arena->n_pieces, (long long)arena->n_bytes, (long long)arena->n_shared_bytes);
    }
    return FBT_OK;
}

fbt_status fbt_cuda_constant_new(fbt_cuda *cuda, int64_t n_bytes, void **data, int *is_filled)
{
    fbt_status status = FBT_OK;
    fbt_cuda_arena *arena = &cuda->constants;
    fbt_cuda_slab *slab;
    *data = NULL;
    n_bytes = fbt_round_up(n_bytes, FBT_CUDA_ALIGNMENT);
    *is_filled = arena->n_pieces < arena->n_shared_pieces;
    if (*is_filled) {
        FBT_TRY(find_imported(arena, n_bytes));
    } else if (!has_room(arena->current, n_bytes) || arena->current->is_imported) {
        FBT_TRY(add_slab(cuda, n_bytes));
    }
    slab = arena->current;
    *data = slab->data + slab->n_used;
    slab->n_used += n_bytes;
    slab->n_pieces++;
    arena->n_pieces++;
    arena->n_bytes += n_bytes;
    FBT_TRY(check_imported(arena));
done:
    if (status != FBT_OK) {
        *data = NULL;
    }
    return status;
}

static void remove_slab(fbt_cuda_arena *arena, fbt_cuda_slab *slab, fbt_cuda_slab *before)
{
    if (before == NULL) {
        arena->first = slab->next;
    } else {
        before->next = slab->next;
    }
    arena->last = arena->last == slab ? before : arena->last;
    arena->current = arena->current == slab ? NULL : arena->current;
    arena->n_slabs--;
    free_slab(slab);
}

void fbt_cuda_constant_free(fbt_cuda *cuda, void *data)
{
    fbt_cuda_slab *before = NULL;
    if (data == NULL) {
        return;
    }
    fbt_cuda_wait_all(cuda);
    fbt_cuda_forget_graphs(cuda);
    cuda->constants.has_freed = 1;
    for (fbt_cuda_slab *slab = cuda->constants.first; slab != NULL; before = slab, slab = slab->next) {
        if ((char *)data >= slab->data && (char *)data < slab->data + slab->n_bytes) {
            slab->n_pieces--;
            if (slab->n_pieces == 0) {
                remove_slab(&cuda->constants, slab, before);
            }
            return;
        }
    }
}
