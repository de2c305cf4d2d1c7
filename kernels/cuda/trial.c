/* Trials of an algorithm: whether it gives a row the same bits in any batch, and which bits. */
#include "kernels/cuda/trial.h"

#include "base/smaller.h"

enum { LARGEST_TILE = 256, USUAL_TILE = 128, N_WAVES = 3, ROWS_PER_PROCESSOR = 512, SHARE_OF_MEMORY = 32 };

/* More than three waves of tiles over the device, so that a schedule shows what it does to the last one, and rows in
 * more than one tile of the largest kind. */
static int64_t fewest_rows(const fbt_cuda *cuda, int64_t n_out)
{
    const int64_t n_across = (n_out + USUAL_TILE - 1) / USUAL_TILE;
    const int64_t n_down = (N_WAVES * cuda->n_processors + n_across - 1) / n_across;
    return fbt_larger(n_down * USUAL_TILE + 1, LARGEST_TILE + 33);
}

/* As many as a large batch has (67,584 on 132 multiprocessors), as far as a small part of the device's memory holds
 * them: a library may plan so many in another way. */
static int64_t most_rows(const fbt_cuda *cuda, int64_t row_bytes, int64_t fewest)
{
    const int64_t n_rows = (int64_t)ROWS_PER_PROCESSOR * cuda->n_processors;
    return fbt_larger(fewest, fbt_smaller(n_rows, cuda->n_bytes / SHARE_OF_MEMORY / row_bytes) | 1);
}

static void free_all(fbt_cuda_trial *t)
{
    cudaFree(t->x);
    cudaFree(t->some_x);
    cudaFree(t->residual);
    cudaFree(t->y);
    cudaFree(t->expected);
    cudaFree(t->weight);
    cudaFree(t->bias);
    cudaFree(t->differs);
    t->x = t->some_x = t->residual = t->y = t->expected = t->weight = t->bias = NULL;
    t->differs = NULL;
}

void fbt_cuda_trial_close(fbt_cuda_trial *t)
{
    free_all(t);
}

static fbt_status allocate(fbt_cuda *cuda, fbt_cuda_trial *t)
{
    fbt_status status = FBT_OK;
    const int64_t x_bytes = t->n_rows * t->x_bytes, y_bytes = t->n_rows * t->y_bytes;
    FBT_TRY(fbt_cuda_malloc(cuda, x_bytes, &t->x));
    FBT_TRY(fbt_cuda_malloc(cuda, x_bytes, &t->some_x));
    FBT_TRY(fbt_cuda_malloc(cuda, y_bytes, &t->residual));
    FBT_TRY(fbt_cuda_malloc(cuda, y_bytes, &t->y));
    FBT_TRY(fbt_cuda_malloc(cuda, y_bytes, &t->expected));
    FBT_TRY(fbt_cuda_malloc(cuda, t->shape.n_out * t->x_bytes, &t->weight));
    FBT_TRY(fbt_cuda_malloc(cuda, t->y_bytes, &t->bias));
    FBT_TRY(fbt_cuda_malloc(cuda, (int64_t)sizeof *t->differs, &t->differs));
done:
    return status;
}

fbt_status fbt_cuda_trial_open(fbt_cuda *cuda, const fbt_cuda_shape *shape, fbt_cuda_trial *t)
{
    fbt_status status = FBT_OK;
    const fbt_dtype dtype = shape->types->activations, y_dtype = fbt_cuda_result_type(shape);
    const int64_t fewest = fewest_rows(cuda, shape->n_out);
    *t = (fbt_cuda_trial){.shape = *shape,
                          .x_bytes = shape->n_in * (int64_t)fbt_dtype_bytes(dtype),
                          .y_bytes = shape->n_out * (int64_t)fbt_dtype_bytes(y_dtype)};
    t->n_rows = t->n_nominal = most_rows(cuda, 2 * t->x_bytes + 3 * t->y_bytes, fewest);
    status = allocate(cuda, t);
    if (status == FBT_ERR_MEMORY && t->n_rows > fewest) { /* others' programs have taken what was free */
        free_all(t);
        t->n_rows = fewest;
        status = allocate(cuda, t);
    }
    FBT_TRY(status);
    FBT_TRY(fbt_cuda_fill_cancelling(cuda, t->x, dtype, t->n_rows, shape->n_in, 1, 1));
    FBT_TRY(fbt_cuda_fill_cancelling(cuda, t->weight, dtype, shape->n_out, shape->n_in, -1, 2));
    FBT_TRY(fbt_cuda_fill_random(cuda, t->bias, y_dtype, shape->n_out, 3));
    FBT_TRY(fbt_cuda_fill_random(cuda, t->residual, y_dtype, t->n_rows * shape->n_out, 4));
done:
    return status;
}

