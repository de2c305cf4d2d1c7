/* The cross-entropy method with a normal distribution of independent coordinates, fitted to the best candidates.
 *
 * Sources: de Boer, Kroese, Mannor, Rubinstein 2005, "A tutorial on the cross-entropy method", Annals of Operations
 * Research 134, section 5 (the fit: mean and variance of the elite); Kroese, Porotsky, Rubinstein 2006, "The
 * cross-entropy method for continuous multi-extremal optimization", Methodology and Computing in Applied Probability 8
 * (smoothing of means and standard deviations, the latter fading: beta_t = beta - beta (1 - 1/t)^q). The step size is
 * the root of the mean variance, the shape the variances by their mean. */
#include "optim/search.h"

#include "base/memory.h"
#include "base/smaller.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const double fading = 5; /* q; its source: 5 to 10 */

/* Of n solutions. */
static int64_t n_elite(const fbt_optimiser_options *options, int64_t n)
{
    return options->n_parents > 0 ? fbt_smaller(options->n_parents, n)
                                  : (int64_t)floor(options->es.elite * (double)n + 1e-9);
}

static fbt_status check(const fbt_optimiser_options *options)
{
    if (n_elite(options, options->population) >= 2) {
        return FBT_OK;
    }
    return fbt_fail(FBT_ERR_CONFIG,
                    "es.elite: %g of %" PRId64 " solutions are fewer than 2, and %s fits variances to them; raise it, "
                    "or cma.population, or the clients of a round whose means are told to a server",
                    options->es.elite, options->population, fbt_optimiser_names[options->kind]);
}

static fbt_status new (const fbt_optimiser_options *options, const double *mean, double step_size, void **self)
{
    return fbt_search_new(options, mean, step_size, 1, 1, self);
}

static fbt_status restart_from(void *self, void *server, double step_size)
{
    fbt_search *s = self;
    const fbt_search *from = server;
    const fbt_status status = fbt_search_restart_from(self, server, step_size);
    if (status == FBT_OK) {
        memcpy(s->vectors, from->vectors, (size_t)s->options.dimension * sizeof *s->vectors);
    }
    return status;
}

static fbt_status ask(void *self, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    const fbt_search *s = self;
    const int64_t d = s->options.dimension;
    for (int64_t c = 0; c < s->options.population; c++) {
        fbt_search_draw(rng, stream, c, d, x + c * d);
        for (int64_t i = 0; i < d; i++) {
            x[c * d + i] = s->mean[i] + s->step_size * sqrt(s->vectors[i]) * x[c * d + i];
        }
    }
    return FBT_OK;
}

/* Mean and variance of one coordinate over the n best. */
static void fit(const fbt_search *s, const double *x, int64_t i, int64_t n, double *mean, double *variance)
{
    const int64_t d = s->options.dimension;
    *mean = *variance = 0;
    for (int64_t k = 0; k < n; k++) {
        *mean += x[s->order[k] * d + i] / (double)n;
    }
    for (int64_t k = 0; k < n; k++) {
        const double off = x[s->order[k] * d + i] - *mean;
        *variance += off * off / (double)n;
    }
}

/* Variances may have any scale on the way in; the largest may not be more than this times the smallest. */
static fbt_status set_shape(void *self, const double *shape)
{
    fbt_search *s = self;
    const int64_t d = s->options.dimension;
    double sum = 0, least = INFINITY, most = 0;
    for (int64_t i = 0; i < d; i++) {
        sum += shape[i];
        least = fmin(least, shape[i]);
        most = fmax(most, shape[i]);
    }
    if (!isfinite(sum) || !(least > 0) || most / least > FBT_CMA_CONDITION_LIMIT) {
        return fbt_fail(FBT_ERR_NUMERIC, "%s: variances from %g to %g make no distribution",
                        fbt_optimiser_names[s->options.kind], least, most);
    }
    for (int64_t i = 0; i < d; i++) {
        s->vectors[i] = shape[i];
    }
    return FBT_OK;
}

/* Takes the scratch's variances: step size and shape, or a new beginning where they have collapsed. */
static fbt_status take_variances(fbt_search *s)
{
    const int64_t d = s->options.dimension;
    double mean = 0;
    for (int64_t i = 0; i < d; i++) {
        mean += s->scratch[i] / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        s->scratch[i] /= mean;
    }
    if (mean > 0 && isfinite(mean) && set_shape(s, s->scratch) == FBT_OK) {
        return fbt_search_adapt_step_size(s, sqrt(mean));
    }
    fbt_error_clear();
    return isfinite(mean) ? fbt_search_reset(s) : fbt_search_adapt_step_size(s, mean);
}

static fbt_status learn(fbt_search *s, int64_t fewest, int64_t n, const double *x, const double *fitness)
{
    const fbt_status status = fbt_search_rank_foreign(s, fewest, n, x, fitness);
    if (status != FBT_OK) {
        return status;
    }
    s->generation++;
    const int64_t n_fitted = fbt_larger(n_elite(&s->options, n), 2); /* few of those that were expected may come */
    const double alpha = s->options.es.smoothing;
    const double beta = s->options.es.deviation_smoothing * (1 - pow(1 - 1 / (double)s->generation, fading));
    for (int64_t i = 0; i < s->options.dimension; i++) {
        double mean, variance;
        fit(s, x, i, n_fitted, &mean, &variance);
        s->mean[i] = alpha * mean + (1 - alpha) * s->mean[i];
        const double deviation = beta * sqrt(variance) + (1 - beta) * s->step_size * sqrt(s->vectors[i]);
        s->scratch[i] = deviation * deviation;
    }
    return take_variances(s);
}

static fbt_status tell(void *self, int64_t n, const double *x, const double *fitness)
{
    return learn(self, ((const fbt_search *)self)->options.population, n, x, fitness);
}

static fbt_status tell_foreign(void *self, int64_t n, const double *x, const double *fitness)
{
    return learn(self, 2, n, x, fitness);
}

static int64_t n_shape(const fbt_optimiser_options *options)
{
    return options->dimension;
}

static fbt_status get_shape(void *self, double *shape)
{
    const fbt_search *s = self;
    memcpy(shape, s->vectors, (size_t)s->options.dimension * sizeof *shape);
    return FBT_OK;
}

static void health(const void *self, fbt_optimiser_health *health)
{
    const fbt_search *s = self;
    double least = INFINITY, most = 0;
    for (int64_t i = 0; i < s->options.dimension; i++) {
        least = fmin(least, s->vectors[i]);
        most = fmax(most, s->vectors[i]);
    }
    fbt_search_ball_health(self, health);
    health->condition = most / least;
    health->axis_ratio = sqrt(health->condition);
}

static fbt_status import(void *self, const char *prefix, const fbt_array *arrays)
{
    fbt_status status = FBT_OK;
    fbt_search *s = self;
    FBT_TRY(fbt_search_import(self, prefix, arrays));
    if (set_shape(s, s->vectors) != FBT_OK) {
        fbt_error_clear();
        FBT_FAIL(FBT_ERR_DATA, "%s: the checkpoint's variances are damaged", fbt_optimiser_names[s->options.kind]);
    }
done:
    return status;
}

const fbt_optimiser_type fbt_optimiser_cem = {
    FBT_SEARCH_MEMBERS,
    .collapse = "variances more than 1e+14 apart, or no step size left",
    .check = check,
    .new = new,
    .restart_from = restart_from,
    .ask = ask,
    .tell = tell,
    .tell_foreign = tell_foreign,
    .n_shape = n_shape,
    .get_shape = get_shape,
    .set_shape = set_shape,
    .health = health,
    .import = import,
};
