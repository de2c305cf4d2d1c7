/* LM-MA-ES: limited-memory matrix adaptation. The distribution's root is a product of m factors, each given by one
 * vector, so that all takes O(m d) memory and time.
 *
 * Source: Loshchilov, Glasmachers, Beyer 2019, "Large scale black-box optimization by limited-memory matrix
 * adaptation", IEEE TEVC 23 (arXiv 1705.06693), algorithm 1, and Glasmachers' own program, whose bound of the
 * population is kept.
 *
 *     d = T_m ... T_1 z,   T_j = (1 - c_dj) I + c_dj m_j m_j^T,   x = mean + step size d
 *
 * The update needs sum w_i z_i alone, which is linear in the steps: each factor is undone (Sherman and Morrison 1950),
 * last one first, on that one vector. So nothing of an ask is kept. */
#include "optim/search.h"

#include "optim/covariance.h"

#include <inttypes.h>
#include <math.h>

/* m = 4 + floor(3 ln d). */
static int64_t n_directions(int64_t d)
{
    return 4 + (int64_t)floor(3 * log((double)d));
}

/* The vectors are the path of the step size, then m_1 .. m_m. */
static double *direction(const fbt_search *s, int64_t j)
{
    return s->vectors + (1 + j) * s->options.dimension;
}

/* c_dj, counted from 0. */
static double factor_rate(const fbt_search *s, int64_t j)
{
    return 1 / (pow(1.5, (double)j) * (double)s->options.dimension);
}

/* Factors in use: those that have been told something. */
static int64_t n_factors(const fbt_search *s)
{
    const int64_t m = s->n_vectors - 1;
    return s->generation < m ? s->generation : m;
}

static fbt_status check(const fbt_optimiser_options *options)
{
    if (options->population < options->dimension) {
        return FBT_OK;
    }
    return fbt_fail(FBT_ERR_CONFIG,
                    "cma.population: fed.optimiser %s learns at rates of population / dimension, so that it must be "
                    "below cma.dimension, %" PRId64 ", not %" PRId64,
                    fbt_optimiser_names[options->kind], options->dimension, options->population);
}

static fbt_status new (const fbt_optimiser_options *options, const double *mean, double step_size, void **self)
{
    return fbt_search_new(options, mean, step_size, 1 + n_directions(options->dimension), 0, self);
}

static void multiply(const double *m, double rate, int64_t d, double *v)
{
    const double along = rate * fbt_vector_dot(m, v, d);
    for (int64_t i = 0; i < d; i++) {
        v[i] = (1 - rate) * v[i] + along * m[i];
    }
}

static void divide(const double *m, double rate, int64_t d, double *v)
{
    const double along = rate * fbt_vector_dot(m, v, d) / (1 - rate + rate * fbt_vector_dot(m, m, d));
    for (int64_t i = 0; i < d; i++) {
        v[i] = (v[i] - along * m[i]) / (1 - rate);
    }
}

static fbt_status ask(void *self, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    const fbt_search *s = self;
    const int64_t d = s->options.dimension, n = s->options.population;
    for (int64_t c = 0; c < n; c++) {
        fbt_search_draw(rng, stream, c, d, x + c * d);
    }
    for (int64_t j = 0; j < n_factors(s); j++) {
        for (int64_t c = 0; c < n; c++) {
            multiply(direction(s, j), factor_rate(s, j), d, x + c * d);
        }
    }
    for (int64_t c = 0; c < n; c++) {
        for (int64_t i = 0; i < d; i++) {
            x[c * d + i] = s->mean[i] + s->step_size * x[c * d + i];
        }
    }
    return FBT_OK;
}

/* v <- (1 - c) v + sqrt(mu_w c (2 - c)) z, z from the scratch. */
static void cumulate(const fbt_search *s, double rate, double mu_w, double *v)
{
    const double scale = sqrt(mu_w * rate * (2 - rate));
    for (int64_t i = 0; i < s->options.dimension; i++) {
        v[i] = (1 - rate) * v[i] + scale * s->scratch[i];
    }
}

static fbt_status tell(void *self, int64_t n, const double *x, const double *fitness)
{
    fbt_search *s = self;
    const int64_t d = s->options.dimension;
    const double share = (double)n / (double)d, path_rate = 2 * share;
    const fbt_status status = fbt_search_rank(s, n, x, fitness);
    if (status != FBT_OK) {
        return status;
    }
    const int64_t mu = s->options.population / 2;
    const double mu_w = fbt_search_recombine(s, x, (double)mu + 0.5);
    for (int64_t i = 0; i < d; i++) {
        s->mean[i] += s->step_size * s->scratch[i];
    }
    for (int64_t j = n_factors(s) - 1; j >= 0; j--) {
        divide(direction(s, j), factor_rate(s, j), d, s->scratch);
    }
    cumulate(s, path_rate, mu_w, s->vectors);
    for (int64_t j = 0; j < s->n_vectors - 1; j++) {
        cumulate(s, share / pow(4, (double)j), mu_w, direction(s, j));
    }
    s->generation++;
    const double square = fbt_vector_dot(s->vectors, s->vectors, d) / (double)d;
    return fbt_search_adapt_step_size(s, s->step_size * exp(path_rate / 2 * (square - 1)));
}

static void health(const void *self, fbt_optimiser_health *health)
{
    const fbt_search *s = self;
    fbt_search_ball_health(self, health);
    health->condition = health->axis_ratio = (double)NAN;
    health->path_length = fbt_vector_norm(s->vectors, s->options.dimension);
}

const fbt_optimiser_type fbt_optimiser_lm_ma = {
    FBT_SEARCH_MEMBERS,
    FBT_SEARCH_UNSHAPED_MEMBERS,
    .collapse = "no step size left",
    .check = check,
    .new = new,
    .ask = ask,
    .tell = tell,
    .health = health,
};
