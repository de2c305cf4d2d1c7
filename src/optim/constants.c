/* CMA-ES options, recombination weights and learning rates. */
#include "optim/cma.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

fbt_status fbt_cma_options_check(const fbt_cma_options *options)
{
    /* C has d^2 elements and LAPACK counts in 32 bits. */
    const int64_t max_dimension = options->covariance == FBT_CMA_FULL ? 20000 : INT32_MAX;
    if (options->dimension < 1 || options->dimension > max_dimension) {
        return fbt_fail(FBT_ERR_CONFIG, "CMA-ES: the dimension is %lld; it must be from 1 to %lld (%s covariance)",
                        (long long)options->dimension, (long long)max_dimension,
                        options->covariance == FBT_CMA_FULL ? "full" : "diagonal");
    }
    if (options->population < 2 || options->population > INT32_MAX) {
        return fbt_fail(
            FBT_ERR_CONFIG,
            "CMA-ES: the population is %lld; ranking needs at least 2 solutions a generation (and at most %d)",
            (long long)options->population, INT32_MAX);
    }
    if (options->n_parents < 0 || options->n_parents > options->population) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "CMA-ES: %lld parents of a population of %lld; choose 1 to %lld, or 0 for half the population",
                        (long long)options->n_parents, (long long)options->population, (long long)options->population);
    }
    if (fbt_choice_name(fbt_cma_covariance_names, (int)options->covariance) == NULL) {
        return fbt_fail(FBT_ERR_CONFIG, "CMA-ES: covariance model %d does not exist", (int)options->covariance);
    }
    if (fbt_choice_name(fbt_cma_decomposition_names, (int)options->decomposition) == NULL) {
        return fbt_fail(FBT_ERR_CONFIG, "CMA-ES: decomposition %d does not exist", (int)options->decomposition);
    }
    if (fbt_choice_name(fbt_cma_constants_names, (int)options->constants) == NULL) {
        return fbt_fail(FBT_ERR_CONFIG, "CMA-ES: set of constants %d does not exist", (int)options->constants);
    }
    return FBT_OK;
}

/* Raw weights, best first: ln((n+1)/2) - ln i [H] eq. 49 with the positive ones summing to 1 and the negative ones to
 * -1. mu counts the positive ones; mu_eff and mu_eff_minus are the variance effective selection masses of the two
 * sides. */
typedef struct weight_list {
    int64_t n;
    double *w;
    int64_t mu;
    double mu_eff, mu_eff_minus;
} weight_list;

static void weights_fill(weight_list *list)
{
    double positive = 0, positive_squares = 0, negative = 0, negative_squares = 0;
    list->mu = 0;
    for (int64_t i = 0; i < list->n; i++) {
        const double w = log(((double)list->n + 1) / 2) - log((double)i + 1);
        list->w[i] = w;
        if (w > 0) {
            list->mu++;
            positive += w;
            positive_squares += w * w;
        } else {
            negative -= w;
            negative_squares += w * w;
        }
    }
    for (int64_t i = 0; i < list->n; i++) {
        list->w[i] /= i < list->mu ? positive : negative > 0 ? negative : 1;
    }
    list->mu_eff = positive * positive / positive_squares;
    list->mu_eff_minus = negative > 0 ? negative * negative / negative_squares : 0;
}

/* [H] table 1, eq. 55, and [C] CMAAdaptSigmaCSA. */
static void step_size_constants(const fbt_cma_options *options, fbt_cma_parameters *p)
{
    const bool pycma = options->constants == FBT_CMA_CONSTANTS_PYCMA;
    const double d = (double)options->dimension;
    p->c_sigma = (p->mu_eff + 2) / (d + p->mu_eff + (pycma ? 3 : 5));
    double base = 1;
    if (pycma) {
        const double mirrors = options->mirrored ? 1 : 0;
        const double excess = mirrors / (0.159 * (double)options->population) - 1;
        base = 0.5 + fmin(1, excess * excess) / 2;
    }
    p->d_sigma = base + 2 * fmax(0, sqrt((p->mu_eff - 1) / (d + 1)) - 1) + p->c_sigma;
    p->max_log_step = pycma ? 1 : INFINITY;
    /* pycma refines the last term and has exact values for small d. */
    static const double exact[] = {0.7978845608028654, 1.2533141373156,    1.59576912160573,
                                   1.87997120597325,   2.1276921621409746, 2.3499640074665633};
    p->chi = pycma && options->dimension <= 6 ? exact[options->dimension - 1]
                                              : sqrt(d) * (1 - 1 / (4 * d) + 1 / ((pycma ? 26 : 21) * d * d));
}

