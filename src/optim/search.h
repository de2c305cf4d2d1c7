/* State of a search that is a mean, a step size and a few vectors, and those members of fbt_optimiser_type that are the
 * same for all of these. Inside fbt_optim only; void pointers are of fbt_search. */
#ifndef FBT_OPTIM_SEARCH_H
#define FBT_OPTIM_SEARCH_H

#include "optim/optimiser.h"

typedef struct fbt_search {
    fbt_optimiser_options options;
    double step_size;
    double *mean;    /* [d]                                         */
    double *vectors; /* [n_vectors, d]: what the optimiser adapts   */
    int64_t n_vectors;
    double first;       /* of each of their elements when a search begins */
    double gain;        /* a number that is adapted, too; 0 when a search begins */
    int64_t generation; /* tells since the search began                          */
    int64_t n_resets;   /* since fbt_search_new; not of the checkpoint           */
    double *scratch;    /* [d]                                       */
    int64_t *order;     /* [population]                              */
} fbt_search;

/* A search of n_vectors vectors whose elements begin as `first`; for `new`. Errors: FBT_ERR_ARG (mean or step size not
 * finite, step size not positive), FBT_ERR_MEMORY. */
fbt_status fbt_search_new(const fbt_optimiser_options *options, const double *mean, double step_size, int64_t n_vectors,
                          double first, void **self);
/* The same in memory of the caller's, zero-initialised, for a search that keeps more. */
fbt_status fbt_search_init(fbt_search *search, const fbt_optimiser_options *options, const double *mean,
                           double step_size, int64_t n_vectors, double first);
void fbt_search_clear(fbt_search *search);

bool fbt_search_all_finite(const double *values, int64_t n);

/* z: [d] standard normal numbers of a candidate. */
void fbt_search_draw(gsl_rng *rng, const fbt_rng_stream *stream, int64_t candidate, int64_t d, double *z);

/* Whether these solutions can be learnt from; and their order, best first, into search->order. Errors: FBT_ERR_ARG (n
 * is not the population), FBT_ERR_NUMERIC (a fitness is NaN, an x not finite). */
fbt_status fbt_search_rank(fbt_search *search, int64_t n, const double *x, const double *fitness);
/* The same of `fewest` to a whole population of solutions. */
fbt_status fbt_search_rank_foreign(fbt_search *search, int64_t fewest, int64_t n, const double *x,
                                   const double *fitness);

/* The weighted mean of the steps of the best half, in step sizes, into search->scratch: sum over i from 1 of w_i
 * (x_i - mean) / step size, w_i ~ ln of - ln i (Hansen 2016; of: (lambda + 1) / 2 there). Returns mu_w, 1 over the sum
 * of the squared weights. x: [population, d], ranked before. */
double fbt_search_recombine(fbt_search *search, const double *x, double of);

/* The step size after an update, which ends a search where it vanishes: that begins anew. Errors: FBT_ERR_NUMERIC (not
 * finite). */
fbt_status fbt_search_adapt_step_size(fbt_search *search, double step_size);

/* Pairs of candidates, mean +- step size z, the first of each drawn from its own stream: x: [population, d]. An odd
 * population is refused: FBT_ERR_CONFIG. */
fbt_status fbt_search_check_pairs(const fbt_optimiser_options *options);
fbt_status fbt_search_ask_pairs(void *self, gsl_rng *rng, const fbt_rng_stream *stream, double *x);
/* Makes of z [d] in the first row of x: [2, d] the pair. */
void fbt_search_place_pair(const fbt_search *search, double *x);
/* z of a pair whose first candidate is x: [2, d]. */
double fbt_search_pair_element(const fbt_search *search, const double *x, int64_t i);
/* A pair's part in the mean over all pairs of (f+ - f-) / 2, the loss's slope along z in step sizes; c: its first
 * candidate. Errors: FBT_ERR_NUMERIC (not finite). */
fbt_status fbt_search_pair_slope(const fbt_search *search, const double *fitness, int64_t c, double *slope);
/* Errors: FBT_ERR_NUMERIC (a rate too large for the loss's curvature has made the steps grow without bound). */
fbt_status fbt_search_check_mean(const fbt_search *search);

void fbt_search_free(void *self);
fbt_status fbt_search_settle(void *self);
fbt_status fbt_search_reset(void *self);
const double *fbt_search_mean(const void *self);
double fbt_search_step_size(const void *self);
fbt_status fbt_search_set_mean(void *self, const double *mean);
fbt_status fbt_search_set_step_size(void *self, double step_size);
fbt_status fbt_search_export(const void *self, const char *prefix, fbt_array_list *arrays);
fbt_status fbt_search_import(void *self, const char *prefix, const fbt_array *arrays);

/* Of searches that send no shape: one that restarts from another knows its mean alone. */
fbt_status fbt_search_restart_from(void *self, void *server, double step_size);
int64_t fbt_search_no_shape(const fbt_optimiser_options *options);
fbt_status fbt_search_get_no_shape(void *self, double *shape);
fbt_status fbt_search_set_no_shape(void *self, const double *shape);
/* Of those that sample from a ball. */
void fbt_search_ball_health(const void *self, fbt_optimiser_health *health);

#define FBT_SEARCH_MEMBERS                                                                                             \
    .free = fbt_search_free, .settle = fbt_search_settle, .reset = fbt_search_reset, .mean = fbt_search_mean,          \
    .step_size = fbt_search_step_size, .set_mean = fbt_search_set_mean, .set_step_size = fbt_search_set_step_size,     \
    .export = fbt_search_export
#define FBT_SEARCH_UNSHAPED_MEMBERS                                                                                    \
    .restart_from = fbt_search_restart_from, .n_shape = fbt_search_no_shape, .get_shape = fbt_search_get_no_shape,     \
    .set_shape = fbt_search_set_no_shape, .import = fbt_search_import

#endif
