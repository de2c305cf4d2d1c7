/* CMA-ES (cma.h) as an optimiser. */
#include "optim/optimiser.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void fbt_optimiser_cma_options(const fbt_optimiser_options *options, fbt_cma_options *cma)
{
    *cma = (fbt_cma_options){.dimension = options->dimension,
                             .population = options->population,
                             .n_parents = options->n_parents,
                             .covariance = options->cma.covariance,
                             .decomposition = options->cma.decomposition,
                             .constants = options->cma.constants,
                             .active = options->cma.active,
                             .mirrored = options->cma.mirrored};
}

static fbt_status new (const fbt_optimiser_options *options, const double *mean, double step_size, void **self)
{
    fbt_status status = FBT_OK;
    fbt_cma_options cma_options;
    fbt_cma *cma = NULL;
    fbt_optimiser_cma_options(options, &cma_options);
    FBT_TRY(fbt_cma_new(&cma_options, mean, step_size, &cma));
    *self = cma;
done:
    return status;
}

static void free_cma(void *self)
{
    fbt_cma_free(self);
}

static fbt_status restart_from(void *self, void *server, double step_size)
{
    return fbt_cma_restart_from(self, server, step_size);
}

static fbt_status settle(void *self)
{
    return fbt_cma_settle(self);
}

static fbt_status reset(void *self)
{
    return fbt_cma_reset(self);
}

static fbt_status ask(void *self, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    return fbt_cma_ask_all(self, rng, stream, x);
}

static fbt_status tell(void *self, int64_t n, const double *x, const double *fitness)
{
    return fbt_cma_tell(self, n, x, fitness);
}

static fbt_status tell_foreign(void *self, int64_t n, const double *x, const double *fitness)
{
    return fbt_cma_tell_foreign(self, n, x, fitness, NULL);
}

static const double *mean(const void *self)
{
    return fbt_cma_mean(self);
}

static double step_size(const void *self)
{
    return fbt_cma_step_size(self);
}

static fbt_status set_mean(void *self, const double *values)
{
    return fbt_cma_set_mean(self, values);
}

static fbt_status set_step_size(void *self, double value)
{
    return fbt_cma_set_step_size(self, value);
}

static int64_t n_shape(const fbt_optimiser_options *options)
{
    const int64_t d = options->dimension;
    switch (options->cma.covariance) {
    case FBT_CMA_FULL:
        return d * (d + 1) / 2;
    case FBT_CMA_SEPARABLE:
        return d;
    case FBT_CMA_ISOTROPIC:
        break;
    }
    return 0;
}

/* Copies between the lower triangle of a matrix [d, d] and its rows one after the other [d (d + 1) / 2]. */
static void copy_triangle(int64_t d, double *matrix, double *rows, bool to_rows)
{
    for (int64_t i = 0; i < d; i++) {
        double *from = to_rows ? matrix + i * d : rows, *to = to_rows ? rows : matrix + i * d;
        memcpy(to, from, (size_t)(i + 1) * sizeof *to);
        rows += i + 1;
    }
}

static fbt_status get_shape(void *self, double *shape)
{
    fbt_status status = FBT_OK;
    const fbt_cma_options *options = fbt_cma_options_of(self);
    double *matrix = NULL;
    if (options->covariance == FBT_CMA_SEPARABLE) {
        FBT_TRY(fbt_cma_covariance_diagonal(self, shape));
    } else if (options->covariance == FBT_CMA_FULL) {
        FBT_TRY(fbt_memory_alloc(&matrix, options->dimension * options->dimension, sizeof *matrix));
        FBT_TRY(fbt_cma_covariance_full(self, matrix));
        copy_triangle(options->dimension, matrix, shape, true);
    }
done:
    free(matrix);
    return status;
}

static fbt_status set_shape(void *self, const double *shape)
{
    fbt_status status = FBT_OK;
    const fbt_cma_options *options = fbt_cma_options_of(self);
    double *matrix = NULL;
    if (options->covariance == FBT_CMA_SEPARABLE) {
        FBT_TRY(fbt_cma_set_variances(self, shape));
    } else if (options->covariance == FBT_CMA_FULL) {
        FBT_TRY(fbt_memory_alloc(&matrix, options->dimension * options->dimension, sizeof *matrix));
        copy_triangle(options->dimension, matrix, (double *)(uintptr_t)shape, false);
        FBT_TRY(fbt_cma_set_covariance(self, matrix));
    }
done:
    free(matrix);
    return status;
}

/* p_sigma, and p_c where C is adapted. */
static int64_t n_paths(const fbt_optimiser_options *options)
{
    return options->cma.covariance == FBT_CMA_ISOTROPIC ? options->dimension : 2 * options->dimension;
}

static bool has_path_c(const void *self)
{
    return fbt_cma_options_of(self)->covariance != FBT_CMA_ISOTROPIC;
}

static void get_paths(const void *self, double *paths)
{
    const int64_t d = fbt_cma_options_of(self)->dimension;
    memcpy(paths, fbt_cma_path_sigma(self), (size_t)d * sizeof *paths);
    if (has_path_c(self)) {
        memcpy(paths + d, fbt_cma_path_c(self), (size_t)d * sizeof *paths);
    }
}