static fbt_status copy_on_device(fbt_cuda *cuda, void *to, const void *from, int64_t n_bytes)
{
    return fbt_cuda_status(cudaMemcpyAsync(to, from, (size_t)n_bytes, cudaMemcpyDeviceToDevice, cuda->stream->handle),
                           "copy on the device");
}

/* t->y becomes the result of rows first .. first + n - 1 on their own; *runs = 0: the algorithm does not take so many.
 */
static fbt_status run_rows(fbt_cuda *cuda, fbt_cuda_trial *t, const cublasLtMatmulAlgo_t *algorithm, int64_t first,
                           int64_t n, int *runs)
{
    fbt_status status = FBT_OK;
    fbt_cuda_plan plan = {0};
    const fbt_cuda_product product = fbt_cuda_trial_product(t, n);
    FBT_TRY(copy_on_device(cuda, t->some_x, (char *)t->x + first * t->x_bytes, n * t->x_bytes));
    FBT_TRY(copy_on_device(cuda, t->y, (char *)t->residual + first * t->y_bytes, n * t->y_bytes));
    FBT_TRY(fbt_cuda_plan_open(&plan, &product));
    *runs = fbt_cuda_plan_run(cuda, &plan, &product, algorithm) == CUBLAS_STATUS_SUCCESS;
    FBT_TRY(fbt_cuda_status(cudaStreamSynchronize(cuda->stream->handle), "try a matrix product"));
    cudaGetLastError();
done:
    fbt_cuda_plan_close(&plan);
    return status;
}

/* Whether t->y has the bits of the expected rows from `first` on. */
static fbt_status compare(fbt_cuda *cuda, fbt_cuda_trial *t, int64_t first, int64_t n, int *is_alike)
{
    fbt_status status = FBT_OK;
    cudaStream_t stream = cuda->stream->handle;
    int32_t differs = 0;
    FBT_TRY(fbt_cuda_status(cudaMemsetAsync(t->differs, 0, sizeof *t->differs, stream), "fill memory"));
    FBT_TRY(fbt_cuda_status(
        fbt_cuda_launch_compare(stream, t->differs, t->y, (char *)t->expected + first * t->y_bytes, n * t->y_bytes),
        "launch the comparison of results"));
    FBT_TRY(fbt_cuda_stream_read(cuda->stream, &differs, t->differs, (int64_t)sizeof differs));
    FBT_TRY(fbt_cuda_stream_sync(cuda->stream));
    *is_alike = !differs;
done:
    return status;
}

fbt_status fbt_cuda_trial_run(fbt_cuda *cuda, fbt_cuda_trial *t, const cublasLtMatmulAlgo_t *algorithm, int *is_good)
{
    fbt_status status = FBT_OK;
    const int64_t n_rows = t->n_rows;
    /* Alone, in few, at another place of a tile, in the last tile, in half a batch, and in batches of usual sizes. */
    const int64_t parts[][2] = {{0, 1},
                                {n_rows - 1, 1},
                                {5, 33},
                                {77, 129},
                                {LARGEST_TILE - 1, 17},
                                {n_rows - LARGEST_TILE, LARGEST_TILE},
                                {3, n_rows / 2 + 1},
                                {1, 5680},
                                {2, 16384},
                                {3, 28400}};
    FBT_TRY(run_rows(cuda, t, algorithm, 0, n_rows, is_good));
    if (*is_good && t->is_expecting) {
        FBT_TRY(compare(cuda, t, 0, n_rows, is_good));
    } else if (*is_good) {
        FBT_TRY(copy_on_device(cuda, t->expected, t->y, n_rows * t->y_bytes));
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && *is_good; i++) {
        if (parts[i][0] + parts[i][1] <= n_rows) {
            FBT_TRY(run_rows(cuda, t, algorithm, parts[i][0], parts[i][1], is_good));
            if (*is_good) {
                FBT_TRY(compare(cuda, t, parts[i][0], parts[i][1], is_good));
            }
        }
    }
    t->is_expecting = t->is_expecting || *is_good;
done:
    return status;
}
