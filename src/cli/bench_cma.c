#include "cli/bench_cma.h"

#include "base/choices.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/timer.h"
#include "config/settings.h"
#include "fed/local_search.h"
#include "optim/optimiser.h"

#include <errno.h>
#include <fcntl.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_GENERATIONS = 300, LEAST_GENERATIONS = 40, VERSION_BYTES = 32, FULL_DIMENSION = 2000, USUAL_DIMENSION = 500 };

typedef struct cma_timing {
    char way[VERSION_BYTES + 24]; /* who computes, and how */
    int64_t dimension, population, n_generations;
    bool full;               /* covariance */
    double median_s, mean_s; /* of a generation's ask and tell */
} cma_timing;

/* Operations that a generation with a full covariance cannot do without: a triangular factor times lambda vectors, and
 * lambda + 1 terms added to one triangle of C. */
static double needed_flops(const cma_timing *t)
{
    return (double)(2 * t->population + 1) * (double)t->dimension * (double)t->dimension;
}

/* As many as take about as long as the usual ones. */
static int64_t count_generations(int64_t dimension)
{
    const int64_t n = N_GENERATIONS * USUAL_DIMENSION / dimension;
    return n > N_GENERATIONS ? N_GENERATIONS : n < LEAST_GENERATIONS ? LEAST_GENERATIONS : n;
}

static double weighted_squares(const double *x, int64_t d)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++) {
        sum += (double)(1 + i % 7) * x[i] * x[i];
    }
    return sum;
}

/* seconds: [n_generations], sorted here. */
static void summarise(double *seconds, cma_timing *timing)
{
    const size_t n = (size_t)timing->n_generations;
    timing->mean_s = gsl_stats_mean(seconds, 1, n);
    gsl_sort(seconds, 1, n);
    timing->median_s = gsl_stats_median_from_sorted_data(seconds, 1, n);
}

/* Searches twice as many generations, of which the second half is timed: what is learnt from makes an ask longer.
 * x: [population, d], fitness: [population], seconds: [n_generations]. */
static fbt_status search(fbt_optimiser *optimiser, int64_t n_generations, gsl_rng *rng, double *x, double *fitness,
                         double *seconds)
{
    fbt_status status = FBT_OK;
    const fbt_optimiser_options *options = fbt_optimiser_options_of(optimiser);
    for (int64_t g = 0; g < 2 * n_generations; g++) {
        const fbt_rng_stream stream = {.seed = 1, .purpose = FBT_RNG_SEARCH, .generation = (uint32_t)g};
        double start_s = fbt_timer_now_s();
        FBT_TRY(fbt_optimiser_ask(optimiser, rng, &stream, x));
        seconds[g % n_generations] = fbt_timer_now_s() - start_s;
        for (int64_t i = 0; i < options->population; i++) {
            fitness[i] = weighted_squares(x + i * options->dimension, options->dimension);
        }
        start_s = fbt_timer_now_s();
        FBT_TRY(fbt_optimiser_tell(optimiser, options->population, x, fitness));
        seconds[g % n_generations] += fbt_timer_now_s() - start_s;
    }
done:
    return status;
}

static fbt_status measure(const fbt_optimiser_options *options, const char *how, cma_timing *timing)
{
    fbt_status status = FBT_OK;
    const int64_t d = options->dimension, n = options->population;
    double *mean = NULL, *seconds = NULL, *x = NULL, *fitness = NULL;
    fbt_optimiser *optimiser = NULL;
    gsl_rng *rng = NULL;
    *timing = (cma_timing){.dimension = d, .population = n, .n_generations = count_generations(d)};
    snprintf(timing->way, sizeof timing->way, "fedbpt, %s", how);
    FBT_TRY(fbt_memory_alloc(&mean, d, sizeof *mean));
    FBT_TRY(fbt_memory_alloc(&seconds, timing->n_generations, sizeof *seconds));
    FBT_TRY(fbt_memory_alloc(&x, n * d, sizeof *x));
    FBT_TRY(fbt_memory_alloc(&fitness, n, sizeof *fitness));
    FBT_TRY(fbt_rng_new(&rng));
    for (int64_t i = 0; i < d; i++) {
        mean[i] = 1;
    }
    FBT_TRY(fbt_optimiser_new(options, mean, 1, &optimiser));
    FBT_TRY(search(optimiser, timing->n_generations, rng, x, fitness, seconds));
    summarise(seconds, timing);
done:
    fbt_optimiser_free(optimiser);
    gsl_rng_free(rng);
    free(fitness);
    free(x);
    free(seconds);
    free(mean);
    return status;
}

