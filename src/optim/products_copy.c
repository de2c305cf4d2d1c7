/* One copy of products.h, for the instruction set that the file is compiled for. */
#include "base/smaller.h"
#include "optim/lanes.h"
#include "optim/products.h"

#include <math.h>
#include <string.h>

/* Columns of a tile of 16 rows, as many as the registers hold beside its operands. */
#ifdef __AVX512F__
enum { COLUMNS = 8 };
#elif defined __AVX2__
enum { COLUMNS = 2 };
#else
enum { COLUMNS = 1 };
#endif

enum { HALVES = FBT_PANEL / LANES };

/* Four dot products at once, each in the order of fbt_vector_dot: one alone would wait for its own sums. */
LANES_INLINE void dots(int64_t d, int n_rows, const double *rows, const double *v, double *out)
{
    lanes sums[4];
    int64_t i = 0;
    for (int r = 0; r < n_rows; r++) {
        sums[r] = lanes_set(0);
    }
    for (; i + LANES <= d; i += LANES) {
        const lanes x = lanes_load(v + i);
        for (int r = 0; r < n_rows; r++) {
            sums[r] = lanes_add(sums[r], lanes_multiply(lanes_load(rows + r * d + i), x));
        }
    }
    for (int r = 0; r < n_rows; r++) {
        double sum = lanes_sum(sums[r]);
        for (int64_t k = i; k < d; k++) {
            sum += rows[r * d + k] * v[k];
        }
        out[r] = sum;
    }
}

static void to_basis(int64_t d, const double *vectors, int64_t n, const double *v, double *out)
{
    int64_t k = 0;
    for (; k + 4 <= d; k += 4) {
        for (int64_t c = 0; c < n; c++) {
            dots(d, 4, vectors + k * d, v + c * d, out + c * d + k);
        }
    }
    for (; k < d; k++) {
        for (int64_t c = 0; c < n; c++) {
            dots(d, 1, vectors + k * d, v + c * d, out + c * d + k);
        }
    }
}

/* 16 elements of `n` sums over all rows of V, in their order. */
LANES_INLINE void sums_of_rows(int64_t d, int n, const double *vectors, const double *v, double *out)
{
    lanes sums[COLUMNS][HALVES];
    for (int c = 0; c < n; c++) {
        sums[c][0] = sums[c][1] = lanes_set(0);
    }
    for (int64_t k = 0; k < d; k++) {
        const lanes low = lanes_load(vectors + k * d), high = lanes_load(vectors + k * d + LANES);
        for (int c = 0; c < n; c++) {
            const lanes factor = lanes_set(v[c * d + k]);
            sums[c][0] = lanes_add(sums[c][0], lanes_multiply(factor, low));
            sums[c][1] = lanes_add(sums[c][1], lanes_multiply(factor, high));
        }
    }
    for (int c = 0; c < n; c++) {
        lanes_store(out + c * d, sums[c][0]);
        lanes_store(out + c * d + LANES, sums[c][1]);
    }
}

static void from_basis(int64_t d, const double *vectors, int64_t n, const double *v, double *out)
{
    int64_t i = 0;
    for (; i + FBT_PANEL <= d; i += FBT_PANEL) {
        int64_t c = 0;
        for (; c + COLUMNS <= n; c += COLUMNS) {
            sums_of_rows(d, COLUMNS, vectors + i, v + c * d, out + c * d + i);
        }
        for (; c < n; c++) {
            sums_of_rows(d, 1, vectors + i, v + c * d, out + c * d + i);
        }
    }
    for (; i < d; i++) {
        for (int64_t c = 0; c < n; c++) {
            double sum = 0;
            for (int64_t k = 0; k < d; k++) {
                sum += v[c * d + k] * vectors[k * d + i];
            }
            out[c * d + i] = sum;
        }
    }
}

/* COLUMNS rows from i of 16 columns from j. */
LANES_INLINE void add_tile(int64_t d, const fbt_terms *t, bool fused, int64_t i, int64_t j, double *values)
{
    lanes c[COLUMNS][HALVES];
    for (int k = 0; k < COLUMNS; k++) {
        c[k][0] = lanes_load(values + (i + k) * d + j);
        c[k][1] = lanes_load(values + (i + k) * d + j + LANES);
    }
    for (int64_t u = 0; u < t->n_updates; u++) {
        const lanes decay = lanes_set(t->decay[u]);
        for (int k = 0; k < COLUMNS; k++) {
            c[k][0] = lanes_multiply(c[k][0], decay);
            c[k][1] = lanes_multiply(c[k][1], decay);
        }
        for (int64_t r = t->first_row[u]; r < t->first_row[u + 1]; r++) {
            const lanes low = lanes_load(t->y + r * d + j), high = lanes_load(t->y + r * d + j + LANES);
            for (int k = 0; k < COLUMNS; k++) {
                const lanes wy = lanes_set(t->scaled[r * d + i + k]);
                c[k][0] = fused ? lanes_fused(wy, low, c[k][0]) : lanes_add(c[k][0], lanes_multiply(wy, low));
                c[k][1] = fused ? lanes_fused(wy, high, c[k][1]) : lanes_add(c[k][1], lanes_multiply(wy, high));
            }
        }
    }
    for (int k = 0; k < COLUMNS; k++) {
        lanes_store(values + (i + k) * d + j, c[k][0]);
        lanes_store(values + (i + k) * d + j + LANES, c[k][1]);
    }
}

