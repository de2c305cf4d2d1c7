/* Times on the device: events on the streams' streams. */
#include "kernels/cuda/cuda.h"

fbt_status fbt_cuda_event_record(fbt_backend *b, int64_t index)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    if (cuda->events[index] == NULL) {
        FBT_TRY(
            fbt_cuda_status(cudaEventCreateWithFlags(&cuda->events[index], cudaEventBlockingSync), "make an event"));
    }
    FBT_TRY(fbt_cuda_status(cudaEventRecord(cuda->events[index], cuda->stream->handle), "record an event"));
done:
    return status;
}

fbt_status fbt_cuda_event_seconds(fbt_backend *b, int64_t index, double *seconds)
{
    fbt_status status = FBT_OK;
    const fbt_cuda *cuda = fbt_cuda_of(b);
    float milliseconds = 0;
    cudaError_t code;
    if (cuda->events[0] == NULL || cuda->events[index] == NULL) {
        FBT_FAIL(FBT_ERR_ARG, "event %lld was never queued", (long long)(cuda->events[0] == NULL ? 0 : index));
    }
    code = cudaEventElapsedTime(&milliseconds, cuda->events[0], cuda->events[index]);
    if (code == cudaErrorNotReady) {
        cudaGetLastError();
        FBT_FAIL(FBT_ERR_ARG, "event %lld has not been passed: wait for its stream first", (long long)index);
    }
    FBT_TRY(fbt_cuda_status(code, "tell a time"));
    *seconds = (double)milliseconds * 1e-3;
done:
    return status;
}

void fbt_cuda_watch_products(fbt_backend *b, fbt_status (*queued)(void *context), void *context)
{
    fbt_cuda *cuda = fbt_cuda_of(b);
    cuda->product_queued = queued;
    cuda->product_context = context;
}
