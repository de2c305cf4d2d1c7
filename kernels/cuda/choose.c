/* Which of cuBLASLt's algorithms multiplies by a matrix.
 *
 * Left to itself cuBLASLt plans each product by its number of rows, and the bits of a row then depend on the batch
 * around it. So a shape keeps one algorithm for all numbers of rows. Good ones sum over n_in in one piece and were seen
 * to give a row the same bits in any batch (trial.c). Seen, because the library does not tell everything: a schedule
 * that deals the last wave of tiles out by halves (stream-K) has no attribute of its own. The first good one of the
 * library's list, which is the same on every rank with the same device and library, decides the bits; of those that
 * have its bits the fastest is taken, so that ranks may well take different ones. Where none is good, or the library
 * has nothing for the shape, a kernel of our own multiplies (plain_product.cu).
 */
#include "kernels/cuda/cuda.h"

#include "base/memory.h"
#include "kernels/cuda/trial.h"

#include <stdio.h>
#include <stdlib.h>

enum { N_CANDIDATES = 32, N_REPEATS = 3 };

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

/* Tries a candidate, and takes it where it is good and faster than those before it. */
static fbt_status try_candidate(fbt_cuda *cuda, fbt_cuda_trial *t, const cublasLtMatmulAlgo_t *algorithm,
                                fbt_cuda_choice *choice)
{
    fbt_status status = FBT_OK;
    const fbt_cuda_product product = fbt_cuda_trial_product(t, t->n_rows);
    int is_good;
    double seconds = -1;
    FBT_TRY(fbt_cuda_trial_run(cuda, t, algorithm, &is_good));
    if (!is_good) {
        return FBT_OK;
    }
    FBT_TRY(fbt_cuda_time_product(cuda, &product, algorithm, N_REPEATS, &seconds));
    choice->first_s = choice->n_good == 0 ? seconds : choice->first_s;
    if (choice->n_good == 0 || (seconds >= 0 && seconds < choice->seconds)) {
        choice->algorithm = *algorithm;
        choice->seconds = seconds;
    }
    choice->n_good++;
done:
    return status;
}

static fbt_status find_algorithm(fbt_cuda *cuda, fbt_cuda_choice *choice)
{
    fbt_status status = FBT_OK;
    fbt_cuda_trial t = {.n_rows = 0};
    fbt_cuda_plan plan = {0};
    fbt_cuda_product nominal;
    cublasLtMatmulHeuristicResult_t candidates[N_CANDIDATES];
    FBT_TRY(fbt_cuda_trial_open(cuda, &choice->shape, &t));
    nominal = fbt_cuda_trial_product(&t, t.n_nominal);
    choice->n_rows = t.n_rows;
    FBT_TRY(fbt_cuda_plan_open(&plan, &nominal));
    FBT_TRY(fbt_cuda_plan_candidates(cuda, &plan, CUBLASLT_REDUCTION_SCHEME_NONE, N_CANDIDATES, candidates,
                                     &choice->n_candidates));
    for (int i = 0; i < choice->n_candidates; i++) {
        if (candidates[i].state == CUBLAS_STATUS_SUCCESS && sums_in_one_piece(&candidates[i].algo)) {
            FBT_TRY(try_candidate(cuda, &t, &candidates[i].algo, choice));
        }
    }
done:
    fbt_cuda_plan_close(&plan);
    fbt_cuda_trial_close(&t);
    return status;
}

static int same_shape(const fbt_cuda_shape *a, const fbt_cuda_shape *b)
{
    return a->n_out == b->n_out && a->n_in == b->n_in && a->types == b->types && a->epilogue == b->epilogue;
}

fbt_status fbt_cuda_choose(fbt_cuda *cuda, const fbt_cuda_shape *shape, const fbt_cuda_choice **choice)
{
    fbt_status status = FBT_OK;
    fbt_cuda_choice *made = NULL;
    for (*choice = cuda->choices; *choice != NULL; *choice = (*choice)->next) {
        if (same_shape(&(*choice)->shape, shape)) {
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
    FBT_TRY(find_algorithm(cuda, made));
    made->next = cuda->choices;
    cuda->choices = made;
    *choice = made;
    made = NULL;
done:
    free(made);
    return status;
}

/* An attribute of the library's as a number; -1: it does not tell. */
static long attribute(const cublasLtMatmulAlgo_t *algorithm, cublasLtMatmulAlgoConfigAttributes_t which)
{
    int32_t value = 0;
    uint16_t narrow = 0;
    size_t n_written;
    if (cublasLtMatmulAlgoConfigGetAttribute(algorithm, which, &value, sizeof value, &n_written) ==
        CUBLAS_STATUS_SUCCESS) {
        return value;
    }
    return cublasLtMatmulAlgoConfigGetAttribute(algorithm, which, &narrow, sizeof narrow, &n_written) ==
                   CUBLAS_STATUS_SUCCESS
               ? narrow
               : -1;
}

int fbt_cuda_describe_product(fbt_backend *b, int i, char *text, size_t n_bytes)
{
    const fbt_cuda_choice *c = fbt_cuda_of(b)->choices;
    for (; i > 0 && c != NULL; i--) {
        c = c->next;
    }
    if (c == NULL) {
        return 0;
    }
    const int n = snprintf(text, n_bytes, "%s, %lld x %lld with %s: ", c->shape.types->name, (long long)c->shape.n_out,
                           (long long)c->shape.n_in, epilogue_name(c->shape.epilogue));
    text += n;
    n_bytes -= (size_t)n;
    if (c->n_good == 0) {
        snprintf(text, n_bytes,
                 "by a kernel of fedbpt's own, since none of cuBLASLt's %d gives a row the same bits in "
                 "every batch; slow",
                 c->n_candidates);
        return 1;
    }
    const double flops = 2.0 * (double)c->n_rows * (double)c->shape.n_out * (double)c->shape.n_in;
    snprintf(
        text, n_bytes,
        "algorithm %ld, tile %ld, stages %ld, inner shape %ld, cluster %ld, swizzle %ld, option %ld; fastest of %d "
        "with its bits among %d; %.1f TFLOP/s with %lld rows, %.2f times the first",
        attribute(&c->algorithm, CUBLASLT_ALGO_CONFIG_ID), attribute(&c->algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID),
        attribute(&c->algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID),
        attribute(&c->algorithm, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID),
        attribute(&c->algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
        attribute(&c->algorithm, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
        attribute(&c->algorithm, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION), c->n_good, c->n_candidates,
        1e-12 * flops / c->seconds, (long long)c->n_rows, c->first_s / c->seconds);
    return 1;
}

void fbt_cuda_choices_free(fbt_cuda *cuda)
{
    while (cuda->choices != NULL) {
        fbt_cuda_choice *choice = cuda->choices;
        cuda->choices = choice->next;
        free(choice);
    }
}
