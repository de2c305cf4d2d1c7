/* Matrices and tables in constant memory. */
#include "kernels/cuda/cuda.h"

#include "base/memory.h"
#include "base/smaller.h"

#include <stdlib.h>

/* The bias in float and as products want it; zeros where there is none, so that there is one kind of product. */
static fbt_status fill_bias(fbt_cuda *cuda, const fbt_cuda_matrix *matrix, const float *bias)
{
    fbt_status status = FBT_OK;
    const fbt_dtype dtype = matrix->base.types->activations;
    float *zeros = NULL;
    if (bias == NULL) {
        FBT_TRY(fbt_memory_alloc(&zeros, matrix->base.n_out, sizeof *zeros));
        bias = zeros;
    }
    FBT_TRY(fbt_cuda_upload(cuda, (void *)matrix->bias, FBT_F32, bias, FBT_F32, matrix->base.n_out));
    if (dtype != FBT_F32) {
        FBT_TRY(fbt_cuda_upload(cuda, (void *)matrix->product_bias, dtype, bias, FBT_F32, matrix->base.n_out));
    }
done:
    free(zeros);
    return status;
}

fbt_status fbt_cuda_matrix_new(fbt_backend *b, const fbt_matrix_spec *spec, fbt_matrix **matrix)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    const fbt_dtype dtype = spec->types->weights;
    const int64_t n_items = spec->n_out * spec->n_in;
    const int64_t n_bytes = fbt_round_up(n_items * (int64_t)fbt_dtype_bytes(dtype), FBT_CUDA_ALIGNMENT);
    const int64_t bias_bytes = fbt_round_up(spec->n_out * (int64_t)sizeof(float), FBT_CUDA_ALIGNMENT);
    fbt_cuda_matrix *made = NULL;
    int is_filled;
    *matrix = NULL;
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    made->base = (fbt_matrix){.n_out = spec->n_out, .n_in = spec->n_in, .types = spec->types};
    FBT_TRY(fbt_cuda_constant_new(cuda, n_bytes + bias_bytes + (dtype == FBT_F32 ? 0 : bias_bytes), &made->weight,
                                  &is_filled));
    made->bias = (const float *)((char *)made->weight + n_bytes);
    made->product_bias = (const char *)made->bias + (dtype == FBT_F32 ? 0 : bias_bytes);
    if (!is_filled) {
        FBT_TRY(fbt_cuda_upload(cuda, made->weight, dtype, spec->weight, spec->dtype, n_items));
        FBT_TRY(fill_bias(cuda, made, spec->bias));
    }
    *matrix = &made->base;
    made = NULL;
done:
    if (made != NULL) {
        fbt_cuda_matrix_free(b, &made->base);
    }
    return status;
}

void fbt_cuda_matrix_free(fbt_backend *b, fbt_matrix *matrix)
{
    fbt_cuda_constant_free(fbt_cuda_of(b), fbt_cuda_matrix_of(matrix)->weight);
    free(matrix);
}

fbt_status fbt_cuda_table_new(fbt_backend *b, const void *rows, fbt_dtype dtype, int64_t n_rows, int64_t n_dim,
                              fbt_table **table)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    fbt_table *made = NULL;
    int is_filled;
    const int64_t n_items = n_rows * n_dim;
    *table = NULL;
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    *made = (fbt_table){.dtype = dtype, .n_rows = n_rows, .n_dim = n_dim};
    FBT_TRY(fbt_cuda_constant_new(cuda, n_items * (int64_t)fbt_dtype_bytes(dtype), &made->rows, &is_filled));
    if (!is_filled) {
        FBT_TRY(fbt_cuda_upload(cuda, made->rows, dtype, rows, dtype, n_items));
    }
    *table = made;
    made = NULL;
done:
    if (made != NULL) {
        fbt_cuda_table_free(b, made);
    }
    return status;
}

void fbt_cuda_table_free(fbt_backend *b, fbt_table *table)
{
    fbt_cuda_constant_free(fbt_cuda_of(b), table->rows);
    free(table);
}
