/* Covariance matrices: sharing, decomposition and products with their roots. */
#include "optim/covariance.h"

#include "base/memory.h"
#include "optim/lapack.h"
#include "optim/products.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

double fbt_vector_dot(const double *a, const double *b, int64_t n)
{
    enum { LANES = 8 }; /* part of the result: another number rounds differently */
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            lane[k] += a[i + k] * b[i + k];
        }
    }
    double sum = ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
    for (; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

double fbt_vector_norm(const double *a, int64_t n)
{
    return sqrt(fbt_vector_dot(a, a, n));
}

fbt_status fbt_covariance_new(fbt_covariance_kind kind, int64_t d, fbt_covariance **covariance)
{
    fbt_status status = FBT_OK;
    fbt_covariance *c = NULL;
    FBT_TRY(fbt_memory_alloc(&c, 1, sizeof *c));
    atomic_init(&c->n_users, 1);
    c->kind = kind;
    c->d = d;
    c->condition = 1;
    c->factored = kind != FBT_COVARIANCE_DENSE;
    if (kind != FBT_COVARIANCE_IDENTITY) {
        FBT_TRY(fbt_memory_alloc(&c->axes, d, sizeof *c->axes));
        FBT_TRY(fbt_memory_alloc(&c->values, kind == FBT_COVARIANCE_DENSE ? d * d : d, sizeof *c->values));
    }

done:
    if (status != FBT_OK) {
        fbt_covariance_release(c);
        c = NULL;
    }
    *covariance = c;
    return status;
}

fbt_covariance *fbt_covariance_share(fbt_covariance *covariance)
{
    atomic_fetch_add(&covariance->n_users, 1);
    return covariance;
}

void fbt_covariance_release(fbt_covariance *covariance)
{
    if (covariance != NULL && atomic_fetch_sub(&covariance->n_users, 1) == 1) {
        free(covariance->values);
        free(covariance->axes);
        free(covariance->vectors);
        free(covariance->triangle);
        free(covariance);
    }
}

bool fbt_covariance_is_mine(fbt_covariance *covariance)
{
    return atomic_load(&covariance->n_users) == 1;
}

fbt_status fbt_covariance_densify(const fbt_covariance *source, fbt_covariance **copy)
{
    fbt_status status = FBT_OK;
    const int64_t d = source->d;
    if (*copy == NULL) {
        FBT_TRY(fbt_covariance_new(FBT_COVARIANCE_DENSE, d, copy));
    }
    (*copy)->factored = false;
    for (int64_t i = 0; i < d; i++) {
        double *row = (*copy)->values + i * d;
        if (source->kind == FBT_COVARIANCE_DENSE) {
            memcpy(row, source->values + i * d, (size_t)(i + 1) * sizeof *row);
        } else {
            memset(row, 0, (size_t)i * sizeof *row);
            row[i] = source->kind == FBT_COVARIANCE_DIAGONAL ? source->values[i] : 1;
        }
    }

done:
    return status;
}

fbt_covariance_kind fbt_covariance_kind_of(const double *matrix, int64_t d)
{
    bool identity = true;
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j < i; j++) {
            if (matrix[i * d + j] != 0) {
                return FBT_COVARIANCE_DENSE;
            }
        }
        identity = identity && matrix[i * d + i] == 1;
    }
    return identity ? FBT_COVARIANCE_IDENTITY : FBT_COVARIANCE_DIAGONAL;
}

static fbt_status not_positive_definite(void)
{
    return fbt_fail(FBT_ERR_NUMERIC,
                    "CMA-ES: the covariance matrix is not positive definite; the fitness may be constant or noise, or "
                    "the step size out of any sensible range; restart with covariance isotropic or separable");
}

static fbt_status hold_to_limit(double condition)
{
    if (condition > FBT_CMA_CONDITION_LIMIT) {
        return fbt_fail(FBT_ERR_NUMERIC,
                        "CMA-ES: the covariance matrix has condition number %.3g, beyond the limit %.0e of double "
                        "precision; rescale the problem, or use covariance isotropic or separable",
                        condition, FBT_CMA_CONDITION_LIMIT);
    }
    return FBT_OK;
}

/* Largest square over the smallest; 0: one of them is not positive, or not finite. */
static double ratio_of_squares(int64_t n, const double *x)
{
    double least = INFINITY, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(x[i] > 0) || !isfinite(x[i])) {
            return 0;
        }
        least = fmin(least, x[i]);
        largest = fmax(largest, x[i]);
    }
    return largest / least * (largest / least);
}

