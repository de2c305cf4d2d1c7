/* Streams, each with staging memory of its own, so that neither copies nor errors of two of them meet. */
#include "kernels/cuda/cuda.h"

#include "base/memory.h"
#include "base/smaller.h"

#include <stdlib.h>
#include <string.h>

enum { SEGMENT_BYTES = 1 << 20, CHUNK_BYTES = 1 << 20 };

struct fbt_cuda_chunk {
    fbt_cuda_chunk *next;
    char *data;
    int64_t n_bytes, n_used;
};

static fbt_status open_staging(fbt_cuda_staging *staging)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_cuda_status(
        cudaHostAlloc((void **)&staging->data, (size_t)FBT_CUDA_N_SEGMENTS * SEGMENT_BYTES, cudaHostAllocDefault),
        "pin host memory"));
    for (int i = 0; i < FBT_CUDA_N_SEGMENTS; i++) {
        FBT_TRY(fbt_cuda_status(
            cudaEventCreateWithFlags(&staging->passed[i], cudaEventDisableTiming | cudaEventBlockingSync),
            "make an event"));
    }
done:
    return status;
}

fbt_status fbt_cuda_stream_open(fbt_cuda *cuda, fbt_cuda_stream *stream)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_cuda_status(cudaStreamCreateWithFlags(&stream->handle, cudaStreamNonBlocking), "make a stream"));
    FBT_TRY(fbt_cuda_malloc(cuda, FBT_CUDA_WORKSPACE_BYTES, &stream->workspace));
    FBT_TRY(fbt_cuda_status(cudaHostAlloc((void **)&stream->error, sizeof *stream->error, cudaHostAllocMapped),
                            "pin host memory"));
    *stream->error = FBT_CUDA_ERROR_NONE;
    FBT_TRY(
        fbt_cuda_status(cudaHostGetDevicePointer((void **)&stream->device_error, stream->error, 0), "map host memory"));
    FBT_TRY(open_staging(&stream->staging));
done:
    return status;
}

static void free_chunks(fbt_cuda_reads *reads)
{
    while (reads->chunks != NULL) {
        fbt_cuda_chunk *chunk = reads->chunks;
        reads->chunks = chunk->next;
        cudaFreeHost(chunk->data);
        free(chunk);
    }
}

void fbt_cuda_stream_close(fbt_cuda_stream *stream)
{
    free_chunks(&stream->reads);
    free(stream->reads.pending);
    for (int i = 0; i < FBT_CUDA_N_SEGMENTS; i++) {
        if (stream->staging.passed[i] != NULL) {
            cudaEventDestroy(stream->staging.passed[i]);
        }
    }
    cudaFreeHost(stream->staging.data);
    cudaFreeHost(stream->error);
    cudaFree(stream->workspace);
    cudaFree(stream->scratch);
    if (stream->handle != NULL) {
        cudaStreamDestroy(stream->handle);
    }
}

void fbt_cuda_wait_all(fbt_cuda *cuda)
{
    for (int i = 0; i < FBT_CUDA_N_STREAMS; i++) {
        if (cuda->streams[i].handle != NULL && cudaStreamSynchronize(cuda->streams[i].handle) != cudaSuccess) {
            cudaGetLastError(); /* whoever waits by sync is told */
        }
    }
}

fbt_status fbt_cuda_scratch_need(fbt_cuda *cuda, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    fbt_cuda_stream *stream = cuda->stream;
    if (n_bytes > stream->scratch_bytes) {
        fbt_cuda_wait_all(cuda);
        fbt_cuda_forget_graphs(cuda);
        cudaFree(stream->scratch);
        stream->scratch = NULL;
        stream->scratch_bytes = 0;
        FBT_TRY(fbt_cuda_malloc(cuda, n_bytes, &stream->scratch));
        stream->scratch_bytes = n_bytes;
    }
done:
    return status;
}

fbt_status fbt_cuda_stage(fbt_cuda_stream *stream, int64_t wanted, void **staged, int64_t *n_bytes)
{
    fbt_status status = FBT_OK;
    fbt_cuda_staging *staging = &stream->staging;
    if (staging->n_used == SEGMENT_BYTES) {
        FBT_TRY(fbt_cuda_status(cudaEventRecord(staging->passed[staging->segment], stream->handle), "record an event"));
        staging->is_pending[staging->segment] = 1;
        staging->segment = (staging->segment + 1) % FBT_CUDA_N_SEGMENTS;
        staging->n_used = 0;
        if (staging->is_pending[staging->segment]) {
            FBT_TRY(fbt_cuda_status(cudaEventSynchronize(staging->passed[staging->segment]), "finish what was queued"));
            staging->is_pending[staging->segment] = 0;
        }
    }
    *staged = staging->data + (int64_t)staging->segment * SEGMENT_BYTES + staging->n_used;
    *n_bytes = SEGMENT_BYTES - staging->n_used < wanted ? SEGMENT_BYTES - staging->n_used : wanted;
    /* Whole lines, so that a piece never ends within an item. */
    staging->n_used = fbt_round_up(staging->n_used + *n_bytes, FBT_CUDA_ALIGNMENT);
done:
    return status;
}

