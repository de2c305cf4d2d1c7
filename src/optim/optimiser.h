/* An optimiser: a search distribution that is asked for candidates and told their fitness.
 *
 * Clients and server use it through this interface alone. One file (optimiser_NAME.c) fills in one fbt_optimiser_type;
 * FBT_OPTIMISER_LIST (base/choices.h) names it. Errors are those of the optimiser (optim/cma.h). */
#ifndef FBT_OPTIM_OPTIMISER_H
#define FBT_OPTIM_OPTIMISER_H

#include "base/choices.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/typed_array.h"
#include "optim/cma.h"

#include <gsl/gsl_rng.h>
#include <stdbool.h>
#include <stdint.h>

/* Options of an optimiser. `cma` is of CMA-ES alone, `es` of the others (docs/optimisers.md says which reads which). */
typedef struct fbt_optimiser_options {
    fbt_optimiser_kind kind;
    int64_t dimension;  /* d                                                    */
    int64_t population; /* lambda: candidates of a tell                         */
    int64_t n_parents;  /* of a tell; 0: as many as the optimiser itself chooses */
    int64_t n_words;    /* N: of searches of words, whose x are numbers from 0 to N - 1; no other reads it */
    struct {
        fbt_cma_covariance covariance;
        fbt_cma_decomposition decomposition;
        fbt_cma_constants constants;
        bool active, mirrored;
    } cma;
    struct {
        double learning_rate;          /* step of a coordinate in step sizes; of words: of the gradient */
        double momentum, weight_decay; /* of the estimated gradient, which the decay is added to     */
        double elite, smoothing, deviation_smoothing; /* fraction of parents; how much of what they say is believed */
        int64_t seeds;                                /* K, directions of a pool                                    */
        uint64_t pool_seed;                           /* that all searches with the same pool share                 */
    } es;
} fbt_optimiser_options;

typedef struct fbt_optimiser_health {
    double condition;   /* of the distribution's shape; 1: a ball                    */
    double axis_ratio;  /* longest over shortest axis                                */
    double path_length; /* of the evolution path that adapts the step size; else NaN */
    int64_t n_resets;   /* how often the search collapsed and began anew             */
} fbt_optimiser_health;

/* The step size may not shrink below this. */
#define FBT_OPTIMISER_STEP_SIZE_MIN FBT_CMA_STEP_SIZE_MIN

/* self: what `new` made. Members must be filled in but for those that may be NULL. */
typedef struct fbt_optimiser_type {
    const char *collapse; /* when a search counts as collapsed, for a message */
    bool asks_pairs;      /* candidates 2 i and 2 i + 1 lie opposite each other about the mean */

    /* Whether there is such a search, in words of the settings; NULL: `new` tells. */
    fbt_status (*check)(const fbt_optimiser_options *options);
    fbt_status (*new)(const fbt_optimiser_options *options, const double *mean, double step_size, void **self);
    void (*free)(void *self);

    fbt_status (*restart_from)(void *self, void *server, double step_size);
    fbt_status (*settle)(void *self);
    fbt_status (*reset)(void *self);

    fbt_status (*ask)(void *self, gsl_rng *rng, const fbt_rng_stream *stream, double *x);
    fbt_status (*tell)(void *self, int64_t n, const double *x, const double *fitness);
    /* NULL: it learns from its own candidates alone. */
    fbt_status (*tell_foreign)(void *self, int64_t n, const double *x, const double *fitness);

    const double *(*mean)(const void *self);
    double (*step_size)(const void *self);
    /* NULL: the mean follows from the shape, which messages carry in its place. Such a search learns from its own
     * candidates alone, and takes any finite numbers for a shape. */
    fbt_status (*set_mean)(void *self, const double *mean);
    fbt_status (*set_step_size)(void *self, double step_size);

    int64_t (*n_shape)(const fbt_optimiser_options *options);
    fbt_status (*get_shape)(void *self, double *shape);
    fbt_status (*set_shape)(void *self, const double *shape);

    void (*health)(const void *self, fbt_optimiser_health *health);
    fbt_status (*export)(const void *self, const char *prefix, fbt_array_list *arrays);
    fbt_status (*import)(void *self, const char *prefix, const fbt_array *arrays);
} fbt_optimiser_type;

#define FBT_OPTIMISER_DECLARE(value, name, object, ...) extern const fbt_optimiser_type object;
FBT_OPTIMISER_LIST(FBT_OPTIMISER_DECLARE)
#undef FBT_OPTIMISER_DECLARE

const fbt_optimiser_type *fbt_optimiser_type_get(fbt_optimiser_kind kind);

/* Whether there is an optimiser with these options. Errors: FBT_ERR_CONFIG, by the names of the settings. */
fbt_status fbt_optimiser_check(const fbt_optimiser_options *options);
/* Whether optimisers of this kind can be told what others have found (fbt_optimiser_tell_foreign). */
bool fbt_optimiser_learns_foreign(fbt_optimiser_kind kind);
/* Whether the mean of optimisers of this kind follows from their shape: it is then neither sent nor set. */
bool fbt_optimiser_mean_follows_shape(fbt_optimiser_kind kind);

