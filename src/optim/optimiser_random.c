/* Random search: candidates around the best solution so far, which is the mean.
 *
 * Source: Matyas 1965, "Random optimization", Automation and Remote Control 26; Spall 2003, "Introduction to Stochastic
 * Search and Optimization", section 2.2, algorithm B. The mean itself is candidate 0 and is scored with the others, so
 * that it is never compared with a fitness of other samples. */
#include "optim/search.h"

#include <string.h>

static fbt_status new (const fbt_optimiser_options *options, const double *mean, double step_size, void **self)
{
    return fbt_search_new(options, mean, step_size, 0, 0, self);
}

static fbt_status ask(void *self, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    const fbt_search *s = self;
    const int64_t d = s->options.dimension;
    memcpy(x, s->mean, (size_t)d * sizeof *x);
    for (int64_t c = 1; c < s->options.population; c++) {
        fbt_search_draw(rng, stream, c, d, x + c * d);
        for (int64_t i = 0; i < d; i++) {
            x[c * d + i] = s->mean[i] + s->step_size * x[c * d + i];
        }
    }
    return FBT_OK;
}

static fbt_status tell(void *self, int64_t n, const double *x, const double *fitness)
{
    fbt_search *s = self;
    const fbt_status status = fbt_search_rank(s, n, x, fitness);
    if (status != FBT_OK) {
        return status;
    }
    s->generation++;
    return fbt_search_set_mean(s, x + s->order[0] * s->options.dimension);
}

const fbt_optimiser_type fbt_optimiser_random = {
    FBT_SEARCH_MEMBERS, FBT_SEARCH_UNSHAPED_MEMBERS,      .collapse = "never", .new = new, .ask = ask,
    .tell = tell,       .health = fbt_search_ball_health,
};
