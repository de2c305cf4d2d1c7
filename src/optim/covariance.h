/* A covariance matrix with its factor, shared between optimisers by counting its users. Inside fbt_optim only.
 *
 * C = V^T diag(axes^2) V with the eigenvectors in the rows of V. Identity: neither array exists. Diagonal: V =
 * identity. A matrix may be changed only by its single user (fbt_covariance_is_mine) and, when dense, only until it is
 * factored.
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
    double *values;  /* diagonal: variances [d]; dense: [d, d], lower triangle; identity: NULL */
    double *axes;    /* square roots of the eigenvalues [d]; identity: NULL                    */
    double *vectors; /* dense and factored: [d, d], one eigenvector a row; else NULL           */
    double condition;
    bool factored; /* axes, vectors and condition are valid; always true unless dense */
} fbt_covariance;

/* A zeroed matrix with one user; identity and diagonal ones count as factored with condition 1. Errors: FBT_ERR_MEMORY.
 */
fbt_status fbt_covariance_new(fbt_covariance_kind kind, int64_t d, fbt_covariance **covariance);
fbt_covariance *fbt_covariance_share(fbt_covariance *covariance);
void fbt_covariance_release(fbt_covariance *covariance);
bool fbt_covariance_is_mine(fbt_covariance *covariance);

/* An unfactored dense copy of any kind. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_covariance_densify(const fbt_covariance *source, fbt_covariance **copy);

/* The kind of a matrix [d, d] of which the lower triangle is read. */
fbt_covariance_kind fbt_covariance_kind_of(const double *matrix, int64_t d);

/* Makes the factor and `condition`; nothing to do for a factored dense matrix. Errors: FBT_ERR_NUMERIC (not positive
 * definite, condition limit), FBT_ERR_MEMORY. */
fbt_status fbt_covariance_factor(fbt_covariance *covariance, fbt_cma_statistics *statistics);

/* Whether a diagonal matrix has a factor within the condition limit; changes nothing. */
bool fbt_covariance_is_sound(const fbt_covariance *covariance);

/* out = C^(1/2) v or C^(-1/2) v, symmetric roots. v, out: [d], may be the same; scratch: [d]. Factored ones only. */
void fbt_covariance_root(const fbt_covariance *c, const double *v, double *out, double *scratch,
                         fbt_cma_statistics *statistics);
void fbt_covariance_inverse_root(const fbt_covariance *c, const double *v, double *out, double *scratch,
                                 fbt_cma_statistics *statistics);

/* |C^(-1/2) v|. scratch: [d]. */
double fbt_covariance_length(const fbt_covariance *c, const double *v, double *scratch, fbt_cma_statistics *statistics);

/* Sums in a fixed order that the compiler can vectorise. */
double fbt_vector_dot(const double *a, const double *b, int64_t n);
double fbt_vector_norm(const double *a, int64_t n);

#endif
