/* BDPL: a categorical distribution over the words of each place of a prompt, by a variance-reduced policy gradient.
 *
 * Source: Diao et al. 2022, "Black-box prompt learning for pre-trained language models", arXiv 2201.08531, section 3
 * and algorithm 1. With the losses L_k of lambda prompts and their mean L,
 *
 *     g_i = 1 / (lambda - 1) sum_k (L_k - L) grad log p_i(j_k),   p_i <- projection of p_i - eta g_i onto the simplex,
 *
 * where the paper's gradient is 1 / p_i(j_k) at the word j_k that was drawn and -1 / p_i(j_k) at every other. The
 * projection undoes what is added to all words of a place, so that 2 / p_i(j_k) at j_k alone is the same step. A
 * gradient longer than 3 is cut to that, as in the authors' code, which takes Adam's step instead of this one.
 *
 * x are numbers of words. The shape are the probabilities, [d, N]; the mean, the most probable words, follows from
 * them. There is no step size: the given one stays. */
#include "optim/search.h"

#include "base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double longest = 3; /* gradient */

static int64_t n_shape(const fbt_optimiser_options *options)
{
    return options->dimension * options->n_words;
}

static double *place_of(const fbt_search *s, int64_t i)
{
    return s->vectors + i * s->options.n_words;
}

/* The most probable word of each place, of equal ones the first. */
static void take_mean(fbt_search *s)
{
    for (int64_t i = 0; i < s->options.dimension; i++) {
        const double *p = place_of(s, i);
        int64_t best = 0;
        for (int64_t j = 1; j < s->options.n_words; j++) {
            best = p[j] > p[best] ? j : best;
        }
        s->mean[i] = (double)best;
    }
}

static fbt_status new (const fbt_optimiser_options *options, const double *mean, double step_size, void **self)
{
    const fbt_status status =
        fbt_search_new(options, mean, step_size, options->n_words, 1 / (double)options->n_words, self);
    if (status == FBT_OK) {
        take_mean(*self);
    }
    return status;
}

static fbt_status reset(void *self)
{
    const fbt_status status = fbt_search_reset(self);
    take_mean(self);
    return status;
}

static fbt_status restart_from(void *self, void *server, double step_size)
{
    fbt_search *s = self;
    const fbt_search *from = server;
    const fbt_status status = fbt_search_restart_from(self, server, step_size);
    if (status == FBT_OK) {
        memcpy(s->vectors, from->vectors, (size_t)n_shape(&s->options) * sizeof *s->vectors);
        take_mean(s);
    }
    return status;
}

/* The word where the sum of probabilities passes u, from 0 to 1; the last possible one where rounding leaves it below.
 */
static int64_t draw_word(const double *p, int64_t n, double u)
{
    int64_t last = 0;
    double sum = 0;
    for (int64_t j = 0; j < n; j++) {
        sum += p[j];
        last = p[j] > 0 ? j : last;
        if (u < sum) {
            return j;
        }
    }
    return last;
}

static fbt_status ask(void *self, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    const fbt_search *s = self;
    const int64_t d = s->options.dimension;
    for (int64_t c = 0; c < s->options.population; c++) {
        fbt_rng_stream own = *stream;
        own.candidate = (uint32_t)c;
        fbt_rng_seek(rng, &own);
        for (int64_t i = 0; i < d; i++) {
            x[c * d + i] = (double)draw_word(place_of(s, i), s->options.n_words, gsl_rng_uniform(rng));
        }
    }
    return FBT_OK;
}

/* Moves p to the nearest point of the simplex: what is above v, less v, where v leaves a sum of 1. Source: Michelot
 * 1986, "A finite algorithm for finding the projection of a point onto the canonical simplex of R^n". */
static void project(double *p, int64_t n)
{
    double v = -INFINITY;
    for (int64_t n_above = n + 1, n_before = n + 2; n_above < n_before;) {
        double sum = 0;
        n_before = n_above;
        n_above = 0;
        for (int64_t j = 0; j < n; j++) {
            sum += p[j] > v ? p[j] : 0;
            n_above += p[j] > v;
        }
        v = (sum - 1) / (double)n_above;
    }
    for (int64_t j = 0; j < n; j++) {
        p[j] = fmax(p[j] - v, 0);
    }
}

/* Of the gradient at the word that candidate c has at place i: the sum of the weights of all candidates that have it,
 * times 2 / p; 0 where an earlier candidate has that word, too, so that each counts once. */
static double element(const fbt_search *s, const double *x, const double *weights, int64_t c, int64_t i)
{
    const int64_t d = s->options.dimension;
    const double word = x[c * d + i];
    double sum = 0;
    for (int64_t k = 0; k < s->options.population; k++) {
        if (x[k * d + i] == word) {
            if (k < c) {
                return 0;
            }
            sum += weights[k];
        }
    }
    return 2 * sum / place_of(s, i)[(int64_t)word];
}

