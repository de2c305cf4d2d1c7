/* y = activation(x W^T + bias) + residual: the choice between oneDNN and the tiles. */
#include "kernels/cpu/matrix.h"

/* residual: NULL, or with FBT_ACT_NONE. */
static fbt_status multiply(fbt_cpu *cpu, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                           fbt_activation activation, const fbt_buffer *residual, int64_t n_rows)
{
    const int64_t item = (int64_t)fbt_dtype_bytes(w->types->activations);
    fbt_linear_call call = {.w = fbt_cpu_matrix_of(w),
                            .x = x->data,
                            .y = y->data,
                            .residual = residual != NULL ? residual->data : NULL,
                            .activation = activation,
                            .n_rows = n_rows,
                            .x_row_bytes = w->n_in * item,
                            .y_row_bytes = w->n_out * item};
    return call.w->is_tiled ? fbt_cpu_linear_tiles(cpu, &call) : fbt_cpu_linear_dnnl(cpu, &call);
}

fbt_status fbt_cpu_linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                          fbt_activation activation, int64_t n_rows)
{
    return multiply(fbt_cpu_of(b), y, x, w, activation, NULL, n_rows);
}

/* y = x W^T + bias + residual */
fbt_status fbt_cpu_linear_residual(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                                   const fbt_buffer *residual, int64_t n_rows)
{
    return multiply(fbt_cpu_of(b), y, x, w, FBT_ACT_NONE, residual, n_rows);
}

fbt_status fbt_cpu_linear_norm(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                               const fbt_buffer *residual, const fbt_norm *norm, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_cpu_linear_residual(b, y, x, w, residual, n_rows));
    FBT_TRY(fbt_cpu_layernorm(b, y, y, norm, n_rows, w->n_out));
done:
    return status;
}
