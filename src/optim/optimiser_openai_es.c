/* OpenAI's evolution strategy: the gradient of the expected rank, estimated from pairs of opposite candidates, and
 * Adam.
 *
 * Sources: Salimans, Ho, Chen, Sidor, Sutskever 2017, "Evolution strategies as a scalable alternative to reinforcement
 * learning", arXiv 1703.03864 (algorithm 2; mirrored sampling, rank-based shaping and weight decay in section 2.1), and
 * its authors' code (centred ranks in [-1/2, 1/2]; the mean over all candidates of rank times noise; Adam on that);
 * Kingma and Ba 2015, arXiv 1412.6980. All in step sizes: z scaled by any factor gives the same search. */
#include "optim/search.h"

#include <math.h>

enum { FIRST_MOMENT, SECOND_MOMENT, N_VECTORS };

static const double beta_2 = 0.999, epsilon = 1e-8;

static fbt_status new (const fbt_optimiser_options *options, const double *mean, double step_size, void **self)
{
    return fbt_search_new(options, mean, step_size, N_VECTORS, 0, self);
}

/* Candidate i's rank by rising fitness, equal ones sharing the mean of theirs, brought to [-1/2, 1/2]. */
static double centred_rank(const fbt_search *s, const double *fitness, int64_t i)
{
    const int64_t n = s->options.population;
    double rank = 0;
    for (int64_t k = 0; k < n; k++) {
        rank += fitness[k] < fitness[i] ? 1 : fitness[k] == fitness[i] && k != i ? 0.5 : 0;
    }
    return rank / (double)(n - 1) - 0.5;
}

/* The gradient with respect to mean / step size, into the scratch. */
static void estimate(fbt_search *s, const double *x, const double *fitness)
{
    const int64_t d = s->options.dimension, n = s->options.population;
    for (int64_t i = 0; i < d; i++) {
        s->scratch[i] = s->options.es.weight_decay * s->mean[i] / s->step_size;
    }
    for (int64_t c = 0; c < n; c += 2) {
        const double weight = (centred_rank(s, fitness, c) - centred_rank(s, fitness, c + 1)) / (double)n;
        for (int64_t i = 0; i < d; i++) {
            s->scratch[i] += weight * fbt_search_pair_element(s, x + c * d, i);
        }
    }
}

static void step(fbt_search *s)
{
    const int64_t d = s->options.dimension;
    const double beta_1 = s->options.es.momentum, t = (double)s->generation;
    const double rate = s->options.es.learning_rate * sqrt(1 - pow(beta_2, t)) / (1 - pow(beta_1, t));
    double *first = s->vectors + FIRST_MOMENT * d, *second = s->vectors + SECOND_MOMENT * d;
    for (int64_t i = 0; i < d; i++) {
        const double g = s->scratch[i];
        first[i] = beta_1 * first[i] + (1 - beta_1) * g;
        second[i] = beta_2 * second[i] + (1 - beta_2) * g * g;
        s->mean[i] -= s->step_size * rate * first[i] / (sqrt(second[i]) + epsilon);
    }
}

static fbt_status tell(void *self, int64_t n, const double *x, const double *fitness)
{
    fbt_search *s = self;
    const fbt_status status = fbt_search_rank(s, n, x, fitness);
    if (status != FBT_OK) {
        return status;
    }
    s->generation++;
    estimate(s, x, fitness);
    step(s);
    return FBT_OK;
}

const fbt_optimiser_type fbt_optimiser_openai_es = {
    FBT_SEARCH_MEMBERS,
    FBT_SEARCH_UNSHAPED_MEMBERS,
    .collapse = "never",
    .asks_pairs = true,
    .check = fbt_search_check_pairs,
    .new = new,
    .ask = fbt_search_ask_pairs,
    .tell = tell,
    .health = fbt_search_ball_health,
};
