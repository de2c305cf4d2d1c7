/* An evolution strategy in a ball whose step size two points adapt: candidates 0 and 1 lie opposite each other about
 * the mean on the line along which it has moved last, and where the one ahead ranks better than the one behind, the
 * step was too short.
 *
 *     x_0, x_1 = m +- sigma |N(0, I)| (m - m') / |m - m'|,    m': the mean of the generation before
 *     s <- (1 - c) s + c (rank of x_1 - rank of x_0) / (lambda - 1),    sigma <- sigma exp(s / d_s)
 *
 * Sources: Hansen 2008, "CMA-ES with two-point step-size adaptation", INRIA RR-6527, arXiv 0805.0231; Hansen, Atamna,
 * Auger 2014, "How to assess step-size adaptation mechanisms in randomised search", PPSN XIII (the pair as part of the
 * population, c = 0.3, d_s = sqrt(d)); weights as in CMA-ES (optim/cma.h). It needs no path: a search adapts its step
 * size from its second generation on. */
#include "optim/search.h"

#include "optim/covariance.h"

#include <math.h>

static const double smoothing = 0.3; /* c */

/* s is the gain; the one vector is m - m', of which the direction alone counts, in step sizes. */
static fbt_status new (const fbt_optimiser_options *options, const double *mean, double step_size, void **self)
{
    return fbt_search_new(options, mean, step_size, 1, 0, self);
}

static bool has_moved(const fbt_search *s)
{
    return fbt_vector_norm(s->vectors, s->options.dimension) > 0;
}

/* Candidates 0 and 1 from the normal numbers of the former. x: [2, d]. */
static void place_pair(const fbt_search *s, double *x)
{
    const int64_t d = s->options.dimension;
    const double length = s->step_size * fbt_vector_norm(x, d) / fbt_vector_norm(s->vectors, d);
    for (int64_t i = 0; i < d; i++) {
        x[i] = s->mean[i] + length * s->vectors[i];
        x[d + i] = s->mean[i] - length * s->vectors[i];
    }
}

static fbt_status ask(void *self, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    const fbt_search *s = self;
    const int64_t d = s->options.dimension, n_paired = has_moved(s) ? 2 : 0;
    for (int64_t c = 0; c < s->options.population; c++) {
        fbt_search_draw(rng, stream, c, d, x + c * d);
        for (int64_t i = 0; c >= n_paired && i < d; i++) {
            x[c * d + i] = s->mean[i] + s->step_size * x[c * d + i];
        }
    }
    if (n_paired > 0) {
        place_pair(s, x);
    }
    return FBT_OK;
}

/* How many candidates are better. */
static int64_t rank_of(const double *fitness, int64_t n, int64_t candidate)
{
    int64_t rank = 0;
    for (int64_t i = 0; i < n; i++) {
        rank += fitness[i] < fitness[candidate];
    }
    return rank;
}

static fbt_status adapt_step_size(fbt_search *s, int64_t n, const double *fitness)
{
    const double ahead = (double)(rank_of(fitness, n, 1) - rank_of(fitness, n, 0)) / (double)(n - 1);
    s->gain = (1 - smoothing) * s->gain + smoothing * ahead;
    return fbt_search_adapt_step_size(s, s->step_size * exp(s->gain / sqrt((double)s->options.dimension)));
}

static fbt_status tell(void *self, int64_t n, const double *x, const double *fitness)
{
    fbt_status status = FBT_OK;
    fbt_search *s = self;
    const int64_t d = s->options.dimension;
    FBT_TRY(fbt_search_rank(s, n, x, fitness));
    const bool paired = has_moved(s);
    fbt_search_recombine(s, x, (double)(n + 1) / 2);
    s->generation++;
    for (int64_t i = 0; i < d; i++) {
        s->mean[i] += s->step_size * s->scratch[i];
        s->vectors[i] = s->scratch[i];
    }
    FBT_TRY(paired ? adapt_step_size(s, n, fitness) : FBT_OK);
done:
    return status;
}

const fbt_optimiser_type fbt_optimiser_tpa_es = {
    FBT_SEARCH_MEMBERS, FBT_SEARCH_UNSHAPED_MEMBERS,      .collapse = "no step size left", .new = new, .ask = ask,
    .tell = tell,       .health = fbt_search_ball_health,
};
