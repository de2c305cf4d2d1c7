/* Which of cuBLASLt's algorithms multiplies by a matrix.
 *
 * Left to itself cuBLASLt plans each product by its number of rows, and the bits of a row then depend on the batch
 * around it. So a shape keeps one algorithm for all numbers of rows: the library's first choice for many rows that sums
 * over n_in in one piece and that was seen to give a row the same bits in any batch. Seen, because the library does not
 * tell everything: a schedule that deals the last wave of tiles out by halves (stream-K) has no attribute of its own.
 * All of this is the same on every rank with the same device and library.
 */
#include "kernels/cuda/cuda.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { NOMINAL_ROWS = 4096, N_CANDIDATES = 32, LARGEST_TILE = 256, USUAL_TILE = 128 };

/* Device memory of the check: operands, and the results of all rows and of some. */
typedef struct trial {
    fbt_cuda_shape shape;
    int64_t n_rows, item, y_item; /* bytes of an element of the operands, and of bias, residual and y */
    void *x, *weight, *bias, *residual, *some_x, *some_y; /* device */
    char *all, *some;                                     /* host: y of all rows, y of some */
} trial;

/* Enough rows for more than two waves of tiles over the device, so that a schedule shows what it does to the last one,
 * and for rows in more than one tile of the largest kind. */
static int64_t trial_rows(const fbt_cuda *cuda, int64_t n_out)
{
    const int64_t n_across = (n_out + USUAL_TILE - 1) / USUAL_TILE;
    const int64_t n_down = (5 * cuda->n_processors / 2 + n_across - 1) / n_across;
    const int64_t n_rows = n_down * USUAL_TILE + 1, least = LARGEST_TILE + 33;
    return n_rows > least ? n_rows : least;
}

static void close_trial(trial *t)
{
    void *const device[] = {t->x, t->weight, t->bias, t->residual, t->some_x, t->some_y};
    for (size_t i = 0; i < sizeof device / sizeof device[0]; i++) {
        if (device[i] != NULL) {
            cudaFree(device[i]);
        }
    }
    free(t->all);
    free(t->some);
}

static fbt_status open_trial(fbt_cuda *cuda, const fbt_cuda_shape *shape, trial *t)
{
    fbt_status status = FBT_OK;
    const fbt_dtype dtype = shape->types->activations, y_dtype = fbt_cuda_result_type(shape);
    *t = (trial){.shape = *shape,
                 .item = (int64_t)fbt_dtype_bytes(dtype),
                 .y_item = (int64_t)fbt_dtype_bytes(y_dtype),
                 .n_rows = trial_rows(cuda, shape->n_out)};
    const int64_t n_x = t->n_rows * shape->n_in, n_y = t->n_rows * shape->n_out, n_weight = shape->n_out * shape->n_in;
    FBT_TRY(fbt_cuda_malloc(cuda, n_x * t->item, &t->x));
    FBT_TRY(fbt_cuda_malloc(cuda, n_weight * t->item, &t->weight));
    FBT_TRY(fbt_cuda_malloc(cuda, shape->n_out * t->y_item, &t->bias));
    FBT_TRY(fbt_cuda_malloc(cuda, n_y * t->y_item, &t->residual));
    FBT_TRY(fbt_cuda_malloc(cuda, n_x * t->item, &t->some_x));
    FBT_TRY(fbt_cuda_malloc(cuda, n_y * t->y_item, &t->some_y));
    FBT_TRY(fbt_memory_alloc(&t->all, n_y, (size_t)t->y_item));
    FBT_TRY(fbt_memory_alloc(&t->some, n_y, (size_t)t->y_item));
    FBT_TRY(fbt_cuda_fill_cancelling(cuda, t->x, dtype, t->n_rows, shape->n_in, 1, 1));
    FBT_TRY(fbt_cuda_fill_cancelling(cuda, t->weight, dtype, shape->n_out, shape->n_in, -1, 2));
    FBT_TRY(fbt_cuda_fill_random(cuda, t->bias, y_dtype, shape->n_out, 3));
    FBT_TRY(fbt_cuda_fill_random(cuda, t->residual, y_dtype, n_y, 4));
done:
    return status;
}

static fbt_status copy_rows(fbt_cuda *cuda, void *to, const void *from, int64_t n_bytes)
{
    return fbt_cuda_status(cudaMemcpyAsync(to, from, (size_t)n_bytes, cudaMemcpyDeviceToDevice, cuda->stream->handle),
                           "copy on the device");
}

/* y of rows first .. first + n - 1 on their own, to the host; *runs = 0: the algorithm does not take so many rows. */
static fbt_status run_rows(fbt_cuda *cuda, const trial *t, const cublasLtMatmulAlgo_t *algorithm, int64_t first,
                           int64_t n, char *y, int *runs)
{
    fbt_status status = FBT_OK;
    fbt_cuda_plan plan = {0};
    const int64_t x_bytes = t->shape.n_in * t->item, y_bytes = t->shape.n_out * t->y_item;
    const fbt_cuda_product product = {.shape = t->shape,
                                      .y = t->some_y,
                                      .x = t->some_x,
                                      .weight = t->weight,
                                      .bias = t->bias,
                                      .residual = t->some_y,
                                      .n_rows = n};
    FBT_TRY(copy_rows(cuda, t->some_x, (char *)t->x + first * x_bytes, n * x_bytes));
    FBT_TRY(copy_rows(cuda, t->some_y, (char *)t->residual + first * y_bytes, n * y_bytes));
    FBT_TRY(fbt_cuda_plan_open(&plan, &product));
    *runs = fbt_cuda_plan_run(cuda, &plan, &product, algorithm) == CUBLAS_STATUS_SUCCESS;
    FBT_TRY(fbt_cuda_status(cudaStreamSynchronize(cuda->stream->handle), "try a matrix product"));
    if (*runs) {
        FBT_TRY(fbt_cuda_status(cudaMemcpy(y, t->some_y, (size_t)(n * y_bytes), cudaMemcpyDeviceToHost),
                                "copy from the device"));
    } else {
        cudaGetLastError();
    }
done:
    fbt_cuda_plan_close(&plan);
    return status;
}

