/* The searches beside CMA-ES against NumPy's (make_searcher_traces.py writes them from their papers, from the same
 * normal numbers): every candidate, and the mean, step size and shape behind every update, with what is kept in between
 * exported and imported again. Broken by a wrong sign, rank, rate or moment, by ties that are told apart, by an order
 * of factors or an inverse that is not one, by a candidate of another stream, by a state that a checkpoint leaves out.
 *
 *     test_searcher_traces draws     prints what that script reads */
#include "base/rng.h"
#include "optim/optimiser.h"
#include "trace.h"

#include <gsl/gsl_randist.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_GENERATIONS = 14, POPULATION = 6, DIMENSION = 13, N_SEEDS = 4, POOL_SEED = 11 };

static fbt_rng_stream stream_of(uint32_t generation)
{
    return (fbt_rng_stream){.seed = 7, .purpose = FBT_RNG_SEARCH, .round = 3, .client = 2, .generation = generation};
}

static void print_vector(gsl_rng *rng, const fbt_rng_stream *stream, const char *before)
{
    fbt_rng_seek(rng, stream);
    for (int i = 0; i < DIMENSION; i++) {
        printf("%s%.17g", i > 0 ? "," : before, gsl_ran_gaussian_ziggurat(rng, 1.0));
    }
}

static void print_draws(void)
{
    gsl_rng *rng;
    if (fbt_rng_new(&rng) != FBT_OK) {
        abort();
    }
    printf("{\"normal\":");
    for (uint32_t g = 0; g < N_GENERATIONS; g++) {
        for (uint32_t c = 0; c < POPULATION; c++) {
            fbt_rng_stream stream = stream_of(g);
            stream.candidate = c;
            print_vector(rng, &stream, c > 0 ? "],[" : g > 0 ? "]],[[" : "[[[");
        }
    }
    printf("]]],\"seeds\":");
    for (uint32_t g = 0; g < N_GENERATIONS; g++) {
        for (uint32_t c = 0; c < POPULATION; c += 2) {
            fbt_rng_stream stream = stream_of(g);
            stream.candidate = c;
            fbt_rng_seek(rng, &stream);
            printf("%s%lu", c > 0 ? "," : g > 0 ? "],[" : "[[", gsl_rng_uniform_int(rng, N_SEEDS));
        }
    }
    printf("]],\"pool\":");
    for (uint32_t j = 0; j < N_SEEDS; j++) {
        const fbt_rng_stream stream = {.seed = POOL_SEED, .purpose = FBT_RNG_SERVER, .candidate = j};
        print_vector(rng, &stream, j > 0 ? "],[" : "[[");
    }
    printf("]]}\n");
    gsl_rng_free(rng);
}

static fbt_optimiser *make(const json_t *search, const json_t *trace)
{
    const json_t *p = trace_member(search, "parameters");
    double mean[DIMENSION];
    fbt_optimiser *optimiser;
    const int kind = fbt_choice_find(fbt_optimiser_names, json_string_value(trace_member(search, "optimiser")));
    assert_true(kind >= 0);
    const fbt_optimiser_options options = {
        .kind = (fbt_optimiser_kind)kind,
        .dimension = DIMENSION,
        .population = POPULATION,
        .es = {.learning_rate = json_number_value(json_object_get(p, "learning_rate")),
               .momentum = json_number_value(json_object_get(p, "momentum")),
               .weight_decay = json_number_value(json_object_get(p, "weight_decay")),
               .elite = json_number_value(json_object_get(p, "elite")),
               .smoothing = json_number_value(json_object_get(p, "smoothing")),
               .deviation_smoothing = json_number_value(json_object_get(p, "deviation_smoothing")),
               .seeds = json_integer_value(json_object_get(p, "seeds")),
               .pool_seed = POOL_SEED}};
    for (int i = 0; i < DIMENSION; i++) {
        mean[i] = trace_number(trace, "start");
    }
    assert_int_equal(fbt_optimiser_new(&options, mean, trace_number(trace, "step_size"), &optimiser), FBT_OK);
    return optimiser;
}

/* The same search in another optimiser, by way of a checkpoint. */
static fbt_optimiser *move(fbt_optimiser *from, const json_t *search, const json_t *trace)
{
    fbt_array_list arrays = {0};
    fbt_optimiser *to = make(search, trace);
    assert_int_equal(fbt_optimiser_export(from, "x_", &arrays), FBT_OK);
    assert_int_equal(fbt_optimiser_import(to, "x_", arrays.items), FBT_OK);
    fbt_array_list_clear(&arrays);
    fbt_optimiser_free(from);
    return to;
}

static void expect_candidates(const json_t *generation, const double *x)
{
    double expected[DIMENSION];
    for (size_t c = 0; c < POPULATION; c++) {
        trace_vector(json_array_get(trace_member(generation, "candidates"), c), DIMENSION, expected);
        for (int i = 0; i < DIMENSION; i++) {
            const double error = fabs(x[c * DIMENSION + (size_t)i] - expected[i]);
            if (!(error <= 1e-10 * (1 + fabs(expected[i])))) {
                fail_msg("candidate %zu, element %d is %.3g off", c, i, error);
            }
        }
    }
}

