#include "optim/search.h"

#include "base/memory.h"
#include "optim/covariance.h"
#include "optim/order.h"

#include <gsl/gsl_randist.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_VERSION = 1, N_OPTIONS = 6, N_INTEGERS = 7, N_NUMBERS = 2 };

bool fbt_search_all_finite(const double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return false;
        }
    }
    return true;
}

/* ---- Begin, restart, reset ---- */

static void forget(fbt_search *s)
{
    s->generation = 0;
    s->gain = 0;
    for (int64_t i = 0; i < s->n_vectors * s->options.dimension; i++) {
        s->vectors[i] = s->first;
    }
}

fbt_status fbt_search_set_mean(void *self, const double *mean)
{
    fbt_search *s = self;
    if (!fbt_search_all_finite(mean, s->options.dimension)) {
        return fbt_fail(FBT_ERR_ARG, "a search's mean must be finite");
    }
    memmove(s->mean, mean, (size_t)s->options.dimension * sizeof *mean);
    return FBT_OK;
}

fbt_status fbt_search_set_step_size(void *self, double step_size)
{
    if (!(step_size > 0 && isfinite(step_size))) {
        return fbt_fail(FBT_ERR_ARG, "a search's step size must be positive and finite, not %g", step_size);
    }
    ((fbt_search *)self)->step_size = step_size;
    return FBT_OK;
}

fbt_status fbt_search_init(fbt_search *search, const fbt_optimiser_options *options, const double *mean,
                           double step_size, int64_t n_vectors, double first)
{
    fbt_status status = FBT_OK;
    fbt_search *s = search;
    const int64_t d = options->dimension;
    s->options = *options;
    s->n_vectors = n_vectors;
    s->first = first;
    FBT_TRY(fbt_memory_alloc(&s->mean, d, sizeof *s->mean));
    FBT_TRY(fbt_memory_alloc(&s->vectors, n_vectors * d, sizeof *s->vectors));
    FBT_TRY(fbt_memory_alloc(&s->scratch, d, sizeof *s->scratch));
    FBT_TRY(fbt_memory_alloc(&s->order, options->population, sizeof *s->order));
    FBT_TRY(fbt_search_set_mean(s, mean));
    FBT_TRY(fbt_search_set_step_size(s, step_size));
    forget(s);
done:
    return status;
}

fbt_status fbt_search_new(const fbt_optimiser_options *options, const double *mean, double step_size, int64_t n_vectors,
                          double first, void **self)
{
    fbt_status status = FBT_OK;
    fbt_search *s = NULL;
    FBT_TRY(fbt_memory_alloc(&s, 1, sizeof *s));
    FBT_TRY(fbt_search_init(s, options, mean, step_size, n_vectors, first));
    *self = s;
    s = NULL;
done:
    fbt_search_free(s);
    return status;
}

void fbt_search_clear(fbt_search *search)
{
    free(search->mean);
    free(search->vectors);
    free(search->scratch);
    free(search->order);
}

void fbt_search_free(void *self)
{
    if (self != NULL) {
        fbt_search_clear(self);
        free(self);
    }
}

fbt_status fbt_search_restart_from(void *self, void *server, double step_size)
{
    fbt_status status = FBT_OK;
    fbt_search *s = self;
    const fbt_search *from = server;
    if (from->options.dimension != s->options.dimension) {
        FBT_FAIL(FBT_ERR_ARG, "a search in %" PRId64 " dimensions cannot restart from one in %" PRId64,
                 s->options.dimension, from->options.dimension);
    }
    FBT_TRY(fbt_search_set_step_size(s, step_size));
    FBT_TRY(fbt_search_set_mean(s, from->mean));
    forget(s);
done:
    return status;
}

fbt_status fbt_search_settle(void *self)
{
    (void)self; /* nothing is put off */
    return FBT_OK;
}

fbt_status fbt_search_reset(void *self)
{
    fbt_search *s = self;
    forget(s);
    s->n_resets++;
    return FBT_OK;
}

/* ---- Ask and tell ---- */

void fbt_search_draw(gsl_rng *rng, const fbt_rng_stream *stream, int64_t candidate, int64_t d, double *z)
{
    fbt_rng_stream own = *stream;
    own.candidate = (uint32_t)candidate;
    fbt_rng_seek(rng, &own);
    for (int64_t i = 0; i < d; i++) {
        z[i] = gsl_ran_gaussian_ziggurat(rng, 1.0);
    }
}

fbt_status fbt_search_check_pairs(const fbt_optimiser_options *options)
{
    if (options->population % 2 == 0) {
        return FBT_OK;
    }
    return fbt_fail(FBT_ERR_CONFIG,
                    "cma.population: fed.optimiser %s scores pairs of candidates, so that their number must be even, "
                    "not %" PRId64 "; use %" PRId64,
                    fbt_optimiser_names[options->kind], options->population, options->population + 1);
}

