/* Trials of cuBLASLt's algorithms for one shape of products: device memory with operands whose sums are made of
 * roundings alone (fbt_cuda_fill_cancelling), so that another order of summation gives other bits. */
#ifndef FBT_CUDA_TRIAL_H
#define FBT_CUDA_TRIAL_H

#include "kernels/cuda/cuda.h"

typedef struct fbt_cuda_trial {
    fbt_cuda_shape shape;
    int64_t n_nominal; /* rows by which to ask the library: the same whatever memory is free */
    int64_t n_rows;
    int64_t x_bytes, y_bytes; /* of a row */
    void *x, *weight, *bias, *residual;
    void *some_x, *y; /* rows that are tried on their own, and what comes out */
    void *expected;   /* of all rows, by the first algorithm that is good */
    int32_t *differs;
    int is_expecting;
} fbt_cuda_trial;

/* More rows than a schedule can hide its last wave in, and as many as a large batch has where there is memory for them.
 * Waits. Errors: FBT_ERR_MEMORY, FBT_ERR_BACKEND; close the trial also after one. */
fbt_status fbt_cuda_trial_open(fbt_cuda *cuda, const fbt_cuda_shape *shape, fbt_cuda_trial *t);
void fbt_cuda_trial_close(fbt_cuda_trial *t);

/* *is_good: whether the algorithm gives every row the same bits in all batches that are tried, and the same as the
 * algorithms that were good before it. Waits. */
fbt_status fbt_cuda_trial_run(fbt_cuda *cuda, fbt_cuda_trial *t, const cublasLtMatmulAlgo_t *algorithm, int *is_good);

/* The product of the first n_rows of some_x into y, which is its own residual. */
static inline fbt_cuda_product fbt_cuda_trial_product(const fbt_cuda_trial *t, int64_t n_rows)
{
    return (fbt_cuda_product){.shape = t->shape,
                              .y = t->y,
                              .x = t->some_x,
                              .weight = t->weight,
                              .bias = t->bias,
                              .residual = t->y,
                              .n_rows = n_rows};
}

#endif
