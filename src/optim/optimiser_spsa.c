/* Simultaneous perturbation stochastic approximation: gradient descent along random directions, each estimated from two
 * evaluations.
 *
 * Sources: Spall 1992, "Multivariate stochastic approximation using a simultaneous perturbation gradient
 * approximation", IEEE TAC 37; Malladi et al. 2023 (MeZO), arXiv 2305.17333, algorithm 1 and its n-SPSA: normal
 * directions, their mean over the pairs, a constant gain; momentum as Adam's corrected first moment. The gain follows
 * from the first estimate, as Spall 1998, "Implementation of the simultaneous perturbation algorithm for stochastic
 * optimization", section III.B, has it: such that the first step is as long as wished, whatever the loss's scale. */
#include "optim/search.h"

#include "optim/covariance.h"

#include <math.h>

static fbt_status new (const fbt_optimiser_options *options, const double *mean, double step_size, void **self)
{
    return fbt_search_new(options, mean, step_size, 1, 0, self);
}

/* The gradient with respect to mean / step size, into the scratch: the mean over the pairs of (f+ - f-) / 2 z. */
static fbt_status estimate(fbt_search *s, const double *x, const double *fitness)
{
    fbt_status status = FBT_OK;
    const int64_t d = s->options.dimension, n = s->options.population;
    for (int64_t i = 0; i < d; i++) {
        s->scratch[i] = 0;
    }
    for (int64_t c = 0; c < n; c += 2) {
        double slope;
        FBT_TRY(fbt_search_pair_slope(s, fitness, c, &slope));
        for (int64_t i = 0; i < d; i++) {
            s->scratch[i] += slope * fbt_search_pair_element(s, x + c * d, i);
        }
    }
done:
    return status;
}

/* A first estimate of zero says nothing about the loss's scale: the next one does. */
static void find_gain(fbt_search *s)
{
    const double length = fbt_vector_norm(s->scratch, s->options.dimension) / sqrt((double)s->options.dimension);
    if (s->gain == 0 && length > 0 && isfinite(length)) {
        s->gain = s->options.es.learning_rate / length;
    }
}

static fbt_status step(fbt_search *s)
{
    const int64_t d = s->options.dimension;
    const double beta = s->options.es.momentum, decay = s->options.es.weight_decay * s->options.es.learning_rate;
    const double rate = s->gain / (1 - pow(beta, (double)s->generation));
    for (int64_t i = 0; i < d; i++) {
        s->vectors[i] = beta * s->vectors[i] + (1 - beta) * s->scratch[i];
        s->mean[i] -= decay * s->mean[i] + s->step_size * rate * s->vectors[i];
    }
    return fbt_search_check_mean(s);
}

static fbt_status tell(void *self, int64_t n, const double *x, const double *fitness)
{
    fbt_status status = FBT_OK;
    fbt_search *s = self;
    FBT_TRY(fbt_search_rank(s, n, x, fitness));
    FBT_TRY(estimate(s, x, fitness));
    s->generation++;
    find_gain(s);
    FBT_TRY(step(s));
done:
    return status;
}

const fbt_optimiser_type fbt_optimiser_spsa = {
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
