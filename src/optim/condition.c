/* The condition number of C = L L^T without its eigenvalues: by Lanczos' method, the largest of C over the smallest,
 * which is the largest of C^-1. */
#include "optim/covariance.h"
#include "optim/products.h"

#include <math.h>
#include <string.h>

/* After k steps from a random start the largest eigenvalue is found within 0.103 (ln(d (k - 1)^2) / (k - 1))^2 of
 * itself on average, whatever the others are (Kuczynski and Wozniakowski 1992, theorem 3.2): 1% for 500 dimensions, and
 * in practice far less. What is found is never too large. */
enum { N_STEPS = 48 };

typedef struct matrix {
    const fbt_products *products;
    const double *triangle;
    int64_t d;
    double *scratch; /* [fbt_products_scratch] */
    double *between; /* [d]                    */
} matrix;

/* out = C v, or C^-1 v. */
static void apply(const matrix *m, bool inverse, const double *v, double *out)
{
    if (inverse) {
        m->products->solve(m->d, m->triangle, 1, v, m->between, m->scratch);
        m->products->solve_transposed(m->d, m->triangle, m->between, out, m->scratch);
    } else {
        m->products->times_transposed(m->d, m->triangle, v, m->between, m->scratch);
        m->products->times(m->d, m->triangle, 1, m->between, out, m->scratch);
    }
}

/* Numbers in [-1, 1) without any pattern (the splitmix64 sequence): an eigenvector orthogonal to the start would never
 * be found. */
static void fill_start(double *v, int64_t d)
{
    uint64_t state = 0;
    for (int64_t i = 0; i < d; i++) {
        state += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = (state ^ (state >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        v[i] = (double)(int64_t)(z ^ (z >> 31)) * 0x1p-63;
    }
}

static void scale(double *v, int64_t d, double factor)
{
    for (int64_t i = 0; i < d; i++) {
        v[i] *= factor;
    }
}

/* Whether x lies above all eigenvalues of the tridiagonal matrix [n, n] (Sturm's sequence). */
static bool is_above(int n, const double *diagonal, const double *beside, double x)
{
    double pivot = x - diagonal[0];
    for (int i = 1; pivot > 0 && i < n; i++) {
        pivot = x - diagonal[i] - beside[i - 1] * beside[i - 1] / pivot;
    }
    return pivot > 0;
}

static double largest_of_tridiagonal(int n, const double *diagonal, const double *beside)
{
    double low = 0, high = 0; /* of a positive definite matrix; Gershgorin's circles end above */
    for (int i = 0; i < n; i++) {
        high = fmax(high, diagonal[i] + (i > 0 ? beside[i - 1] : 0) + (i + 1 < n ? beside[i] : 0));
    }
    for (int i = 0; i < 60; i++) {
        const double middle = (low + high) / 2;
        if (is_above(n, diagonal, beside, middle)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    return high;
}

/* v, last, next: [d] of scratch. */
static double largest_eigenvalue(const matrix *m, bool inverse, double *v, double *last, double *next)
{
    const int64_t d = m->d;
    const int n_most = d < N_STEPS ? (int)d : N_STEPS;
    double diagonal[N_STEPS] = {0}, beside[N_STEPS] = {0};
    int n = 0;
    fill_start(v, d);
    scale(v, d, 1 / fbt_vector_norm(v, d));
    while (n < n_most) {
        apply(m, inverse, v, next);
        diagonal[n] = fbt_vector_dot(v, next, d);
        for (int64_t i = 0; i < d; i++) {
            next[i] -= diagonal[n] * v[i] + (n > 0 ? beside[n - 1] * last[i] : 0);
        }
        beside[n] = fbt_vector_norm(next, d);
        n++;
        if (!(beside[n - 1] > 1e-14 * diagonal[0])) {
            break; /* the vectors so far hold all of the matrix that the start can see */
        }
        double *const taken = last;
        last = v;
        v = next;
        next = taken;
        scale(v, d, 1 / beside[n - 1]);
    }
    return largest_of_tridiagonal(n, diagonal, beside);
}

double fbt_triangle_condition(int64_t d, const double *triangle, double *scratch)
{
    const int64_t n = fbt_products_scratch(d);
    double *vectors = scratch + n; /* 4 of the 8 that there is room for */
    const matrix m = {fbt_products_get(), triangle, d, scratch, vectors};
    const double largest = largest_eigenvalue(&m, false, vectors + d, vectors + 2 * d, vectors + 3 * d);
    return largest * largest_eigenvalue(&m, true, vectors + d, vectors + 2 * d, vectors + 3 * d);
}
