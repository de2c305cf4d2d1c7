/* A constant matrix, in oneDNN's layout or in tiles, and the products made with it. */
#ifndef FBT_CPU_MATRIX_H
#define FBT_CPU_MATRIX_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/onednn.h"

enum { FBT_N_ACTIVATIONS = FBT_ACT_TANH + 1, FBT_MATRIX_FEW_ROWS = 16 };

/* For one block: y = activation(x W^T + bias), or, accumulating, y = x W^T + bias + y. */
typedef struct fbt_matrix_product {
    dnnl_primitive_t primitive; /* NULL: not made yet */
    fbt_onednn_desc scratch_desc;
    int64_t scratch_bytes;
} fbt_matrix_product;

/* A oneDNN product is made of blocks of block_rows rows, the last one padded, by one primitive on one thread. A row's
 * result then cannot depend on how many rows there are or how many threads: oneDNN plans its blocking, and with it the
 * order of a sum, by the number of rows and threads (avx512_core_amx from 1,536 columns on, and its gemm for one row).
 */
typedef struct fbt_cpu_matrix {
    fbt_matrix base;
    int64_t block_rows;
    int is_tiled;  /* laid out for tiles.h, and bias not NULL; what follows the bias is unused then  */
    void *weights; /* else in weights_desc's layout                                                  */
    void *bias;    /* float [n_out rounded up to 32], zero beyond n_out, or NULL                     */
    fbt_onednn_desc weights_desc, bias_desc, x_desc, y_desc; /* x, y: one block */
    fbt_matrix_product products[FBT_N_ACTIVATIONS];          /* by activation */
    fbt_matrix_product accumulating;                         /* no activation */
} fbt_cpu_matrix;

static inline const fbt_cpu_matrix *fbt_cpu_matrix_of(const fbt_matrix *w)
{
    return (const fbt_cpu_matrix *)w;
}

/* The product, made on first use. accumulates: needs FBT_ACT_NONE. Errors: FBT_ERR_BACKEND, FBT_ERR_MEMORY. */
fbt_status fbt_cpu_matrix_product(fbt_cpu *cpu, fbt_cpu_matrix *w, fbt_activation activation, int accumulates,
                                  const fbt_matrix_product **product);

/* One call of linear. */
typedef struct fbt_linear_call {
    const fbt_cpu_matrix *w;
    const char *x, *residual; /* residual NULL: none; else activation is FBT_ACT_NONE */
    char *y;
    fbt_activation activation;
    int64_t n_rows, x_row_bytes, y_row_bytes;
    const fbt_matrix_product *product; /* oneDNN's */
} fbt_linear_call;

fbt_status fbt_cpu_linear_dnnl(fbt_cpu *cpu, fbt_linear_call *call);
fbt_status fbt_cpu_linear_tiles(fbt_cpu *cpu, const fbt_linear_call *call);

#endif
