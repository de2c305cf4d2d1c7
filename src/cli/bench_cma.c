#include "cli/bench_cma.h"

#include "base/choices.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/timer.h"
#include "optim/cma.h"

#include <errno.h>
#include <fcntl.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DIMENSION = 500, N_GENERATIONS = 300, VERSION_BYTES = 32 };

typedef struct cma_timing {
    char way[VERSION_BYTES + 8]; /* who computes, and how */
    int64_t population;
    double median_s, mean_s; /* of a generation's ask and tell */
} cma_timing;

/* Operations that a generation cannot do without: a triangular factor times lambda vectors, and lambda + 1 terms added
 * to one triangle of C. */
static double needed_flops(int64_t population)
{
    return (double)(2 * population + 1) * DIMENSION * DIMENSION;
}

static double weighted_squares(const double *x)
{
    double sum = 0;
    for (int64_t i = 0; i < DIMENSION; i++) {
        sum += (double)(1 + i % 7) * x[i] * x[i];
    }
    return sum;
}

/* seconds: [N_GENERATIONS], sorted here. */
static void summarise(double *seconds, cma_timing *timing)
{
    timing->mean_s = gsl_stats_mean(seconds, 1, N_GENERATIONS);
    gsl_sort(seconds, 1, N_GENERATIONS);
    timing->median_s = gsl_stats_median_from_sorted_data(seconds, 1, N_GENERATIONS);
}

/* x: [population, d], fitness: [population]. */
static fbt_status search(fbt_cma *cma, gsl_rng *rng, double *x, double *fitness, double *seconds)
{
    fbt_status status = FBT_OK;
    const int64_t n = fbt_cma_options_of(cma)->population;
    for (uint32_t g = 0; g < N_GENERATIONS; g++) {
        double start_s = fbt_timer_now_s();
        FBT_TRY(fbt_cma_ask_all(cma, rng, &(fbt_rng_stream){.seed = 1, .purpose = FBT_RNG_SEARCH, .generation = g}, x));
        seconds[g] = fbt_timer_now_s() - start_s;
        for (int64_t i = 0; i < n; i++) {
            fitness[i] = weighted_squares(x + i * DIMENSION);
        }
        start_s = fbt_timer_now_s();
        FBT_TRY(fbt_cma_tell(cma, n, x, fitness));
        seconds[g] += fbt_timer_now_s() - start_s;
    }
done:
    return status;
}

static fbt_status measure(int64_t population, fbt_cma_decomposition decomposition, cma_timing *timing)
{
    fbt_status status = FBT_OK;
    const fbt_cma_options options = {.dimension = DIMENSION,
                                     .population = population,
                                     .decomposition = decomposition,
                                     .constants = FBT_CMA_CONSTANTS_PYCMA,
                                     .active = true,
                                     .mirrored = population < 6};
    double mean[DIMENSION], seconds[N_GENERATIONS], *x = NULL, *fitness = NULL;
    fbt_cma *cma = NULL;
    gsl_rng *rng = NULL;
    for (int i = 0; i < DIMENSION; i++) {
        mean[i] = 1;
    }
    *timing = (cma_timing){.population = population};
    snprintf(timing->way, sizeof timing->way, "fedbpt, %s", fbt_cma_decomposition_names[decomposition]);
    FBT_TRY(fbt_memory_alloc(&x, population * DIMENSION, sizeof *x));
    FBT_TRY(fbt_memory_alloc(&fitness, population, sizeof *fitness));
    FBT_TRY(fbt_rng_new(&rng));
    FBT_TRY(fbt_cma_new(&options, mean, 1, &cma));
    FBT_TRY(search(cma, rng, x, fitness, seconds));
    summarise(seconds, timing);
done:
    fbt_cma_free(cma);
    gsl_rng_free(rng);
    free(fitness);
    free(x);
    return status;
}