LANES_INLINE void add_element(int64_t d, const fbt_terms *t, bool fused, int64_t i, int64_t j, double *values)
{
    double c = values[i * d + j];
    for (int64_t u = 0; u < t->n_updates; u++) {
        c *= t->decay[u];
        for (int64_t r = t->first_row[u]; r < t->first_row[u + 1]; r++) {
            const double wy = t->scaled[r * d + i], y = t->y[r * d + j];
            c = fused ? fma(wy, y, c) : c + wy * y;
        }
    }
    values[i * d + j] = c;
}

LANES_INLINE void add(int64_t d, const fbt_terms *terms, bool fused, double *values)
{
    const int64_t n_rows = terms->first_row[terms->n_updates];
    for (int64_t r = terms->first_row[0]; r < n_rows; r++) {
        for (int64_t i = 0; i < d; i++) {
            terms->scaled[r * d + i] = terms->w[r] * terms->y[r * d + i];
        }
    }
    for (int64_t j = 0; j < d; j += FBT_PANEL) {
        const bool wide = j + FBT_PANEL <= d;
        int64_t i = j; /* FBT_PANEL is a multiple of COLUMNS: no row is reached twice */
        for (; wide && i + COLUMNS <= d; i += COLUMNS) {
            add_tile(d, terms, fused, i, j, values);
        }
        for (; i < d; i++) {
            for (int64_t k = j; k <= i && k < j + FBT_PANEL; k++) {
                add_element(d, terms, fused, i, k, values);
            }
        }
    }
}

static void add_terms(int64_t d, const fbt_terms *terms, double *values)
{
    add(d, terms, false, values);
}

static void add_terms_fused(int64_t d, const fbt_terms *terms, double *values)
{
    add(d, terms, true, values);
}

/* sums[c] = sum over k of a_k b_kc: n columns of b [n_k, stride] with the n_k columns of a panel. */
LANES_INLINE void tile(int n, int64_t n_k, const double *a, const double *b, int64_t stride, double sums[][FBT_PANEL])
{
    lanes s[COLUMNS][HALVES];
    for (int c = 0; c < n; c++) {
        s[c][0] = s[c][1] = lanes_set(0);
    }
    for (int64_t k = 0; k < n_k; k++) {
        const lanes low = lanes_load(a + k * FBT_PANEL), high = lanes_load(a + k * FBT_PANEL + LANES);
        for (int c = 0; c < n; c++) {
            const lanes factor = lanes_set(b[k * stride + c]);
            s[c][0] = lanes_fused(low, factor, s[c][0]);
            s[c][1] = lanes_fused(high, factor, s[c][1]);
        }
    }
    for (int c = 0; c < n; c++) {
        lanes_store(sums[c], s[c][0]);
        lanes_store(sums[c] + LANES, s[c][1]);
    }
}

/* Any number of columns, in tiles whose numbers the compiler may unroll. */
static void tiles(int64_t n, int64_t n_k, const double *a, const double *b, int64_t stride, double sums[][FBT_PANEL])
{
    int64_t c = 0;
    for (; c + COLUMNS <= n; c += COLUMNS) {
        tile(COLUMNS, n_k, a, b + c, stride, sums + c);
    }
    if (COLUMNS > 4 && c + 4 <= n) {
        tile(COLUMNS > 4 ? 4 : 1, n_k, a, b + c, stride, sums + c);
        c += 4;
    }
    if (COLUMNS > 2 && c + 2 <= n) {
        tile(COLUMNS > 2 ? 2 : 1, n_k, a, b + c, stride, sums + c);
        c += 2;
    }
    if (c < n) {
        tile(1, n_k, a, b + c, stride, sums + c);
    }
}

/* out = a - b c, each lane fused. */
LANES_INLINE void subtract(double *out, const double *b, double c)
{
    const lanes factor = lanes_set(-c);
    lanes_store(out, lanes_fused(lanes_load(b), factor, lanes_load(out)));
}

/* Square (p, q) of C less what columns 0 .. 16 q - 1 of L make of it, column by column. Rows beyond d are the
 * identity's. */
