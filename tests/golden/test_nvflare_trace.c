/* The protocol nvflare against a recorded run of what the official code computes with pycma 4.4 (make_pycma_trace.py).
 *
 * The round function itself runs, local searches included. Only what pycma drew at random and what the losses were come
 * from the trace: candidates and fitnesses are put in where the round asks for them. Every round goes on from our own
 * state, so differences would add up. Broken by: step sizes noted after a generation instead of before it, a search
 * that does not start from the server's C or the handed-out step size, an upload in another client's slot, the best
 * half as parents, sigma' over other counts, another ratio for the next step size, a server below 6 clients without
 * the damping of mirrored sampling. */
#include "base/rng.h"
#include "fed/local_search.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>

/* Facts for the wrapped functions. */
static struct {
    int64_t d, n_clients, population, n_generations;
    const json_t *round;
    int64_t n_asked, n_scored; /* candidates, and populations of all clients, in this round */
    double server_step_size;   /* sigma' */
} replay;

static const json_t *client_of(int64_t k)
{
    return json_array_get(trace_member(replay.round, "clients"), (size_t)k);
}

static const json_t *generation_of(int64_t k, int64_t generation)
{
    return json_array_get(trace_member(client_of(k), "generations"), (size_t)generation);
}

static void recorded_candidate(int64_t k, int64_t generation, int64_t candidate, double *x)
{
    const json_t *candidates = trace_member(generation_of(k, generation), "candidates");
    trace_vector(json_array_get(candidates, (size_t)candidate), replay.d, x);
}

fbt_status __real_fbt_cma_ask_all(fbt_cma *cma, gsl_rng *rng, const fbt_rng_stream *stream, double *x);
fbt_status __wrap_fbt_cma_ask_all(fbt_cma *cma, gsl_rng *rng, const fbt_rng_stream *stream, double *x);
fbt_status __wrap_fbt_cma_ask_all(fbt_cma *cma, gsl_rng *rng, const fbt_rng_stream *stream, double *x)
{
    const fbt_status status = __real_fbt_cma_ask_all(cma, rng, stream, x);
    const int64_t k = replay.n_asked / replay.population % replay.n_clients;
    const int64_t generation = replay.n_asked / (replay.population * replay.n_clients);
    assert_int_equal(fbt_cma_options_of(cma)->population, replay.population);
    trace_expect_number(generation_of(k, generation), "step_size_before", fbt_cma_step_size(cma));
    for (int64_t candidate = 0; candidate < replay.population; candidate++) {
        recorded_candidate(k, generation, candidate, x + candidate * replay.d);
    }
    replay.n_asked += replay.population;
    return status;
}

fbt_status __real_fbt_cma_set_step_size(fbt_cma *cma, double step_size);
fbt_status __wrap_fbt_cma_set_step_size(fbt_cma *cma, double step_size);
fbt_status __wrap_fbt_cma_set_step_size(fbt_cma *cma, double step_size)
{
    replay.server_step_size = step_size;
    return __real_fbt_cma_set_step_size(cma, step_size);
}

static void score_population(const fbt_population *p, int64_t generation)
{
    const int64_t k = p->client->id;
    double fitness[TRACE_MAX_POPULATION], x[TRACE_MAX_DIMENSION];
    assert_int_equal(p->n_candidates, replay.population);
    trace_vector(trace_member(generation_of(k, generation), "fitness"), p->n_candidates, fitness);
    for (int64_t c = 0; c < p->n_candidates; c++) {
        recorded_candidate(k, generation, c, x);
        assert_memory_equal(p->z + c * replay.d, x, (size_t)replay.d * sizeof *x);
        p->fitness[c] = (fbt_fitness){.fitness = fitness[c]};
    }
}

static void score_mean(const fbt_population *p)
{
    const json_t *client = client_of(p->client->id);
    assert_int_equal(p->n_candidates, 1);
    trace_expect_vector(client, "mean", p->z, replay.d);
    p->fitness[0] = (fbt_fitness){.fitness = trace_number(client, "fitness")};
}