void fbt_search_place_pair(const fbt_search *search, double *x)
{
    const int64_t d = search->options.dimension;
    for (int64_t i = 0; i < d; i++) {
        const double step = search->step_size * x[i];
        x[i] = search->mean[i] + step;
        x[d + i] = search->mean[i] - step;
    }
}

fbt_status fbt_search_ask_pairs(void *self, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    const fbt_search *s = self;
    const int64_t d = s->options.dimension;
    for (int64_t c = 0; c < s->options.population; c += 2) {
        fbt_search_draw(rng, stream, c, d, x + c * d);
        fbt_search_place_pair(s, x + c * d);
    }
    return FBT_OK;
}

double fbt_search_pair_element(const fbt_search *search, const double *x, int64_t i)
{
    return (x[i] - x[search->options.dimension + i]) / (2 * search->step_size);
}

fbt_status fbt_search_pair_slope(const fbt_search *search, const double *fitness, int64_t c, double *slope)
{
    *slope = (fitness[c] - fitness[c + 1]) / (double)search->options.population;
    return isfinite(*slope) ? FBT_OK
                            : fbt_fail(FBT_ERR_NUMERIC,
                                       "%s: the fitness of pair %" PRId64 " in generation %" PRId64
                                       " is not finite; no slope follows from it",
                                       fbt_optimiser_names[search->options.kind], c / 2, search->generation);
}

fbt_status fbt_search_check_mean(const fbt_search *search)
{
    return isfinite(fbt_vector_norm(search->mean, search->options.dimension))
               ? FBT_OK
               : fbt_fail(FBT_ERR_NUMERIC,
                          "%s: the mean has left all bounds in generation %" PRId64 "; lower es.learning_rate, %g now",
                          fbt_optimiser_names[search->options.kind], search->generation,
                          search->options.es.learning_rate);
}

static fbt_status check_solutions(const fbt_search *s, int64_t fewest, int64_t n, const double *x,
                                  const double *fitness)
{
    const char *name = fbt_optimiser_names[s->options.kind];
    if (n < fewest || n > s->options.population) {
        return fbt_fail(FBT_ERR_ARG, "%s: told %" PRId64 " solutions with a population of %" PRId64, name, n,
                        s->options.population);
    }
    return fbt_order_check(name, s->generation, n, s->options.dimension, x, fitness);
}

fbt_status fbt_search_rank(fbt_search *search, int64_t n, const double *x, const double *fitness)
{
    return fbt_search_rank_foreign(search, search->options.population, n, x, fitness);
}

fbt_status fbt_search_rank_foreign(fbt_search *search, int64_t fewest, int64_t n, const double *x,
                                   const double *fitness)
{
    const fbt_status status = check_solutions(search, fewest, n, x, fitness);
    if (status != FBT_OK) {
        return status;
    }
    fbt_order_by_fitness(n, fitness, search->order);
    return FBT_OK;
}

double fbt_search_recombine(fbt_search *search, const double *x, double of)
{
    fbt_search *s = search;
    const int64_t d = s->options.dimension, mu = s->options.population / 2;
    double sum = 0, squares = 0;
    for (int64_t k = 0; k < mu; k++) {
        sum += log(of) - log((double)k + 1);
    }
    for (int64_t i = 0; i < d; i++) {
        s->scratch[i] = 0;
    }
    for (int64_t k = 0; k < mu; k++) {
        const double weight = (log(of) - log((double)k + 1)) / sum, *from = x + s->order[k] * d;
        squares += weight * weight;
        for (int64_t i = 0; i < d; i++) {
            s->scratch[i] += weight * ((from[i] - s->mean[i]) / s->step_size);
        }
    }
    return 1 / squares;
}

fbt_status fbt_search_adapt_step_size(fbt_search *search, double step_size)
{
    if (!isfinite(step_size)) {
        return fbt_fail(FBT_ERR_NUMERIC, "%s: the step size has grown beyond all bounds in generation %" PRId64,
                        fbt_optimiser_names[search->options.kind], search->generation);
    }
    if (step_size < FBT_OPTIMISER_STEP_SIZE_MIN) {
        return fbt_search_reset(search);
    }
    search->step_size = step_size;
    return FBT_OK;
}

/* ---- Looking into it ---- */

const double *fbt_search_mean(const void *self)
{
    return ((const fbt_search *)self)->mean;
}

double fbt_search_step_size(const void *self)
{
    return ((const fbt_search *)self)->step_size;
}

int64_t fbt_search_no_shape(const fbt_optimiser_options *options)
{
    (void)options;
    return 0;
}