static void remaining_square(int64_t d, const double *values, const double *triangle, int64_t p, int64_t q,
                             double square[FBT_PANEL][FBT_PANEL])
{
    const double *a = triangle + fbt_panel_start(p), *b = triangle + fbt_panel_start(q);
    tiles(FBT_PANEL, FBT_PANEL * q, a, b, FBT_PANEL, square);
    for (int64_t r = 0; r < FBT_PANEL; r++) {
        const int64_t i = FBT_PANEL * p + r;
        for (int64_t c = 0; c < FBT_PANEL; c++) {
            const int64_t j = FBT_PANEL * q + c;
            const double c_ij = i >= d || j >= d ? (i == j ? 1 : 0) : i >= j ? values[i * d + j] : 0;
            square[c][r] = c_ij - square[c][r];
        }
    }
}

/* X with X L_qq^T = square, into the panel's columns. diagonal: square (q, q) of L. */
static void below_diagonal(double square[FBT_PANEL][FBT_PANEL], const double *diagonal, const double *reciprocals,
                           double *columns)
{
    for (int c = 0; c < FBT_PANEL; c++) {
        double *column = columns + (int64_t)c * FBT_PANEL;
        for (int r = 0; r < FBT_PANEL; r++) {
            column[r] = square[c][r] * reciprocals[c];
        }
        for (int k = c + 1; k < FBT_PANEL; k++) {
            subtract(square[k], column, diagonal[c * FBT_PANEL + k]);
            subtract(square[k] + LANES, column + LANES, diagonal[c * FBT_PANEL + k]);
        }
    }
}

static bool on_diagonal(double square[FBT_PANEL][FBT_PANEL], double *reciprocals, double *columns)
{
    for (int c = 0; c < FBT_PANEL; c++) {
        double *column = columns + (int64_t)c * FBT_PANEL;
        const double pivot = square[c][c];
        if (!(pivot > 0) || !isfinite(pivot)) {
            return false;
        }
        const double root = sqrt(pivot);
        reciprocals[c] = 1 / root;
        for (int r = 0; r < FBT_PANEL; r++) {
            column[r] = r < c ? 0 : r == c ? root : square[c][r] * reciprocals[c];
        }
        for (int k = c + 1; k < FBT_PANEL; k++) {
            const double l_kc = column[k];
            subtract(square[k], column, l_kc);
            subtract(square[k] + LANES, column + LANES, l_kc);
        }
    }
    return true;
}

static bool factor(int64_t d, const double *values, double *triangle)
{
    const int64_t n_panels = fbt_n_panels(d);
    double *reciprocals = triangle + fbt_panel_start(n_panels);
    double square[FBT_PANEL][FBT_PANEL];
    for (int64_t p = 0; p < n_panels; p++) {
        double *panel = triangle + fbt_panel_start(p);
        for (int64_t q = 0; q <= p; q++) {
            double *columns = panel + q * FBT_PANEL * FBT_PANEL;
            remaining_square(d, values, triangle, p, q, square);
            if (q < p) {
                below_diagonal(square, triangle + fbt_panel_start(q) + q * FBT_PANEL * FBT_PANEL,
                               reciprocals + FBT_PANEL * q, columns);
            } else if (!on_diagonal(square, reciprocals + FBT_PANEL * p, columns)) {
                return false;
            }
        }
    }
    return true;
}

/* The vectors beside each other, element by element [16 n_panels, 8], zeros where there is none. */
static void interleave(int64_t d, int64_t n, const double *v, double *to)
{
    memset(to, 0, (size_t)fbt_products_scratch(d) * sizeof *to);
    for (int64_t c = 0; c < n; c++) {
        for (int64_t i = 0; i < d; i++) {
            to[i * FBT_PRODUCTS_MANY + c] = v[c * d + i];
        }
    }
}

static void times(int64_t d, const double *triangle, int64_t n, const double *v, double *out, double *scratch)
{
    double sums[FBT_PRODUCTS_MANY][FBT_PANEL];
    interleave(d, n, v, scratch);
    for (int64_t p = 0; p < fbt_n_panels(d); p++) {
        const int64_t n_rows = fbt_smaller(FBT_PANEL, d - FBT_PANEL * p);
        tiles(n, FBT_PANEL * (p + 1), triangle + fbt_panel_start(p), scratch, FBT_PRODUCTS_MANY, sums);
        for (int64_t c = 0; c < n; c++) {
            memcpy(out + c * d + FBT_PANEL * p, sums[c], (size_t)n_rows * sizeof *out);
        }
    }
}