int __wrap_fbt_evaluator_n_streams(const fbt_evaluator *evaluator);
int __wrap_fbt_evaluator_n_streams(const fbt_evaluator *evaluator)
{
    (void)evaluator;
    return 1;
}

fbt_status __wrap_fbt_scoring_start(fbt_scoring *scoring);
fbt_status __wrap_fbt_scoring_start(fbt_scoring *scoring)
{
    assert_int_equal(scoring->d, replay.d);
    assert_int_equal(scoring->n_populations, replay.n_clients);
    return FBT_OK;
}

fbt_status __wrap_fbt_scoring_finish(fbt_scoring *scoring);
fbt_status __wrap_fbt_scoring_finish(fbt_scoring *scoring)
{
    const bool final_means = replay.n_scored == replay.n_generations;
    for (int64_t i = 0; i < scoring->n_populations; i++) {
        final_means ? score_mean(&scoring->populations[i])
                    : score_population(&scoring->populations[i], replay.n_scored);
    }
    replay.n_scored++;
    return FBT_OK;
}

static void expect_uploads(const fbt_messages *up)
{
    for (int64_t k = 0; k < up->n; k++) {
        const json_t *client = client_of(k), *last = generation_of(k, replay.n_generations - 1);
        trace_expect_vector(client, "mean", fbt_messages_at(up, "mean", k), replay.d);
        trace_expect_vector(client, "step_sizes", fbt_messages_at(up, "step_size", k), replay.n_generations);
        trace_expect_number(last, "step_size", *fbt_messages_at(up, "step_size_end", k));
        trace_expect_number(client, "fitness", *fbt_messages_at(up, "fitness", k));
    }
}

static void expect_server(fbt_server *server)
{
    const int64_t d = replay.d;
    const json_t *round = replay.round;
    fbt_cma *cma = fbt_optimiser_cma_of(server->optimiser);
    double covariance[TRACE_MAX_DIMENSION * TRACE_MAX_DIMENSION], diagonal[TRACE_MAX_DIMENSION];
    trace_expect_number(round, "server_step_size", replay.server_step_size);
    trace_expect_vector(round, "server_mean", fbt_cma_mean(cma), d);
    trace_expect_number(round, "server_step_size_after", fbt_cma_step_size(cma));
    trace_expect_vector(round, "path_sigma", fbt_cma_path_sigma(cma), d);
    trace_expect_vector(round, "path_c", fbt_cma_path_c(cma), d);
    assert_int_equal(fbt_cma_covariance_diagonal(cma, diagonal), FBT_OK);
    assert_int_equal(fbt_cma_covariance_full(cma, covariance), FBT_OK);
    trace_expect_vector(round, "covariance_diagonal", diagonal, d);
    trace_expect_vector(round, "covariance_first_row", covariance, d);
    trace_expect_number(round, "next_step_size", server->step_size_local);
}

static void replay_round(fbt_round *round)
{
    trace_expect_vector(replay.round, "mean", fbt_optimiser_mean(round->server->optimiser), replay.d);
    trace_expect_number(replay.round, "step_size", round->server->step_size_local);
    replay.n_asked = replay.n_scored = 0;
    const fbt_protocol protocol = fbt_protocol_of(round->settings);
    assert_int_equal(fbt_protocol_round(&protocol, round), FBT_OK);
    assert_int_equal(replay.n_asked, replay.n_clients * replay.population * replay.n_generations);
    expect_uploads(round->up);
    expect_server(round->server);
}

/* The server as the protocol makes it, but for pycma's start slightly off the identity. */
static void make_server(const fbt_settings *settings, const json_t *run, fbt_server *server)
{
    double covariance[TRACE_MAX_DIMENSION * TRACE_MAX_DIMENSION] = {0}, diagonal[TRACE_MAX_DIMENSION];
    fbt_optimiser_options options;
    fbt_protocol_of(settings).rule->server_options(settings, replay.n_clients, &options);
    assert_int_equal(options.cma.mirrored, json_is_true(trace_member(run, "mirrored_server")));
    assert_int_equal(fbt_server_init(server, &options, settings->cma.sigma), FBT_OK);
    trace_vector(trace_member(run, "start_covariance_diagonal"), replay.d, diagonal);
    for (int64_t i = 0; i < replay.d; i++) {
        covariance[i * replay.d + i] = diagonal[i];
    }
    assert_int_equal(fbt_cma_set_covariance(fbt_optimiser_cma_of(server->optimiser), covariance), FBT_OK);
}

