/* One copy of the constants for all ranks of a device: CUDA's interprocess handles of the arena's slabs. */
#include "kernels/cuda/cuda.h"

#include <string.h>

typedef struct share_slab {
    cudaIpcMemHandle_t handle;
    int64_t n_bytes;
} share_slab;

/* Contents of fbt_share. */
typedef struct share_contents {
    unsigned char uuid[16]; /* of the device */
    int64_t n_pieces, n_bytes, n_slabs;
    share_slab slabs[];
} share_contents;

enum { MAX_SLABS = (sizeof((fbt_share){0}.bytes) - sizeof(share_contents)) / sizeof(share_slab) };

fbt_status fbt_cuda_share_export(fbt_backend *b, fbt_share *share)
{
    fbt_status status = FBT_OK;
    const fbt_cuda *cuda = fbt_cuda_of(b);
    const fbt_cuda_arena *arena = &cuda->constants;
    share_contents contents = {.n_pieces = arena->n_pieces, .n_bytes = arena->n_bytes, .n_slabs = arena->n_slabs};
    unsigned char *place = share->bytes;
    share->n_bytes = 0;
    if (arena->n_shared_pieces > 0 || arena->has_freed) {
        FBT_FAIL(FBT_ERR_ARG, "constants can be shared by the rank that made all of them and freed none");
    }
    if (arena->n_slabs > MAX_SLABS) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "constants of %lld bytes in %lld pieces of memory are too many to share",
                 (long long)arena->n_bytes, (long long)arena->n_slabs);
    }
    memcpy(contents.uuid, cuda->uuid, sizeof contents.uuid);
    memcpy(place, &contents, sizeof contents);
    place += sizeof contents;
    for (const fbt_cuda_slab *slab = arena->first; slab != NULL; slab = slab->next, place += sizeof(share_slab)) {
        share_slab shared = {.n_bytes = slab->n_bytes};
        const cudaError_t code = cudaIpcGetMemHandle(&shared.handle, slab->data);
        if (code != cudaSuccess) {
            cudaGetLastError();
            FBT_FAIL(FBT_ERR_UNSUPPORTED, "device %d (%s) cannot share memory between processes: %s", cuda->device,
                     cuda->name, cudaGetErrorString(code));
        }
        memcpy(place, &shared, sizeof shared);
    }
    share->n_bytes = place - share->bytes;
done:
    return status;
}

static fbt_status check_contents(const fbt_cuda *cuda, const fbt_share *share, share_contents *contents)
{
    if (share->n_bytes < (int64_t)sizeof *contents || share->n_bytes > (int64_t)sizeof share->bytes) {
        return fbt_fail(FBT_ERR_ARG, "what was shared has %lld bytes", (long long)share->n_bytes);
    }
    memcpy(contents, share->bytes, sizeof *contents);
    if (contents->n_slabs < 0 || contents->n_slabs > MAX_SLABS ||
        share->n_bytes != (int64_t)sizeof *contents + contents->n_slabs * (int64_t)sizeof(share_slab)) {
        return fbt_fail(FBT_ERR_ARG, "what was shared names %lld pieces of memory in %lld bytes",
                        (long long)contents->n_slabs, (long long)share->n_bytes);
    }
    if (cuda->constants.n_pieces > 0) {
        return fbt_fail(FBT_ERR_ARG, "shared constants must be imported before any are made");
    }
    if (memcmp(contents->uuid, cuda->uuid, sizeof cuda->uuid) != 0) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "constants of another device than %d (%s) were shared", cuda->device,
                        cuda->name);
    }
    return FBT_OK;
}

fbt_status fbt_cuda_share_import(fbt_backend *b, const fbt_share *share)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    fbt_cuda_arena imported = {0};
    share_contents contents;
    void *data = NULL;
    FBT_TRY(check_contents(cuda, share, &contents));
    for (int64_t i = 0; i < contents.n_slabs; i++) {
        share_slab slab;
        memcpy(&slab, share->bytes + sizeof contents + i * (int64_t)sizeof slab, sizeof slab);
        const cudaError_t code = cudaIpcOpenMemHandle(&data, slab.handle, cudaIpcMemLazyEnablePeerAccess);
        if (code != cudaSuccess) {
            data = NULL;
            cudaGetLastError();
            FBT_FAIL(FBT_ERR_UNSUPPORTED, "device %d (%s) refuses memory of another process: %s", cuda->device,
                     cuda->name, cudaGetErrorString(code));
        }
        FBT_TRY(fbt_cuda_arena_add(&imported, data, slab.n_bytes, 1));
        data = NULL;
    }
    imported.n_shared_pieces = contents.n_pieces;
    imported.n_shared_bytes = contents.n_bytes;
    fbt_cuda_arena_close(&cuda->constants);
    cuda->constants = imported;
    imported = (fbt_cuda_arena){0};
done:
    if (data != NULL) {
        cudaIpcCloseMemHandle(data);
    }
    fbt_cuda_arena_close(&imported);
    return status;
}