/* 16 elements of each solution, from what is left of the right sides. */
static void solve_diagonal(const double *diagonal, const double *reciprocals, double left[FBT_PANEL][FBT_PRODUCTS_MANY])
{
    for (int i = 0; i < FBT_PANEL; i++) {
        lanes_store(left[i], lanes_multiply(lanes_load(left[i]), lanes_set(reciprocals[i])));
        for (int r = i + 1; r < FBT_PANEL; r++) {
            subtract(left[r], left[i], diagonal[i * FBT_PANEL + r]);
        }
    }
}

static void solve(int64_t d, const double *triangle, int64_t n, const double *v, double *out, double *scratch)
{
    const int64_t n_panels = fbt_n_panels(d);
    const double *reciprocals = triangle + fbt_panel_start(n_panels);
    double sums[FBT_PRODUCTS_MANY][FBT_PANEL];
    for (int64_t p = 0; p < n_panels; p++) {
        const double *panel = triangle + fbt_panel_start(p);
        const int64_t first = FBT_PANEL * p, n_rows = fbt_smaller(FBT_PANEL, d - first);
        double left[FBT_PANEL][FBT_PRODUCTS_MANY] = {{0}};
        tiles(n, first, panel, scratch, FBT_PRODUCTS_MANY, sums);
        for (int64_t c = 0; c < n; c++) {
            for (int64_t r = 0; r < n_rows; r++) {
                left[r][c] = v[c * d + first + r] - sums[c][r];
            }
        }
        solve_diagonal(panel + first * FBT_PANEL, reciprocals + first, left);
        memcpy(scratch + first * FBT_PRODUCTS_MANY, left, sizeof left);
    }
    for (int64_t c = 0; c < n; c++) {
        for (int64_t i = 0; i < d; i++) {
            out[c * d + i] = scratch[i * FBT_PRODUCTS_MANY + c];
        }
    }
}

/* sums_j += L_rj x_r over the rows of a panel, for columns 0 .. n_columns - 1; a sum is still in 8 parts. */
static void add_rows(int64_t n_columns, const double *panel, const double *x, double *sums)
{
    const lanes low = lanes_load(x), high = lanes_load(x + LANES);
    for (int64_t j = 0; j < n_columns; j++) {
        const lanes sum = lanes_fused(lanes_load(panel + j * FBT_PANEL), low, lanes_load(sums + j * LANES));
        lanes_store(sums + j * LANES, lanes_fused(lanes_load(panel + j * FBT_PANEL + LANES), high, sum));
    }
}

static void times_transposed(int64_t d, const double *triangle, const double *v, double *out, double *scratch)
{
    memset(scratch, 0, (size_t)fbt_products_scratch(d) * sizeof *scratch);
    for (int64_t p = 0; p < fbt_n_panels(d); p++) {
        double x[FBT_PANEL] = {0};
        memcpy(x, v + FBT_PANEL * p, (size_t)fbt_smaller(FBT_PANEL, d - FBT_PANEL * p) * sizeof *x);
        add_rows(FBT_PANEL * (p + 1), triangle + fbt_panel_start(p), x, scratch);
    }
    for (int64_t j = 0; j < d; j++) {
        out[j] = lanes_sum(lanes_load(scratch + j * LANES));
    }
}

static void solve_transposed(int64_t d, const double *triangle, const double *v, double *out, double *scratch)
{
    const int64_t n_panels = fbt_n_panels(d);
    const double *reciprocals = triangle + fbt_panel_start(n_panels);
    memset(scratch, 0, (size_t)fbt_products_scratch(d) * sizeof *scratch);
    for (int64_t p = n_panels - 1; p >= 0; p--) {
        const double *panel = triangle + fbt_panel_start(p);
        const int64_t first = FBT_PANEL * p, n_rows = fbt_smaller(FBT_PANEL, d - first);
        double x[FBT_PANEL] = {0};
        for (int64_t i = n_rows - 1; i >= 0; i--) {
            double left = v[first + i] - lanes_sum(lanes_load(scratch + (first + i) * LANES));
            for (int64_t r = i + 1; r < n_rows; r++) {
                left = fma(-panel[(first + i) * FBT_PANEL + r], x[r], left);
            }
            x[i] = left * reciprocals[first + i];
        }
        add_rows(first, panel, x, scratch);
        memcpy(out + first, x, (size_t)n_rows * sizeof *x);
    }
}

extern const fbt_products FBT_PRODUCTS_TABLE(fbt_products_, FBT_ISA);

const fbt_products FBT_PRODUCTS_TABLE(fbt_products_, FBT_ISA) = {
    .to_basis = to_basis,
    .from_basis = from_basis,
    .add_terms = add_terms,
    .add_terms_fused = add_terms_fused,
    .factor = factor,
    .times = times,
    .solve = solve,
    .times_transposed = times_transposed,
    .solve_transposed = solve_transposed,
};
