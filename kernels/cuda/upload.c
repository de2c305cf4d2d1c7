/* Constants and random operands on their way to the device. */
#include "kernels/cuda/cuda.h"

#include "base/memory.h"
#include "base/rng.h"
#include "kernels/cuda/convert.h"

#include <math.h>
#include <stdlib.h>

/* Primes, so that repetitions do not fall in step with rows or tiles of a matrix. */
enum { N_RANDOM = 262139, N_RANDOM_ROWS = 61 };

fbt_status fbt_cuda_upload(fbt_cuda *cuda, void *device, fbt_dtype device_dtype, const void *host, fbt_dtype dtype,
                           int64_t n)
{
    fbt_status status = FBT_OK;
    fbt_cuda_stream *stream = cuda->stream;
    const int64_t item = (int64_t)fbt_dtype_bytes(device_dtype), host_item = (int64_t)fbt_dtype_bytes(dtype);
    for (int64_t first = 0, n_bytes; first < n; first += n_bytes / item) {
        void *staged;
        FBT_TRY(fbt_cuda_stage(stream, (n - first) * item, &staged, &n_bytes));
        fbt_cuda_convert(staged, device_dtype, (const char *)host + first * host_item, dtype, n_bytes / item);
        FBT_TRY(fbt_cuda_status(cudaMemcpyAsync((char *)device + first * item, staged, (size_t)n_bytes,
                                                cudaMemcpyHostToDevice, stream->handle),
                                "copy to the device"));
    }
    FBT_TRY(fbt_cuda_status(cudaStreamSynchronize(stream->handle), "copy to the device"));
done:
    return status;
}

/* Repeats the first n_made items up to n. */
static fbt_status repeat(fbt_cuda *cuda, void *device, int64_t n_made, int64_t n, int64_t item)
{
    fbt_status status = FBT_OK;
    for (int64_t first = n_made; first < n; first += n_made) {
        const int64_t n_copied = n - first < n_made ? n - first : n_made;
        FBT_TRY(fbt_cuda_status(cudaMemcpyAsync((char *)device + first * item, device, (size_t)(n_copied * item),
                                                cudaMemcpyDeviceToDevice, cuda->stream->handle),
                                "copy on the device"));
    }
    FBT_TRY(fbt_cuda_status(cudaStreamSynchronize(cuda->stream->handle), "copy on the device"));
done:
    return status;
}

/* Number i of a series of random words. */
static uint32_t random_word(uint32_t salt, int64_t i, uint32_t block[4])
{
    const fbt_rng_stream stream = {.purpose = FBT_RNG_SYNTHETIC, .candidate = salt};
    if (i % 4 == 0) {
        fbt_rng_block(&stream, (uint32_t)(i / 4), block);
    }
    return block[i % 4];
}

fbt_status fbt_cuda_fill_random(fbt_cuda *cuda, void *device, fbt_dtype dtype, int64_t n, uint32_t salt)
{
    fbt_status status = FBT_OK;
    const int64_t n_made = n < N_RANDOM ? n : N_RANDOM;
    float *values = NULL;
    uint32_t block[4];
    FBT_TRY(fbt_memory_alloc(&values, n_made, sizeof *values));
    for (int64_t i = 0; i < n_made; i++) {
        values[i] = (float)(int32_t)random_word(salt, i, block) * 0x1p-31f;
    }
    FBT_TRY(fbt_cuda_upload(cuda, device, dtype, values, FBT_F32, n_made));
    FBT_TRY(repeat(cuda, device, n_made, n, (int64_t)fbt_dtype_bytes(dtype)));
done:
    free(values);
    return status;
}

fbt_status fbt_cuda_fill_cancelling(fbt_cuda *cuda, void *device, fbt_dtype dtype, int64_t n_rows, int64_t n_dim,
                                    int sign, uint32_t salt)
{
    fbt_status status = FBT_OK;
    const int64_t n_made = n_rows < N_RANDOM_ROWS ? n_rows : N_RANDOM_ROWS, item = (int64_t)fbt_dtype_bytes(dtype);
    float *values = NULL;
    uint32_t block[4];
    FBT_TRY(fbt_memory_alloc(&values, n_made * n_dim, sizeof *values));
    for (int64_t i = 0, r = 0; r < n_made; r++) {
        float *row = values + r * n_dim;
        for (int64_t k = 0; k <= n_dim - 1 - k; k++) {
            const uint32_t word = random_word(salt, i++, block);
            const float value = ldexpf(1 + (float)(word & 0x7fffff) * 0x1p-23f, (int)(word >> 23 & 0xff) % 25 - 8);
            row[k] = word >> 31 ? -value : value;
            row[n_dim - 1 - k] = (float)sign * row[k];
        }
        if (n_dim % 2 == 1 && n_dim > 1 && sign < 0) {
            row[n_dim / 2] = 0; /* has no partner */
        }
    }
    FBT_TRY(fbt_cuda_upload(cuda, device, dtype, values, FBT_F32, n_made * n_dim));
    FBT_TRY(repeat(cuda, device, n_made * n_dim, n_rows * n_dim, item));
done:
    free(values);
    return status;
}
