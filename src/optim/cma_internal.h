/* The optimiser's own state. Inside fbt_optim only. */
#ifndef FBT_OPTIM_CMA_INTERNAL_H
#define FBT_OPTIM_CMA_INTERNAL_H

#include "optim/cma.h"
#include "optim/covariance.h"

/* Changes of C that have not been added up: C <- decay C + sum_r weight_r y_r y_r^T, one change a generation. A
 * negative weight still has to be rescaled by d / |C^(-1/2) y|^2. */
typedef struct fbt_deferred {
    int64_t n_updates, max_updates;
    double *decay;      /* [n_updates]                                    */
    int64_t *first_row; /* [n_updates + 1]: rows of update u start here   */
    int64_t n_rows, max_rows;
    double *weight;                /* [n_rows]                                        */
    double *rows;                  /* [n_rows, d]                                     */
    double *final_weight, *scaled; /* [max_rows], [max_rows, d]: scratch of adding up */
} fbt_deferred;

struct fbt_cma {
    fbt_cma_options options;
    fbt_cma_parameters parameters;
    double *weights;                    /* [population] */
    double *mean, *path_sigma, *path_c; /* [d]          */
    double step_size;
    int64_t generation, n_evaluations;
    int64_t n_resets; /* since fbt_cma_new */

    /* base is what the factor in use decomposes. Deferred updates come on top of it; current (full covariance only, or
     * NULL: same as base) is base with the first n_applied of them. */
    fbt_covariance *base, *current;
    fbt_covariance *spare; /* a former base that nobody uses any more, for its memory; or NULL */
    int64_t n_applied;
    fbt_deferred deferred;

    bool has_mirror; /* the next generation's candidate 0 is a mirror ... */
    double *mirror;  /* ... in this direction [d]                         */

    fbt_cma_statistics statistics;
    double *steps;      /* (x - m) / sigma of a tell [population, d] */
    int64_t *order;     /* its indices, best first [population]      */
    double *scratch[3]; /* [d] each                                  */
    double *lengths;    /* [population]                              */
    double *work;       /* [fbt_covariance_scratch]                  */
};

/* Adds up what is deferred, so that fbt_cma_newest is C. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_cma_apply_deferred(fbt_cma *cma);
fbt_covariance *fbt_cma_newest(const fbt_cma *cma);

/* Makes the factor in use the one of C if that is due, or always. Errors: FBT_ERR_NUMERIC, FBT_ERR_MEMORY. */
fbt_status fbt_cma_refresh(fbt_cma *cma, bool always);

/* Forgets the deferred updates and makes `covariance` (a new user's share of it, factored) the optimiser's C. */
void fbt_cma_adopt(fbt_cma *cma, fbt_covariance *covariance);

/* Room for one more update of n_rows rows, so that appending cannot fail. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_deferred_reserve(fbt_deferred *deferred, int64_t n_rows, int64_t d);
/* Appends an update without rows, then its rows; zero weights are left out. */
void fbt_deferred_begin(fbt_deferred *deferred, double decay);
void fbt_deferred_row(fbt_deferred *deferred, double weight, const double *row, int64_t d);
void fbt_deferred_clear(fbt_deferred *deferred);
void fbt_deferred_free(fbt_deferred *deferred);

/* Errors: FBT_ERR_ARG. */
fbt_status fbt_cma_check_step_size(double step_size);

#endif
