/* Matrix products by cuBLASLt.
 *
 * cuBLASLt counts columns first. What is [n, m] by rows is [m, n] by columns, so y = x W^T is asked for as y^T = W x^T
 * with W transposed as it lies in memory: the bias then runs along the library's rows, as its epilogues want it.
 */
#include "kernels/cuda/cuda.h"

#include <stdio.h>

static cudaDataType_t type_of(fbt_dtype dtype)
{
    return dtype == FBT_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static cublasComputeType_t compute_type_of(fbt_compute compute)
{
    return compute == FBT_COMPUTE_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

static cublasLtEpilogue_t library_epilogue(fbt_cuda_epilogue epilogue)
{
    switch (epilogue) {
    case FBT_CUDA_BIAS:
    case FBT_CUDA_BIAS_RESIDUAL: /* the residual is added before the epilogue */
        return CUBLASLT_EPILOGUE_BIAS;
    case FBT_CUDA_BIAS_RELU:
        return CUBLASLT_EPILOGUE_RELU_BIAS;
    case FBT_CUDA_BIAS_GELU_TANH:
        return CUBLASLT_EPILOGUE_GELU_BIAS;
    default:
        return CUBLASLT_EPILOGUE_DEFAULT;
    }
}

static int has_residual(const fbt_cuda_shape *shape)
{
    return shape->epilogue == FBT_CUDA_RESIDUAL || shape->epilogue == FBT_CUDA_BIAS_RESIDUAL;
}

static cublasStatus_t set_epilogue(cublasLtMatmulDesc_t description, const fbt_cuda_product *product)
{
    const cublasLtEpilogue_t epilogue = library_epilogue(product->shape.epilogue);
    cublasStatus_t code =
        cublasLtMatmulDescSetAttribute(description, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (code == CUBLAS_STATUS_SUCCESS && epilogue != CUBLASLT_EPILOGUE_DEFAULT) {
        code = cublasLtMatmulDescSetAttribute(description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &product->bias,
                                              sizeof product->bias);
    }
    return code;
}

fbt_status fbt_cuda_plan_open(fbt_cuda_plan *plan, const fbt_cuda_product *product)
{
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cudaDataType_t type = type_of(product->shape.types->activations);
    const cudaDataType_t result_type = type_of(fbt_cuda_result_type(&product->shape));
    const uint64_t n_out = (uint64_t)product->shape.n_out, n_in = (uint64_t)product->shape.n_in;
    const uint64_t n_rows = (uint64_t)product->n_rows;
    *plan = (fbt_cuda_plan){0};
    cublasStatus_t code =
        cublasLtMatmulDescCreate(&plan->product, compute_type_of(product->shape.types->compute), CUDA_R_32F);
    if (code == CUBLAS_STATUS_SUCCESS) {
        code =
            cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    }
    if (code == CUBLAS_STATUS_SUCCESS) {
        code = set_epilogue(plan->product, product);
    }
    if (code == CUBLAS_STATUS_SUCCESS) {
        code = cublasLtMatrixLayoutCreate(&plan->weight, type, n_in, n_out, (int64_t)n_in);
    }
    if (code == CUBLAS_STATUS_SUCCESS) {
        code = cublasLtMatrixLayoutCreate(&plan->x, type, n_in, n_rows, (int64_t)n_in);
    }
    if (code == CUBLAS_STATUS_SUCCESS) {
        code = cublasLtMatrixLayoutCreate(&plan->y, result_type, n_out, n_rows, (int64_t)n_out);
    }
    return fbt_cuda_blas_status(code, "describe a matrix product");
}

void fbt_cuda_plan_close(fbt_cuda_plan *plan)
{
    if (plan->product != NULL) {
        cublasLtMatmulDescDestroy(plan->product);
    }
    if (plan->weight != NULL) {
        cublasLtMatrixLayoutDestroy(plan->weight);
    }
    if (plan->x != NULL) {
        cublasLtMatrixLayoutDestroy(plan->x);
    }
    if (plan->y != NULL) {
        cublasLtMatrixLayoutDestroy(plan->y);
    }
    *plan = (fbt_cuda_plan){0};
}

cublasStatus_t fbt_cuda_plan_run(fbt_cuda *cuda, const fbt_cuda_plan *plan, const fbt_cuda_product *product,
                                 const cublasLtMatmulAlgo_t *algorithm)
{
    const int adds = has_residual(&product->shape);
    const float one = 1, beta = adds ? 1 : 0;
    return cublasLtMatmul(cuda->blas, plan->product, &one, product->weight, plan->weight, product->x, plan->x, &beta,
                          adds ? product->residual : product->y, plan->y, product->y, plan->y, algorithm,
                          cuda->stream->workspace, FBT_CUDA_WORKSPACE_BYTES, cuda->stream->handle);
}

fbt_status fbt_cuda_plan_candidates(fbt_cuda *cuda, const fbt_cuda_plan *plan, uint32_t reductions, int n_max,
                                    cublasLtMatmulHeuristicResult_t *candidates, int *n)
{
    const uint64_t workspace_bytes = FBT_CUDA_WORKSPACE_BYTES;
    cublasLtMatmulPreference_t preference = NULL;
    cublasStatus_t code = cublasLtMatmulPreferenceCreate(&preference);
    *n = 0;
    if (code == CUBLAS_STATUS_SUCCESS) {
        code = cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                    &workspace_bytes, sizeof workspace_bytes);
    }
    if (code == CUBLAS_STATUS_SUCCESS) {
        code = cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions,
                                                    sizeof reductions);
    }
    if (code == CUBLAS_STATUS_SUCCESS) {
        code = cublasLtMatmulAlgoGetHeuristic(cuda->blas, plan->product, plan->weight, plan->x, plan->y, plan->y,
                                              preference, n_max, candidates, n);
    }
    if (preference != NULL) {
        cublasLtMatmulPreferenceDestroy(preference);
    }
    if (code == CUBLAS_STATUS_NOT_SUPPORTED) { /* what the library says where it has no candidate */
        *n = 0;
        return FBT_OK;
    }
    return fbt_cuda_blas_status(code, "look for a matrix product");
}

static int has_bias(const fbt_cuda_shape *shape)
{
    return library_epilogue(shape->epilogue) != CUBLASLT_EPILOGUE_DEFAULT;
}

static fbt_activation activation_of(fbt_cuda_epilogue epilogue)
{
    switch (epilogue) {
    case FBT_CUDA_BIAS_RELU:
        return FBT_ACT_RELU;
    case FBT_CUDA_BIAS_GELU_TANH:
        return FBT_ACT_GELU_TANH;
    default:
        return FBT_ACT_NONE;
    }
}

/* By our own kernel, where the library has nothing. */
static fbt_status multiply_plainly(fbt_cuda *cuda, const fbt_cuda_product *product)
{
    const fbt_cuda_shape *shape = &product->shape;
    const fbt_cuda_plain_product_args args = {.y = product->y,
                                              .x = product->x,
                                              .weight = product->weight,
                                              .residual = has_residual(shape) ? product->residual : NULL,
                                              .bias = has_bias(shape) ? product->bias : NULL,
                                              .dtype = shape->types->activations,
                                              .y_dtype = fbt_cuda_result_type(shape),
                                              .activation = activation_of(shape->epilogue),
                                              .n_rows = product->n_rows,
                                              .n_out = shape->n_out,
                                              .n_in = shape->n_in};
    return fbt_cuda_status(fbt_cuda_launch_plain_product(cuda->stream->handle, &args), "launch a matrix product");
}

fbt_status fbt_cuda_multiply(fbt_cuda *cuda, const fbt_cuda_product *product)
{
    fbt_status status = FBT_OK;
    fbt_cuda_plan plan = {0};
    const fbt_cuda_choice *choice;
    FBT_TRY(fbt_cuda_choose(cuda, &product->shape, &choice));
    if (choice->n_good == 0) {
        return multiply_plainly(cuda, product);
    }
    FBT_TRY(fbt_cuda_plan_open(&plan, product));
    FBT_TRY(
        fbt_cuda_blas_status(fbt_cuda_plan_run(cuda, &plan, product, &choice->algorithm), "queue a matrix product"));
done:
    fbt_cuda_plan_close(&plan);
    return status;
}
