/* CMA-ES: life cycle, sampling, explicit changes and what can be read. */
#include "optim/cma_internal.h"

#include "base/memory.h"
#include "optim/lapack.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_SCRATCH = sizeof((fbt_cma *)0)->scratch / sizeof((fbt_cma *)0)->scratch[0] };

fbt_status fbt_cma_check_step_size(double step_size)
{
    if (!(step_size > 0) || !isfinite(step_size)) {
        return fbt_fail(FBT_ERR_ARG, "CMA-ES: the step size is %g; it must be positive and finite", step_size);
    }
    return FBT_OK;
}

static fbt_status check_finite(const char *what, const double *values, int64_t d)
{
    for (int64_t i = 0; i < d; i++) {
        if (!isfinite(values[i])) {
            return fbt_fail(FBT_ERR_ARG, "CMA-ES: element %lld of the %s is %g; it must be finite", (long long)i, what,
                            values[i]);
        }
    }
    return FBT_OK;
}

static fbt_covariance_kind initial_kind(const fbt_cma_options *options)
{
    return options->covariance == FBT_CMA_SEPARABLE ? FBT_COVARIANCE_DIAGONAL : FBT_COVARIANCE_IDENTITY;
}

/* The covariance that a search begins with: the identity. */
static fbt_status new_start(const fbt_cma *cma, fbt_covariance **start)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_covariance_new(initial_kind(&cma->options), cma->options.dimension, start));
    for (int64_t i = 0; (*start)->kind == FBT_COVARIANCE_DIAGONAL && i < cma->options.dimension; i++) {
        (*start)->values[i] = (*start)->axes[i] = 1;
    }
done:
    return status;
}

static fbt_status allocate(fbt_cma *cma)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension, n = cma->options.population;
    FBT_TRY(fbt_memory_alloc(&cma->weights, n, sizeof *cma->weights));
    FBT_TRY(fbt_memory_alloc(&cma->mean, d, sizeof *cma->mean));
    FBT_TRY(fbt_memory_alloc(&cma->path_sigma, d, sizeof *cma->path_sigma));
    FBT_TRY(fbt_memory_alloc(&cma->path_c, d, sizeof *cma->path_c));
    FBT_TRY(fbt_memory_alloc(&cma->mirror, d, sizeof *cma->mirror));
    FBT_TRY(fbt_memory_alloc(&cma->steps, n * d, sizeof *cma->steps));
    FBT_TRY(fbt_memory_alloc(&cma->order, n, sizeof *cma->order));
    for (int k = 0; k < N_SCRATCH; k++) {
        FBT_TRY(fbt_memory_alloc(&cma->scratch[k], d, sizeof *cma->scratch[k]));
    }
    FBT_TRY(fbt_memory_alloc(&cma->lengths, n, sizeof *cma->lengths));
    FBT_TRY(fbt_memory_alloc(&cma->work, fbt_covariance_scratch(cma->options.covariance, d), sizeof *cma->work));
    FBT_TRY(new_start(cma, &cma->base));

done:
    return status;
}

fbt_status fbt_cma_new(const fbt_cma_options *options, const double *mean, double step_size, fbt_cma **cma)
{
    fbt_status status = FBT_OK;
    fbt_cma *c = NULL;
    FBT_TRY(fbt_cma_options_check(options));
    FBT_TRY(check_finite("mean", mean, options->dimension));
    FBT_TRY(fbt_cma_check_step_size(step_size));
    if (options->covariance == FBT_CMA_FULL && options->decomposition == FBT_CMA_EIGEN) {
        FBT_TRY(fbt_lapack_open()); /* what it lacks shall show now, not in the round that decomposes first */
    }
    FBT_TRY(fbt_memory_alloc(&c, 1, sizeof *c));
    c->options = *options;
    FBT_TRY(allocate(c));
    FBT_TRY(fbt_cma_parameters_compute(options, &c->parameters, c->weights));
    memcpy(c->mean, mean, (size_t)options->dimension * sizeof *mean);
    c->step_size = step_size;

done:
    if (status != FBT_OK) {
        fbt_cma_free(c);
        c = NULL;
    }
    *cma = c;
    return status;
}

