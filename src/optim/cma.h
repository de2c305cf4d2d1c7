/* CMA-ES: covariance matrix adaptation evolution strategy with ask and tell.
 *
 * Minimises a black box f: R^d -> R by sampling candidates x ~ N(m, sigma^2 C) and adapting m, sigma and C to their
 * ranking.  Sources: [H] Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772; [C] pycma 4.4 (its
 * defaults are the preset FBT_CMA_CONSTANTS_PYCMA); [I] Hansen 2011, "Injecting external solutions into CMA-ES", arXiv
 * 1110.4181; [S] Ros and Hansen 2008, "A simple modification in CMA-ES achieving linear time and space complexity"; [K]
 * Krause, Arbones, Igel 2016, "CMA-ES with optimal covariance update and storage complexity", NeurIPS.
 *
 * One generation is
 *
 *     fbt_cma_ask_all(cma, rng, stream, x)
 *     fitness[i] = f(x_i)
 *     fbt_cma_tell(cma, population, x, fitness)
 *
 * Candidates may be asked for in any order, again, or not at all: asking changes no number that is ever returned, so
 * ranks that share out a population agree bit for bit as long as each of them tells all of it.
 *
 * Decomposition.  `eigen` is pycma's way: C^(1/2) and C^(-1/2) from the eigenvectors, about 20 d^3 operations by
 * LAPACK. `cholesky` takes a triangular root in their place, as [K] do, d^3 / 3 operations. The distribution of the
 * candidates is the same, and so is every length |C^(-1/2) y|; p_sigma lives in other coordinates, which turn as L
 * changes. [K] keep L by rank-one updates alone; here C is kept, too, and decomposed where it is due: that costs no
 * more, needs no downdates for negative weights, which may fail where C is positive definite, and adds up no rounding
 * errors.
 *
 * Laziness.  C changes by rank-one terms; its decomposition, O(d^3), is due every 1/(10 d (c1 + c_mu)) generations.
 * Until then a tell only keeps the terms, O(population d); they are added up when C is read or decomposed, in the order
 * in which they came, so when that happens changes no bit.  While the decomposed C is the identity or diagonal, no
 * matrix-vector products are made.  fbt_cma_statistics counts the work.
 *
 * Determinism.  All sums are this module's own loops in a fixed order on the calling thread, the same on every
 * instruction set (products.h).  LAPACK's dsyevd, for `eigen`, is the one library call; where the library is OpenBLAS
 * it gets one thread, because its results depend on their number (lapack.c).  Numbers then depend on the processor type
 * alone, and with `cholesky` not on that either.
 *
 * Threads: different optimisers may be used at the same time; one optimiser by one thread at a time (a server counts as
 * used while a local search restarts from it).
 */
#ifndef FBT_OPTIM_CMA_H
#define FBT_OPTIM_CMA_H

#include "base/choices.h" /* fbt_cma_covariance, fbt_cma_decomposition, fbt_cma_constants */
#include "base/rng.h"
#include "base/status.h"

#include <gsl/gsl_rng.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct fbt_cma_options {
    int64_t dimension;  /* d >= 1; at most 20000 when full */
    int64_t population; /* lambda >= 2: the number of solutions in each tell */
    /* Parents mu, 1 .. lambda. 0: mu = floor(lambda/2), weights w_i ~ ln((lambda+1)/2) - ln i, i = 1..lambda. Else
     * w_i ~ ln((2 mu+1)/2) - ln i, i = 1..2 mu, as pycma's CMA_mu: with mu = lambda all weights are positive. */
    int64_t n_parents;
    fbt_cma_covariance covariance;
    fbt_cma_decomposition decomposition; /* of a full one */
    fbt_cma_constants constants;
    bool active; /* the worse half updates C with negative weights; ignored when isotropic */
    /* pycma's selective mirroring, on by default there when lambda < 6 (so in the official FedBPT clients): the first
     * candidate of a generation is the mirror image of the previous one's worst, unless that was a mirror itself, and
     * never has a negative weight. Damping depends on it in the pycma preset. */
    bool mirrored;
} fbt_cma_options;

/* Errors: FBT_ERR_CONFIG (what is out of range, and its range). */
fbt_status fbt_cma_options_check(const fbt_cma_options *options);

/* Strategy parameters, in the letters of [H]. */
typedef struct fbt_cma_parameters {
    int64_t mu;
    double mu_eff;
    double c_sigma, d_sigma; /* step size: cumulation and damping           */
    double c_c, c_1, c_mu;   /* covariance: cumulation and learning rates   */
    double chi;              /* expected length of a standard normal vector */
    double max_log_step;     /* bound of |log(sigma_new / sigma)|           */
    double lazy_gap;         /* updates of C between two decompositions     */
} fbt_cma_parameters;