fbt_status fbt_search_get_no_shape(void *self, double *shape)
{
    (void)self;
    (void)shape;
    return FBT_OK;
}

fbt_status fbt_search_set_no_shape(void *self, const double *shape)
{
    (void)self;
    (void)shape;
    return FBT_OK;
}

void fbt_search_ball_health(const void *self, fbt_optimiser_health *health)
{
    const fbt_search *s = self;
    *health =
        (fbt_optimiser_health){.condition = 1, .axis_ratio = 1, .path_length = (double)NAN, .n_resets = s->n_resets};
}

/* ---- Checkpoint: integers (version, options, generation) and reals (step size, gain, mean, vectors) ---- */

static void options_to_integers(const fbt_search *s, int64_t *to)
{
    const fbt_optimiser_options *o = &s->options;
    const int64_t values[N_OPTIONS] = {STATE_VERSION, o->kind, o->dimension, o->population, o->n_parents, s->n_vectors};
    memcpy(to, values, sizeof values);
}

static int64_t n_reals(const fbt_search *s)
{
    return N_NUMBERS + (1 + s->n_vectors) * s->options.dimension;
}

fbt_status fbt_search_export(const void *self, const char *prefix, fbt_array_list *arrays)
{
    fbt_status status = FBT_OK;
    const fbt_search *s = self;
    const int64_t d = s->options.dimension, n_vector_values = s->n_vectors * d;
    int64_t integers[N_INTEGERS];
    double *reals = NULL;
    char name[FBT_OPTIMISER_NAME_BYTES];
    options_to_integers(s, integers);
    integers[N_OPTIONS] = s->generation;
    fbt_optimiser_array_name(prefix, "integers", name);
    FBT_TRY(fbt_array_list_add(arrays, &(fbt_array){.name = name,
                                                    .type = FBT_ARRAY_INT64,
                                                    .n_values = N_INTEGERS,
                                                    .values = integers,
                                                    .long_name = "search, options and counters"}));
    FBT_TRY(fbt_memory_alloc(&reals, n_reals(s), sizeof *reals));
    reals[0] = s->step_size;
    reals[1] = s->gain;
    memcpy(reals + N_NUMBERS, s->mean, (size_t)d * sizeof *reals);
    memcpy(reals + N_NUMBERS + d, s->vectors, (size_t)n_vector_values * sizeof *reals);
    fbt_optimiser_array_name(prefix, "reals", name);
    FBT_TRY(fbt_array_list_add(arrays, &(fbt_array){.name = name,
                                                    .type = FBT_ARRAY_FLOAT64,
                                                    .n_values = n_reals(s),
                                                    .values = reals,
                                                    .long_name = "search, step size, mean and what it adapts"}));
done:
    free(reals);
    return status;
}

static fbt_status check_state(const fbt_search *s, const fbt_array *integers, const fbt_array *reals)
{
    int64_t expected[N_OPTIONS];
    const int64_t *in = integers->values;
    const double *values = reals->values;
    const char *name = fbt_optimiser_names[s->options.kind];
    options_to_integers(s, expected);
    if (integers->type != FBT_ARRAY_INT64 || integers->n_values != N_INTEGERS ||
        memcmp(in, expected, sizeof expected) != 0) {
        return fbt_fail(FBT_ERR_DATA,
                        "%s: the checkpoint is damaged, of another version of this program, or was written with "
                        "other settings of optimiser, dimension or population",
                        name);
    }
    if (in[N_OPTIONS] < 0 || reals->n_values != n_reals(s) || values[0] <= 0) {
        return fbt_fail(FBT_ERR_DATA, "%s: the checkpoint is damaged", name);
    }
    return FBT_OK;
}

fbt_status fbt_search_import(void *self, const char *prefix, const fbt_array *arrays)
{
    fbt_status status = FBT_OK;
    fbt_search *s = self;
    const int64_t d = s->options.dimension;
    const fbt_array *integers, *reals;
    char name[FBT_OPTIMISER_NAME_BYTES];
    fbt_optimiser_array_name(prefix, "integers", name);
    FBT_TRY(fbt_array_get(arrays, name, &integers));
    fbt_optimiser_array_name(prefix, "reals", name);
    FBT_TRY(fbt_array_get_reals(arrays, name, &reals));
    FBT_TRY(check_state(s, integers, reals));
    const double *values = reals->values;
    s->generation = ((const int64_t *)integers->values)[N_OPTIONS];
    s->step_size = values[0];
    s->gain = values[1];
    memcpy(s->mean, values + N_NUMBERS, (size_t)d * sizeof *values);
    memcpy(s->vectors, values + N_NUMBERS + d, (size_t)(s->n_vectors * d) * sizeof *values);
done:
    return status;
}