/* The same in Python; BLAS gets one thread before it is loaded. Prints version, median and mean. */
static const char *const pycma_program =
    "import os, sys, time, warnings\n"
    "os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')\n"
    "warnings.simplefilter('ignore')\n"
    "import cma, numpy as np\n"
    "d, n, generations = map(int, sys.argv[1:4])\n"
    "options = {'popsize': n, 'seed': 1, 'verbose': -9}\n"
    "if sys.argv[4] == 'separable':\n"
    "    options['CMA_diagonal'] = True\n"
    "if sys.argv[4] == 'VkD':\n"
    "    from cma.restricted_gaussian_sampler import GaussVkDSampler\n"
    "    options = GaussVkDSampler.extend_cma_options(options)\n"
    "search = cma.CMAEvolutionStrategy(d * [1.0], 1.0, options)\n"
    "weights, seconds = 1 + np.arange(d) % 7, []\n"
    "for _ in range(generations):\n"
    "    start = time.perf_counter(); x = search.ask(); asked = time.perf_counter() - start\n"
    "    fitness = [float(weights @ np.square(row)) for row in x]\n"
    "    start = time.perf_counter(); search.tell(x, fitness); seconds.append(asked + time.perf_counter() - start)\n"
    "print(cma.__version__.split()[0], np.median(seconds), np.mean(seconds))\n";

/* Starts the program with its output in a pipe, of which *output reads. */
static fbt_status start_python(const cma_timing *timing, const char *form, FILE **output, pid_t *process)
{
    fbt_status status = FBT_OK;
    char dimension[24], size[24], generations[24];
    const char *given = getenv("FEDBPT_PYTHON"), *python = given != NULL && given[0] != '\0' ? given : "python3";
    const char *const words[] = {python, "-P", "-c", pycma_program, dimension, size, generations, form, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];
    snprintf(dimension, sizeof dimension, "%" PRId64, timing->dimension);
    snprintf(size, sizeof size, "%" PRId64, timing->population);
    snprintf(generations, sizeof generations, "%" PRId64, timing->n_generations);
    *output = NULL;
    if (pipe2(ends, O_CLOEXEC) != 0 || posix_spawn_file_actions_init(&actions) != 0) {
        return fbt_fail(FBT_ERR_MEMORY, "no pipe to a Python can be opened");
    }
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(process, python, &actions, NULL, (char *const *)(uintptr_t)words, environ) != 0) {
        status = fbt_fail(FBT_ERR_UNSUPPORTED, "%.200s cannot be started", python);
    }
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *output = status == FBT_OK ? fdopen(ends[0], "r") : NULL;
    if (*output == NULL) {
        close(ends[0]);
    }
    return status;
}

/* Whether there is a pycma that ran. form: full, separable or VkD. */
static bool measure_pycma(int64_t dimension, int64_t population, const char *form, cma_timing *timing)
{
    FILE *output;
    pid_t process;
    char version[VERSION_BYTES];
    *timing =
        (cma_timing){.dimension = dimension, .population = population, .n_generations = count_generations(dimension)};
    if (start_python(timing, form, &output, &process) != FBT_OK) {
        fbt_error_clear();
        return false;
    }
    const bool found =
        output != NULL && fscanf(output, "%31s %lf %lf", version, &timing->median_s, &timing->mean_s) == 3;
    if (output != NULL) {
        fclose(output);
    }
    while (waitpid(process, NULL, 0) < 0 && errno == EINTR) {
    }
    if (found) {
        timing->full = strcmp(form, "full") == 0;
        snprintf(timing->way, sizeof timing->way, timing->full ? "pycma %s" : "pycma %s, %s", version, form);
    }
    return found;
}