/* weights: [population], best first, positive ones sum to 1, negative ones final. Errors: as fbt_cma_options_check. */
fbt_status fbt_cma_parameters_compute(const fbt_cma_options *options, fbt_cma_parameters *parameters, double *weights);

typedef struct fbt_cma fbt_cma;

/* An optimiser with C = identity and zero paths. mean: [d], copied; step_size > 0. Errors: FBT_ERR_CONFIG (options),
 * FBT_ERR_ARG (mean or step size not finite, step size not positive), FBT_ERR_MEMORY (no room for the eigensolver of
 * full ones, either), FBT_ERR_UNSUPPORTED (no such library). */
fbt_status fbt_cma_new(const fbt_cma_options *options, const double *mean, double step_size, fbt_cma **cma);
void fbt_cma_free(fbt_cma *cma);

/* Makes `local` a fresh search (zero paths and counters, nothing deferred) around the server's mean with the server's C
 * and the given step size; its own options stay. As pycma's `_copy_light`, it samples from the server's *current* C:
 * where terms are deferred they are added up and decomposed once, on the server's account, for all local searches that
 * follow (fbt_cma_settle); the server's own lazily updated factor stays as it is. C and its factor are shared, not
 * copied, and stay alive as long as anyone uses them: the server may be told, changed or freed in any order. Cost O(d),
 * but for that decomposition. `server` changes only by that. Errors: FBT_ERR_ARG (dimensions differ, step size, the
 * server's C is not what local's covariance option can hold: any -> full, diagonal -> separable, identity ->
 * isotropic), FBT_ERR_MEMORY. */
fbt_status fbt_cma_restart_from(fbt_cma *local, fbt_cma *server, double step_size);

/* Where C cannot be decomposed any more (condition above the limit, not positive definite, not finite, dsyevd fails) or
 * sigma vanishes, a search has collapsed. It then goes on as a new one from its mean with its last step size: C =
 * identity, zero paths. [H] (B.3) and [C] end such a search and restart it; here it is one client's part of a round, or
 * the server of a federation, and the others go on. ask, tell, restart_from and settle reset by themselves;
 * fbt_cma_health counts. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_cma_reset(fbt_cma *cma);

/* Adds up what is deferred and decomposes it, for local searches to restart from; resets where that is not possible.
 * All ranks that hold the same server must do so together. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_cma_settle(fbt_cma *cma);

/* x = m + sigma R n with the root R of C = R R^T (symmetric, or triangular for `cholesky`) and n: d draws of
 * gsl_ran_gaussian_ziggurat from rng, which the caller has placed; candidate: 0 .. population-1 (it matters for
 * mirroring only). x: [d]. Errors: FBT_ERR_ARG (candidate out of range), FBT_ERR_MEMORY (only when a decomposition is
 * due). */
fbt_status fbt_cma_ask(fbt_cma *cma, int64_t candidate, gsl_rng *rng, double *x);
/* All candidates, in the same bits and much less time: candidate i from the stream with that member `candidate`. x:
 * [population, d]. */
fbt_status fbt_cma_ask_all(fbt_cma *cma, gsl_rng *rng, const fbt_rng_stream *stream, double *x);

/* One update from the n = population candidates that were asked for. x: [n, d] in the order of their candidate numbers,
 * fitness: [n], smaller is better; equal fitness ranks by index; +infinity is a legal worst. Errors: FBT_ERR_ARG (n is
 * not the population), FBT_ERR_NUMERIC (a fitness is NaN, an x not finite, sigma overflows), FBT_ERR_MEMORY; on an
 * error the optimiser is as it was before, but for deferred work. */
fbt_status fbt_cma_tell(fbt_cma *cma, int64_t n, const double *x, const double *fitness);

/* The same for solutions from elsewhere: solutions i with is_foreign[i] (NULL: all) are first moved towards m until
 * their Mahalanobis length |C^(-1/2) (x - m)| / sigma is at most sqrt(d) + 2 d / (d + 2) [I]. x itself is not changed.
 * n may be anything from 2 to the population: the update is then that of a search with population n (and no more
 * parents than that), in this search's state. */
fbt_status fbt_cma_tell_foreign(fbt_cma *cma, int64_t n, const double *x, const double *fitness,
                                const bool *is_foreign);

