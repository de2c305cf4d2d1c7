/* Matrix products in bfloat16 on AMX tiles (Intel, from Sapphire Rapids on).
 *
 * Why not oneDNN 2.6: on tiles it plans its sums by the number of rows and threads; held to a fixed number of rows it
 * reached half of its own best rate over a whole layer. Here a result of 32 x 32 stays in four tiles over the whole
 * sum, and the bias, activation and residual of the result before it are worked off by the vector units meanwhile. A
 * row's sum runs over its pairs of elements in order, whatever the other rows.
 *
 * Both operands are laid out in the order in which tiles are read; zero where rows, outputs or n_in end within a block.
 * A tile is 16 rows of 64 bytes; one step of a sum takes 32 elements of n_in and four products of tiles:
 *
 *     rows x: blocks of 32, each [n_in / 32 steps]          weights W: blocks of 32 outputs, each [n_in / 32 steps]
 *     [2 tiles][16 rows][32 elements]                       [2 tiles][16 pairs of elements][16 outputs][2]
 *
 *              elements                                               out 0    out 1         out 15
 *              0   1  ...  31                                        (16)     (17)          (31: second tile)
 *     row  0 | x   x  ...   x |                             pair  0 | w0 w1 | w0 w1 | ... | w0 w1 |
 *     row  1 | x   x  ...   x |  tile 4                     pair  1 | w2 w3 | w2 w3 | ... | w2 w3 |  tile 6 (7)
 *       ...                      (rows 16 .. 31: tile 5)      ...
 *     row 15 | x   x  ...   x |                             pair 15 | w30 31| w30 31| ... | w30 31|
 *
 *     sums, 32 x 32 floats:         outputs 0..15        outputs 16..31
 *                     rows  0..15 | tile 0 += 4 x 6    | tile 1 += 4 x 7 |
 *                     rows 16..31 | tile 2 += 5 x 6    | tile 3 += 5 x 7 |
 *
 * The instruction adds, for a row and an output, the 16 pairs' products one pair after another (Intel, "Intrinsics
 * Guide", TDPBF16PS), so that a row's sum is the same in any block.
 */
#ifndef FBT_CPU_TILES_H
#define FBT_CPU_TILES_H

#include "kernels/backend.h"
#include "kernels/cpu/parts.h"

#include <stdint.h>

enum { FBT_TILE_ROWS = 32, FBT_TILE_STEP = 32 };

/* y = activation(x W^T + bias) + residual.  x, weights: laid out; y, residual (or NULL, or y): [n_rows, n_out] of
 * bfloat16, or, is_wide, of float; bias: [n_out rounded up to 32]. is_gated: y = activation(g) * u of g, u = x W^T +
 * bias, where weights and bias are those of g's n_out outputs and then of u's: n_out is a multiple of 32, and there is
 * no residual. */
typedef struct fbt_tile_product {
    const uint16_t *x, *weights;
    const void *residual;
    const float *bias;
    void *y;
    void *partial; /* scratch of fbt_tiles_partial_bytes, aligned to 64 */
    int64_t n_rows, n_in, n_out;
    fbt_activation activation;
    int is_gated, is_wide; /* not both; is_wide: with a residual and without activation */
} fbt_tile_product;

/* Elements that n_rows rows, or the weights of n_rows outputs, take when they are laid out. */
int64_t fbt_tiles_count(int64_t n_rows, int64_t n_in);

/* Scratch memory of a product of so many rows. */
int64_t fbt_tiles_partial_bytes(int64_t n_rows, int64_t n_in);

/* Lays out weights of at most 32 outputs: rows: [n_rows, n_in]. */
void fbt_tiles_lay_out_weights(uint16_t *weights, const uint16_t *rows, int64_t n_rows, int64_t n_in);

/* Lays out x: [n_rows, n_in]. */
void fbt_tiles_lay_out_rows(uint16_t *laid_out, const uint16_t *x, int64_t n_rows, int64_t n_in);

/* Configures the calling thread's tiles, and gives them up; other code may use them in between only. */
void fbt_tiles_begin(void);
void fbt_tiles_end(void);

void fbt_tiles_multiply(const fbt_tile_product *product);

#endif
