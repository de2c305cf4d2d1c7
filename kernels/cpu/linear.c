/* y = activation(x W^T + bias) + residual: the choice between the layouts. */
#include "kernels/cpu/matrix.h"

/* The choice. call: residual, activation and is_gated are set; y and residual are of y_dtype. */
static fbt_status multiply(fbt_backend *b, fbt_buffer *y, fbt_dtype y_dtype, const fbt_buffer *x, const fbt_matrix *w,
                           fbt_linear_call call, int64_t n_rows)
{
    fbt_cpu *cpu = fbt_cpu_of(b);
    call.w = fbt_cpu_matrix_of(w);
    call.x = x->data;
    call.y = y->data;
    call.y_dtype = y_dtype;
    call.n_rows = n_rows;
    call.x_row_bytes = w->n_in * (int64_t)fbt_dtype_bytes(w->types->activations);
    call.y_row_bytes = (call.is_gated ? w->n_out / 2 : w->n_out) * (int64_t)fbt_dtype_bytes(y_dtype);
    switch (call.w->layout) {
    case FBT_LAYOUT_TILES:
        return fbt_cpu_linear_tiles(cpu, &call);
    case FBT_LAYOUT_INT8:
        return fbt_cpu_linear_int8(cpu, &call);
    default:
        return fbt_cpu_linear_panels(cpu, &call);
    }
}

fbt_status fbt_cpu_linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                          fbt_activation activation, int64_t n_rows)
{
    return multiply(b, y, w->types->activations, x, w, (fbt_linear_call){.activation = activation}, n_rows);
}

fbt_status fbt_cpu_linear_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                               fbt_activation activation, int64_t n_rows)
{
    return multiply(b, y, w->types->activations, x, w, (fbt_linear_call){.activation = activation, .is_gated = 1},
                    n_rows);
}

fbt_status fbt_cpu_linear_residual(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                   const fbt_buffer *residual, int64_t n_rows)
{
    return multiply(b, y, w->types->residual, x, w, (fbt_linear_call){.residual = residual->data}, n_rows);
}

fbt_status fbt_cpu_linear_norm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                               const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    const fbt_dtype dtype = w->types->activations;
    FBT_TRY(multiply(b, y, dtype, x, w, (fbt_linear_call){.residual = residual->data}, n_rows));
    FBT_TRY(fbt_cpu_layernorm(b, y, y, dtype, norm, n_rows, w->n_out));
done:
    return status;
}
