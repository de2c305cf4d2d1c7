/* Matrix products by panels, in fp32 on every processor and in bfloat16 on AVX-512 with bfloat16 products.
 *
 * Why not oneDNN, which `fedbpt bench` compares with: it plans a product by the number of rows and threads, so that a
 * row's bits change with the batch, and held to a fixed number of rows it streams the whole matrix for each block of
 * them (and below AVX-512, version 2.6 packs it anew). Here weights are packed once, when the matrix is made. A step of
 * a sum takes a word of 32 bits of each operand: one element in fp32, two in bfloat16. A panel is two vectors wide, 32
 * outputs on AVX-512, 16 on AVX2, 8 without:
 *
 *     weights: [panels][words of n_in][outputs of a panel]; outputs beyond n_out and the half of a last word: zero
 *
 *               out 0  out 1  ...  out 31 |
 *     word 0  |  w      w    ...    w     |  two vectors
 *     word 1  |  w      w    ...    w     |
 *       ...
 *
 * A result of a strip of rows and a panel, 12 x 32 on AVX-512 and 6 x 16 on AVX2, stays in registers (24 of 32, 12 of
 * 16) over a block of words of the sum, 768 or 384, each step of which takes two vectors of weights and a word of x a
 * row. (Goto, van de Geijn 2008, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), figure 4.) For
 * one block of rows x outputs:
 *
 *     for each 768 (384) words of the sum   rows of x, so many words each: copied to the thread's scratch memory, L2
 *         for each panel of outputs         its weights, 96 (24) KiB; the next panel's are fetched ahead into L2
 *             for each strip of rows        36 (9) KiB of x: from L2
 *                 sums += x W^T             in registers; sums in L2
 *                 activation(...)           after the last words; y and residual are fetched ahead into L1
 *
 * Of a gate both halves' sums are made, panel by panel, before what they make together is written.
 *
 * A row's sum adds up so many words' products one after another, then such sums one after another, whatever the other
 * rows, the block it lies in or the number of threads.
 *
 * Rates as percent of oneDNN's best large product (458 GFLOP/s in bf16, 229 in fp32) in whole layers of 5,680 rows: two
 * threads on two cores of an EPYC (Zen 4, AVX-512, oneDNN 2.6.3), shared machine; GELU, SiLU gate and residuals
 * included.
 *
 *                           qkv  output  up  down
 *     MiniLM        bf16     89      84  85    96
 *     SmolLM2       bf16     90      81  92    91
 *     RoBERTa-large bf16     95      93  92    94
 *     Llama 7B      bf16     93      93  94    92
 *     MiniLM        fp32     90      82  90    88
 *     RoBERTa-large fp32     91      90  91    93
 *
 * Rates as percent of oneDNN's best large product, which was timed in turn; two threads on two cores of an EPYC (Zen 3,
 * AVX2, oneDNN 2.6.3, 131 to 142 GFLOP/s) in a shared machine, 720 rows; before: oneDNN in blocks of 128 rows.
 *
 *     n_in x n_out               before  now           n_in x n_out               before  now
 *     384 x 1152  MiniLM             83   97           1024 x 3072   RoBERTa-large    41   96
 *     384 x 384   residual           89   94           1024 x 1024   residual         45  101
 *     384 x 1536  GELU               65   92           1024 x 4096   GELU             37   93
 *     1536 x 384  residual           88   91           4096 x 1024   residual         45  101
 *     576 x 1536  SmolLM2            63  115           4096 x 4096   Llama 7B         35  107
 *     1536 x 576  residual           90   95           4096 x 11008                   69  105
 *                                                      11008 x 4096  residual         35  101
 *
 * The bound there: one core makes 93 to 97 GFLOP/s where all operands are in L1, and 64 to 83 over these products. The
 * rest is what comes from L2 and beyond, the copies of x, and the activations (a GELU at n_in 384: up to a tenth). */
#ifndef FBT_CPU_PANELS_H
#define FBT_CPU_PANELS_H

#include "kernels/backend.h"
#include "kernels/cpu/parts.h"

#include <stdint.h>

/* One block of a product: y = activation(x W^T + bias) + residual for some rows and some outputs; of a gate, y =
 * activation(x W^T + bias) * (x V^T + factor_bias), n_out a whole number of panels, no residual.
 * x: [n_rows, n_in]; weights, factor_weights (or NULL): the outputs' panels of W and V; bias, factor_bias: [n_out
 * rounded up to a panel]; y, residual (or NULL, or y): [n_rows, n_out] in rows of y_stride elements. */
typedef struct fbt_panel_product {
    const void *x, *weights, *factor_weights, *residual;
    const float *bias, *factor_bias;
    void *y;
    fbt_dtype y_dtype; /* of y and residual: that of the kernels or F32 */
    int64_t n_rows, n_in, n_out, y_stride;
    fbt_activation activation;
} fbt_panel_product;

typedef struct fbt_panel_kernels {
    fbt_dtype dtype;           /* of x and the weights */
    int64_t n_rows, n_outputs; /* of a strip and of a panel */
    int64_t (*panel_bytes)(int64_t n_in);
    /* Packs one panel. rows: [n_out, n_in], n_out at most n_outputs */
    void (*pack)(void *weights, const void *rows, int64_t n_out, int64_t n_in);
    /* scratch: scratch_bytes(...) bytes, of a gate for 2 n_out outputs, aligned to 64 */
    void (*multiply)(const fbt_panel_product *product, void *scratch);
    int64_t (*scratch_bytes)(int64_t n_rows, int64_t n_out);
} fbt_panel_kernels;

extern const fbt_panel_kernels fbt_panels_plain;
#ifdef FBT_X86
extern const fbt_panel_kernels fbt_panels_avx2, fbt_panels_avx512, fbt_panels_avx512_bf16;
#endif

#endif