/* Whether rows come out alike alone, in few, at another place of a tile, and in half a batch. */
static fbt_status see_invariance(fbt_cuda *cuda, const trial *t, const cublasLtMatmulAlgo_t *algorithm,
                                 int *is_invariant)
{
    fbt_status status = FBT_OK;
    const int64_t y_bytes = t->shape.n_out * t->y_item;
    const int64_t parts[][2] = {{0, 1},    {t->n_rows - 1, 1},     {5, 33},
                                {77, 129}, {LARGEST_TILE - 1, 17}, {3, t->n_rows / 2 + 1}};
    FBT_TRY(run_rows(cuda, t, algorithm, 0, t->n_rows, t->all, is_invariant));
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && *is_invariant; i++) {
        FBT_TRY(run_rows(cuda, t, algorithm, parts[i][0], parts[i][1], t->some, is_invariant));
        *is_invariant =
            *is_invariant && memcmp(t->some, t->all + parts[i][0] * y_bytes, (size_t)(parts[i][1] * y_bytes)) == 0;
    }
done:
    return status;
}

/* Whether the sum over n_in is one, as far as the library tells. */
static int sums_in_one_piece(const cublasLtMatmulAlgo_t *algorithm)
{
    int32_t n_splits = 0;
    uint32_t reduction = 0;
    size_t n_written;
    if (cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &n_splits, sizeof n_splits,
                                             &n_written) != CUBLAS_STATUS_SUCCESS ||
        cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &reduction,
                                             sizeof reduction, &n_written) != CUBLAS_STATUS_SUCCESS) {
        return 0;
    }
    return (n_splits == 0 || n_splits == 1) && reduction == CUBLASLT_REDUCTION_SCHEME_NONE;
}

static const char *epilogue_name(fbt_cuda_epilogue epilogue)
{
    static const char *const names[] = {
        "nothing", "bias", "bias and ReLU", "bias and GELU", "residual", "bias and residual", "a float result"};
    return names[epilogue];
}

static fbt_status find_algorithm(fbt_cuda *cuda, const fbt_cuda_shape *shape, cublasLtMatmulAlgo_t *algorithm)
{
    fbt_status status = FBT_OK;
    trial t = {0};
    fbt_cuda_plan plan = {0};
    fbt_cuda_product nominal = {.shape = *shape, .n_rows = NOMINAL_ROWS};
    cublasLtMatmulHeuristicResult_t candidates[N_CANDIDATES];
    int n_candidates, is_good = 0;
    FBT_TRY(open_trial(cuda, shape, &t));
    nominal.bias = t.bias; /* the library looks at its alignment */
    FBT_TRY(fbt_cuda_plan_open(&plan, &nominal));
    FBT_TRY(
        fbt_cuda_plan_candidates(cuda, &plan, CUBLASLT_REDUCTION_SCHEME_NONE, N_CANDIDATES, candidates, &n_candidates));
    for (int i = 0; i < n_candidates && !is_good; i++) {
        if (candidates[i].state == CUBLAS_STATUS_SUCCESS && sums_in_one_piece(&candidates[i].algo)) {
            FBT_TRY(see_invariance(cuda, &t, &candidates[i].algo, &is_good));
            *algorithm = candidates[i].algo;
        }
    }
    if (!is_good) {
        FBT_FAIL(FBT_ERR_BACKEND,
                 "none of cuBLASLt's %d algorithms for a %s product of %lld x %lld with %s gives a row the same result "
                 "in every "
                 "batch",
                 n_candidates, shape->types->name, (long long)shape->n_out, (long long)shape->n_in,
                 epilogue_name(shape->epilogue));
    }
done:
    fbt_cuda_plan_close(&plan);
    close_trial(&t);
    return status;
}

static int same_shape(const fbt_cuda_shape *a, const fbt_cuda_shape *b)
{
    return a->n_out == b->n_out && a->n_in == b->n_in && a->types == b->types && a->epilogue == b->epilogue;
}

fbt_status fbt_cuda_choose(fbt_cuda *cuda, const fbt_cuda_shape *shape, const cublasLtMatmulAlgo_t **algorithm)
{
    fbt_status status = FBT_OK;
    fbt_cuda_choice *made = NULL;
    for (fbt_cuda_choice *choice = cuda->choices; choice != NULL; choice = choice->next) {
        if (same_shape(&choice->shape, shape)) {
            *algorithm = &choice->algorithm;
            return FBT_OK;
        }
    }
    if (cuda->graph_state == FBT_CUDA_GRAPH_RECORDED) {
        FBT_FAIL(FBT_ERR_ARG,
                 "a graph multiplies by a %lld x %lld matrix that the graph of the same key before it did not",
                 (long long)shape->n_out, (long long)shape->n_in);
    }
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    made->shape = *shape;
    FBT_TRY(find_algorithm(cuda, shape, &made->algorithm));
    made->next = cuda->choices;
    cuda->choices = made;
    *algorithm = &made->algorithm;
    made = NULL;
done:
    free(made);
    return status;
}

void fbt_cuda_choices_free(fbt_cuda *cuda)
{
    while (cuda->choices != NULL) {
        fbt_cuda_choice *choice = cuda->choices;
        cuda->choices = choice->next;
        free(choice);
    }
}
