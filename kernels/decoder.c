/* The operations of decoders, which a backend may leave out. */
#include "kernels/checks.h"
#include "kernels/profiler.h"

fbt_status fbt_linear_residual(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                               const fbt_buffer *residual, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    FBT_TRY(b->ops->linear_residual != NULL ? FBT_OK : fbt_backend_lacks(b, "linear_residual"));
    if (n_rows == 0) {
        goto done;
    }
    FBT_TRY(fbt_check_linear_residual(b, y, x, w, residual, n_rows));
    FBT_TRY(fbt_profiler_begin_product(b, w, n_rows, 1));
    FBT_TRY(b->ops->linear_residual(b, y, x, w, residual, n_rows));
    FBT_TRY(fbt_profiler_end_product(b, FBT_OP_ACTIVATION, w, n_rows));
done:
    return status;
}

/* No backend has these two yet; whoever adds one adds its checks and its work here. */
fbt_status fbt_rotate(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                      const fbt_rotary *rotary, const fbt_packed *packed)
{
    return b->ops->rotate == NULL ? fbt_backend_lacks(b, "rotate")
                                  : b->ops->rotate(b, x, heads, n_heads, head_dim, rotary, packed);
}

fbt_status fbt_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
                    int64_t n_dim)
{
    return b->ops->gate == NULL ? fbt_backend_lacks(b, "gate") : b->ops->gate(b, y, x, activation, n_rows, n_dim);
}
