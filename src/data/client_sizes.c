#include "data/client_sizes.h"

#include "base/memory.h"
#include "base/rng.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* The rest of a client's share behind whole samples. */
typedef struct remainder_of {
    double fraction;
    int64_t client;
} remainder_of;

/* Gamma(a) = Gamma(a + 1) U^(1 / a), in logarithms: a small alpha's weights are beyond any double. */
static double draw_log_weight(const fbt_client_sizes_options *options, gsl_rng *rng)
{
    if (options->kind == FBT_SIZES_LOGNORMAL) {
        return options->sigma * gsl_ran_ugaussian(rng);
    }
    const double log_gamma = log(gsl_ran_gamma(rng, options->alpha + 1, 1));
    return log_gamma + log(gsl_rng_uniform_pos(rng)) / options->alpha;
}

/* weight: [n_clients], the largest 1. */
static fbt_status draw_weights(const fbt_client_sizes_options *options, int64_t n_clients, double *weight)
{
    fbt_status status = FBT_OK;
    double largest = -HUGE_VAL;
    gsl_rng *rng = NULL;
    FBT_TRY(fbt_rng_new(&rng));
    for (int64_t k = 0; k < n_clients; k++) {
        fbt_rng_seek(rng,
                     &(fbt_rng_stream){
                         .seed = options->seed, .purpose = FBT_RNG_PARTITION, .client = (uint32_t)k, .generation = 3});
        weight[k] = draw_log_weight(options, rng);
        largest = fmax(largest, weight[k]);
    }
    for (int64_t k = 0; k < n_clients; k++) {
        weight[k] = exp(weight[k] - largest);
    }
done:
    gsl_rng_free(rng);
    return status;
}

/* How many samples a weight of 1 stands for, where who would have less than one sample has one. That leaves less to the
 * others, so that some more of them may; the largest, whose weight is 1, never is: nobody's is more, and there are as
 * many samples as clients. */
static double find_scale(int64_t n_clients, int64_t n_samples, const double *weight)
{
    double scale = HUGE_VAL, before;
    do {
        double sum = 0;
        int64_t n_rest = n_samples;
        before = scale;
        for (int64_t k = 0; k < n_clients; k++) {
            const bool has_one = weight[k] * before < 1;
            sum += has_one ? 0 : weight[k];
            n_rest -= has_one;
        }
        scale = (double)n_rest / sum;
    } while (scale < before);
    return scale;
}

static int by_fraction(const void *a, const void *b)
{
    const remainder_of *x = a, *y = b;
    if (x->fraction != y->fraction) {
        return x->fraction > y->fraction ? -1 : 1;
    }
    return x->client < y->client ? -1 : 1;
}

/* Whole samples by the largest remainders. */
static fbt_status apportion(int64_t n_clients, int64_t n_samples, const double *weight, int64_t *sizes)
{
    fbt_status status = FBT_OK;
    const double scale = find_scale(n_clients, n_samples, weight);
    int64_t n_left = n_samples;
    remainder_of *remainders = NULL;
    FBT_TRY(fbt_memory_alloc(&remainders, n_clients, sizeof *remainders));
    for (int64_t k = 0; k < n_clients; k++) {
        const double share = fmax(weight[k] * scale, 1);
        sizes[k] = (int64_t)share;
        remainders[k] = (remainder_of){.fraction = share - (double)sizes[k], .client = k};
        n_left -= sizes[k];
    }
    qsort(remainders, (size_t)n_clients, sizeof *remainders, by_fraction);
    for (int64_t i = 0; i < n_left; i++) {
        sizes[remainders[i].client]++;
    }
done:
    free(remainders);
    return status;
}

static fbt_status check_options(const fbt_client_sizes_options *options)
{
    if (options->kind == FBT_SIZES_DIRICHLET && !(options->alpha >= 1e-6 && options->alpha <= 1e6)) {
        return fbt_fail(FBT_ERR_CONFIG, "fed.size_alpha = %g must be 1e-6 to 1e6", options->alpha);
    }
    if (options->kind == FBT_SIZES_LOGNORMAL && !(options->sigma > 0 && options->sigma <= 100)) {
        return fbt_fail(FBT_ERR_CONFIG, "fed.size_sigma = %g must be above 0 and up to 100", options->sigma);
    }
    return FBT_OK;
}

fbt_status fbt_client_sizes_make(const fbt_client_sizes_options *options, int64_t n_clients, int64_t n_samples,
                                 int64_t *sizes)
{
    fbt_status status = FBT_OK;
    double *weight = NULL;
    FBT_TRY(check_options(options));
    if (options->kind == FBT_SIZES_EQUAL) {
        for (int64_t k = 0; k < n_clients; k++) {
            sizes[k] = n_samples / n_clients + (k < n_samples % n_clients);
        }
        goto done;
    }
    FBT_TRY(fbt_memory_alloc(&weight, n_clients, sizeof *weight));
    FBT_TRY(draw_weights(options, n_clients, weight));
    FBT_TRY(apportion(n_clients, n_samples, weight, sizes));
done:
    free(weight);
    return status;
}