fbt_status fbt_cuda_stream_write(fbt_cuda_stream *stream, void *device, const void *host, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    for (int64_t done_bytes = 0, n; done_bytes < n_bytes; done_bytes += n) {
        void *staged;
        FBT_TRY(fbt_cuda_stage(stream, n_bytes - done_bytes, &staged, &n));
        memcpy(staged, (const char *)host + done_bytes, (size_t)n);
        FBT_TRY(fbt_cuda_status(
            cudaMemcpyAsync((char *)device + done_bytes, staged, (size_t)n, cudaMemcpyHostToDevice, stream->handle),
            "copy to the device"));
    }
done:
    return status;
}

/* Pinned memory that stays until the next sync. */
static fbt_status take_chunk(fbt_cuda_reads *reads, int64_t n_bytes, char **staged)
{
    fbt_status status = FBT_OK;
    fbt_cuda_chunk *chunk = reads->chunks, *made = NULL;
    const int64_t n_kept = fbt_round_up(n_bytes, FBT_CUDA_ALIGNMENT);
    while (chunk != NULL && chunk->n_bytes - chunk->n_used < n_kept) {
        chunk = chunk->next;
    }
    if (chunk == NULL) {
        FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
        made->n_bytes = n_kept > CHUNK_BYTES ? n_kept : CHUNK_BYTES;
        FBT_TRY(fbt_cuda_status(cudaHostAlloc((void **)&made->data, (size_t)made->n_bytes, cudaHostAllocDefault),
                                "pin host memory"));
        made->next = reads->chunks;
        chunk = reads->chunks = made;
        made = NULL;
    }
    *staged = chunk->data + chunk->n_used;
    chunk->n_used += n_kept;
done:
    free(made);
    return status;
}

static fbt_status grow_pending(fbt_cuda_reads *reads)
{
    if (reads->n_pending < reads->capacity) {
        return FBT_OK;
    }
    const int64_t capacity = reads->capacity > 0 ? 2 * reads->capacity : 16;
    fbt_cuda_read *grown = realloc(reads->pending, (size_t)capacity * sizeof *grown);
    if (grown == NULL) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: %lld results on their way", (long long)capacity);
    }
    reads->pending = grown;
    reads->capacity = capacity;
    return FBT_OK;
}

fbt_status fbt_cuda_stream_read(fbt_cuda_stream *stream, void *host, const void *device, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    fbt_cuda_reads *reads = &stream->reads;
    char *staged;
    FBT_TRY(grow_pending(reads));
    FBT_TRY(take_chunk(reads, n_bytes, &staged));
    FBT_TRY(fbt_cuda_status(cudaMemcpyAsync(staged, device, (size_t)n_bytes, cudaMemcpyDeviceToHost, stream->handle),
                            "copy from the device"));
    reads->pending[reads->n_pending++] = (fbt_cuda_read){.host = host, .staged = staged, .n_bytes = n_bytes};
done:
    return status;
}

/* Hands results over where `is_whole`; gives back pinned memory beyond the usual. */
static void finish_reads(fbt_cuda_reads *reads, int is_whole)
{
    for (int64_t i = 0; i < reads->n_pending && is_whole; i++) {
        memcpy(reads->pending[i].host, reads->pending[i].staged, (size_t)reads->pending[i].n_bytes);
    }
    reads->n_pending = 0;
    if (reads->chunks != NULL && (reads->chunks->next != NULL || reads->chunks->n_bytes > CHUNK_BYTES)) {
        free_chunks(reads);
    } else if (reads->chunks != NULL) {
        reads->chunks->n_used = 0;
    }
}

static fbt_status take_kernel_error(fbt_cuda_stream *stream)
{
    const int32_t error = *(volatile int32_t *)stream->error;
    *stream->error = FBT_CUDA_ERROR_NONE;
    switch (error) {
    case FBT_CUDA_ERROR_NONE:
        return FBT_OK;
    case FBT_CUDA_ERROR_TOKEN:
        return fbt_fail(FBT_ERR_ARG, "a token of a batch is outside the vocabulary");
    case FBT_CUDA_ERROR_POSITION:
        return fbt_fail(FBT_ERR_ARG, "a sequence of a batch needs more positions than the model has");
    case FBT_CUDA_ERROR_PROMPT:
        return fbt_fail(FBT_ERR_ARG, "a row of a batch asks for a prompt's row that is not there");
    default:
        return fbt_fail(FBT_ERR_BACKEND, "a kernel reported error %d, which is none", error);
    }
}

fbt_status fbt_cuda_stream_sync(fbt_cuda_stream *stream)
{
    fbt_status status = fbt_cuda_status(cudaStreamSynchronize(stream->handle), "finish what was queued");
    if (status == FBT_OK) {
        status = take_kernel_error(stream);
    }
    finish_reads(&stream->reads, status == FBT_OK);
    stream->staging.segment = 0;
    stream->staging.n_used = 0;
    memset(stream->staging.is_pending, 0, sizeof stream->staging.is_pending);
    return status;
}
