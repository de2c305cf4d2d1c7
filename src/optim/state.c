/* CMA-ES: the state that a checkpoint keeps.
 *
 * integers: version, by the decomposition (1: eigen, 2: cholesky); the options (dimension, population, parents,
 * covariance, constants, active, mirrored); generation, evaluations, has_mirror, kind of the base matrix, n_updates,
 * n_rows; first_row [n_updates + 1]. reals:    step size; mean, path_sigma, path_c, mirror [d each]; the base matrix
 * (identity: nothing; diagonal: variances and axes, which cannot be had from each other without rounding; dense: lower
 * triangle, row by row); decay [n_updates]; weight [n_rows]; rows [n_rows, d]. The base's factor is made again on
 * import: the same matrix has the same factor. */
#include "optim/cma_internal.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_EIGEN = 1, STATE_CHOLESKY = 2, N_OPTIONS = 8, N_HEADER = 14 };

static void options_to_integers(const fbt_cma_options *o, int64_t *to)
{
    const int64_t values[N_OPTIONS] = {o->decomposition == FBT_CMA_CHOLESKY ? STATE_CHOLESKY : STATE_EIGEN,
                                       o->dimension,
                                       o->population,
                                       o->n_parents,
                                       o->covariance,
                                       o->constants,
                                       o->active,
                                       o->mirrored};
    memcpy(to, values, sizeof values);
}

static int64_t n_base_reals(fbt_covariance_kind kind, int64_t d)
{
    return kind == FBT_COVARIANCE_IDENTITY ? 0 : kind == FBT_COVARIANCE_DIAGONAL ? 2 * d : d * (d + 1) / 2;
}

static int64_t n_state_reals(fbt_covariance_kind kind, int64_t d, int64_t n_updates, int64_t n_rows)
{
    return 1 + 4 * d + n_base_reals(kind, d) + n_updates + n_rows * (1 + d);
}

/* Walks through an array of reals in the order of the layout, one way or the other. */
typedef struct walker {
    double *at;
    bool writing;
} walker;

static void walk(walker *w, double *values, int64_t n)
{
    if (n > 0) {
        memcpy(w->writing ? w->at : values, w->writing ? values : w->at, (size_t)n * sizeof *values);
    }
    w->at += n;
}

static void walk_base(walker *w, fbt_covariance *base)
{
    if (base->kind == FBT_COVARIANCE_DIAGONAL) {
        walk(w, base->values, base->d);
        walk(w, base->axes, base->d);
    }
    for (int64_t i = 0; base->kind == FBT_COVARIANCE_DENSE && i < base->d; i++) {
        walk(w, base->values + i * base->d, i + 1);
    }
}

static void walk_vectors(walker *w, fbt_cma *cma)
{
    const int64_t d = cma->options.dimension;
    walk(w, &cma->step_size, 1);
    walk(w, cma->mean, d);
    walk(w, cma->path_sigma, d);
    walk(w, cma->path_c, d);
    walk(w, cma->mirror, d);
}

static void walk_deferred(walker *w, fbt_deferred *deferred, int64_t d)
{
    walk(w, deferred->decay, deferred->n_updates);
    walk(w, deferred->weight, deferred->n_rows);
    walk(w, deferred->rows, deferred->n_rows * d);
}

fbt_status fbt_cma_state_export(const fbt_cma *cma, fbt_cma_state *state)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension, n_updates = cma->deferred.n_updates, n_rows = cma->deferred.n_rows;
    *state = (fbt_cma_state){
        .n_integers = N_HEADER + n_updates + 1,
        .n_reals = n_state_reals(cma->base->kind, d, n_updates, n_rows),
    };
    FBT_TRY(fbt_memory_alloc(&state->integers, state->n_integers, sizeof *state->integers));
    FBT_TRY(fbt_memory_alloc(&state->reals, state->n_reals, sizeof *state->reals));
    options_to_integers(&cma->options, state->integers);
    const int64_t counters[N_HEADER - N_OPTIONS] = {cma->generation, cma->n_evaluations, cma->has_mirror,
                                                    cma->base->kind, n_updates,          n_rows};
    memcpy(state->integers + N_OPTIONS, counters, sizeof counters);
    if (n_updates > 0) {
        memcpy(state->integers + N_HEADER, cma->deferred.first_row, (size_t)(n_updates + 1) * sizeof(int64_t));
    }
    walker w = {state->reals, true};
    fbt_cma *source = (fbt_cma *)(uintptr_t)cma; /* only read: the walker is writing to the state */
    walk_vectors(&w, source);
    walk_base(&w, source->base);
    walk_deferred(&w, &source->deferred, d);

