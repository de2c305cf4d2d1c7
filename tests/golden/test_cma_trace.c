/* CMA-ES against a recorded federated run of pycma 4.4 (make_pycma_trace.py has the layout and the protocol).
 *
 * Every client's search and every server update is replayed from the recorded candidates and fitnesses, each round
 * going on from our own state, so differences would add up. Broken by: a factor that is refreshed a generation too
 * early or late, paths that survive a restart or do not survive a round, a restart from the server's outdated factor,
 * mirrors that count as bad directions, unclipped foreign solutions, any wrong constant. */
#include "base/rng.h"
#include "optim/cma.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A mirror lies on the line through the mean that the previous worst solution gave it: our own ask agrees with the
 * recorded one up to its random length. */
static void expect_mirror(fbt_cma *cma, gsl_rng *rng, const double *recorded, int64_t d)
{
    double ours[TRACE_MAX_DIMENSION], dot = 0, a = 0, b = 0;
    const double *mean = fbt_cma_mean(cma);
    fbt_rng_seek(rng, &(fbt_rng_stream){.purpose = FBT_RNG_SEARCH});
    assert_int_equal(fbt_cma_ask(cma, 0, rng, ours), FBT_OK);
    for (int64_t i = 0; i < d; i++) {
        dot += (ours[i] - mean[i]) * (recorded[i] - mean[i]);
        a += (ours[i] - mean[i]) * (ours[i] - mean[i]);
        b += (recorded[i] - mean[i]) * (recorded[i] - mean[i]);
    }
    assert_true(fabs(dot / sqrt(a * b) - 1) < 1e-10);
}

static void replay_generation(fbt_cma *cma, gsl_rng *rng, const json_t *generation)
{
    const int64_t d = fbt_cma_options_of(cma)->dimension, n = fbt_cma_options_of(cma)->population;
    double x[TRACE_MAX_POPULATION * TRACE_MAX_DIMENSION], fitness[TRACE_MAX_POPULATION];
    trace_expect_number(generation, "step_size_before", fbt_cma_step_size(cma));
    for (int64_t i = 0; i < n; i++) {
        trace_vector(json_array_get(trace_member(generation, "candidates"), (size_t)i), d, x + i * d);
    }
    trace_vector(trace_member(generation, "fitness"), n, fitness);
    if (json_array_size(trace_member(generation, "mirrored")) > 0) {
        expect_mirror(cma, rng, x, d);
    }
    assert_int_equal(fbt_cma_tell(cma, n, x, fitness), FBT_OK);
    trace_expect_vector(generation, "mean", fbt_cma_mean(cma), d);
    trace_expect_number(generation, "step_size", fbt_cma_step_size(cma));
}

static void replay_client(fbt_cma *local, fbt_cma *server, gsl_rng *rng, double step_size, const json_t *client)
{
    size_t g;
    const json_t *generation;
    const int64_t d = fbt_cma_options_of(local)->dimension;
    assert_int_equal(fbt_cma_restart_from(local, server, step_size), FBT_OK);
    json_array_foreach(trace_member(client, "generations"), g, generation)
    {
        replay_generation(local, rng, generation);
    }
    trace_expect_vector(client, "path_sigma", fbt_cma_path_sigma(local), d);
    trace_expect_vector(client, "path_c", fbt_cma_path_c(local), d);
    trace_expect_vector(client, "mean", fbt_cma_mean(local), d);
}

static void expect_covariance(fbt_cma *server, const json_t *round, int64_t d)
{
    double covariance[TRACE_MAX_DIMENSION * TRACE_MAX_DIMENSION], diagonal[TRACE_MAX_DIMENSION];
    assert_int_equal(fbt_cma_covariance_diagonal(server, diagonal), FBT_OK);
    assert_int_equal(fbt_cma_covariance_full(server, covariance), FBT_OK);
    trace_expect_vector(round, "covariance_diagonal", diagonal, d);
    trace_expect_vector(round, "covariance_first_row", covariance, d);
}

/* One round: all clients, then the server; returns the clients' next step size. */
static double replay_round(fbt_cma *server, fbt_cma **locals, gsl_rng *rng, const json_t *run, const json_t *round,
                           double step_size)
{
    const int64_t d = fbt_cma_options_of(server)->dimension, n_clients = trace_integer(run, "clients");
    double uploads[TRACE_MAX_POPULATION * TRACE_MAX_DIMENSION], fitness[TRACE_MAX_POPULATION], squares = 0;
    trace_expect_vector(round, "mean", fbt_cma_mean(server), d);
    trace_expect_number(round, "step_size", step_size);
    for (int64_t k = 0; k < n_clients; k++) {
        const json_t *client = json_array_get(trace_member(round, "clients"), (size_t)k);
        const json_t *step_sizes = trace_member(client, "step_sizes");
        replay_client(locals[k], server, rng, step_size, client);
        memcpy(uploads + k * d, fbt_cma_mean(locals[k]), (size_t)d * sizeof *uploads);
        fitness[k] = trace_number(client, "fitness");
        for (size_t g = 0; g < json_array_size(step_sizes); g++) {
            squares += pow(json_number_value(json_array_get(step_sizes, g)), 2);
        }
    }
    const double before = sqrt(squares / (double)(n_clients * trace_integer(run, "parents_local")));
    trace_expect_number(round, "server_step_size", before);
    assert_int_equal(fbt_cma_set_step_size(server, before), FBT_OK);
    assert_int_equal(fbt_cma_tell_foreign(server, n_clients, uploads, fitness, NULL), FBT_OK);
    trace_expect_vector(round, "server_mean", fbt_cma_mean(server), d);
    trace_expect_number(round, "server_step_size_after", fbt_cma_step_size(server));
    trace_expect_vector(round, "path_sigma", fbt_cma_path_sigma(server), d);
    trace_expect_vector(round, "path_c", fbt_cma_path_c(server), d);
    expect_covariance(server, round, d);
    const double next = fbt_cma_step_size(server) / before * step_size;
    trace_expect_number(round, "next_step_size", next);
    return next;
}