static void report(const cma_timing *t, json_t *results)
{
    const double flops = needed_flops(t);
    if (results != NULL) {
        json_t *entry = json_pack("{ss sI sI sI sf sf}", "way", t->way, "dimension", (json_int_t)t->dimension,
                                  "population", (json_int_t)t->population, "generations", (json_int_t)t->n_generations,
                                  "seconds_median", t->median_s, "seconds_mean", t->mean_s);
        if (t->full) {
            json_object_set_new(entry, "gflop", json_real(1e-9 * flops));
        }
        json_array_append_new(results, entry);
        return;
    }
    printf("%10" PRId64 "  %-26s %9.3f %9.3f", t->population, t->way, 1e3 * t->median_s, 1e3 * t->mean_s);
    printf(t->full ? " %9.1f\n" : "\n", 1e-9 * flops / t->mean_s);
}

/* The search that was asked for; CMA-ES with each decomposition, or separable where there are too many dimensions. */
static fbt_status measure_own(const fbt_bench_search *plan, int64_t population, json_t *results)
{
    fbt_status status = FBT_OK;
    cma_timing timing;
    fbt_settings settings = {0};
    fbt_optimiser_options options;
    const bool is_cma = (fbt_optimiser_reads[plan->kind] & FBT_READS_COVARIANCE) != 0;
    FBT_TRY(fbt_settings_defaults(&settings));
    settings.fed.optimiser = plan->kind;
    if ((fbt_optimiser_reads[plan->kind] & FBT_READS_VOCABULARY) != 0) {
        settings.prompt.projection = FBT_PROJECTION_WORDS;
    }
    settings.cma.dimension = plan->dimension;
    settings.cma.population = population;
    fbt_local_search_options(&settings, &options);
    for (int k = 0; is_cma && plan->dimension <= FULL_DIMENSION && fbt_cma_decomposition_names[k] != NULL; k++) {
        options.cma.decomposition = (fbt_cma_decomposition)k;
        FBT_TRY(measure(&options, fbt_cma_decomposition_names[k], &timing));
        timing.full = true;
        report(&timing, results);
    }
    if (!is_cma || plan->dimension > FULL_DIMENSION) {
        options.cma.covariance = FBT_CMA_SEPARABLE;
        FBT_TRY(measure(&options, is_cma ? "separable" : fbt_optimiser_names[plan->kind], &timing));
        report(&timing, results);
    }
done:
    fbt_settings_clear(&settings);
    return status;
}

/* Whether there is one. */
static bool measure_theirs(const fbt_bench_search *plan, int64_t population, json_t *results)
{
    static const char *const forms[] = {"full", "separable", "VkD"};
    const bool few = plan->dimension <= FULL_DIMENSION;
    for (int i = few ? 0 : 1; i < (few ? 1 : 3); i++) {
        cma_timing timing;
        if (!measure_pycma(plan->dimension, population, forms[i], &timing)) {
            return false;
        }
        report(&timing, results);
    }
    return true;
}

fbt_status fbt_bench_cma(const fbt_bench_search *plan, int64_t n, const int64_t *populations, json_t *results)
{
    fbt_status status = FBT_OK;
    const fbt_bench_search usual = {.kind = plan->kind,
                                    .dimension = plan->dimension > 0 ? plan->dimension : USUAL_DIMENSION};
    bool pycma = true;
    if (results == NULL) {
        printf("The search itself: ask and tell in %" PRId64 " dimensions, one thread, %" PRId64
               " generations; CMA-ES with pycma's constants\n\n%10s  %-26s %9s %9s %9s\n",
               usual.dimension, count_generations(usual.dimension), "population", "computed by", "median ms", "mean ms",
               "GFLOP/s");
    }
    for (int64_t i = 0; i < n; i++) {
        FBT_TRY(measure_own(&usual, populations[i], results));
        pycma = pycma && measure_theirs(&usual, populations[i], results);
    }
    if (results == NULL) {
        printf("\nGFLOP/s: of what no full covariance can do without, a triangular factor times each candidate and a "
               "rank-one term for each, by the mean.\n%s",
               pycma ? ""
                     : "pycma is not installed: pip install cma, or name a Python that has it in FEDBPT_PYTHON.\n");
    }
done:
    return status;
}