done:
    if (status != FBT_OK) {
        fbt_cma_state_clear(state);
    }
    return status;
}

void fbt_cma_state_clear(fbt_cma_state *state)
{
    free(state->integers);
    free(state->reals);
    *state = (fbt_cma_state){0};
}

static fbt_status check_state(const fbt_cma *cma, const fbt_cma_state *state)
{
    int64_t expected[N_OPTIONS];
    const int64_t *in = state->integers, *counters = in + N_OPTIONS;
    options_to_integers(&cma->options, expected);
    if (state->n_integers < N_HEADER + 1 || (in[0] != STATE_EIGEN && in[0] != STATE_CHOLESKY)) {
        return fbt_fail(FBT_ERR_DATA,
                        "CMA-ES: the checkpoint is damaged or was written by another version of this program");
    }
    if (memcmp(in, expected, sizeof expected) != 0) {
        return fbt_fail(FBT_ERR_DATA,
                        "CMA-ES: the checkpoint was written with other settings of dimension, population, "
                        "parents, covariance, decomposition, constants, active or mirrored");
    }
    const int64_t kind = counters[3], n_updates = counters[4], n_rows = counters[5];
    bool sound =
        counters[0] >= 0 && counters[1] >= 0 && (counters[2] == 0 || counters[2] == 1) &&
        kind >= FBT_COVARIANCE_IDENTITY && kind <= FBT_COVARIANCE_DENSE && n_updates >= 0 &&
        n_updates == state->n_integers - N_HEADER - 1 && n_rows >= 0 &&
        n_rows <= n_updates * (cma->options.population + 1) &&
        n_state_reals((fbt_covariance_kind)kind, cma->options.dimension, n_updates, n_rows) == state->n_reals &&
        in[N_HEADER] == 0 && in[N_HEADER + n_updates] == n_rows;
    for (int64_t u = 0; sound && u < n_updates; u++) {
        const int64_t n = in[N_HEADER + u + 1] - in[N_HEADER + u];
        sound = n >= 0 && n <= cma->options.population + 1;
    }
    sound = sound && (cma->options.covariance == FBT_CMA_FULL || n_updates == 0) &&
            (cma->options.covariance != FBT_CMA_ISOTROPIC || kind == FBT_COVARIANCE_IDENTITY) &&
            (cma->options.covariance != FBT_CMA_SEPARABLE || kind == FBT_COVARIANCE_DIAGONAL);
    for (int64_t i = 0; sound && i < state->n_reals; i++) {
        sound = isfinite(state->reals[i]);
    }
    if (!sound || !(state->reals[0] > 0)) {
        return fbt_fail(FBT_ERR_DATA, "CMA-ES: the optimiser's state in the checkpoint is damaged");
    }
    return FBT_OK;
}

/* Deferred updates with the row counts of first_row [n_updates + 1]; their numbers are still to be filled in. */
static fbt_status shape_deferred(fbt_deferred *deferred, int64_t n_updates, const int64_t *first_row, int64_t d)
{
    fbt_status status = FBT_OK;
    for (int64_t u = 0; u < n_updates; u++) {
        FBT_TRY(fbt_deferred_reserve(deferred, first_row[u + 1] - first_row[u], d));
        fbt_deferred_begin(deferred, 1);
        deferred->n_rows = deferred->first_row[u + 1] = first_row[u + 1];
    }

done:
    return status;
}

fbt_status fbt_cma_state_import(fbt_cma *cma, const fbt_cma_state *state)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension;
    fbt_covariance *base = NULL;
    fbt_deferred deferred = {0};
    FBT_TRY(check_state(cma, state));
    const int64_t *counters = state->integers + N_OPTIONS;
    FBT_TRY(fbt_covariance_new((fbt_covariance_kind)counters[3], d, &base));
    walker w = {state->reals + 1 + 4 * d, false};
    walk_base(&w, base);
    FBT_TRY(fbt_covariance_factor(base, cma->options.decomposition, &cma->statistics));
    FBT_TRY(shape_deferred(&deferred, counters[4], state->integers + N_HEADER, d));
    walk_deferred(&w, &deferred, d);

    w.at = state->reals;
    walk_vectors(&w, cma);
    fbt_cma_adopt(cma, fbt_covariance_share(base));
    const fbt_deferred old = cma->deferred;
    cma->deferred = deferred;
    deferred = old;
    cma->generation = counters[0];
    cma->n_evaluations = counters[1];
    cma->has_mirror = counters[2] == 1;

done:
    fbt_deferred_free(&deferred);
    fbt_covariance_release(base);
    return status;
}
