/* The CUDA backend's object: open, close, memory, and what its errors say. */
#include "kernels/cuda/cuda.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

fbt_status fbt_cuda_status(cudaError_t code, const char *what)
{
    if (code == cudaSuccess) {
        return FBT_OK;
    }
    cudaGetLastError(); /* else the next launch would report it once more */
    if (code == cudaErrorMemoryAllocation) {
        return fbt_fail(FBT_ERR_MEMORY, "out of device memory: CUDA could not %s", what);
    }
    return fbt_fail(FBT_ERR_BACKEND, "CUDA could not %s: %s (%s)", what, cudaGetErrorString(code),
                    cudaGetErrorName(code));
}

fbt_status fbt_cuda_blas_status(cublasStatus_t code, const char *what)
{
    if (code == CUBLAS_STATUS_SUCCESS) {
        return FBT_OK;
    }
    cudaGetLastError();
    if (code == CUBLAS_STATUS_ALLOC_FAILED) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: cuBLASLt could not %s", what);
    }
    return fbt_fail(FBT_ERR_BACKEND, "cuBLASLt could not %s: %s", what, cublasLtGetStatusString(code));
}

static fbt_status memory_now(fbt_backend_memory *memory)
{
    size_t free_bytes = 0, total_bytes = 0;
    const fbt_status status =
        fbt_cuda_status(cudaMemGetInfo(&free_bytes, &total_bytes), "tell how much memory is free");
    *memory = (fbt_backend_memory){.free = (int64_t)free_bytes, .total = (int64_t)total_bytes};
    return status;
}

/* Less what the backend takes beyond buffers, matrices and tables: trials of algorithms (trial.c: a 32nd of it),
 * rounding to slabs (arena.c), scratch memory (log_probs.c: up to 96 MB a stream), graphs. */
static fbt_status cuda_memory(fbt_backend *b, fbt_backend_memory *memory)
{
    (void)b;
    const fbt_status status = memory_now(memory);
    const int64_t reserved = memory->total / 16;
    memory->free = memory->free > reserved ? memory->free - reserved : 0;
    return status;
}

fbt_status fbt_cuda_malloc(fbt_cuda *cuda, int64_t n_bytes, void *data)
{
    void **place = data;
    fbt_backend_memory memory = {0};
    *place = NULL;
    const cudaError_t code = cudaMalloc(place, n_bytes > 0 ? (size_t)n_bytes : 1);
    if (code == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        *place = NULL;
        memory_now(&memory);
        return fbt_fail(
            FBT_ERR_MEMORY,
            "out of device memory: %lld bytes were asked for; of the %lld bytes of device %d (%s) %lld are free",
            (long long)n_bytes, (long long)memory.total, cuda->device, cuda->name, (long long)memory.free);
    }
    return fbt_cuda_status(code, "allocate memory");
}

static void cuda_select_stream(fbt_backend *b, int stream)
{
    fbt_cuda *cuda = fbt_cuda_of(b);
    cuda->stream = &cuda->streams[stream];
}

static fbt_status cuda_buffer_new(fbt_backend *b, int64_t n_bytes, fbt_buffer **buffer)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    fbt_buffer *made = NULL;
    *buffer = NULL;
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    FBT_TRY(fbt_cuda_malloc(cuda, n_bytes, &made->data));
    made->n_bytes = n_bytes;
    *buffer = made;
    made = NULL;
done:
    free(made);
    return status;
}

static void cuda_buffer_free(fbt_backend *b, fbt_buffer *buffer)
{
    fbt_cuda *cuda = fbt_cuda_of(b);
    fbt_cuda_wait_all(cuda);
    fbt_cuda_forget_graphs(cuda);
    cudaFree(buffer->data);
    free(buffer);
}

static fbt_status cuda_write(fbt_backend *b, fbt_buffer *buffer, const void *host, int64_t n_bytes)
{
    return fbt_cuda_stream_write(fbt_cuda_of(b)->stream, buffer->data, host, n_bytes);
}

static fbt_status cuda_read(fbt_backend *b, void *host, const fbt_buffer *buffer, int64_t n_bytes)
{
    return fbt_cuda_stream_read(fbt_cuda_of(b)->stream, host, buffer->data, n_bytes);
}

static fbt_status cuda_sync(fbt_backend *b)
{
    return fbt_cuda_stream_sync(fbt_cuda_of(b)->stream);
}

static void cuda_close(fbt_backend *b)
{
    fbt_cuda *cuda = fbt_cuda_of(b);
    if (cuda == NULL) {
        return;
    }
    fbt_cuda_wait_all(cuda);
    fbt_cuda_forget_graphs(cuda);
    for (int i = 0; i < FBT_MAX_EVENTS; i++) {
        if (cuda->events[i] != NULL) {
            cudaEventDestroy(cuda->events[i]);
        }
    }
    for (int i = 0; i < FBT_CUDA_N_STREAMS; i++) {
        fbt_cuda_stream_close(&cuda->streams[i]);
    }
    fbt_cuda_choices_free(cuda);
    fbt_cuda_arena_close(&cuda->constants);
    if (cuda->blas != NULL) {
        cublasLtDestroy(cuda->blas);
    }
    free(cuda);
}

