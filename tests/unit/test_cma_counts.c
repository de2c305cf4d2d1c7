/* CMA-ES against pycma 4.4: evaluations to f <= 1e-9 on the standard test functions.
 *
 *     test_cma_counts {PRESET DECOMPOSITION DIMENSION}...
 *
 * For each function and mode (active, not active, separable), with each named set of constants, decomposition and
 * dimension: the median of 11 runs has to be within 15% of pycma's median (start 3 and step size 2, Rosenbrock 0 and
 * 0.1; default population; no tolerances), and every run has to get there. Broken by a wrong weight, learning rate,
 * damping, path or negative update that costs or saves more than that on any function. optim.cmake says what is run in
 * which build. */
#include "base/rng.h"
#include "optim/cma.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N_RUNS = 11, MAX_DIMENSION = 40, MAX_POPULATION = 15 };

typedef double (*objective)(const double *x, int64_t d);

static double sum_squares(const double *x, int64_t first, int64_t d)
{
    double sum = 0;
    for (int64_t i = first; i < d; i++) {
        sum += x[i] * x[i];
    }
    return sum;
}

static double sphere(const double *x, int64_t d)
{
    return sum_squares(x, 0, d);
}

static double ellipsoid(const double *x, int64_t d)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++) {
        sum += pow(10, 6 * (double)i / (double)(d - 1)) * x[i] * x[i];
    }
    return sum;
}

static double tablet(const double *x, int64_t d)
{
    return 1e6 * x[0] * x[0] + sum_squares(x, 1, d);
}

static double cigar(const double *x, int64_t d)
{
    return x[0] * x[0] + 1e6 * sum_squares(x, 1, d);
}

static double rosenbrock(const double *x, int64_t d)
{
    double sum = 0;
    for (int64_t i = 0; i + 1 < d; i++) {
        const double a = x[i] * x[i] - x[i + 1], b = x[i] - 1;
        sum += 100 * a * a + b * b;
    }
    return sum;
}

typedef enum mode { ACTIVE, PLAIN, SEPARABLE, N_MODES } mode;
static const char *const mode_names[] = {"active", "not active", "separable"};

typedef struct problem {
    const char *name;
    objective f;
    double start, step_size;
    int counts[3][N_MODES]; /* pycma's medians for 10, 20 and 40 dimensions; 0: none */
} problem;

static const problem problems[] = {
    {"sphere", sphere, 3, 2, {{1650, 1610, 1350}, {3120, 3012, 2628}, {5745, 5805, 5115}}},
    {"ellipsoid", ellipsoid, 3, 2, {{4330, 5780, 2400}, {13296, 18180, 4932}, {49080, 66420, 10230}}},
    {"tablet", tablet, 3, 2, {{3280, 5510, 1960}, {7860, 14976, 3660}, {21375, 43035, 6825}}},
    {"cigar", cigar, 3, 2, {{4100, 4430, 2520}, {8460, 8532, 5028}, {16560, 16425, 9570}}},
    {"Rosenbrock", rosenbrock, 0, 0.1, {{4960, 5840, 0}, {16644, 20148, 0}, {61575, 78120, 0}}},
};
enum { N_PROBLEMS = sizeof problems / sizeof problems[0] };

/* Evaluations until a candidate is good enough; 0 if there are too many. */
static int64_t run(const problem *p, const fbt_cma_options *options, uint64_t seed, int64_t max_evaluations)
{
    double x[MAX_POPULATION * MAX_DIMENSION], fitness[MAX_POPULATION], mean[MAX_DIMENSION];
    const int64_t d = options->dimension, n = options->population;
    fbt_cma *cma;
    gsl_rng *rng;
    double best = INFINITY;
    int64_t n_evaluations = 0;
    for (int64_t i = 0; i < d; i++) {
        mean[i] = p->start;
    }
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    assert_int_equal(fbt_cma_new(options, mean, p->step_size, &cma), FBT_OK);
    fbt_rng_seek(rng, &(fbt_rng_stream){.seed = seed, .purpose = FBT_RNG_SEARCH});
    for (; best > 1e-9 && n_evaluations < max_evaluations; n_evaluations += n) {
        for (int64_t i = 0; i < n; i++) {
            assert_int_equal(fbt_cma_ask(cma, i, rng, x + i * d), FBT_OK);
            fitness[i] = p->f(x + i * d, d);
            best = fmin(best, fitness[i]);
        }
        assert_int_equal(fbt_cma_tell(cma, n, x, fitness), FBT_OK);
    }
    fbt_cma_free(cma);
    gsl_rng_free(rng);
    return best <= 1e-9 ? n_evaluations : 0;
}

