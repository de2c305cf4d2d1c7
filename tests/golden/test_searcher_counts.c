/* Evaluations to a target against other people's programs (make_searcher_counts.py): the median of 21 seeds has to be
 * within a quarter of theirs, and every run has to get there. Broken by a rate, a rank or a decay that costs or saves
 * more than that on any function: what a replay of fixed populations may not show. */
#include "base/rng.h"
#include "optim/optimiser.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_RUNS = 21, MAX_DIMENSION = 40, MAX_POPULATION = 100, LIMIT = 100000 };

static const double tolerance = 0.25;

static double sphere(const double *x, int64_t d)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++) {
        sum += x[i] * x[i];
    }
    return sum;
}

static double ellipsoid(const double *x, int64_t d)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++) {
        sum += pow(10, 2 * (double)i / (double)(d - 1)) * x[i] * x[i];
    }
    return sum;
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

static const struct {
    const char *name;
    double (*f)(const double *x, int64_t d);
} problems[] = {{"sphere", sphere}, {"ellipsoid", ellipsoid}, {"Rosenbrock", rosenbrock}};

typedef struct count_case {
    fbt_optimiser_options options;
    double (*f)(const double *x, int64_t d);
    double start, step_size, target;
    bool of_mean; /* the target is the mean's, not the best candidate's */
} count_case;

static count_case read_case(const json_t *entry)
{
    const json_t *p = trace_member(entry, "parameters");
    const char *problem = json_string_value(trace_member(entry, "problem"));
    const int kind = fbt_choice_find(fbt_optimiser_names, json_string_value(trace_member(entry, "optimiser")));
    assert_true(kind >= 0);
    count_case c = {
        .options = {.kind = (fbt_optimiser_kind)kind,
                    .dimension = trace_integer(entry, "dimension"),
                    .population = trace_integer(entry, "population"),
                    .es = {.learning_rate = json_number_value(json_object_get(p, "learning_rate")),
                           .momentum = json_number_value(json_object_get(p, "momentum")),
                           .weight_decay = json_number_value(json_object_get(p, "weight_decay")),
                           .elite = json_number_value(json_object_get(p, "elite")),
                           .smoothing = json_number_value(json_object_get(p, "smoothing")),
                           .deviation_smoothing = json_number_value(json_object_get(p, "deviation_smoothing")),
                           .seeds = json_integer_value(json_object_get(p, "seeds"))}},
        .start = trace_number(entry, "start"),
        .step_size = trace_number(entry, "step_size"),
        .target = trace_number(entry, "target"),
        .of_mean = strcmp(json_string_value(trace_member(entry, "criterion")), "mean") == 0};
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        c.f = strcmp(problems[i].name, problem) == 0 ? problems[i].f : c.f;
    }
    assert_non_null(c.f);
    assert_true(c.options.dimension <= MAX_DIMENSION && c.options.population <= MAX_POPULATION);
    return c;
}

/* Evaluations until the target is reached; LIMIT: it is not. */
static int64_t run(const count_case *c, uint64_t seed)
{
    double x[MAX_POPULATION * MAX_DIMENSION], fitness[MAX_POPULATION], mean[MAX_DIMENSION], best = INFINITY;
    const int64_t d = c->options.dimension, n = c->options.population;
    fbt_optimiser_options options = c->options;
    fbt_optimiser *optimiser;
    gsl_rng *rng;
    int64_t n_evaluations = 0;
    options.es.pool_seed = seed;
    for (int64_t i = 0; i < d; i++) {
        mean[i] = c->start;
    }
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    assert_int_equal(fbt_optimiser_new(&options, mean, c->step_size, &optimiser), FBT_OK);
    for (uint32_t g = 0; best > c->target && n_evaluations < LIMIT; g++, n_evaluations += n) {
        const fbt_rng_stream stream = {.seed = seed, .purpose = FBT_RNG_SEARCH, .generation = g};
        assert_int_equal(fbt_optimiser_ask(optimiser, rng, &stream, x), FBT_OK);
        for (int64_t i = 0; i < n; i++) {
            fitness[i] = c->f(x + i * d, d);
            best = c->of_mean ? best : fmin(best, fitness[i]);
        }
        assert_int_equal(fbt_optimiser_tell(optimiser, n, x, fitness), FBT_OK);
        best = c->of_mean ? c->f(fbt_optimiser_mean(optimiser), d) : best;
    }
    fbt_optimiser_free(optimiser);
    gsl_rng_free(rng);
    return n_evaluations;
}

static int ascending(const void *a, const void *b)
{
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    return i < j ? -1 : i > j;
}

/* Whether our median is another than theirs. */
static int is_wrong(const json_t *entry)
{
    const count_case c = read_case(entry);
    const double expected = trace_number(entry, "median");
    int64_t counts[N_RUNS];
    for (int k = 0; k < N_RUNS; k++) {
        counts[k] = run(&c, (uint64_t)k + 1);
    }
    qsort(counts, N_RUNS, sizeof counts[0], ascending);
    const double excess = (double)counts[N_RUNS / 2] / expected - 1;
    const int wrong = fabs(excess) > tolerance || counts[N_RUNS - 1] >= LIMIT;
    print_message("%-10s %-10s %7lld (%lld to %lld), %s %.0f, %+.1f%%%s\n",
                  json_string_value(trace_member(entry, "optimiser")),
                  json_string_value(trace_member(entry, "problem")), (long long)counts[N_RUNS / 2],
                  (long long)counts[0], (long long)counts[N_RUNS - 1], json_string_value(trace_member(entry, "by")),
                  expected, 100 * excess, wrong ? "  WRONG" : "");
    return wrong;
}

static void evaluation_counts(void **state)
{
    (void)state;
    json_error_t error;
    json_t *table = json_load_file(FBT_TEST_DATA "/searcher_counts.json", 0, &error);
    const json_t *entry;
    size_t k;
    int n_wrong = 0;
    if (table == NULL) {
        fail_msg("searcher_counts.json: line %d: %s", error.line, error.text);
    }
    json_array_foreach(trace_member(table, "counts"), k, entry)
    {
        n_wrong += is_wrong(entry);
    }
    assert_true(k >= 18);
    assert_int_equal(n_wrong, 0);
    json_decref(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evaluation_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
