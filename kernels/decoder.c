/* The operations of decoders, which a backend may leave out. */
#include "kernels/backend.h"

#include "kernels/backend_ops.h"

static fbt_status lacks(const fbt_backend *b, const char *operation)
{
    return fbt_fail(FBT_ERR_UNSUPPORTED, "backend %s has no operation %s", b->info.name, operation);
}

fbt_status fbt_linear_residual(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, const fbt_matrix *w,
                               const fbt_buffer *residual, int64_t n_rows)
{
    return b->ops->linear_residual == NULL ? lacks(b, "linear_residual")
                                           : b->ops->linear_residual(b, y, x, w, residual, n_rows);
}

fbt_status fbt_rotate(fbt_backend *b, fbt_buffer *x, const fbt_heads *heads, int64_t n_heads, int64_t head_dim,
                      const fbt_rotary *rotary, const fbt_packed *packed)
{
    return b->ops->rotate == NULL ? lacks(b, "rotate") : b->ops->rotate(b, x, heads, n_heads, head_dim, rotary, packed);
}

fbt_status fbt_gate(fbt_backend *b, fbt_buffer *y, const fbt_buffer *x, fbt_activation activation, int64_t n_rows,
                    int64_t n_dim)
{
    return b->ops->gate == NULL ? lacks(b, "gate") : b->ops->gate(b, y, x, activation, n_rows, n_dim);
}
