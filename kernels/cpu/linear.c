/* y = activation(x W^T + bias) + residual: checks, and the choice between oneDNN and the tiles. */
#include "cpu/matrix.h"

fbt_status fbt_cpu_linear(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                          fbt_activation activation, const fbt_buffer *residual, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    fbt_cpu *cpu = fbt_cpu_of(b);
    fbt_linear_call call;
    const int64_t item = (int64_t)fbt_dtype_bytes(fbt_precision_dtype(w->precision));
    if (n_rows == 0) {
        return FBT_OK;
    }
    FBT_TRY(fbt_cpu_check_size(x, n_rows, w->n_in * item, "linear, x"));
    FBT_TRY(fbt_cpu_check_size(y, n_rows, w->n_out * item, "linear, y"));
    if (residual != NULL) {
        FBT_TRY(fbt_cpu_check_size(residual, n_rows, w->n_out * item, "linear, residual"));
    }
    call = (fbt_linear_call){.w = w,
                             .x = x->data,
                             .y = y->data,
                             .residual = residual != NULL ? residual->data : NULL,
                             .activation = activation,
                             .n_rows = n_rows,
                             .x_row_bytes = w->n_in * item,
                             .y_row_bytes = w->n_out * item};
    FBT_TRY(w->is_tiled ? fbt_cpu_linear_tiles(cpu, &call) : fbt_cpu_linear_dnnl(cpu, &call));
done:
    return status;
}