bool fbt_covariance_is_sound(const fbt_covariance *covariance)
{
    const double condition = ratio_of_squares(covariance->d, covariance->axes);
    return condition > 0 && condition <= FBT_CMA_CONDITION_LIMIT;
}

/* `condition` from the axes, held against the limit. */
static fbt_status check_condition(fbt_covariance *covariance)
{
    if (covariance->kind == FBT_COVARIANCE_IDENTITY) {
        return FBT_OK;
    }
    const double condition = ratio_of_squares(covariance->d, covariance->axes);
    if (condition == 0) {
        return not_positive_definite();
    }
    covariance->condition = condition;
    return hold_to_limit(condition);
}

static fbt_status check_finite(const fbt_covariance *covariance)
{
    for (int64_t i = 0; i < covariance->d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            if (!isfinite(covariance->values[i * covariance->d + j])) {
                return fbt_fail(FBT_ERR_NUMERIC, "CMA-ES: element (%lld, %lld) of the covariance matrix is not finite",
                                (long long)i, (long long)j);
            }
        }
    }
    return FBT_OK;
}

static fbt_status factor_eigen(fbt_covariance *c, fbt_cma_statistics *statistics)
{
    fbt_status status = FBT_OK;
    const int64_t d = c->d;
    FBT_TRY(check_finite(c)); /* LAPACK may not come back from what is not */
    if (c->vectors == NULL) {
        FBT_TRY(fbt_memory_alloc(&c->vectors, d * d, sizeof(double)));
    }
    for (int64_t i = 0; i < d; i++) {
        memcpy(c->vectors + i * d, c->values + i * d, (size_t)(i + 1) * sizeof(double));
    }
    statistics->n_decompositions++;
    FBT_TRY(fbt_lapack_eigen(d, c->vectors, c->axes));
    for (int64_t i = 0; i < d; i++) {
        c->axes[i] = c->axes[i] > 0 ? sqrt(c->axes[i]) : 0;
    }
    FBT_TRY(check_condition(c));
done:
    return status;
}

/* Where the squares of L's diagonal, which lie within the eigenvalues, are further apart than this, the condition
 * number itself is held against the limit; it takes several times as long as the factor. */
static const double LOOK_AT_CONDITION = 1e8;

static fbt_status factor_cholesky(fbt_covariance *c, fbt_cma_statistics *statistics)
{
    fbt_status status = FBT_OK;
    double *scratch = NULL;
    if (c->triangle == NULL) {
        FBT_TRY(fbt_memory_alloc(&c->triangle, fbt_triangle_size(c->d), sizeof(double)));
    }
    statistics->n_decompositions++;
    if (!fbt_products_get()->factor(c->d, c->values, c->triangle)) {
        return not_positive_definite();
    }
    c->condition = 0;
    if (ratio_of_squares(c->d, c->triangle + fbt_panel_start(fbt_n_panels(c->d))) > LOOK_AT_CONDITION) {
        FBT_TRY(fbt_memory_alloc(&scratch, fbt_covariance_scratch(FBT_CMA_FULL, c->d), sizeof *scratch));
        FBT_TRY(hold_to_limit(fbt_covariance_condition(c, scratch)));
    }
done:
    free(scratch);
    return status;
}

fbt_status fbt_covariance_factor(fbt_covariance *covariance, fbt_cma_decomposition decomposition,
                                 fbt_cma_statistics *statistics)
{
    fbt_status status = FBT_OK;
    if (covariance->kind != FBT_COVARIANCE_DENSE) {
        return check_condition(covariance);
    }
    if (covariance->factored) {
        return FBT_OK;
    }
    FBT_TRY(decomposition == FBT_CMA_CHOLESKY ? factor_cholesky(covariance, statistics)
                                              : factor_eigen(covariance, statistics));
    covariance->decomposition = decomposition;
    covariance->factored = true;

done:
    return status;
}

int64_t fbt_covariance_scratch(fbt_cma_covariance covariance, int64_t d)
{
    return covariance == FBT_CMA_FULL ? 2 * fbt_products_scratch(d) : d;
}