static int ascending(const void *a, const void *b)
{
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    return i < j ? -1 : i > j;
}

typedef struct strategy {
    fbt_cma_constants constants;
    fbt_cma_decomposition decomposition;
} strategy;

/* Median evaluations; a failed run counts as endless. */
static int64_t median(const problem *p, const strategy *s, mode m, int64_t d, int64_t max_evaluations)
{
    int64_t counts[N_RUNS];
    const fbt_cma_options options = {
        .dimension = d,
        .population = 4 + (int64_t)floor(3 * log((double)d)),
        .covariance = m == SEPARABLE ? FBT_CMA_SEPARABLE : FBT_CMA_FULL,
        .decomposition = s->decomposition,
        .constants = s->constants,
        .active = m != PLAIN,
    };
    for (int k = 0; k < N_RUNS; k++) {
        counts[k] = run(p, &options, (uint64_t)k + 1, max_evaluations);
        counts[k] = counts[k] == 0 ? INT64_MAX : counts[k];
    }
    qsort(counts, N_RUNS, sizeof counts[0], ascending);
    assert_true(counts[N_RUNS - 1] < INT64_MAX);
    return counts[N_RUNS / 2];
}

static int dimension_index(int64_t d)
{
    assert_true(d == 10 || d == 20 || d == 40);
    return d == 10 ? 0 : d == 20 ? 1 : 2;
}

/* Every entry of the table for one dimension; the program fails at the end so that a log shows all entries. */
static int count_wrong(int64_t d, const strategy *s)
{
    int n_wrong = 0;
    for (int k = 0; k < N_PROBLEMS; k++) {
        for (mode m = 0; m < N_MODES; m++) {
            const int64_t expected = problems[k].counts[dimension_index(d)][m];
            if (expected == 0 || (m == SEPARABLE && s->decomposition != FBT_CMA_EIGEN)) {
                continue;
            }
            const int64_t got = median(&problems[k], s, m, d, 4 * expected);
            const double excess = (double)got / (double)expected - 1;
            const int wrong = fabs(excess) > 0.15;
            printf("%-8s %-8s %lld-D %-10s %-10s %7lld, pycma %6lld, %+6.1f%%%s\n",
                   fbt_cma_constants_names[s->constants], fbt_cma_decomposition_names[s->decomposition], (long long)d,
                   problems[k].name, mode_names[m], (long long)got, (long long)expected, 100 * excess,
                   wrong ? "  WRONG" : "");
            n_wrong += wrong;
        }
    }
    return n_wrong;
}

static int n_arguments;
static char **arguments;

static void evaluation_counts(void **state)
{
    (void)state;
    int n_wrong = 0;
    assert_true(n_arguments > 0 && n_arguments % 3 == 0);
    for (int k = 0; k < n_arguments; k += 3) {
        const int constants = fbt_choice_find(fbt_cma_constants_names, arguments[k]);
        const int decomposition = fbt_choice_find(fbt_cma_decomposition_names, arguments[k + 1]);
        assert_true(constants >= 0 && decomposition >= 0);
        n_wrong += count_wrong(strtol(arguments[k + 2], NULL, 10),
                               &(strategy){(fbt_cma_constants)constants, (fbt_cma_decomposition)decomposition});
    }
    assert_int_equal(n_wrong, 0);
}

int main(int argc, char **argv)
{
    n_arguments = argc - 1;
    arguments = argv + 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evaluation_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
