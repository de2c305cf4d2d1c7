/* Times on the device: events on the lanes' streams. */
#include "kernels/cuda/cuda.h"

fbt_status fbt_cuda_stamp(fbt_backend *b, int64_t index)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    if (cuda->stamps[index] == NULL) {
        FBT_TRY(
            fbt_cuda_status(cudaEventCreateWithFlags(&cuda->stamps[index], cudaEventBlockingSync), "make an event"));
    }
    FBT_TRY(fbt_cuda_status(cudaEventRecord(cuda->stamps[index], cuda->lane->stream), "record an event"));
done:
    return status;
}

fbt_status fbt_cuda_stamp_seconds(fbt_backend *b, int64_t index, double *seconds)
{
    fbt_status status = FBT_OK;
    const fbt_cuda *cuda = fbt_cuda_of(b);
    float milliseconds = 0;
    cudaError_t code;
    if (cuda->stamps[0] == NULL || cuda->stamps[index] == NULL) {
        FBT_FAIL(FBT_ERR_ARG, "stamp %lld was never queued", (long long)(cuda->stamps[0] == NULL ? 0 : index));
    }
    code = cudaEventElapsedTime(&milliseconds, cuda->stamps[0], cuda->stamps[index]);
    if (code == cudaErrorNotReady) {
        cudaGetLastError();
        FBT_FAIL(FBT_ERR_ARG, "stamp %lld has not been passed: wait for its lane first", (long long)index);
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
