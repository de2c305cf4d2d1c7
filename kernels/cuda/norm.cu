/* Norms with what comes before it, one read and one write of each row. */
#include "kernels/cuda/rows.cuh"

/* Every element is read and written by one thread: y may be residual, or x, of type X, where that is y's. */
template <typename Row, typename X, fbt_norm_kind kind>
static __global__ void __launch_bounds__(Row::block) norm_kernel(const fbt_cuda_norm_args a)
{
    using T = typename Row::T;
    const int n_dim = static_cast<int>(a.n_dim);
    const int64_t first = Row::number() * a.n_dim;
    if (Row::number() >= a.n_rows) {
        return;
    }
    const auto x = typename Row::template term<X>(static_cast<const X *>(a.x) + first, n_dim);
    const T *residual_row = a.residual == nullptr ? nullptr : static_cast<const T *>(a.residual) + first;
    const auto residual = typename Row::template term<T>(residual_row, n_dim);
    const auto bias = typename Row::template term<float>(a.bias, n_dim);
    Row row;
    row.clear();
    row.add(x);
    row.add(residual);
    row.add(bias);
    row.template normalise<kind>(a.norm, n_dim, reinterpret_cast<float *>(fbt_shared()));
    __syncwarp(); /* y may be x, of which lanes past the end of the row read what another lane writes */
    row.store(static_cast<T *>(a.y) + first, n_dim);
}

template <typename T, typename X> static cudaError_t launch_norm(cudaStream_t stream, const fbt_cuda_norm_args &a)
{
    return fbt_with_row<T>(a.n_dim, [&](auto row) {
        using Row = decltype(row);
        const auto norm_of_kind =
            a.norm.beta == nullptr ? norm_kernel<Row, X, FBT_NORM_RMS> : norm_kernel<Row, X, FBT_NORM_LAYER>;
        return FBT_LAUNCH(norm_of_kind, fbt_n_blocks(a.n_rows, Row::rows_per_block), Row::block, Row::shared_bytes,
                          stream, a);
    });
}

cudaError_t fbt_cuda_launch_norm(cudaStream_t stream, const fbt_cuda_norm_args *args)
{
    if (args->n_rows == 0) {
        return cudaSuccess;
    }
    if (args->dtype == FBT_F32) {
        return args->x_dtype == FBT_F32 ? launch_norm<float, float>(stream, *args) : cudaErrorInvalidValue;
    }
    return args->x_dtype == FBT_F32 ? launch_norm<__nv_bfloat16, float>(stream, *args)
                                    : launch_norm<__nv_bfloat16, __nv_bfloat16>(stream, *args);
}