/* Explicit changes; evolution paths and counters stay. mean: [d]. covariance: [d, d], symmetric positive definite, the
 * lower triangle is read; a full optimiser notices a diagonal or identity matrix and works faster with it; separable
 * ones accept a diagonal matrix only, isotropic ones the identity only. Setting C drops deferred terms. Errors:
 * FBT_ERR_ARG, FBT_ERR_NUMERIC (not positive definite, or condition above the limit), FBT_ERR_MEMORY. */
fbt_status fbt_cma_set_mean(fbt_cma *cma, const double *mean);
fbt_status fbt_cma_set_step_size(fbt_cma *cma, double step_size);
fbt_status fbt_cma_set_covariance(fbt_cma *cma, const double *covariance);
/* The same with a diagonal C, given as its diagonal [d]. */
fbt_status fbt_cma_set_variances(fbt_cma *cma, const double *variances);

/* Makes the evolution paths [d] those of a search that has made so many generations; path_c of isotropic ones is not
 * read. Errors: FBT_ERR_ARG (not finite). */
fbt_status fbt_cma_set_paths(fbt_cma *cma, const double *path_sigma, const double *path_c, int64_t generation);

/* Borrowed: valid until the next call that changes the optimiser. Each [d]; path_c is all zero when isotropic. */
const double *fbt_cma_mean(const fbt_cma *cma);
const double *fbt_cma_path_sigma(const fbt_cma *cma);
const double *fbt_cma_path_c(const fbt_cma *cma);
double fbt_cma_step_size(const fbt_cma *cma);
const fbt_cma_options *fbt_cma_options_of(const fbt_cma *cma);
const fbt_cma_parameters *fbt_cma_parameters_of(const fbt_cma *cma);

/* C itself, [d, d] or its diagonal [d]; adds deferred terms up first. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_cma_covariance_full(fbt_cma *cma, double *covariance);
fbt_status fbt_cma_covariance_diagonal(fbt_cma *cma, double *diagonal);

/* The covariance matrix's condition number may not exceed this, where C is decomposed (after each tell when separable),
 * and the step size may not shrink below that: see fbt_cma_reset. */
#define FBT_CMA_CONDITION_LIMIT 1e14
#define FBT_CMA_STEP_SIZE_MIN 1e-100

/* Health, from the factor in use (no decomposition is made for it): a search whose C was never decomposed has 1. For
 * `cholesky` the condition number is estimated when it is first asked for, within about 1% and never too large. */
typedef struct fbt_cma_health {
    double condition;         /* largest / smallest eigenvalue of C                                              */
    double axis_ratio;        /* its square root                                                                 */
    double path_sigma_length; /* |p_sigma|; under random selection about chi, 0 at the start                      */
    double path_sigma_ratio;  /* |p_sigma| / chi: below 1 sigma shrinks, above 1 it grows                         */
    int64_t generation;       /* tells so far                                                                    */
    int64_t n_evaluations;    /* solutions told so far                                                           */
    int64_t n_resets;         /* since fbt_cma_new                                                               */
} fbt_cma_health;
void fbt_cma_health_get(const fbt_cma *cma, fbt_cma_health *health);

/* Work done by this optimiser since fbt_cma_new (restarts do not clear it). */
typedef struct fbt_cma_statistics {
    int64_t n_decompositions; /* O(d^3)                                               */
    int64_t n_matrix_vector;  /* O(d^2): products with the eigenvectors or a triangle */
    int64_t n_rank_one;       /* O(d^2): terms added to a dense C                     */
    int64_t n_matrix_copies;  /* O(d^2): dense C copied because someone else holds it */
} fbt_cma_statistics;
void fbt_cma_statistics_get(const fbt_cma *cma, fbt_cma_statistics *statistics);

/* Everything that a restored optimiser needs to go on bit for bit: two plain arrays for a checkpoint. Their layout is
 * this module's own (state.c) and versioned in integers[0]. A factor is not stored but made again. */
typedef struct fbt_cma_state {
    int64_t n_integers, n_reals;
    int64_t *integers; /* [n_integers] */
    double *reals;     /* [n_reals]    */
} fbt_cma_state;

/* Allocates the arrays; release them with fbt_cma_state_clear. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_cma_state_export(const fbt_cma *cma, fbt_cma_state *state);
void fbt_cma_state_clear(fbt_cma_state *state);
/* Into an optimiser with the same options. Statistics are not part of the state. Errors: FBT_ERR_DATA (made with other
 * options, damaged, or of another version), FBT_ERR_NUMERIC, FBT_ERR_MEMORY. */
fbt_status fbt_cma_state_import(fbt_cma *cma, const fbt_cma_state *state);

#endif
