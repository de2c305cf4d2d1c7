/* CMA-ES: one update of mean, step size and covariance matrix from ranked solutions. */
#include "optim/cma_internal.h"

#include "base/memory.h"
#include "base/smaller.h"
#include "optim/order.h"

#include <math.h>
#include <string.h>

static fbt_status check_solutions(const fbt_cma *cma, int64_t n, const double *x, const double *fitness)
{
    if (n != cma->options.population) {
        return fbt_fail(FBT_ERR_ARG, "CMA-ES: told %lld solutions with a population of %lld", (long long)n,
                        (long long)cma->options.population);
    }
    return fbt_order_check("CMA-ES", cma->generation, n, cma->options.dimension, x, fitness);
}

/* y_i = (x_i - m) / sigma, [H] eq. 40 solved for y: the steps; foreign ones no longer than sqrt(d) + 2 d / (d + 2) [I].
 */
static void make_steps(fbt_cma *cma, const double *x, bool has_foreign, const bool *is_foreign)
{
    const int64_t d = cma->options.dimension;
    const double limit = sqrt((double)d) + 2 * (double)d / ((double)d + 2);
    for (int64_t i = 0; i < cma->options.population; i++) {
        for (int64_t k = 0; k < d; k++) {
            cma->steps[i * d + k] = (x[i * d + k] - cma->mean[k]) / cma->step_size;
        }
    }
    if (!has_foreign) {
        return;
    }
    fbt_covariance_lengths(cma->base, cma->options.population, cma->steps, cma->lengths, cma->work, &cma->statistics);
    for (int64_t i = 0; i < cma->options.population; i++) {
        const double length = is_foreign == NULL || is_foreign[i] ? cma->lengths[i] : 0;
        for (int64_t k = 0; length > limit && k < d; k++) {
            cma->steps[i * d + k] *= limit / length;
        }
    }
}

/* dm = <y>_w = sum_i w_i y_i:lambda over the parents [H] eq. 41: the move of the mean in units of sigma. */
static void mean_step(const fbt_cma *cma, double *restrict dm)
{
    const int64_t d = cma->options.dimension;
    memset(dm, 0, (size_t)d * sizeof *dm);
    for (int64_t i = 0; i < cma->parameters.mu; i++) {
        const double *restrict step = cma->steps + cma->order[i] * d;
        for (int64_t k = 0; k < d; k++) {
            dm[k] += cma->weights[i] * step[k];
        }
    }
}

/* h_sigma of [H], behind eq. 47. False stalls p_c while p_sigma is long, so that a sigma that is still too small does
 * not blow up C. The two sources draw the line differently. */
static bool path_is_short(const fbt_cma *cma, double path_sigma_length)
{
    const fbt_cma_parameters *p = &cma->parameters;
    const double d = (double)cma->options.dimension;
    const double fill = 1 - pow(1 - p->c_sigma, 2 * ((double)cma->generation + 1));
    if (cma->options.constants == FBT_CMA_CONSTANTS_PYCMA) {
        return path_sigma_length * path_sigma_length / fill / d - 1 < 1 + 4 / (d + 1);
    }
    return path_sigma_length / sqrt(fill) < (1.4 + 2 / (d + 1)) * p->chi;
}

/* Weight in C's update of the solution ranked `rank`: mirrors are no evidence against their direction [C]. */
static double covariance_weight(const fbt_cma *cma, int64_t rank, int64_t mirror_index)
{
    const double w = cma->parameters.c_mu * cma->weights[rank];
    return w < 0 && cma->order[rank] == mirror_index ? 0 : w;
}

/* C <- (1 - c1a - c_mu sum w) C + c1 p_c p_c^T + c_mu sum w_i y_i y_i^T [H] eq. 47; the negative w_i become eq. 46's
 * where the terms are added up (deferred.c). */
static void defer_update(fbt_cma *cma, double c_1a, int64_t mirror_index)
{
    const int64_t d = cma->options.dimension, n = cma->options.population;
    double sum = c_1a;
    for (int64_t i = 0; i < n; i++) {
        sum += covariance_weight(cma, i, mirror_index);
    }
    fbt_deferred_begin(&cma->deferred, 1 - sum);
    fbt_deferred_row(&cma->deferred, cma->parameters.c_1, cma->path_c, d);
    for (int64_t i = 0; i < n; i++) {
        fbt_deferred_row(&cma->deferred, covariance_weight(cma, i, mirror_index), cma->steps + cma->order[i] * d, d);
    }
}

/* The same on the diagonal alone [S]; pycma's separable mode multiplies the axes by exp(ln 2 sum w_i (z_i^2 - 1) / 2),
 * z in units of the axes, and keeps p_c in those units. variances, axes: [d]. */
