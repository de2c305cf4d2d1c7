/* The peaks of benchmarks: the best product that cuBLASLt makes by itself, and a copy. */
#include "kernels/cuda/cuda.h"

enum { N_CANDIDATES = 16 };

/* Seconds between two events, or an error. */
typedef struct stopwatch {
    cudaEvent_t start, stop;
} stopwatch;

static fbt_status open_stopwatch(stopwatch *watch)
{
    fbt_status status = FBT_OK;
    *watch = (stopwatch){0};
    FBT_TRY(fbt_cuda_status(cudaEventCreateWithFlags(&watch->start, cudaEventBlockingSync), "make an event"));
    FBT_TRY(fbt_cuda_status(cudaEventCreateWithFlags(&watch->stop, cudaEventBlockingSync), "make an event"));
done:
    return status;
}

static void close_stopwatch(stopwatch *watch)
{
    if (watch->start != NULL) {
        cudaEventDestroy(watch->start);
    }
    if (watch->stop != NULL) {
        cudaEventDestroy(watch->stop);
    }
}

static fbt_status start(const stopwatch *watch, cudaStream_t stream)
{
    return fbt_cuda_status(cudaEventRecord(watch->start, stream), "record an event");
}

/* Waits; shortens *best_s unless this was the first, warming round. */
static fbt_status stop(const stopwatch *watch, cudaStream_t stream, int is_first, double *best_s)
{
    fbt_status status = FBT_OK;
    float milliseconds = 0;
    FBT_TRY(fbt_cuda_status(cudaEventRecord(watch->stop, stream), "record an event"));
    FBT_TRY(fbt_cuda_status(cudaStreamSynchronize(stream), "finish a measurement"));
    FBT_TRY(fbt_cuda_status(cudaEventElapsedTime(&milliseconds, watch->start, watch->stop), "tell a time"));
    if (!is_first && (*best_s < 0 || milliseconds * 1e-3 < *best_s)) {
        *best_s = milliseconds * 1e-3;
    }
done:
    return status;
}

fbt_status fbt_cuda_time_product(fbt_cuda *cuda, const fbt_cuda_product *product, const cublasLtMatmulAlgo_t *algorithm,
                                 int n_repeats, double *best_s)
{
    fbt_status status = FBT_OK;
    stopwatch watch = {0};
    fbt_cuda_plan plan = {0};
    FBT_TRY(open_stopwatch(&watch));
    FBT_TRY(fbt_cuda_plan_open(&plan, product));
    for (int i = 0; i <= n_repeats; i++) {
        FBT_TRY(start(&watch, cuda->stream->handle));
        if (fbt_cuda_plan_run(cuda, &plan, product, algorithm) != CUBLAS_STATUS_SUCCESS) {
            cudaGetLastError();
            break;
        }
        FBT_TRY(stop(&watch, cuda->stream->handle, i == 0, best_s));
    }
done:
    fbt_cuda_plan_close(&plan);
    close_stopwatch(&watch);
    return status;
}

static fbt_status time_candidates(fbt_cuda *cuda, const fbt_cuda_product *product, int n_repeats, double *best_s)
{
    fbt_status status = FBT_OK;
    fbt_cuda_plan plan = {0};
    cublasLtMatmulHeuristicResult_t candidates[N_CANDIDATES];
    int n_candidates;
    FBT_TRY(fbt_cuda_plan_open(&plan, product));
    FBT_TRY(
        fbt_cuda_plan_candidates(cuda, &plan, CUBLASLT_REDUCTION_SCHEME_MASK, N_CANDIDATES, candidates, &n_candidates));
    for (int i = 0; i < n_candidates; i++) {
        if (candidates[i].state == CUBLAS_STATUS_SUCCESS) {
            FBT_TRY(fbt_cuda_time_product(cuda, product, &candidates[i].algo, n_repeats, best_s));
        }
    }
done:
    fbt_cuda_plan_close(&plan);
    return status;
}

fbt_status fbt_cuda_library_product(fbt_backend *b, const fbt_types *types, const int64_t size[3], int n_repeats,
                                    double *best_s)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    const fbt_dtype dtype = types->activations;
    const int64_t item = (int64_t)fbt_dtype_bytes(dtype);
    void *x = NULL, *weight = NULL, *y = NULL;
    fbt_cuda_product product;
    *best_s = -1;
    FBT_TRY(fbt_cuda_malloc(cuda, size[0] * size[2] * item, &x));
    FBT_TRY(fbt_cuda_malloc(cuda, size[1] * size[2] * item, &weight));
    FBT_TRY(fbt_cuda_malloc(cuda, size[0] * size[1] * item, &y));
    FBT_TRY(fbt_cuda_fill_random(cuda, x, dtype, size[0] * size[2], 1));
    FBT_TRY(fbt_cuda_fill_random(cuda, weight, dtype, size[1] * size[2], 2));
    product =
        (fbt_cuda_product){.shape = {.n_out = size[1], .n_in = size[2], .types = types, .epilogue = FBT_CUDA_PLAIN},
                           .y = y,
                           .x = x,
                           .weight = weight,
                           .n_rows = size[0]};
    FBT_TRY(time_candidates(cuda, &product, n_repeats, best_s));
    if (*best_s < 0) {
        FBT_FAIL(FBT_ERR_BACKEND, "cuBLASLt has no %s product of %lld x %lld by %lld x %lld", types->name,
                 (long long)size[0], (long long)size[2], (long long)size[2], (long long)size[1]);
    }
done:
    cudaFree(x);
    cudaFree(weight);
    cudaFree(y);
    return status;
}

fbt_status fbt_cuda_library_copy(fbt_backend *b, int64_t n_bytes, int n_repeats, double *best_s)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    cudaStream_t stream = cuda->stream->handle;
    void *from = NULL, *to = NULL;
    stopwatch watch = {0};
    *best_s = -1;
    FBT_TRY(fbt_cuda_malloc(cuda, n_bytes, &from));
    FBT_TRY(fbt_cuda_malloc(cuda, n_bytes, &to));
    FBT_TRY(fbt_cuda_status(cudaMemsetAsync(from, 1, (size_t)n_bytes, stream), "fill memory"));
    FBT_TRY(open_stopwatch(&watch));
    for (int i = 0; i <= n_repeats; i++) {
        FBT_TRY(start(&watch, stream));
        FBT_TRY(fbt_cuda_status(cudaMemcpyAsync(to, from, (size_t)n_bytes, cudaMemcpyDeviceToDevice, stream),
                                "copy on the device"));
        FBT_TRY(stop(&watch, stream, i == 0, best_s));
    }
done:
    close_stopwatch(&watch);
    cudaFree(from);
    cudaFree(to);
    return status;
}
