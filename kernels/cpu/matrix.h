/* A constant matrix, in tiles, in panels or quantised, and the products made with it. A row's result does not depend on
 * the other rows, the blocks they are cut into, or the number of threads. */
#ifndef FBT_CPU_MATRIX_H
#define FBT_CPU_MATRIX_H

#include "kernels/cpu/cpu.h"

/* How the weights lie in memory: as tiles.h, panels.h, int8.h want them. */
typedef enum fbt_layout { FBT_LAYOUT_TILES, FBT_LAYOUT_PANELS, FBT_LAYOUT_INT8 } fbt_layout;

typedef struct fbt_cpu_matrix {
    fbt_matrix base;
    fbt_layout layout;
    const fbt_panel_kernels *panels; /* of FBT_LAYOUT_PANELS */
    const fbt_int8_kernels *int8;    /* of FBT_LAYOUT_INT8 */
    void *weights;
    void *bias; /* float [n_out rounded up to 32], zero beyond n_out */
} fbt_cpu_matrix;

static inline const fbt_cpu_matrix *fbt_cpu_matrix_of(const fbt_matrix *w)
{
    return (const fbt_cpu_matrix *)w;
}

/* One call of linear. */
typedef struct fbt_linear_call {
    const fbt_cpu_matrix *w;
    const char *x, *residual; /* residual NULL: none; else of y_dtype, and activation is FBT_ACT_NONE */
    char *y;
    fbt_dtype y_dtype; /* the activation type, or F32 where there is a residual */
    fbt_activation activation;
    int is_gated; /* the first half of w's outputs is a gate, the other its factor: base.makes_gate */
    int64_t n_rows, x_row_bytes, y_row_bytes;
} fbt_linear_call;

static inline int fbt_linear_is_wide(const fbt_linear_call *call)
{
    return call->y_dtype != call->w->base.types->activations;
}

fbt_status fbt_cpu_linear_tiles(fbt_cpu *cpu, const fbt_linear_call *call);
fbt_status fbt_cpu_linear_panels(fbt_cpu *cpu, const fbt_linear_call *call);
fbt_status fbt_cpu_linear_int8(fbt_cpu *cpu, const fbt_linear_call *call);

#endif
