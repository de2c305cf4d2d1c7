/* Products of a few vectors with the matrices of CMA-ES, and their triangular factor. Inside fbt_optim only.
 *
 * Each function is compiled for several instruction sets; all copies give the same bits, and a vector's result does not
 * depend on how many vectors there are.
 *
 * A triangle is a lower triangular factor L of a matrix [d, d], in panels of 16 rows: panel p holds columns
 * 0 .. 16 p + 15 of rows 16 p .. 16 p + 15, column by column, with zeros above the diagonal. Behind the panels stand
 * the reciprocals of the diagonal. Rows beyond d are those of the identity.
 *
 *     columns  0 .. 15   16 .. 31   32 .. 47
 *     panel 0  [ 0     ]
 *     panel 1  [ 256       512     ]
 *     panel 2  [ 768       1024       1280   ]     numbers: where such a square of 16 columns begins
 */
#ifndef FBT_OPTIM_PRODUCTS_H
#define FBT_OPTIM_PRODUCTS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    FBT_PANEL = 16,        /* rows of a panel                       */
    FBT_PRODUCTS_MANY = 8, /* vectors of one call at most           */
};

static inline int64_t fbt_n_panels(int64_t d)
{
    return (d + FBT_PANEL - 1) / FBT_PANEL;
}

/* Where panel p begins. */
static inline int64_t fbt_panel_start(int64_t p)
{
    return FBT_PANEL * FBT_PANEL * (p * (p + 1) / 2);
}

/* Values of a triangle. */
static inline int64_t fbt_triangle_size(int64_t d)
{
    return fbt_panel_start(fbt_n_panels(d)) + FBT_PANEL * fbt_n_panels(d);
}

/* Values of the scratch that a function may need. */
static inline int64_t fbt_products_scratch(int64_t d)
{
    return FBT_PRODUCTS_MANY * FBT_PANEL * fbt_n_panels(d);
}

/* Changes of a matrix, one after the other: C <- decay_u C + sum of w_r y_r y_r^T over rows first_row[u] ..
 * first_row[u + 1] - 1. */
typedef struct fbt_terms {
    int64_t n_updates;
    const double *decay;      /* [n_updates]     */
    const int64_t *first_row; /* [n_updates + 1] */
    const double *w;          /* [n_rows]        */
    const double *y;          /* [n_rows, d]     */
    double *scaled;           /* [n_rows, d]: scratch, for w_r y_r */
} fbt_terms;

/* v, out: [n, d], n <= FBT_PRODUCTS_MANY; they may be the same where there is a scratch. scratch:
 * [fbt_products_scratch]. */
typedef struct fbt_products {
    /* out_c = V v_c and out_c = V^T v_c. vectors, V: [d, d]; out is not v. */
    void (*to_basis)(int64_t d, const double *vectors, int64_t n, const double *v, double *out);
    void (*from_basis)(int64_t d, const double *vectors, int64_t n, const double *v, double *out);

    /* The lower triangle of values [d, d]; what lies above it is lost. Each element sees its terms in their order:
     * (w y_i) y_j is rounded and added, or added to in one rounding. */
    void (*add_terms)(int64_t d, const fbt_terms *terms, double *values);
    void (*add_terms_fused)(int64_t d, const fbt_terms *terms, double *values);

    /* L with L L^T = values, of which the lower triangle is read. False: a pivot is not positive or not finite. */
    bool (*factor)(int64_t d, const double *values, double *triangle);

    /* out_c = L v_c, and L^-1 v_c. */
    void (*times)(int64_t d, const double *triangle, int64_t n, const double *v, double *out, double *scratch);
    void (*solve)(int64_t d, const double *triangle, int64_t n, const double *v, double *out, double *scratch);

    /* out = L^T v, and L^-T v, of one vector [d]. */
    void (*times_transposed)(int64_t d, const double *triangle, const double *v, double *out, double *scratch);
    void (*solve_transposed)(int64_t d, const double *triangle, const double *v, double *out, double *scratch);
} fbt_products;

/* The copy for this processor. */
const fbt_products *fbt_products_get(void);

/* All copies that this processor can run, ended by NULL. */
const fbt_products *const *fbt_products_all(void);

#ifdef FBT_ISA
#define FBT_PRODUCTS_JOIN(a, b) a##b
#define FBT_PRODUCTS_TABLE(prefix, isa) FBT_PRODUCTS_JOIN(prefix, isa)
#endif

#endif
