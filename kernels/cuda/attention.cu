/* Attention: which kernel. */
#include "kernels/cuda/attention.cuh"

/* Rows are found by products of 32-bit numbers. */
static bool is_wide(const fbt_cuda_heads &heads)
{
    return heads.stride > INT_MAX;
}

cudaError_t fbt_cuda_launch_attention(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    if (args->n_sequences == 0) {
        return cudaSuccess;
    }
    if (args->head_dim < 8 || args->head_dim > 256 || args->head_dim % 8 != 0 || is_wide(args->q)) {
        return cudaErrorInvalidValue;
    }
    for (const fbt_cuda_keys &keys : args->keys) {
        if (is_wide(keys.k) || is_wide(keys.v)) {
            return cudaErrorInvalidValue;
        }
    }
    return args->dtype == FBT_BF16 ? fbt_attention_bf16(stream, args) : fbt_attention_fp32(stream, args);
}