/* [H] table 1, eq. 56 (c_c), 57 (c_1) and 58 (c_mu), [C] CMAParameters, [S]. n_weights: length of the whole list of
 * weights, on which pycma's c1 depends. */
static void covariance_constants(const fbt_cma_options *options, int64_t n_weights, fbt_cma_parameters *p)
{
    const bool pycma = options->constants == FBT_CMA_CONSTANTS_PYCMA;
    const double d = (double)options->dimension, mu_eff = p->mu_eff;
    p->lazy_gap = INFINITY;
    if (options->covariance == FBT_CMA_ISOTROPIC) {
        p->c_c = 1;
        return;
    }
    if (options->covariance == FBT_CMA_SEPARABLE) {
        p->c_c = (1 + 1 / d + mu_eff / d) / (sqrt(d) + 1 / d + 2 * mu_eff / d);
        p->c_1 = 1 / (d + 2 * sqrt(d) + mu_eff / d);
        p->c_mu = fmin(1 - p->c_1, (mu_eff + 1 / mu_eff - 1.75) / (d + 4 * sqrt(d) + mu_eff / 2));
        return;
    }
    p->c_c = (4 + mu_eff / d) / (d + 4 + 2 * mu_eff / d);
    const double c_1 = 2 / ((d + 1.3) * (d + 1.3) + mu_eff);
    const double c_mu = 2 * ((pycma ? 0.25 : 0) + mu_eff - 2 + 1 / mu_eff) / ((d + 2) * (d + 2) + mu_eff);
    p->c_1 = pycma ? fmin(1, (double)n_weights / 6) * c_1 : c_1;
    p->c_mu = fmin(1 - p->c_1, c_mu);
    /* pycma takes the gap from a c1 that counts the population instead of the weights. */
    const double gap_c_1 = pycma ? fmin(1, (double)options->population / 6) * c_1 : c_1;
    p->lazy_gap = 1 / (gap_c_1 + fmin(1 - gap_c_1, c_mu)) / d / 10;
}

/* Sum of the negative weights [H] eq. 50-53: no decay of C on the whole, no more than the positive side's information,
 * and, for the linear update, positive definite for sure. pycma leaves the last out with its exponential separable
 * update. */
static double negative_sum(const fbt_cma_options *options, const weight_list *list, const fbt_cma_parameters *p)
{
    double sum = 1 + 2 * list->mu_eff_minus / (list->mu_eff + 2);
    if (p->c_mu > 0) {
        sum = fmin(sum, 1 + p->c_1 / p->c_mu);
        if (options->covariance == FBT_CMA_FULL || options->constants == FBT_CMA_CONSTANTS_TUTORIAL) {
            sum = fmin(sum, (1 - p->c_1 - p->c_mu) / ((double)options->dimension * p->c_mu));
        }
    }
    return sum;
}

fbt_status fbt_cma_parameters_compute(const fbt_cma_options *options, fbt_cma_parameters *parameters, double *weights)
{
    fbt_status status = FBT_OK;
    weight_list list = {0};
    const int64_t n = options->population;
    FBT_TRY(fbt_cma_options_check(options));
    list.n = options->n_parents > 0 ? 2 * options->n_parents : n;
    FBT_TRY(fbt_memory_alloc(&list.w, list.n, sizeof *list.w));
    weights_fill(&list);
    *parameters = (fbt_cma_parameters){.mu = list.mu, .mu_eff = list.mu_eff};
    step_size_constants(options, parameters);
    covariance_constants(options, list.n > n ? list.n : n, parameters);

    const bool active = options->active && options->covariance != FBT_CMA_ISOTROPIC;
    const double scale = active ? negative_sum(options, &list, parameters) : 0;
    /* A population shorter than the list keeps its head and its tail, a longer one gets zeros in the middle. */
    const int64_t n_tail = n < list.n ? n - list.mu : list.n - list.mu;
    for (int64_t i = 0; i < n; i++) {
        const int64_t from_end = n - i;
        weights[i] = i < list.mu ? list.w[i] : from_end <= n_tail ? scale * list.w[list.n - from_end] : 0;
        weights[i] += 0.0; /* no negative zeros */
    }

done:
    free(list.w);
    return status;
}