void fbt_cma_free(fbt_cma *cma)
{
    if (cma == NULL) {
        return;
    }
    fbt_covariance_release(cma->base);
    fbt_covariance_release(cma->current);
    fbt_covariance_release(cma->spare);
    fbt_deferred_free(&cma->deferred);
    for (int k = 0; k < N_SCRATCH; k++) {
        free(cma->scratch[k]);
    }
    free(cma->weights);
    free(cma->mean);
    free(cma->path_sigma);
    free(cma->path_c);
    free(cma->mirror);
    free(cma->steps);
    free(cma->order);
    free(cma->lengths);
    free(cma->work);
    free(cma);
}

/* Whether an optimiser with these options can go on from a matrix of this kind; the separable one keeps its own
 * diagonal even where that is the identity. */
static fbt_status check_kind(const fbt_cma_options *options, fbt_covariance_kind kind)
{
    if (options->covariance == FBT_CMA_ISOTROPIC && kind != FBT_COVARIANCE_IDENTITY) {
        return fbt_fail(FBT_ERR_ARG, "CMA-ES: an isotropic optimiser accepts no covariance matrix but the identity");
    }
    if (options->covariance == FBT_CMA_SEPARABLE && kind == FBT_COVARIANCE_DENSE) {
        return fbt_fail(FBT_ERR_ARG, "CMA-ES: a separable optimiser accepts a diagonal covariance matrix only");
    }
    return FBT_OK;
}

/* A share of `source`, which has its factor, in the form that the optimiser keeps. */
static fbt_status take(const fbt_cma *cma, fbt_covariance *source, fbt_covariance **taken)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_kind(&cma->options, source->kind));
    if (source->kind == FBT_COVARIANCE_DENSE && source->decomposition != cma->options.decomposition) {
        FBT_FAIL(FBT_ERR_ARG, "CMA-ES: a search with decomposition %s cannot restart from one with %s",
                 fbt_cma_decomposition_names[cma->options.decomposition],
                 fbt_cma_decomposition_names[source->decomposition]);
    }
    if (cma->options.covariance != FBT_CMA_SEPARABLE || source->kind == FBT_COVARIANCE_DIAGONAL) {
        *taken = fbt_covariance_share(source);
        return FBT_OK;
    }
    FBT_TRY(fbt_covariance_new(FBT_COVARIANCE_DIAGONAL, source->d, taken));
    for (int64_t i = 0; i < source->d; i++) {
        (*taken)->values[i] = (*taken)->axes[i] = 1;
    }

done:
    return status;
}

fbt_status fbt_cma_reset(fbt_cma *cma)
{
    fbt_status status = FBT_OK;
    const size_t bytes = (size_t)cma->options.dimension * sizeof(double);
    fbt_covariance *start;
    fbt_error_clear(); /* of what is made good here */
    FBT_TRY(new_start(cma, &start));
    fbt_cma_adopt(cma, start);
    memset(cma->path_sigma, 0, bytes);
    memset(cma->path_c, 0, bytes);
    cma->has_mirror = false;
    cma->n_resets++;
done:
    return status;
}

fbt_status fbt_cma_settle(fbt_cma *cma)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_cma_apply_deferred(cma));
    status = fbt_covariance_factor(fbt_cma_newest(cma), cma->options.decomposition, &cma->statistics);
    if (status == FBT_ERR_NUMERIC) {
        status = fbt_cma_reset(cma);
    }
done:
    return status;
}

fbt_status fbt_cma_restart_from(fbt_cma *local, fbt_cma *server, double step_size)
{
    fbt_status status = FBT_OK;
    const size_t bytes = (size_t)local->options.dimension * sizeof(double);
    fbt_covariance *start;
    if (local->options.dimension != server->options.dimension) {
        FBT_FAIL(FBT_ERR_ARG, "CMA-ES: a search in %lld dimensions cannot restart from one in %lld",
                 (long long)local->options.dimension, (long long)server->options.dimension);
    }
    FBT_TRY(fbt_cma_check_step_size(step_size));
    FBT_TRY(fbt_cma_settle(server));
    FBT_TRY(take(local, fbt_cma_newest(server), &start));
    fbt_cma_adopt(local, start);
    memmove(local->mean, server->mean, bytes); /* restarting from oneself is fine */
    memset(local->path_sigma, 0, bytes);
    memset(local->path_c, 0, bytes);
    local->step_size = step_size;
    local->generation = 0;
    local->n_evaluations = 0;
    local->has_mirror = false;

done:
    return status;
}