static void replay_generation(fbt_optimiser *optimiser, gsl_rng *rng, uint32_t g, const json_t *generation)
{
    double x[POPULATION * DIMENSION], fitness[POPULATION], shape[DIMENSION];
    const fbt_rng_stream stream = stream_of(g);
    assert_int_equal(fbt_optimiser_ask(optimiser, rng, &stream, x), FBT_OK);
    expect_candidates(generation, x);
    trace_vector(trace_member(generation, "fitness"), POPULATION, fitness);
    assert_int_equal(fbt_optimiser_tell(optimiser, POPULATION, x, fitness), FBT_OK);
    trace_expect_vector(generation, "mean", fbt_optimiser_mean(optimiser), DIMENSION);
    trace_expect_number(generation, "step_size", fbt_optimiser_step_size(optimiser));
    const int64_t n_shape = fbt_optimiser_n_shape(fbt_optimiser_options_of(optimiser));
    if (n_shape > 0) {
        assert_int_equal(fbt_optimiser_get_shape(optimiser, shape), FBT_OK);
        trace_expect_vector(generation, "shape", shape, n_shape);
    }
}

static void searches_are_their_papers(void **state)
{
    (void)state;
    json_error_t error;
    json_t *trace = json_load_file(FBT_TEST_DATA "/searcher_traces.json", 0, &error);
    const json_t *search, *generation;
    size_t k, g, n_searches = 0;
    gsl_rng *rng;
    if (trace == NULL) {
        fail_msg("searcher_traces.json: line %d: %s", error.line, error.text);
    }
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    json_array_foreach(trace_member(trace, "searches"), k, search)
    {
        fbt_optimiser *optimiser = make(search, trace);
        print_message("%s\n", json_string_value(trace_member(search, "optimiser")));
        assert_int_equal(json_array_size(trace_member(search, "generations")), N_GENERATIONS);
        json_array_foreach(trace_member(search, "generations"), g, generation)
        {
            replay_generation(optimiser, rng, (uint32_t)g, generation);
            optimiser = g % 5 == 2 ? move(optimiser, search, trace) : optimiser;
        }
        fbt_optimiser_free(optimiser);
        n_searches++;
    }
    assert_int_equal(n_searches, 14);
    print_message("largest relative difference %.2g\n", trace_largest_error);
    gsl_rng_free(rng);
    json_decref(trace);
}

static fbt_optimiser *named(const char *name)
{
    const double mean[DIMENSION] = {0};
    fbt_optimiser *optimiser;
    const fbt_optimiser_options options = {
        .kind = (fbt_optimiser_kind)fbt_choice_find(fbt_optimiser_names, name),
        .dimension = DIMENSION,
        .population = POPULATION,
        .es = {.learning_rate = 1e6, .elite = 0.5, .smoothing = 1, .deviation_smoothing = 1}};
    assert_int_equal(fbt_optimiser_new(&options, mean, 1, &optimiser), FBT_OK);
    return optimiser;
}

/* Broken by a slope of infinite losses, by a mean that grows without anybody's notice, by foreign solutions taken for
 * own ones, by the checkpoint of another search that is taken, and by a distribution without width that is sampled
 * from. */
static void searches_refuse(void **state)
{
    (void)state;
    double x[POPULATION * DIMENSION] = {0}, fitness[POPULATION] = {1, INFINITY, 2, 3, 4, 5};
    fbt_array_list arrays = {0};
    fbt_optimiser_health health;
    fbt_optimiser *spsa = named("spsa"), *cem = named("cem"), *lm_ma = named("lm-ma");
    assert_int_equal(fbt_optimiser_tell(spsa, POPULATION, x, fitness), FBT_ERR_NUMERIC);
    assert_int_equal(fbt_optimiser_tell(cem, POPULATION, x, fitness), FBT_OK); /* all alike: no width is left */
    fbt_optimiser_health_get(cem, &health);
    assert_true(health.n_resets == 1 && health.condition == 1 && fbt_optimiser_step_size(cem) == 1);
    fitness[1] = NAN;
    assert_int_equal(fbt_optimiser_tell(lm_ma, POPULATION, x, fitness), FBT_ERR_NUMERIC);
    assert_int_equal(fbt_optimiser_tell_foreign(lm_ma, POPULATION, x, fitness), FBT_ERR_UNSUPPORTED);
    assert_int_equal(fbt_optimiser_export(spsa, "x_", &arrays), FBT_OK);
    assert_int_equal(fbt_optimiser_import(cem, "x_", arrays.items), FBT_ERR_DATA);
    fitness[1] = 2;
    for (int64_t i = 0; i < DIMENSION; i++) {
        x[i] = 1e300;
    }
    assert_int_equal(fbt_optimiser_tell(spsa, POPULATION, x, fitness), FBT_OK);
    fitness[0] = 1e300;
    assert_int_equal(fbt_optimiser_tell(spsa, POPULATION, x, fitness), FBT_ERR_NUMERIC);
    fbt_error_clear();
    fbt_array_list_clear(&arrays);
    fbt_optimiser_free(spsa);
    fbt_optimiser_free(cem);
    fbt_optimiser_free(lm_ma);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "draws") == 0) {
        print_draws();
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(searches_are_their_papers),
        cmocka_unit_test(searches_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
