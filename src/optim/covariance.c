/* Covariance matrices: sharing, eigendecomposition and products with their roots. */
#include "optim/covariance.h"

#include "base/memory.h"
#include "optim/lapack.h"

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
    FBT_TRY(fbt_covariance_new(FBT_COVARIANCE_DENSE, d, copy));
    for (int64_t i = 0; i < d; i++) {
        double *row = (*copy)->values + i * d;
        if (source->kind == FBT_COVARIANCE_DENSE) {
            memcpy(row, source->values + i * d, (size_t)(i + 1) * sizeof *row);
        } else {
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

bool fbt_covariance_is_sound(const fbt_covariance *covariance)
{
    double least = INFINITY, largest = 0;
    for (int64_t i = 0; i < covariance->d; i++) {
        if (!(covariance->axes[i] > 0) || !isfinite(covariance->axes[i])) {
            return false;
        }
        least = fmin(least, covariance->axes[i]);
        largest = fmax(largest, covariance->axes[i]);
    }
    return largest / least * (largest / least) <= FBT_CMA_CONDITION_LIMIT;
}

/* `condition` from the axes, held against the limit. */
static fbt_status check_condition(fbt_covariance *covariance)
{
    if (covariance->kind == FBT_COVARIANCE_IDENTITY) {
        return FBT_OK;
    }
    double least = INFINITY, largest = 0;
    for (int64_t i = 0; i < covariance->d; i++) {
        if (!(covariance->axes[i] > 0) || !isfinite(covariance->axes[i])) {
            return fbt_fail(
                FBT_ERR_NUMERIC,
                "CMA-ES: the covariance matrix is not positive definite; the fitness may be constant or noise, or "
                "the step size out of any sensible range; restart with covariance isotropic or separable");
        }
        least = fmin(least, covariance->axes[i]);
        largest = fmax(largest, covariance->axes[i]);
    }
    const double condition = largest / least * (largest / least);
    if (condition != covariance->condition) { /* another thread may be reading it */
        covariance->condition = condition;
    }
    if (condition > FBT_CMA_CONDITION_LIMIT) {
        return fbt_fail(FBT_ERR_NUMERIC,
                        "CMA-ES: the covariance matrix has condition number %.3g, beyond the limit %.0e of double "
                        "precision; rescale the problem, or use covariance isotropic or separable",
                        condition, FBT_CMA_CONDITION_LIMIT);
    }
    return FBT_OK;
}

fbt_status fbt_covariance_factor(fbt_covariance *covariance, fbt_cma_statistics *statistics)
{
    fbt_status status = FBT_OK;
    const int64_t d = covariance->d;
    if (covariance->kind != FBT_COVARIANCE_DENSE) {
        return check_condition(covariance);
    }
    if (covariance->factored) {
        return FBT_OK;
    }
    if (covariance->vectors == NULL) {
        FBT_TRY(fbt_memory_alloc(&covariance->vectors, d * d, sizeof(double)));
    }
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            const double c_ij = covariance->values[i * d + j];
            if (!isfinite(c_ij)) {
                FBT_FAIL(FBT_ERR_NUMERIC, "CMA-ES: element (%lld, %lld) of the covariance matrix is not finite",
                         (long long)i, (long long)j);
            }
            covariance->vectors[i * d + j] = c_ij;
        }
    }
    statistics->n_decompositions++;
    FBT_TRY(fbt_lapack_eigen(d, covariance->vectors, covariance->axes));
    for (int64_t i = 0; i < d; i++) {
        covariance->axes[i] = covariance->axes[i] > 0 ? sqrt(covariance->axes[i]) : 0;
    }
    FBT_TRY(check_condition(covariance));
    covariance->factored = true;

done:
    return status;
}

/* out = V v, components along the eigenvectors; in eigenvector order. */
static void to_eigenbasis(const fbt_covariance *c, const double *v, double *out)
{
    for (int64_t k = 0; k < c->d; k++) {
        out[k] = fbt_vector_dot(c->vectors + k * c->d, v, c->d);
    }
}

/* out = V^T u. */
static void from_eigenbasis(const fbt_covariance *c, const double *u, double *restrict out)
{
    memset(out, 0, (size_t)c->d * sizeof *out);
    for (int64_t k = 0; k < c->d; k++) {
        const double *restrict vector = c->vectors + k * c->d;
        for (int64_t i = 0; i < c->d; i++) {
            out[i] += u[k] * vector[i];
        }
    }
}

static void apply_root(const fbt_covariance *c, bool inverse, const double *v, double *out, double *scratch,
                       fbt_cma_statistics *statistics)
{
    if (c->kind == FBT_COVARIANCE_IDENTITY) {
        memmove(out, v, (size_t)c->d * sizeof *out);
        return;
    }
    const bool dense = c->kind == FBT_COVARIANCE_DENSE;
    double *u = dense ? scratch : out;
    if (dense) {
        to_eigenbasis(c, v, scratch);
        v = scratch;
    }
    for (int64_t i = 0; i < c->d; i++) {
        u[i] = inverse ? v[i] / c->axes[i] : v[i] * c->axes[i];
    }
    if (dense) {
        from_eigenbasis(c, scratch, out);
        statistics->n_matrix_vector += 2;
    }
}

void fbt_covariance_root(const fbt_covariance *c, const double *v, double *out, double *scratch,
                         fbt_cma_statistics *statistics)
{
    apply_root(c, false, v, out, scratch, statistics);
}

void fbt_covariance_inverse_root(const fbt_covariance *c, const double *v, double *out, double *scratch,
                                 fbt_cma_statistics *statistics)
{
    apply_root(c, true, v, out, scratch, statistics);
}

double fbt_covariance_length(const fbt_covariance *c, const double *v, double *scratch, fbt_cma_statistics *statistics)
{
    if (c->kind == FBT_COVARIANCE_IDENTITY) {
        return fbt_vector_norm(v, c->d);
    }
    if (c->kind == FBT_COVARIANCE_DENSE) {
        to_eigenbasis(c, v, scratch);
        statistics->n_matrix_vector++;
        v = scratch;
    }
    for (int64_t i = 0; i < c->d; i++) {
        scratch[i] = v[i] / c->axes[i];
    }
    return fbt_vector_norm(scratch, c->d);
}