static void update_diagonal(fbt_cma *cma, double c_1a, int64_t mirror_index)
{
    const int64_t d = cma->options.dimension, n = cma->options.population;
    const bool pycma = cma->options.constants == FBT_CMA_CONSTANTS_PYCMA;
    fbt_covariance *c = cma->base;
    double *restrict squares = cma->scratch[0];
    double sum = c_1a;
    for (int64_t k = 0; k < d; k++) {
        squares[k] = (pycma ? c_1a : cma->parameters.c_1) * cma->path_c[k] * cma->path_c[k];
    }
    for (int64_t i = 0; i < n; i++) {
        double w = covariance_weight(cma, i, mirror_index);
        const double *step = cma->steps + cma->order[i] * d;
        sum += w;
        if (w < 0 && !pycma) {
            double length;
            fbt_covariance_lengths(c, 1, step, &length, cma->work, &cma->statistics);
            length += 1e-9;
            w *= (double)d / (length * length);
        }
        for (int64_t k = 0; k < d; k++) {
            const double y = pycma ? step[k] / c->axes[k] : step[k];
            squares[k] += w * y * y;
        }
    }
    for (int64_t k = 0; k < d; k++) {
        if (pycma) {
            c->axes[k] *= exp(M_LN2 * (squares[k] - sum) / 2);
            c->values[k] = c->axes[k] * c->axes[k];
        } else {
            c->values[k] = (1 - sum) * c->values[k] + squares[k];
            c->axes[k] = sqrt(c->values[k]);
        }
    }
}

/* p_c <- (1 - c_c) p_c + h_sigma sqrt(c_c (2 - c_c) mu_eff) <y>_w [H] eq. 45, then C. Nothing of the step size has
 * changed yet. */
static void update_covariance(fbt_cma *cma, const double *dm, bool short_path, int64_t mirror_index)
{
    const fbt_cma_parameters *p = &cma->parameters;
    const int64_t d = cma->options.dimension;
    const bool separable = cma->options.covariance == FBT_CMA_SEPARABLE;
    const bool in_axes = separable && cma->options.constants == FBT_CMA_CONSTANTS_PYCMA;
    const double gain = short_path ? sqrt(p->c_c * (2 - p->c_c) * p->mu_eff) : 0;
    for (int64_t k = 0; k < d; k++) {
        const double step = in_axes ? dm[k] / cma->base->axes[k] : dm[k];
        cma->path_c[k] = (1 - p->c_c) * cma->path_c[k] + gain * step;
    }
    /* A stalled p_c lacks variance, which C then keeps: c_1 delta(h_sigma) of [H] eq. 47. */
    const double c_1a = p->c_1 * (1 - (short_path ? 0 : p->c_c * (2 - p->c_c)));
    if (separable) {
        update_diagonal(cma, c_1a, mirror_index);
    } else {
        defer_update(cma, c_1a, mirror_index);
    }
}

/* p_sigma <- (1 - c_sigma) p_sigma + sqrt(c_sigma (2 - c_sigma) mu_eff) C^(-1/2) <y>_w [H] eq. 43 (of a triangle L^-1
 * in place of C^(-1/2): [K] algorithm 2), and sigma <- sigma exp(c_sigma / d_sigma (|p_sigma| / chi - 1)) [H] eq. 44,
 * into new_path [d] and *new_step_size. A step size that overflows is an error: long before, candidates are beyond any
 * model's numbers. */
static fbt_status adapt_step_size(fbt_cma *cma, const double *dm, double *new_path, double *length,
                                  double *new_step_size)
{
    const fbt_cma_parameters *p = &cma->parameters;
    const int64_t d = cma->options.dimension;
    const double gain = sqrt(p->c_sigma * (2 - p->c_sigma) * p->mu_eff);
    fbt_covariance_inverse_root(cma->base, 1, dm, new_path, cma->work, &cma->statistics);
    for (int64_t k = 0; k < d; k++) {
        new_path[k] = (1 - p->c_sigma) * cma->path_sigma[k] + gain * new_path[k];
    }
    *length = fbt_vector_norm(new_path, d);
    const double log_step = p->c_sigma / p->d_sigma * (*length / p->chi - 1);
    *new_step_size = cma->step_size * exp(fmax(-p->max_log_step, fmin(p->max_log_step, log_step)));
    if (!isfinite(*new_step_size)) {
        return fbt_fail(FBT_ERR_NUMERIC,
                        "CMA-ES: the step size left the range of double in generation %lld (from %g to %g)",
                        (long long)cma->generation, cma->step_size, *new_step_size);
    }
    return FBT_OK;
}