static fbt_status check_words(const fbt_search *s, const double *x)
{
    for (int64_t i = 0; i < s->options.population * s->options.dimension; i++) {
        if (!(x[i] >= 0 && x[i] < (double)s->options.n_words && x[i] == floor(x[i]))) {
            return fbt_fail(FBT_ERR_ARG, "%s: told %g, which is no word's number", fbt_optimiser_names[s->options.kind],
                            x[i]);
        }
    }
    return FBT_OK;
}

/* weights: [lambda], (L_k - L) / (lambda - 1). */
static void weigh(const fbt_search *s, const double *fitness, double *weights)
{
    const int64_t n = s->options.population;
    double mean = 0;
    for (int64_t c = 0; c < n; c++) {
        mean += fitness[c] / (double)n;
    }
    for (int64_t c = 0; c < n; c++) {
        weights[c] = (fitness[c] - mean) / (double)(n - 1);
    }
}

static fbt_status measure(const fbt_search *s, const double *x, const double *weights, double *length)
{
    double sum = 0;
    for (int64_t c = 0; c < s->options.population; c++) {
        for (int64_t i = 0; i < s->options.dimension; i++) {
            const double g = element(s, x, weights, c, i);
            sum += g * g;
        }
    }
    *length = sqrt(sum);
    return isfinite(sum) ? FBT_OK
                         : fbt_fail(FBT_ERR_NUMERIC, "%s: the gradient in generation %" PRId64 " is not finite",
                                    fbt_optimiser_names[s->options.kind], s->generation);
}

static fbt_status tell(void *self, int64_t n, const double *x, const double *fitness)
{
    fbt_status status = FBT_OK;
    fbt_search *s = self;
    double *weights = NULL, length;
    FBT_TRY(fbt_search_rank(s, n, x, fitness));
    FBT_TRY(check_words(s, x));
    FBT_TRY(fbt_memory_alloc(&weights, n, sizeof *weights));
    weigh(s, fitness, weights);
    FBT_TRY(measure(s, x, weights, &length));
    const double rate = s->options.es.learning_rate * (length > longest ? longest / length : 1);
    for (int64_t i = 0; i < s->options.dimension; i++) {
        double *p = place_of(s, i);
        for (int64_t c = 0; c < n; c++) {
            p[(int64_t)x[c * s->options.dimension + i]] -= rate * element(s, x, weights, c, i);
        }
        project(p, s->options.n_words);
    }
    take_mean(s);
    s->generation++;
done:
    free(weights);
    return status;
}

static fbt_status get_shape(void *self, double *shape)
{
    const fbt_search *s = self;
    memcpy(shape, s->vectors, (size_t)n_shape(&s->options) * sizeof *shape);
    return FBT_OK;
}

/* Takes the probabilities nearest to what rounding, noise or the mean over clients have made of such. */
static fbt_status set_shape(void *self, const double *shape)
{
    fbt_search *s = self;
    if (!fbt_search_all_finite(shape, n_shape(&s->options))) {
        return fbt_fail(FBT_ERR_NUMERIC, "%s: probabilities must be finite", fbt_optimiser_names[s->options.kind]);
    }
    memmove(s->vectors, shape, (size_t)n_shape(&s->options) * sizeof *shape);
    for (int64_t i = 0; i < s->options.dimension; i++) {
        project(place_of(s, i), s->options.n_words);
    }
    take_mean(s);
    return FBT_OK;
}

static void health(const void *self, fbt_optimiser_health *health)
{
    fbt_search_ball_health(self, health);
    health->condition = health->axis_ratio = (double)NAN;
}

static fbt_status import(void *self, const char *prefix, const fbt_array *arrays)
{
    fbt_status status = FBT_OK;
    fbt_search *s = self;
    FBT_TRY(fbt_search_import(self, prefix, arrays));
    for (int64_t i = 0; i < s->options.dimension; i++) {
        double sum = 0, least = 0;
        for (int64_t j = 0; j < s->options.n_words; j++) {
            sum += place_of(s, i)[j];
            least = fmin(least, place_of(s, i)[j]);
        }
        if (least < 0 || fabs(sum - 1) > 1e-9) {
            FBT_FAIL(FBT_ERR_DATA, "%s: the checkpoint's probabilities are damaged",
                     fbt_optimiser_names[s->options.kind]);
        }
    }
    take_mean(s);
done:
    return status;
}

const fbt_optimiser_type fbt_optimiser_bdpl = {
    .collapse = "never",
    .new = new,
    .free = fbt_search_free,
    .restart_from = restart_from,
    .settle = fbt_search_settle,
    .reset = reset,
    .ask = ask,
    .tell = tell,
    .mean = fbt_search_mean,
    .step_size = fbt_search_step_size,
    .set_step_size = fbt_search_set_step_size,
    .n_shape = n_shape,
    .get_shape = get_shape,
    .set_shape = set_shape,
    .health = health,
    .export = fbt_search_export,
    .import = import,
};