double fbt_covariance_condition(fbt_covariance *c, double *scratch)
{
    double condition = c->condition;
    if (condition == 0) {
        condition = fbt_triangle_condition(c->d, c->triangle, scratch);
        c->condition = condition; /* whoever else asks now finds the same */
    }
    return condition;
}

/* n vectors of d by their axes, or times them. */
static void scale_by_axes(const fbt_covariance *c, bool inverse, int64_t n, const double *v, double *out)
{
    for (int64_t k = 0; k < n; k++) {
        for (int64_t i = 0; i < c->d; i++) {
            out[k * c->d + i] = inverse ? v[k * c->d + i] / c->axes[i] : v[k * c->d + i] * c->axes[i];
        }
    }
}

/* Of a dense matrix; n <= FBT_PRODUCTS_MANY. */
static void apply_dense_root(const fbt_covariance *c, bool inverse, int64_t n, const double *v, double *out,
                             double *scratch)
{
    const fbt_products *products = fbt_products_get();
    if (c->decomposition == FBT_CMA_CHOLESKY) {
        (inverse ? products->solve : products->times)(c->d, c->triangle, n, v, out, scratch);
        return;
    }
    products->to_basis(c->d, c->vectors, n, v, scratch);
    scale_by_axes(c, inverse, n, scratch, scratch);
    products->from_basis(c->d, c->vectors, n, scratch, out);
}

static void apply_root(const fbt_covariance *c, bool inverse, int64_t n, const double *v, double *out, double *scratch,
                       fbt_cma_statistics *statistics)
{
    if (c->kind == FBT_COVARIANCE_IDENTITY) {
        memmove(out, v, (size_t)(n * c->d) * sizeof *out);
        return;
    }
    if (c->kind == FBT_COVARIANCE_DIAGONAL) {
        scale_by_axes(c, inverse, n, v, out);
        return;
    }
    for (int64_t k = 0; k < n; k += FBT_PRODUCTS_MANY) {
        const int64_t n_now = n - k < FBT_PRODUCTS_MANY ? n - k : FBT_PRODUCTS_MANY;
        apply_dense_root(c, inverse, n_now, v + k * c->d, out + k * c->d, scratch);
    }
    statistics->n_matrix_vector += c->decomposition == FBT_CMA_CHOLESKY ? n : 2 * n;
}

void fbt_covariance_root(const fbt_covariance *c, int64_t n, const double *v, double *out, double *scratch,
                         fbt_cma_statistics *statistics)
{
    apply_root(c, false, n, v, out, scratch, statistics);
}

void fbt_covariance_inverse_root(const fbt_covariance *c, int64_t n, const double *v, double *out, double *scratch,
                                 fbt_cma_statistics *statistics)
{
    apply_root(c, true, n, v, out, scratch, statistics);
}

/* Vectors of the same lengths as C^(-1/2) v_i: in the eigenbasis that costs one product. Dense; n <= FBT_PRODUCTS_MANY.
 */
static void whiten(const fbt_covariance *c, int64_t n, const double *v, double *out, double *scratch)
{
    if (c->decomposition == FBT_CMA_CHOLESKY) {
        fbt_products_get()->solve(c->d, c->triangle, n, v, out, scratch);
    } else {
        fbt_products_get()->to_basis(c->d, c->vectors, n, v, out);
        scale_by_axes(c, true, n, out, out);
    }
}

void fbt_covariance_lengths(const fbt_covariance *c, int64_t n, const double *v, double *lengths, double *scratch,
                            fbt_cma_statistics *statistics)
{
    const bool dense = c->kind == FBT_COVARIANCE_DENSE;
    const int64_t d = c->d, most = dense ? FBT_PRODUCTS_MANY : 1;
    double *white = dense ? scratch + fbt_products_scratch(d) : scratch;
    for (int64_t k = 0; k < n; k += most) {
        const int64_t n_now = n - k < most ? n - k : most;
        const double *now = v + k * d;
        if (dense) {
            whiten(c, n_now, now, white, scratch);
        } else if (c->kind == FBT_COVARIANCE_DIAGONAL) {
            scale_by_axes(c, true, 1, now, white);
        }
        for (int64_t i = 0; i < n_now; i++) {
            lengths[k + i] = fbt_vector_norm((c->kind == FBT_COVARIANCE_IDENTITY ? now : white) + i * d, d);
        }
    }
    statistics->n_matrix_vector += dense ? n : 0;
}
