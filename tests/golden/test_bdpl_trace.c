/* BDPL against NumPy (make_bdpl_trace.py writes it from the paper, from the same uniform numbers): the words that are
 * drawn, and all probabilities behind every update, with the state exported and imported again in between. Broken by a
 * gradient of another sign, weight or length, by words that two candidates share and that count twice, by a projection
 * that leaves a sum other than 1, by a candidate of another stream.
 *
 *     test_bdpl_trace draws     prints the uniform numbers for that script */
#include "base/rng.h"
#include "optim/optimiser.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_GENERATIONS = 20, POPULATION = 6, N_PLACES = 4, N_WORDS = 7 };

static fbt_rng_stream stream_of(uint32_t generation)
{
    return (fbt_rng_stream){.seed = 11, .purpose = FBT_RNG_SEARCH, .round = 2, .client = 1, .generation = generation};
}

static void print_draws(void)
{
    gsl_rng *rng;
    if (fbt_rng_new(&rng) != FBT_OK) {
        abort();
    }
    for (uint32_t g = 0; g < N_GENERATIONS; g++) {
        for (uint32_t c = 0; c < POPULATION; c++) {
            fbt_rng_stream stream = stream_of(g);
            stream.candidate = c;
            fbt_rng_seek(rng, &stream);
            for (int i = 0; i < N_PLACES; i++) {
                const char *before = i > 0 ? "," : c > 0 ? "],[" : g > 0 ? "]],[[" : "[[[";
                printf("%s%.17g", before, gsl_rng_uniform(rng));
            }
        }
    }
    printf("]]]\n");
    gsl_rng_free(rng);
}

static fbt_optimiser *make(double learning_rate)
{
    fbt_optimiser *optimiser;
    const double mean[N_PLACES] = {0};
    const fbt_optimiser_options options = {.kind = (fbt_optimiser_kind)fbt_choice_find(fbt_optimiser_names, "bdpl"),
                                           .dimension = N_PLACES,
                                           .population = POPULATION,
                                           .n_words = N_WORDS,
                                           .es = {.learning_rate = learning_rate}};
    assert_int_equal(fbt_optimiser_new(&options, mean, 1, &optimiser), FBT_OK);
    return optimiser;
}

static fbt_optimiser *move(fbt_optimiser *from, double learning_rate)
{
    fbt_array_list arrays = {0};
    fbt_optimiser *to = make(learning_rate);
    assert_int_equal(fbt_optimiser_export(from, "x_", &arrays), FBT_OK);
    assert_int_equal(fbt_optimiser_import(to, "x_", arrays.items), FBT_OK);
    fbt_array_list_clear(&arrays);
    fbt_optimiser_free(from);
    return to;
}

static void replay_generation(fbt_optimiser *optimiser, gsl_rng *rng, uint32_t g, const json_t *generation)
{
    double x[POPULATION * N_PLACES], expected[N_PLACES], fitness[POPULATION], shape[N_PLACES * N_WORDS];
    const fbt_rng_stream stream = stream_of(g);
    assert_int_equal(fbt_optimiser_ask(optimiser, rng, &stream, x), FBT_OK);
    for (size_t c = 0; c < POPULATION; c++) {
        trace_vector(json_array_get(trace_member(generation, "candidates"), c), N_PLACES, expected);
        assert_memory_equal(x + c * N_PLACES, expected, sizeof expected);
    }
    trace_vector(trace_member(generation, "fitness"), POPULATION, fitness);
    assert_int_equal(fbt_optimiser_tell(optimiser, POPULATION, x, fitness), FBT_OK);
    trace_vector(trace_member(generation, "mean"), N_PLACES, expected);
    assert_memory_equal(fbt_optimiser_mean(optimiser), expected, sizeof expected);
    assert_int_equal(fbt_optimiser_get_shape(optimiser, shape), FBT_OK);
    trace_expect_vector(generation, "probabilities", shape, N_PLACES * N_WORDS);
}