static void draw_normal(gsl_rng *rng, int64_t d, double *n)
{
    for (int64_t i = 0; i < d; i++) {
        n[i] = gsl_ran_gaussian_ziggurat(rng, 1.0);
    }
}

/* The direction opposite to the worst solution, as long as a random step where it is longer than a typical one [C]. */
static void ask_mirror(fbt_cma *cma, gsl_rng *rng, double *x)
{
    const int64_t d = cma->options.dimension;
    double factor = 1, length;
    fbt_covariance_lengths(cma->base, 1, cma->mirror, &length, cma->work, &cma->statistics);
    length /= cma->step_size;
    if (length > sqrt((double)d)) {
        draw_normal(rng, d, cma->scratch[0]);
        factor = fbt_vector_norm(cma->scratch[0], d) / length;
    }
    for (int64_t i = 0; i < d; i++) {
        x[i] = cma->mean[i] + factor * cma->mirror[i];
    }
}

/* y = root(C) z, x = m + sigma y: [H] eq. 38 to 40. x: [n, d], z before and x after. */
static void place(fbt_cma *cma, int64_t n, double *x)
{
    const int64_t d = cma->options.dimension;
    fbt_covariance_root(cma->base, n, x, x, cma->work, &cma->statistics);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < d; k++) {
            x[i * d + k] = cma->mean[k] + cma->step_size * x[i * d + k];
        }
    }
}

fbt_status fbt_cma_ask(fbt_cma *cma, int64_t candidate, gsl_rng *rng, double *x)
{
    fbt_status status = FBT_OK;
    if (candidate < 0 || candidate >= cma->options.population) {
        FBT_FAIL(FBT_ERR_ARG, "CMA-ES: candidate %lld of a population of %lld", (long long)candidate,
                 (long long)cma->options.population);
    }
    FBT_TRY(fbt_cma_refresh(cma, false));
    if (candidate == 0 && cma->has_mirror) {
        ask_mirror(cma, rng, x);
        return FBT_OK;
    }
    draw_normal(rng, cma->options.dimension, x);
    place(cma, 1, x);

done:
    return status;
}

fbt_status fbt_cma_ask_all(fbt_cma *cma, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension, n = cma->options.population;
    fbt_rng_stream own = *stream;
    FBT_TRY(fbt_cma_refresh(cma, false));
    const int64_t n_mirrors = cma->has_mirror ? 1 : 0;
    for (int64_t i = 0; i < n; i++) {
        own.candidate = (uint32_t)i;
        fbt_rng_seek(rng, &own);
        if (i < n_mirrors) {
            ask_mirror(cma, rng, x);
        } else {
            draw_normal(rng, d, x + i * d);
        }
    }
    place(cma, n - n_mirrors, x + n_mirrors * d);

done:
    return status;
}

fbt_status fbt_cma_set_mean(fbt_cma *cma, const double *mean)
{
    const fbt_status status = check_finite("mean", mean, cma->options.dimension);
    if (status == FBT_OK) {
        memcpy(cma->mean, mean, (size_t)cma->options.dimension * sizeof *mean);
    }
    return status;
}

fbt_status fbt_cma_set_step_size(fbt_cma *cma, double step_size)
{
    const fbt_status status = fbt_cma_check_step_size(step_size);
    if (status == FBT_OK) {
        cma->step_size = step_size;
    }
    return status;
}

fbt_status fbt_cma_set_paths(fbt_cma *cma, const double *path_sigma, const double *path_c, int64_t generation)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension;
    const bool has_path_c = cma->options.covariance != FBT_CMA_ISOTROPIC;
    FBT_TRY(check_finite("path", path_sigma, d));
    FBT_TRY(has_path_c ? check_finite("path", path_c, d) : FBT_OK);
    memcpy(cma->path_sigma, path_sigma, (size_t)d * sizeof *path_sigma);
    if (has_path_c) {
        memcpy(cma->path_c, path_c, (size_t)d * sizeof *path_c);
    }
    cma->generation = generation;
done:
    return status;
}

/* Of a diagonal matrix. */
static void set_variance(fbt_covariance *c, int64_t i, double variance)
{
    c->values[i] = variance;
    c->axes[i] = variance > 0 ? sqrt(variance) : 0;
}

/* Takes *c unless it cannot be factored. */
static fbt_status factor_and_adopt(fbt_cma *cma, fbt_covariance **c)
{
    const fbt_status status = fbt_covariance_factor(*c, cma->options.decomposition, &cma->statistics);
    if (status == FBT_OK) {
        fbt_cma_adopt(cma, *c);
        *c = NULL;
    }
    return status;
}