static fbt_settings settings_of(const json_t *run)
{
    fbt_settings settings = {0};
    settings.fed.clients = trace_integer(run, "clients");
    settings.fed.local_generations = trace_integer(run, "generations");
    settings.fed.participation = 1;
    settings.fed.protocol = FBT_PROTOCOL_NVFLARE;
    settings.fed.wire = FBT_WIRE_FLOAT64;
    settings.cma.population = trace_integer(run, "population");
    settings.cma.dimension = trace_integer(run, "dimension");
    settings.cma.sigma = 1;
    settings.cma.covariance = FBT_CMA_FULL;
    settings.cma.decomposition = FBT_CMA_EIGEN;
    settings.cma.constants = FBT_CMA_CONSTANTS_PYCMA;
    settings.cma.active = true;
    return settings;
}

static void replay_run(const json_t *run, const fbt_comm *world)
{
    const fbt_settings settings = settings_of(run);
    fbt_client clients[TRACE_MAX_POPULATION] = {0};
    int64_t ids[TRACE_MAX_POPULATION];
    double n_samples[TRACE_MAX_POPULATION], phase_s[FBT_N_PHASES] = {0};
    fbt_server server = {0};
    fbt_schema schema_up, schema_down;
    fbt_messages up = {0}, down = {0};
    gsl_rng *rng;
    size_t r;
    static const int owner[TRACE_MAX_POPULATION] = {0};
    replay.d = settings.cma.dimension;
    replay.n_clients = settings.fed.clients;
    replay.population = settings.cma.population;
    replay.n_generations = settings.fed.local_generations;
    assert_true(replay.d <= TRACE_MAX_DIMENSION && replay.n_clients <= TRACE_MAX_POPULATION);
    for (int64_t k = 0; k < replay.n_clients; k++) {
        clients[k].id = clients[k].slot = ids[k] = k;
        n_samples[k] = 1;
    }
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    const fbt_protocol protocol = fbt_protocol_of(&settings);
    fbt_protocol_schemas(&protocol, &settings, &schema_up, &schema_down);
    assert_int_equal(fbt_messages_init(&up, &schema_up, FBT_WIRE_FLOAT64, replay.n_clients), FBT_OK);
    assert_int_equal(fbt_messages_init(&down, &schema_down, FBT_WIRE_FLOAT64, 1), FBT_OK);
    make_server(&settings, run, &server);
    json_array_foreach(trace_member(run, "rounds"), r, replay.round)
    {
        replay_round(&(fbt_round){.settings = &settings,
                                  .world = world,
                                  .fills_slots = true,
                                  .clients = clients,
                                  .n_clients = replay.n_clients,
                                  .participants = ids,
                                  .n_participants = replay.n_clients,
                                  .n_samples = n_samples,
                                  .owner = owner,
                                  .number = (uint32_t)r + 1,
                                  .rng = rng,
                                  .phase_s = phase_s,
                                  .server = &server,
                                  .up = &up,
                                  .down = &down});
    }
    fbt_server_clear(&server);
    fbt_messages_clear(&up);
    fbt_messages_clear(&down);
    gsl_rng_free(rng);
}

static void nvflare_trace(void **state)
{
    json_t *trace = trace_load();
    size_t k;
    const json_t *run;
    json_array_foreach(trace_member(trace, "runs"), k, run)
    {
        trace_largest_error = 0;
        replay_run(run, *state);
        printf("run \"%s\": largest relative error %.2g\n", json_string_value(trace_member(run, "name")),
               trace_largest_error);
    }
    json_decref(trace);
}

int main(int argc, char **argv)
{
    fbt_comm *world;
    if (fbt_comm_start(&argc, &argv, &world) != FBT_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(nvflare_trace, world)};
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    fbt_comm_stop(world);
    return n_failed;
}
