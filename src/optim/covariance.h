/* A covariance matrix with its factor, shared between optimisers by counting its users. Inside fbt_optim only.
 *
 * A dense matrix has one of two factors: C = V^T diag(axes^2) V with the eigenvectors in the rows of V, or C = L L^T
 * with a lower triangular L. Its root is V^T diag(axes) V, the symmetric one, or L. Identity: no array exists.
 * Diagonal: V = identity. A matrix may be changed only by its single user (fbt_covariance_is_mine) and, when dense,
 * only until it is factored.
 */
#ifndef FBT_OPTIM_COVARIANCE_H
#define FBT_OPTIM_COVARIANCE_H

#include "optim/cma.h"

#include <stdatomic.h>

typedef enum fbt_covariance_kind {
    FBT_COVARIANCE_IDENTITY,
    FBT_COVARIANCE_DIAGONAL,
    FBT_COVARIANCE_DENSE
} fbt_covariance_kind;

typedef struct fbt_covariance {
    atomic_int n_users;
    fbt_covariance_kind kind;
    int64_t d;
    double *values;   /* diagonal: variances [d]; dense: [d, d], lower triangle; identity: NULL      */
    double *axes;     /* diagonal, dense: square roots of the eigenvalues [d]; identity: NULL        */
    double *vectors;  /* dense, eigen: [d, d], one eigenvector a row; else NULL                      */
    double *triangle; /* dense, cholesky: L (products.h); else NULL                                  */
    fbt_cma_decomposition decomposition; /* of a dense and factored one                              */
    _Atomic double condition;            /* 0: nobody has asked for that of a triangle yet           */
    bool factored;                       /* the factor is valid; always true unless dense            */
} fbt_covariance;

/* A zeroed matrix with one user; identity and diagonal ones count as factored with condition 1. Errors: FBT_ERR_MEMORY.
 */
fbt_status fbt_covariance_new(fbt_covariance_kind kind, int64_t d, fbt_covariance **covariance);
fbt_covariance *fbt_covariance_share(fbt_covariance *covariance);
void fbt_covariance_release(fbt_covariance *covariance);
bool fbt_covariance_is_mine(fbt_covariance *covariance);

/* An unfactored dense copy of any kind, in *copy, a dense matrix of the caller's alone, or in a new one where that is
 * NULL. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_covariance_densify(const fbt_covariance *source, fbt_covariance **copy);

/* The kind of a matrix [d, d] of which the lower triangle is read. */
fbt_covariance_kind fbt_covariance_kind_of(const double *matrix, int64_t d);

/* Makes the factor; nothing to do for a factored dense matrix. Errors: FBT_ERR_NUMERIC (not positive definite,
 * condition limit), FBT_ERR_MEMORY. */
fbt_status fbt_covariance_factor(fbt_covariance *covariance, fbt_cma_decomposition decomposition,
                                 fbt_cma_statistics *statistics);

/* Whether a diagonal matrix has a factor within the condition limit; changes nothing. */
bool fbt_covariance_is_sound(const fbt_covariance *covariance);

/* Values of the scratch of what follows, for an optimiser with this kind of covariance. */
int64_t fbt_covariance_scratch(fbt_cma_covariance covariance, int64_t d);

/* Largest over smallest eigenvalue: of a triangle within about 1% (condition.c), when first asked for. Factored ones
 * only. */
double fbt_covariance_condition(fbt_covariance *c, double *scratch);
double fbt_triangle_condition(int64_t d, const double *triangle, double *scratch);

/* out_i = root(C) v_i or its inverse times v_i. v, out: [n, d], may be the same. Factored ones only. */
void fbt_covariance_root(const fbt_covariance *c, int64_t n, const double *v, double *out, double *scratch,
                         fbt_cma_statistics *statistics);
void fbt_covariance_inverse_root(const fbt_covariance *c, int64_t n, const double *v, double *out, double *scratch,
                                 fbt_cma_statistics *statistics);

/* The Mahalanobis lengths |C^(-1/2) v_i| [n], which no choice of the root changes. */
void fbt_covariance_lengths(const fbt_covariance *c, int64_t n, const double *v, double *lengths, double *scratch,
                            fbt_cma_statistics *statistics);

/* Sums in a fixed order that the compiler can vectorise. */
double fbt_vector_dot(const double *a, const double *b, int64_t n);
double fbt_vector_norm(const double *a, int64_t n);

#endif