fbt_status fbt_cma_set_covariance(fbt_cma *cma, const double *covariance)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension;
    fbt_covariance *c = NULL;
    fbt_covariance_kind kind = fbt_covariance_kind_of(covariance, d);
    FBT_TRY(check_kind(&cma->options, kind));
    if (cma->options.covariance == FBT_CMA_SEPARABLE) {
        kind = FBT_COVARIANCE_DIAGONAL;
    }
    FBT_TRY(fbt_covariance_new(kind, d, &c));
    for (int64_t i = 0; i < d; i++) {
        if (kind == FBT_COVARIANCE_DENSE) {
            memcpy(c->values + i * d, covariance + i * d, (size_t)(i + 1) * sizeof *covariance);
        } else if (kind == FBT_COVARIANCE_DIAGONAL) {
            set_variance(c, i, covariance[i * d + i]);
        }
    }
    FBT_TRY(factor_and_adopt(cma, &c));

done:
    fbt_covariance_release(c);
    return status;
}

fbt_status fbt_cma_set_variances(fbt_cma *cma, const double *variances)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension;
    fbt_covariance *c = NULL;
    FBT_TRY(check_kind(&cma->options, FBT_COVARIANCE_DIAGONAL));
    FBT_TRY(fbt_covariance_new(FBT_COVARIANCE_DIAGONAL, d, &c));
    for (int64_t i = 0; i < d; i++) {
        set_variance(c, i, variances[i]);
    }
    FBT_TRY(factor_and_adopt(cma, &c));

done:
    fbt_covariance_release(c);
    return status;
}

const double *fbt_cma_mean(const fbt_cma *cma)
{
    return cma->mean;
}

const double *fbt_cma_path_sigma(const fbt_cma *cma)
{
    return cma->path_sigma;
}

const double *fbt_cma_path_c(const fbt_cma *cma)
{
    return cma->path_c;
}

double fbt_cma_step_size(const fbt_cma *cma)
{
    return cma->step_size;
}

const fbt_cma_options *fbt_cma_options_of(const fbt_cma *cma)
{
    return &cma->options;
}

const fbt_cma_parameters *fbt_cma_parameters_of(const fbt_cma *cma)
{
    return &cma->parameters;
}

fbt_status fbt_cma_covariance_full(fbt_cma *cma, double *covariance)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension;
    FBT_TRY(fbt_cma_apply_deferred(cma));
    const fbt_covariance *c = fbt_cma_newest(cma);
    memset(covariance, 0, (size_t)(d * d) * sizeof *covariance);
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; c->kind == FBT_COVARIANCE_DENSE && j < i; j++) {
            covariance[i * d + j] = covariance[j * d + i] = c->values[i * d + j];
        }
        covariance[i * d + i] = c->kind == FBT_COVARIANCE_DENSE      ? c->values[i * d + i]
                                : c->kind == FBT_COVARIANCE_DIAGONAL ? c->values[i]
                                                                     : 1;
    }

done:
    return status;
}

fbt_status fbt_cma_covariance_diagonal(fbt_cma *cma, double *diagonal)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension;
    FBT_TRY(fbt_cma_apply_deferred(cma));
    const fbt_covariance *c = fbt_cma_newest(cma);
    for (int64_t i = 0; i < d; i++) {
        diagonal[i] = c->kind == FBT_COVARIANCE_DENSE      ? c->values[i * d + i]
                      : c->kind == FBT_COVARIANCE_DIAGONAL ? c->values[i]
                                                           : 1;
    }

done:
    return status;
}

void fbt_cma_health_get(const fbt_cma *cma, fbt_cma_health *health)
{
    const double length = fbt_vector_norm(cma->path_sigma, cma->options.dimension);
    const double condition = fbt_covariance_condition(cma->base, cma->work);
    *health = (fbt_cma_health){
        .condition = condition,
        .axis_ratio = sqrt(condition),
        .path_sigma_length = length,
        .path_sigma_ratio = length / cma->parameters.chi,
        .generation = cma->generation,
        .n_evaluations = cma->n_evaluations,
        .n_resets = cma->n_resets,
    };
}

void fbt_cma_statistics_get(const fbt_cma *cma, fbt_cma_statistics *statistics)
{
    *statistics = cma->statistics;
}
