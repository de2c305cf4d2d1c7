/* Attention: which kernel. */
#include "kernels/cuda/attention.cuh"

cudaError_t fbt_cuda_launch_attention(cudaStream_t stream, const fbt_cuda_attention_args *args)
{
    if (args->n_sequences == 0) {
        return cudaSuccess;
    }
    if (args->head_dim < 8 || args->head_dim > 128 || args->head_dim % 8 != 0 || args->q_stride > INT_MAX ||
        args->k_stride > INT_MAX || args->v_stride > INT_MAX) {
        return cudaErrorInvalidValue;
    }
    if (args->one_query) {
        return fbt_attention_one_query(stream, args);
    }
    return args->dtype == FBT_BF16 ? fbt_attention_bf16(stream, args) : fbt_attention_fp32(stream, args);
}