static const fbt_backend_ops cuda_ops = {
    .close = cuda_close,
    .memory = cuda_memory,
    .select_stream = cuda_select_stream,
    .buffer_new = cuda_buffer_new,
    .buffer_free = cuda_buffer_free,
    .write = cuda_write,
    .read = cuda_read,
    .sync = cuda_sync,
    .graph_begin = fbt_cuda_graph_begin,
    .graph_end = fbt_cuda_graph_end,
    .event_record = fbt_cuda_event_record,
    .event_seconds = fbt_cuda_event_seconds,
    .watch_products = fbt_cuda_watch_products,
    .share_export = fbt_cuda_share_export,
    .share_import = fbt_cuda_share_import,
    .matrix_new = fbt_cuda_matrix_new,
    .matrix_free = fbt_cuda_matrix_free,
    .table_new = fbt_cuda_table_new,
    .table_free = fbt_cuda_table_free,
    .perturb = fbt_cuda_perturb,
    .embed = fbt_cuda_embed,
    .linear = fbt_cuda_linear,
    .linear_norm = fbt_cuda_linear_norm,
    .layernorm = fbt_cuda_layernorm,
    .attention = fbt_cuda_attention,
    .linear_residual = fbt_cuda_linear_residual,
    .embed_rows = fbt_cuda_embed_rows,
    .put_prompts = fbt_cuda_put_prompts,
    .rotate = fbt_cuda_rotate,
    .norm_heads = fbt_cuda_norm_heads,
    .gate = fbt_cuda_gate,
    .gather_rows = fbt_cuda_gather_rows,
    .mean_pool = fbt_cuda_mean_pool,
    .label_logits = fbt_cuda_label_logits,
    .token_log_probs = fbt_cuda_token_log_probs,
    .loss = fbt_cuda_loss,
    .library_product = fbt_cuda_library_product,
    .library_copy = fbt_cuda_library_copy,
    .describe_product = fbt_cuda_describe_product,
};

static fbt_backend_info info_of(const fbt_cuda *cuda, const fbt_types *types)
{
    return (fbt_backend_info){.name = "cuda",
                              .device = cuda->name,
                              .device_id = cuda->id,
                              .isa = cuda->isa,
                              .libraries = cuda->libraries,
                              .types = types,
                              .n_threads = 1,
                              .n_streams = FBT_CUDA_N_STREAMS,
                              .tries_batches = 1,
                              .nominal_flops = fbt_cuda_nominal_flops(cuda, types->compute),
                              .can_share = 1,
                              .size_multiple = FBT_CUDA_WIDTH,
                              .max_dim = FBT_CUDA_MAX_DIM,
                              .max_head_dim = FBT_CUDA_MAX_HEAD_DIM,
                              .features = FBT_FEATURE_RMS_NORM | FBT_FEATURE_KV_HEADS | FBT_FEATURE_KEY_ROWS |
                                          FBT_FEATURE_CAUSAL | FBT_FEATURE_PREFIX | FBT_FEATURE_SILU |
                                          FBT_FEATURE_LOG_PROBS};
}

static fbt_status cuda_open(const fbt_backend_options *options, const fbt_types *types, fbt_backend **b)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = NULL;
    *b = NULL;
    FBT_TRY(fbt_memory_alloc(&cuda, 1, sizeof *cuda));
    cuda->base.ops = &cuda_ops;
    cuda->stream = &cuda->streams[0];
    FBT_TRY(fbt_cuda_device_open(cuda, options->local_rank));
    cuda->base.info = info_of(cuda, types != NULL ? types : fbt_types_find("bf16"));
    FBT_TRY(fbt_cuda_blas_status(cublasLtCreate(&cuda->blas), "open the device"));
    for (int i = 0; i < FBT_CUDA_N_STREAMS; i++) {
        FBT_TRY(fbt_cuda_stream_open(cuda, &cuda->streams[i]));
    }
    *b = &cuda->base;
    cuda = NULL;
done:
    if (cuda != NULL) {
        cuda_close(&cuda->base);
    }
    return status;
}

const fbt_backend_driver fbt_cuda_driver = {
    .name = "cuda",
    .summary = "NVIDIA devices from Ampere on: cuBLASLt and own kernels",
    .types = {"fp32", "tf32", "bf16"},
    .batch_tokens = 65536,
    .probe = fbt_cuda_probe,
    .open = cuda_open,
};