/* The same in Python; BLAS gets one thread before it is loaded. Prints version, median and mean. */
static const char *const pycma_program =
    "import os, sys, time, warnings\n"
    "os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')\n"
    "warnings.simplefilter('ignore')\n"
    "import cma, numpy as np\n"
    "d, n, generations = map(int, sys.argv[1:])\n"
    "search = cma.CMAEvolutionStrategy(d * [1.0], 1.0, {'popsize': n, 'seed': 1, 'verbose': -9})\n"
    "weights, seconds = 1 + np.arange(d) % 7, []\n"
    "for _ in range(generations):\n"
    "    start = time.perf_counter(); x = search.ask(); asked = time.perf_counter() - start\n"
    "    fitness = [float(weights @ np.square(row)) for row in x]\n"
    "    start = time.perf_counter(); search.tell(x, fitness); seconds.append(asked + time.perf_counter() - start)\n"
    "print(cma.__version__.split()[0], np.median(seconds), np.mean(seconds))\n";

/* Starts the program with its output in a pipe, of which *output reads. */
static fbt_status start_python(int64_t population, FILE **output, pid_t *process)
{
    fbt_status status = FBT_OK;
    char dimension[16], size[24], generations[16];
    const char *given = getenv("FEDBPT_PYTHON"), *python = given != NULL && given[0] != '\0' ? given : "python3";
    const char *const words[] = {python, "-P", "-c", pycma_program, dimension, size, generations, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];
    snprintf(dimension, sizeof dimension, "%d", DIMENSION);
    snprintf(size, sizeof size, "%" PRId64, population);
    snprintf(generations, sizeof generations, "%d", N_GENERATIONS);
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

/* Whether there is a pycma that ran. */
static bool measure_pycma(int64_t population, cma_timing *timing)
{
    FILE *output;
    pid_t process;
    char version[VERSION_BYTES];
    if (start_python(population, &output, &process) != FBT_OK) {
        fbt_error_clear();
        return false;
    }
    *timing = (cma_timing){.population = population};
    const bool found =
        output != NULL && fscanf(output, "%31s %lf %lf", version, &timing->median_s, &timing->mean_s) == 3;
    if (output != NULL) {
        fclose(output);
    }
    while (waitpid(process, NULL, 0) < 0 && errno == EINTR) {
    }
    if (found) {
        snprintf(timing->way, sizeof timing->way, "pycma %s", version);
    }
    return found;
}

static void report(const cma_timing *t, json_t *results)
{
    const double flops = needed_flops(t->population);
    if (results != NULL) {
        json_array_append_new(results,
                              json_pack("{ss si sI si sf sf sf}", "way", t->way, "dimension", DIMENSION, "population",
                                        (json_int_t)t->population, "generations", N_GENERATIONS, "seconds_median",
                                        t->median_s, "seconds_mean", t->mean_s, "gflop", 1e-9 * flops));
        return;
    }
    printf("%10" PRId64 "  %-24s %9.3f %9.3f %9.1f\n", t->population, t->way, 1e3 * t->median_s, 1e3 * t->mean_s,
           1e-9 * flops / t->mean_s);
}

fbt_status fbt_bench_cma(int64_t n, const int64_t *populations, json_t *results)
{
    fbt_status status = FBT_OK;
    bool pycma = true;
    if (results == NULL) {
        printf("CMA-ES itself: ask and tell in %d dimensions, full covariance, pycma's constants, one thread, %d "
               "generations\n\n%10s  %-24s %9s %9s %9s\n",
               DIMENSION, N_GENERATIONS, "population", "computed by", "median ms", "mean ms", "GFLOP/s");
    }
    for (int64_t i = 0; i < n; i++) {
        cma_timing timing;
        for (int k = 0; fbt_cma_decomposition_names[k] != NULL; k++) {
            FBT_TRY(measure(populations[i], (fbt_cma_decomposition)k, &timing));
            report(&timing, results);
        }
        pycma = pycma && measure_pycma(populations[i], &timing);
        if (pycma) {
            report(&timing, results);
        }
    }
    if (results == NULL) {
        printf("\nGFLOP/s: of what no way can do without, a triangular factor times each candidate and a rank-one term "
               "for each, by the mean.\n%s",
               pycma ? ""
                     : "pycma is not installed: pip install cma, or name a Python that has it in FEDBPT_PYTHON.\n");
    }
done:
    return status;
}