static void set_start(fbt_cma *server, const json_t *run, int64_t d)
{
    double covariance[TRACE_MAX_DIMENSION * TRACE_MAX_DIMENSION] = {0}, diagonal[TRACE_MAX_DIMENSION];
    trace_vector(trace_member(run, "start_covariance_diagonal"), d, diagonal);
    for (int64_t i = 0; i < d; i++) {
        covariance[i * d + i] = diagonal[i];
    }
    assert_int_equal(fbt_cma_set_covariance(server, covariance), FBT_OK);
}

/* Work that the lazy rule allows in a run whose server and clients decompose every second time. */
static void expect_lazy(const json_t *run, const fbt_cma *server, fbt_cma *const *locals)
{
    fbt_cma_statistics work;
    const int64_t rounds = (int64_t)json_array_size(trace_member(run, "rounds"));
    fbt_cma_statistics_get(server, &work);
    /* One of its own every other round, and one for the clients each round that C has changed before. */
    assert_true(work.n_decompositions <= (rounds - 1) / 2 + rounds - 1);
    fbt_cma_statistics_get(locals[0], &work);
    assert_int_equal(work.n_decompositions, rounds * ((trace_integer(run, "generations") - 1) / 2));
}

static void replay_run(const json_t *run)
{
    const int64_t d = trace_integer(run, "dimension"), n_clients = trace_integer(run, "clients");
    const double zero[TRACE_MAX_DIMENSION] = {0};
    fbt_cma_options options = {.dimension = d,
                               .population = n_clients,
                               .n_parents = n_clients,
                               .covariance = FBT_CMA_FULL,
                               .constants = FBT_CMA_CONSTANTS_PYCMA,
                               .active = true,
                               .mirrored = json_is_true(trace_member(run, "mirrored_server"))};
    fbt_cma *server, *locals[TRACE_MAX_POPULATION];
    gsl_rng *rng;
    size_t r;
    const json_t *round;
    double step_size = 1;
    assert_true(d <= TRACE_MAX_DIMENSION && n_clients <= TRACE_MAX_POPULATION);
    assert_true(trace_integer(run, "population") <= TRACE_MAX_POPULATION);
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    assert_int_equal(fbt_cma_new(&options, zero, step_size, &server), FBT_OK);
    set_start(server, run, d);
    options.population = trace_integer(run, "population");
    options.n_parents = 0;
    options.mirrored = json_is_true(trace_member(run, "mirrored_local"));
    for (int64_t k = 0; k < n_clients; k++) {
        assert_int_equal(fbt_cma_new(&options, zero, step_size, &locals[k]), FBT_OK);
    }
    json_array_foreach(trace_member(run, "rounds"), r, round)
    {
        step_size = replay_round(server, locals, rng, run, round, step_size);
    }
    if (strcmp(json_string_value(trace_member(run, "name")), "lazy") == 0) {
        expect_lazy(run, server, locals);
    }
    for (int64_t k = 0; k < n_clients; k++) {
        fbt_cma_free(locals[k]);
    }
    fbt_cma_free(server);
    gsl_rng_free(rng);
}

static void federated_runs(void **state)
{
    (void)state;
    json_t *trace = trace_load();
    size_t k;
    const json_t *run;
    json_array_foreach(trace_member(trace, "runs"), k, run)
    {
        trace_largest_error = 0;
        replay_run(run);
        printf("run \"%s\": largest relative error %.2g\n", json_string_value(trace_member(run, "name")),
               trace_largest_error);
    }
    json_decref(trace);
}

/* pycma's separable mode has an update of its own. Broken by the usual one, by p_c in other units, by the diagonal's
 * constants. */
static void separable_searches(void **state)
{
    (void)state;
    json_t *trace = trace_load();
    size_t k, g;
    const json_t *search, *generation;
    double mean[TRACE_MAX_DIMENSION], diagonal[TRACE_MAX_DIMENSION];
    json_array_foreach(trace_member(trace, "searches"), k, search)
    {
        const int64_t d = trace_integer(search, "dimension");
        const fbt_cma_options options = {.dimension = d,
                                         .population = trace_integer(search, "population"),
                                         .covariance = FBT_CMA_SEPARABLE,
                                         .constants = FBT_CMA_CONSTANTS_PYCMA,
                                         .active = json_is_true(trace_member(search, "active"))};
        fbt_cma *cma;
        trace_largest_error = 0;
        trace_vector(trace_member(search, "mean"), d, mean);
        assert_int_equal(fbt_cma_new(&options, mean, trace_number(search, "step_size"), &cma), FBT_OK);
        json_array_foreach(trace_member(search, "generations"), g, generation)
        {
            replay_generation(cma, NULL, generation);
        }
        trace_expect_vector(search, "path_sigma", fbt_cma_path_sigma(cma), d);
        trace_expect_vector(search, "path_c", fbt_cma_path_c(cma), d);
        assert_int_equal(fbt_cma_covariance_diagonal(cma, diagonal), FBT_OK);
        trace_expect_vector(search, "covariance_diagonal", diagonal, d);
        printf("search \"%s\": largest relative error %.2g\n", json_string_value(trace_member(search, "name")),
               trace_largest_error);
        fbt_cma_free(cma);
    }
    json_decref(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(federated_runs),
        cmocka_unit_test(separable_searches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
