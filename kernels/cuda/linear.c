/* y = activation(x W^T + bias), and the same with residual and LayerNorm behind it. */
#include "kernels/cuda/cuda.h"

/* Chooses the part that cuBLASLt does while it stores the product. Its GELU is the tanh formula with hardware's tanh,
 * which bfloat16 does not show and float does; erf and tanh it does not have at all. */
static fbt_cuda_epilogue epilogue_of(fbt_activation activation, fbt_dtype dtype)
{
    switch (activation) {
    case FBT_ACT_NONE:
        return FBT_CUDA_BIAS;
    case FBT_ACT_RELU:
        return FBT_CUDA_BIAS_RELU;
    case FBT_ACT_GELU_TANH:
        return dtype == FBT_BF16 ? FBT_CUDA_BIAS_GELU_TANH : FBT_CUDA_PLAIN;
    default:
        return FBT_CUDA_PLAIN;
    }
}

static fbt_cuda_product describe(const fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                 fbt_cuda_epilogue epilogue, int64_t n_rows)
{
    const fbt_cuda_matrix *matrix = fbt_cuda_matrix_of(w);
    const fbt_cuda_shape shape = {.n_out = w->n_out, .n_in = w->n_in, .types = w->types, .epilogue = epilogue};
    return (fbt_cuda_product){
        .shape = shape,
        .y = y->data,
        .x = x->data,
        .weight = matrix->weight,
        .bias = fbt_cuda_result_type(&shape) == FBT_F32 ? matrix->bias : matrix->product_bias,
        .n_rows = n_rows,
    };
}

/* Queues the product, which another kernel follows where follows = 1. */
static fbt_status multiply(fbt_cuda *cuda, const fbt_cuda_product *product, int follows)
{
    const fbt_status status = fbt_cuda_multiply(cuda, product);
    return status == FBT_OK && follows && cuda->product_queued != NULL ? cuda->product_queued(cuda->product_context)
                                                                       : status;
}

fbt_status fbt_cuda_linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                           fbt_activation activation, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    const fbt_cuda_epilogue epilogue = epilogue_of(activation, w->types->activations);
    fbt_cuda_product product;
    if (epilogue == FBT_CUDA_PLAIN && w->n_out % FBT_CUDA_WIDTH != 0) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED,
                 "linear: the CUDA backend computes this activation for rows of a multiple of %d, not of %lld",
                 FBT_CUDA_WIDTH, (long long)w->n_out);
    }
    product = describe(y, x, w, epilogue, n_rows);
    FBT_TRY(multiply(cuda, &product, epilogue == FBT_CUDA_PLAIN));
    if (epilogue == FBT_CUDA_PLAIN) {
        FBT_TRY(
            fbt_cuda_status(fbt_cuda_launch_bias_activation(cuda->stream->handle, y->data, fbt_cuda_matrix_of(w)->bias,
                                                            activation, w->types->activations, n_rows, w->n_out),
                            "launch the activation"));
    }
done:
    return status;
}

/* The product adds the residual while it stores y, the norm adds the bias while it loads it: y is written, read and
 * written, the residual read once. A product into memory of its own and a norm that adds the residual move as many
 * bytes and need that memory. */
fbt_status fbt_cuda_linear_norm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    fbt_cuda *cuda = fbt_cuda_of(b);
    fbt_cuda_product product;
    fbt_cuda_norm_args args;
    product = describe(y, x, w, FBT_CUDA_RESIDUAL, n_rows);
    product.residual = residual->data;
    FBT_TRY(multiply(cuda, &product, 1));
    args = (fbt_cuda_norm_args){.y = y->data,
                                .x = y->data,
                                .bias = fbt_cuda_matrix_of(w)->bias,
                                .norm = fbt_cuda_norm_of(norm),
                                .dtype = b->info.types->activations,
                                .x_dtype = b->info.types->activations,
                                .n_rows = n_rows,
                                .n_dim = w->n_out};
    FBT_TRY(fbt_cuda_status(fbt_cuda_launch_norm(cuda->stream->handle, &args), "launch the norm"));
done:
    return status;
}

fbt_status fbt_cuda_linear_residual(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                    const fbt_buffer *residual, int64_t n_rows)
{
    fbt_cuda_product product = describe(y, x, w, FBT_CUDA_BIAS_RESIDUAL, n_rows);
    product.residual = residual->data;
    return multiply(fbt_cuda_of(b), &product, 0);
}