static void it_is_its_paper(void **state)
{
    (void)state;
    json_error_t error;
    json_t *trace = json_load_file(FBT_TEST_DATA "/bdpl_trace.json", 0, &error);
    const json_t *search, *generation;
    size_t k, g;
    gsl_rng *rng;
    if (trace == NULL) {
        fail_msg("bdpl_trace.json: line %d: %s", error.line, error.text);
    }
    assert_int_equal(trace_integer(trace, "n_words"), N_WORDS);
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    json_array_foreach(trace_member(trace, "searches"), k, search)
    {
        const double rate = trace_number(search, "learning_rate");
        fbt_optimiser *optimiser = make(rate);
        assert_int_equal(json_array_size(trace_member(search, "generations")), N_GENERATIONS);
        json_array_foreach(trace_member(search, "generations"), g, generation)
        {
            replay_generation(optimiser, rng, (uint32_t)g, generation);
            optimiser = g % 5 == 2 ? move(optimiser, rate) : optimiser;
        }
        fbt_optimiser_free(optimiser);
    }
    assert_int_equal(k, 2);
    print_message("largest relative difference %.2g\n", trace_largest_error);
    gsl_rng_free(rng);
    json_decref(trace);
}

/* Numbers that rounding, noise and means of clients have made of probabilities are brought back to such: by hand,
 * (0.9, 0.5, -0.2, 0, ...) has 0.2 too much for its two largest. Equal ones name the first word. */
static void shapes_become_probabilities(void **state)
{
    (void)state;
    fbt_optimiser *optimiser = make(0.1);
    double shape[N_PLACES * N_WORDS] = {0.9, 0.5, -0.2}, got[N_PLACES * N_WORDS];
    shape[N_WORDS + 3] = shape[N_WORDS + 5] = 1;
    assert_int_equal(fbt_optimiser_set_shape(optimiser, shape), FBT_OK);
    assert_int_equal(fbt_optimiser_get_shape(optimiser, got), FBT_OK);
    assert_true(fabs(got[0] - 0.7) < 1e-15);
    assert_true(fabs(got[1] - 0.3) < 1e-15);
    assert_true(got[2] == 0 && got[3] == 0);
    assert_true(fabs(got[N_WORDS + 3] - 0.5) < 1e-15);
    assert_true(fabs(got[2 * N_WORDS] - 1.0 / N_WORDS) < 1e-15);
    const double mean[N_PLACES] = {0, 3, 0, 0};
    assert_memory_equal(fbt_optimiser_mean(optimiser), mean, sizeof mean);
    shape[1] = (double)NAN;
    assert_int_equal(fbt_optimiser_set_shape(optimiser, shape), FBT_ERR_NUMERIC);
    fbt_error_clear();
    fbt_optimiser_free(optimiser);
}

/* Broken by a number between two words that is taken for one, by infinite losses, by the means of others, and by a
 * checkpoint whose probabilities have another sum. */
static void it_refuses(void **state)
{
    (void)state;
    double x[POPULATION * N_PLACES] = {0}, fitness[POPULATION] = {1, 2, 3, 4, 5, 6};
    fbt_array_list arrays = {0};
    fbt_optimiser *optimiser = make(0.1);
    assert_int_equal(fbt_optimiser_tell_foreign(optimiser, POPULATION, x, fitness), FBT_ERR_UNSUPPORTED);
    x[5] = 0.5;
    assert_int_equal(fbt_optimiser_tell(optimiser, POPULATION, x, fitness), FBT_ERR_ARG);
    x[5] = N_WORDS;
    assert_int_equal(fbt_optimiser_tell(optimiser, POPULATION, x, fitness), FBT_ERR_ARG);
    x[5] = 0;
    fitness[0] = INFINITY;
    assert_int_equal(fbt_optimiser_tell(optimiser, POPULATION, x, fitness), FBT_ERR_NUMERIC);
    assert_int_equal(fbt_optimiser_export(optimiser, "x_", &arrays), FBT_OK);
    double *reals = (double *)(uintptr_t)arrays.items[1].values;
    reals[arrays.items[1].n_values - 1] += 0.25;
    assert_int_equal(fbt_optimiser_import(optimiser, "x_", arrays.items), FBT_ERR_DATA);
    fbt_error_clear();
    fbt_array_list_clear(&arrays);
    fbt_optimiser_free(optimiser);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "draws") == 0) {
        print_draws();
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_its_paper),
        cmocka_unit_test(shapes_become_probabilities),
        cmocka_unit_test(it_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