typedef struct fbt_optimiser fbt_optimiser;

/* A search that begins at `mean` [d], or at 0 where that is NULL, with this step size. On failure *optimiser is NULL.
 */
fbt_status fbt_optimiser_new(const fbt_optimiser_options *options, const double *mean, double step_size,
                             fbt_optimiser **optimiser);
/* The same of a type that is in no list. */
fbt_status fbt_optimiser_new_of(const fbt_optimiser_type *type, const fbt_optimiser_options *options,
                                const double *mean, double step_size, fbt_optimiser **optimiser);
void fbt_optimiser_free(fbt_optimiser *optimiser);

/* Makes `local` a fresh search in the server's distribution, with its own step size. Both are of one type. */
fbt_status fbt_optimiser_restart_from(fbt_optimiser *local, fbt_optimiser *server, double step_size);
/* Does what is due before searches restart from this one. All ranks that hold the same server do so together. */
fbt_status fbt_optimiser_settle(fbt_optimiser *optimiser);
/* Begins anew from the mean, with the last step size and the first shape; counted in health. */
fbt_status fbt_optimiser_reset(fbt_optimiser *optimiser);

/* The candidates of a generation, x: [population, d]: number i from the stream with that member `candidate`. Asking
 * changes no number that is ever returned; a search along a pool must be told what it was asked for last. */
fbt_status fbt_optimiser_ask(fbt_optimiser *optimiser, gsl_rng *rng, const fbt_rng_stream *stream, double *x);
/* One update from a population that was asked for. x: [n, d]; fitness: [n], smaller is better. */
fbt_status fbt_optimiser_tell(fbt_optimiser *optimiser, int64_t n, const double *x, const double *fitness);
/* One update from solutions that others have found, such as the means of clients. n: from 2 to the population; the
 * update of fewer is that of an optimiser with so small a population. Errors: FBT_ERR_UNSUPPORTED (it learns from its
 * own alone). */
fbt_status fbt_optimiser_tell_foreign(fbt_optimiser *optimiser, int64_t n, const double *x, const double *fitness);

/* mean: [d], borrowed, valid until the next call that changes the optimiser. Errors of set_mean: FBT_ERR_UNSUPPORTED
 * (the mean follows from the shape). */
const double *fbt_optimiser_mean(const fbt_optimiser *optimiser);
double fbt_optimiser_step_size(const fbt_optimiser *optimiser);
fbt_status fbt_optimiser_set_mean(fbt_optimiser *optimiser, const double *mean);
fbt_status fbt_optimiser_set_step_size(fbt_optimiser *optimiser, double step_size);

/* The shape of the distribution but for its scale, as numbers that may be averaged over searches and are sent to who
 * samples from it: [n_shape]. CMA-ES: the lower triangle of C by rows, its diagonal, or nothing. Errors of set_shape:
 * FBT_ERR_NUMERIC where no distribution has this shape. */
int64_t fbt_optimiser_n_shape(const fbt_optimiser_options *options);
fbt_status fbt_optimiser_get_shape(fbt_optimiser *optimiser, double *shape);
fbt_status fbt_optimiser_set_shape(fbt_optimiser *optimiser, const double *shape);

void fbt_optimiser_health_get(const fbt_optimiser *optimiser, fbt_optimiser_health *health);
const fbt_optimiser_options *fbt_optimiser_options_of(const fbt_optimiser *optimiser);
const fbt_optimiser_type *fbt_optimiser_type_of(const fbt_optimiser *optimiser);

/* Appends the whole state, as arrays whose names begin with the prefix; import takes it from such a list into an
 * optimiser with the same options. Errors of import: FBT_ERR_DATA (an array is missing, damaged, or of other options).
 */
fbt_status fbt_optimiser_export(const fbt_optimiser *optimiser, const char *prefix, fbt_array_list *arrays);
fbt_status fbt_optimiser_import(fbt_optimiser *optimiser, const char *prefix, const fbt_array *arrays);

/* Name of an array of a checkpoint, for export and import: the prefix and what it holds. */
enum { FBT_OPTIMISER_NAME_BYTES = 64 };
void fbt_optimiser_array_name(const char *prefix, const char *what, char name[FBT_OPTIMISER_NAME_BYTES]);

/* The value that the type's `new` made; NULL: the optimiser is of another type. */
void *fbt_optimiser_self(const fbt_optimiser *optimiser, const fbt_optimiser_type *type);

/* CMA-ES as the optimiser keeps it, to look into; NULL: it is of another type. */
fbt_cma *fbt_optimiser_cma_of(const fbt_optimiser *optimiser);
/* Its options. */
void fbt_optimiser_cma_options(const fbt_optimiser_options *options, fbt_cma_options *cma);

#endif