static fbt_status set_paths(void *self, const double *paths, int64_t generation)
{
    const int64_t d = fbt_cma_options_of(self)->dimension;
    return fbt_cma_set_paths(self, paths, has_path_c(self) ? paths + d : NULL, generation);
}

static int64_t generation(const void *self)
{
    fbt_cma_health cma;
    fbt_cma_health_get(self, &cma);
    return cma.generation;
}

static void path_decay(const void *self, int64_t n, double *decay)
{
    const int64_t d = fbt_cma_options_of(self)->dimension;
    const fbt_cma_parameters *p = fbt_cma_parameters_of(self);
    for (int64_t i = 0; i < d; i++) {
        decay[i] = pow(1 - p->c_sigma, (double)n);
    }
    for (int64_t i = d; i < 2 * d && has_path_c(self); i++) {
        decay[i] = pow(1 - p->c_c, (double)n);
    }
}

static void health(const void *self, fbt_optimiser_health *health)
{
    fbt_cma_health cma;
    fbt_cma_health_get(self, &cma);
    *health = (fbt_optimiser_health){.condition = cma.condition,
                                     .axis_ratio = cma.axis_ratio,
                                     .path_length = cma.path_sigma_length,
                                     .n_resets = cma.n_resets};
}

static fbt_status export(const void *self, const char *prefix, fbt_array_list *arrays)
{
    fbt_status status = FBT_OK;
    fbt_cma_state state = {0};
    char name[FBT_OPTIMISER_NAME_BYTES];
    FBT_TRY(fbt_cma_state_export(self, &state));
    fbt_optimiser_array_name(prefix, "integers", name);
    FBT_TRY(fbt_array_list_add(arrays, &(fbt_array){.name = name,
                                                    .type = FBT_ARRAY_INT64,
                                                    .n_values = state.n_integers,
                                                    .values = state.integers,
                                                    .long_name = "CMA-ES, options and counters"}));
    fbt_optimiser_array_name(prefix, "reals", name);
    FBT_TRY(fbt_array_list_add(arrays, &(fbt_array){.name = name,
                                                    .type = FBT_ARRAY_FLOAT64,
                                                    .n_values = state.n_reals,
                                                    .values = state.reals,
                                                    .long_name = "CMA-ES, step size, mean, paths, covariance"}));
done:
    fbt_cma_state_clear(&state);
    return status;
}

/* The array's values as integers; files of earlier versions keep them as doubles. *integers is the caller's. */
static fbt_status to_integers(const fbt_array *array, int64_t **integers)
{
    fbt_status status = FBT_OK;
    const double *reals = array->values;
    FBT_TRY(fbt_memory_alloc(integers, array->n_values, sizeof **integers));
    if (array->type == FBT_ARRAY_INT64) {
        memcpy(*integers, array->values, (size_t)array->n_values * sizeof **integers);
        return FBT_OK;
    }
    for (int64_t i = 0; i < array->n_values; i++) {
        if (!(fabs(reals[i]) <= 0x1p53)) {
            FBT_FAIL(FBT_ERR_DATA, "the checkpoint's %s are damaged", array->name);
        }
        (*integers)[i] = (int64_t)reals[i];
    }
done:
    return status;
}

static fbt_status import(void *self, const char *prefix, const fbt_array *arrays)
{
    fbt_status status = FBT_OK;
    char name[FBT_OPTIMISER_NAME_BYTES];
    const fbt_array *integers, *reals;
    fbt_cma_state state = {0};
    fbt_optimiser_array_name(prefix, "integers", name);
    FBT_TRY(fbt_array_get(arrays, name, &integers));
    fbt_optimiser_array_name(prefix, "reals", name);
    FBT_TRY(fbt_array_get(arrays, name, &reals));
    if (reals->type != FBT_ARRAY_FLOAT64) {
        FBT_FAIL(FBT_ERR_DATA, "the checkpoint's %s are integers: the file is damaged", name);
    }
    FBT_TRY(to_integers(integers, &state.integers));
    state.n_integers = integers->n_values;
    state.n_reals = reals->n_values;
    state.reals = (double *)(uintptr_t)reals->values; /* only read */
    FBT_TRY(fbt_cma_state_import(self, &state));
done:
    free(state.integers);
    return status;
}

const fbt_optimiser_type fbt_optimiser_cma = {
    .collapse = "condition number above 1e+14, or no step size left",
    .new = new,
    .free = free_cma,
    .restart_from = restart_from,
    .settle = settle,
    .reset = reset,
    .ask = ask,
    .tell = tell,
    .tell_foreign = tell_foreign,
    .mean = mean,
    .step_size = step_size,
    .set_mean = set_mean,
    .set_step_size = set_step_size,
    .n_shape = n_shape,
    .get_shape = get_shape,
    .set_shape = set_shape,
    .n_paths = n_paths,
    .get_paths = get_paths,
    .set_paths = set_paths,
    .generation = generation,
    .path_decay = path_decay,
    .health = health,
    .export = export,
    .import = import,
};

fbt_cma *fbt_optimiser_cma_of(const fbt_optimiser *optimiser)
{
    return fbt_optimiser_self(optimiser, &fbt_optimiser_cma);
}
