/* Activations: with a bias after a product, in place, and gated. */
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/rows.cuh"

#include <type_traits>

/* y: [n_rows, row_units] units of type T */
template <typename T, fbt_activation activation>
static __global__ void __launch_bounds__(fbt_tile::block)
    bias_activation_kernel(uint4 *y, const float *bias, int64_t n_rows, int64_t row_units)
{
    constexpr int unit = fbt_unit<T>, n = fbt_tile::per_thread;
    const fbt_tile tile(n_rows, row_units);
    fbt_elements<T, unit> elements[n];
    float shift[unit] = {};
    if (!tile.has(0)) {
        return;
    }
#pragma unroll
    for (int i = 0; i < n; i++) {
        elements[i].load(y + tile.index(tile.row(i)));
    }
    if (bias != nullptr) {
        fbt_load_floats(shift, bias + tile.unit * unit);
    }
#pragma unroll
    for (int i = 0; i < n; i++) {
        float x[unit];
        elements[i].get(x);
#pragma unroll
        for (int j = 0; j < unit; j++) {
            x[j] = fbt_activate<activation>(x[j] + shift[j]);
        }
        if (tile.has(i)) {
            fbt_store_unit(y + tile.index(tile.row(i)), x);
        }
    }
}

/* y: [n_rows, row_units], x: [n_rows, 2 row_units] units of type T */
template <typename T, fbt_activation activation>
static __global__ void __launch_bounds__(fbt_tile::block)
    gate_kernel(uint4 *y, const uint4 *x, int64_t n_rows, int64_t row_units)
{
    constexpr int unit = fbt_unit<T>, n = fbt_tile::per_thread;
    const fbt_tile tile(n_rows, row_units);
    fbt_elements<T, unit> gates[n], values[n];
    if (!tile.has(0)) {
        return;
    }
#pragma unroll
    for (int i = 0; i < n; i++) {
        const uint4 *gate = x + tile.index(2 * tile.row(i));
        gates[i].load(gate);
        values[i].load(gate + row_units);
    }
#pragma unroll
    for (int i = 0; i < n; i++) {
        float g[unit], u[unit];
        gates[i].get(g);
        values[i].get(u);
#pragma unroll
        for (int j = 0; j < unit; j++) {
            g[j] = fbt_activate<activation>(g[j]) * u[j];
        }
        if (tile.has(i)) {
            fbt_store_unit(y + tile.index(tile.row(i)), g);
        }
    }
}

/* launch(activation), a constant of the compiler. */
template <typename Launch> static cudaError_t with_activation(fbt_activation activation, Launch launch)
{
    switch (activation) {
    case FBT_ACT_GELU_ERF:
        return launch(std::integral_constant<fbt_activation, FBT_ACT_GELU_ERF>());
    case FBT_ACT_GELU_TANH:
        return launch(std::integral_constant<fbt_activation, FBT_ACT_GELU_TANH>());
    case FBT_ACT_RELU:
        return launch(std::integral_constant<fbt_activation, FBT_ACT_RELU>());
    case FBT_ACT_TANH:
        return launch(std::integral_constant<fbt_activation, FBT_ACT_TANH>());
    case FBT_ACT_SILU:
        return launch(std::integral_constant<fbt_activation, FBT_ACT_SILU>());
    default:
        return launch(std::integral_constant<fbt_activation, FBT_ACT_NONE>());
    }
}

template <typename T>
static cudaError_t launch_bias_activation(cudaStream_t stream, void *y, const float *bias, fbt_activation activation,
                                          int64_t n_rows, int64_t n_dim)
{
    const int64_t row_units = n_dim / fbt_unit<T>;
    return with_activation(activation, [&](auto constant) {
        return FBT_LAUNCH((bias_activation_kernel<T, decltype(constant)::value>), fbt_tile::n_blocks(n_rows, row_units),
                          fbt_tile::block, 0, stream, static_cast<uint4 *>(y), bias, n_rows, row_units);
    });
}

cudaError_t fbt_cuda_launch_bias_activation(cudaStream_t stream, void *y, const float *bias, fbt_activation activation,
                                            fbt_dtype dtype, int64_t n_rows, int64_t n_dim)
{
    if (n_rows == 0) {
        return cudaSuccess;
    }
    return dtype == FBT_BF16 ? launch_bias_activation<__nv_bfloat16>(stream, y, bias, activation, n_rows, n_dim)
                             : launch_bias_activation<float>(stream, y, bias, activation, n_rows, n_dim);
}

template <typename T>
static cudaError_t launch_gate(cudaStream_t stream, void *y, const void *x, fbt_activation activation, int64_t n_rows,
                               int64_t n_dim)
{
    const int64_t row_units = n_dim / fbt_unit<T>;
    return with_activation(activation, [&](auto constant) {
        return FBT_LAUNCH((gate_kernel<T, decltype(constant)::value>), fbt_tile::n_blocks(n_rows, row_units),
                          fbt_tile::block, 0, stream, static_cast<uint4 *>(y), static_cast<const uint4 *>(x), n_rows,
                          row_units);
    });
}

cudaError_t fbt_cuda_launch_gate(cudaStream_t stream, void *y, const void *x, fbt_activation activation,
                                 fbt_dtype dtype, int64_t n_rows, int64_t n_dim)
{
    if (n_rows == 0) {
        return cudaSuccess;
    }
    return dtype == FBT_BF16 ? launch_gate<__nv_bfloat16>(stream, y, x, activation, n_rows, n_dim)
                             : launch_gate<float>(stream, y, x, activation, n_rows, n_dim);
}