/* Gets all that can fail before anything changes: a factor, room for the update, a diagonal that is not shared. */
static fbt_status prepare(fbt_cma *cma)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension;
    FBT_TRY(fbt_cma_refresh(cma, false));
    if (cma->options.covariance == FBT_CMA_FULL) {
        FBT_TRY(fbt_deferred_reserve(&cma->deferred, cma->options.population + 1, d));
    } else if (cma->options.covariance == FBT_CMA_SEPARABLE) {
        if (!fbt_covariance_is_mine(cma->base)) {
            fbt_covariance *copy;
            FBT_TRY(fbt_covariance_new(FBT_COVARIANCE_DIAGONAL, d, &copy));
            memcpy(copy->values, cma->base->values, (size_t)d * sizeof *copy->values);
            memcpy(copy->axes, cma->base->axes, (size_t)d * sizeof *copy->axes);
            fbt_cma_adopt(cma, copy);
        }
        FBT_TRY(fbt_covariance_factor(cma->base, cma->options.decomposition, &cma->statistics));
    }

done:
    return status;
}

/* After a tell: the worst solution's mirror image is the next candidate 0, unless it was a mirror itself and would go
 * back and forth [C]. */
static void plan_mirror(fbt_cma *cma, int64_t mirror_index)
{
    const int64_t worst = cma->order[cma->options.population - 1];
    cma->has_mirror = cma->options.mirrored && worst != mirror_index;
    for (int64_t k = 0; cma->has_mirror && k < cma->options.dimension; k++) {
        cma->mirror[k] = -cma->step_size * cma->steps[worst * cma->options.dimension + k];
    }
}

/* Whether the search cannot go on as it is after this update: its step size vanishes, or, in the separable case, its
 * axes have grown too far apart (a dense covariance is looked at when it is decomposed). */
static bool has_collapsed(const fbt_cma *cma, double new_step_size)
{
    const bool vanishes = new_step_size < FBT_CMA_STEP_SIZE_MIN && new_step_size < cma->step_size;
    return vanishes || (cma->options.covariance == FBT_CMA_SEPARABLE && !fbt_covariance_is_sound(cma->base));
}

static fbt_status tell(fbt_cma *cma, int64_t n, const double *x, const double *fitness, bool has_foreign,
                       const bool *is_foreign)
{
    fbt_status status = FBT_OK;
    const int64_t d = cma->options.dimension;
    double *dm = cma->scratch[1], *new_path = cma->scratch[2];
    double length, new_step_size;
    FBT_TRY(check_solutions(cma, n, x, fitness));
    FBT_TRY(prepare(cma));
    const bool first_is_foreign = has_foreign && (is_foreign == NULL || is_foreign[0]);
    const int64_t mirror_index = cma->has_mirror && !first_is_foreign ? 0 : -1;
    make_steps(cma, x, has_foreign, is_foreign);
    fbt_order_by_fitness(cma->options.population, fitness, cma->order);
    mean_step(cma, dm);
    FBT_TRY(adapt_step_size(cma, dm, new_path, &length, &new_step_size));

    if (cma->options.covariance != FBT_CMA_ISOTROPIC) {
        update_covariance(cma, dm, path_is_short(cma, length), mirror_index);
    }
    plan_mirror(cma, mirror_index);
    for (int64_t k = 0; k < d; k++) { /* m <- m + c_m sigma <y>_w [H] eq. 42, c_m = 1 (eq. 54) */
        cma->mean[k] += cma->step_size * dm[k];
    }
    memcpy(cma->path_sigma, new_path, (size_t)d * sizeof *new_path);
    cma->generation++;
    cma->n_evaluations += n;
    if (has_collapsed(cma, new_step_size)) {
        FBT_TRY(fbt_cma_reset(cma));
    } else {
        cma->step_size = new_step_size;
    }

done:
    return status;
}

fbt_status fbt_cma_tell(fbt_cma *cma, int64_t n, const double *x, const double *fitness)
{
    return tell(cma, n, x, fitness, false, NULL);
}

/* Gives the search the options of another population, no larger than that it was made for, with the weights and
 * learning rates that follow from it. */
static fbt_status use_options(fbt_cma *cma, const fbt_cma_options *options)
{
    const fbt_status status = fbt_cma_parameters_compute(options, &cma->parameters, cma->weights);
    if (status == FBT_OK) {
        cma->options = *options;
    }
    return status;
}

fbt_status fbt_cma_tell_foreign(fbt_cma *cma, int64_t n, const double *x, const double *fitness, const bool *is_foreign)
{
    fbt_status status = FBT_OK;
    const fbt_cma_options own = cma->options;
    fbt_cma_options fewer = own;
    if (n < 2 || n >= own.population) {
        return tell(cma, n, x, fitness, true, is_foreign);
    }
    fewer.population = n;
    fewer.n_parents = fbt_smaller(own.n_parents, n);
    FBT_TRY(use_options(cma, &fewer));
    status = tell(cma, n, x, fitness, true, is_foreign);
    const fbt_status returned = use_options(cma, &own);
    status = status == FBT_OK ? returned : status;
done:
    return status;
}
