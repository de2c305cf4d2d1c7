/* Matrix products on integers of 8 bits: FBT_COMPUTE_I8 of backend.h.
 *
 * Weights are quantised and packed once, when the matrix is made; rows of x at every product. Sums are exact, so that
 * they have the same bits for every instruction set, block and number of threads; what follows them has one order: y =
 * activation(sum (scale of the row x scale of the output) + bias) + residual.
 *
 * V outputs, as many as a vector has lanes of 32 bits, are a panel; R rows a strip. A step of a sum takes the E
 * elements of n_in that lie in 32 bits, elements beyond n_in are zero:
 *
 *     panel: [V] sum of q, [V] scale,             strip: [R] scale, [R] offset, up to a whole cache line,
 *            [steps][V][E] q                             [steps][R][E] q, as the instruction wants them
 *
 *              out 0      out 1     ...  out V-1                  row 0       row 1    ...  row R-1
 *     step 0 | q0 .. q3 | q0 .. q3 | ... |             step 0 | q0 .. q3 | q0 .. q3 | ... |
 *     step 1 | q4 .. q7 | q4 .. q7 | ... |             step 1 | q4 .. q7 | q4 .. q7 | ... |
 *
 *     kernels             E   V   R   a step of a row and a panel
 *     avx2                2   8   6   vpmaddwd of 16-bit q: weights are widened when they are read
 *     avx512              2  16  12   the same
 *     avx512_vnni, _bf16  4  16  12   vpdpbusd of q + offset, which is unsigned, and q: the offset is -q of the row's
 *                                     least element, and sums start at -offset (sum of the output's q)
 *
 * vpmaddubsw, which takes 8-bit factors everywhere, adds two products in 16 bits: with 8-bit weights and rows these
 * overflow, and it gives the largest number instead.
 *
 * A tile of one strip and two panels stays in registers over the whole sum. The second panel is the next one or, of a
 * gate, that of the same outputs of u. Over a block of rows, whose strips L2 holds:
 *
 *     for each pair of panels               2 V n_in bytes of weights: L2
 *         for each strip                    R n_in elements: L1, L2
 *             sums[R][2 V]                  in registers
 *             scales, bias, activation, gate, residual
 */
#ifndef FBT_CPU_INT8_H
#define FBT_CPU_INT8_H

#include "kernels/backend.h"
#include "kernels/cpu/parts.h"

#include <stdint.h>

/* y = activation(x W^T + bias) + residual for a block of rows.  strips: of n_rows rows; panels: the outputs', an even
 * number of them; bias: of as many outputs as they have; y, residual (or NULL, or y): [n_rows, n_out] of dtype, BF16 or
 * F32. is_gated: y = activation(g) * u of g, u = x W^T + bias, where panels and bias are those of g's n_out outputs and
 * then of u's: n_out is a multiple of V, and there is no residual. */
typedef struct fbt_int8_product {
    const char *strips, *panels;
    const float *bias;
    const void *residual;
    void *y;
    fbt_dtype dtype;
    int64_t n_rows, n_in, n_out;
    fbt_activation activation;
    int is_gated;
} fbt_int8_product;

typedef struct fbt_int8_kernels {
    int64_t strip_rows, panel_outputs; /* R, V */
    int64_t (*strip_bytes)(int64_t n_in);
    int64_t (*panel_bytes)(int64_t n_in);
    /* Quantises n_rows rows of x, [n_rows, n_in] of dtype (BF16 or F32), as strips. */
    void (*quantise)(char *strips, const void *x, fbt_dtype dtype, int64_t n_rows, int64_t n_in);
    /* Quantises weights of n_out outputs, rows: [n_out, n_in], at most V, as one panel. */
    void (*pack)(char *panel, const float *rows, int64_t n_out, int64_t n_in);
    void (*multiply)(const fbt_int8_product *product);
} fbt_int8_kernels;

#ifdef FBT_X86
extern const fbt_int8_kernels fbt_int8_avx2, fbt_int8_avx512, fbt_int8_avx512_vnni, fbt_int8_avx512_bf16;
#endif

#endif
