/* The server uses what was sent: rounds whose updates are made again, by hand, from what the run file has of the
 * participants' messages; the ledger; a protocol and an optimiser that are in no list. */
#include "base/memory.h"
#include "fed/local_search.h"
#include "toy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_CLIENTS = 10, MAX_DIMENSION = 64 };

/* Aggregates the row's messages as the protocol's server does, from the state in the federation's checkpoint. */
static void aggregate_by_hand(const toy_alone *a, fbt_server *server)
{
    const fbt_settings *s = &a->problem.settings;
    const fbt_protocol protocol = fbt_protocol_of(s);
    fbt_schema schema_up, schema_down;
    fbt_messages up, down;
    fbt_protocol_schemas(&protocol, s, &schema_up, &schema_down);
    assert_int_equal(fbt_messages_init(&up, &schema_up, FBT_WIRE_FLOAT64, s->fed.clients), FBT_OK);
    assert_int_equal(fbt_messages_init(&down, &schema_down, FBT_WIRE_FLOAT64, 1), FBT_OK);
    for (int64_t k = 0; k < s->fed.clients; k++) {
        fbt_messages_put(&up, "mean", k, a->row.client_mean + k * s->cma.dimension);
        fbt_messages_put(&up, "step_size", k, a->row.client_step_size + k * s->fed.local_generations);
        fbt_messages_put_one(&up, "fitness", k, a->row.client_fitness[k]);
        fbt_messages_put_one(&up, "step_size_end", k, 1); /* the run file does not have it */
    }
    assert_int_equal(protocol.rule->aggregate(&(fbt_round){
                         .settings = s, .n_participants = s->fed.clients, .server = server, .up = &up, .down = &down}),
                     FBT_OK);
    fbt_messages_clear(&up);
    fbt_messages_clear(&down);
}

static void make_server(const toy_alone *a, fbt_server *server)
{
    const fbt_settings *s = &a->problem.settings;
    const fbt_array *checkpoint;
    fbt_optimiser_options options;
    fbt_protocol_of(s).rule->server_options(s, s->fed.clients, &options);
    *server = (fbt_server){0};
    assert_int_equal(fbt_server_init(server, &options, 1), FBT_OK);
    assert_int_equal(fbt_federation_checkpoint(a->federation, &checkpoint), FBT_OK);
    assert_int_equal(fbt_server_import(server, "", checkpoint), FBT_OK);
}

static bool is_float(double value)
{
    return value == (double)(float)value;
}

/* Three rounds: every number that a client sends is one of float32, the first step size is the float32 of the one that
 * it was given, and the server's mean is, bit for bit, what its update makes of exactly these numbers. Broken by an
 * update that uses the doubles, by a download that is not rounded. */
static void check_rounded(const char *protocol, const char *covariance, const fbt_comm *world)
{
    toy_alone a;
    assert_int_equal(
        toy_alone_start(
            &a, (const char *const[]){protocol, covariance, "fed.wire=float32", "run.client_means=true", NULL}, world),
        FBT_OK);
    const fbt_settings *s = &a.problem.settings;
    const int64_t d = s->cma.dimension, n = s->fed.local_generations;
    int n_unrounded = 0;
    for (uint32_t round = 1; round <= 3; round++) {
        const double given = a.row.step_size_local;
        fbt_server server;
        make_server(&a, &server);
        assert_int_equal(fbt_federation_round(a.federation, round, false, &a.row), FBT_OK);
        aggregate_by_hand(&a, &server);
        assert_memory_equal(a.row.z, fbt_optimiser_mean(server.optimiser), (size_t)d * sizeof *a.row.z);
        for (int64_t k = 0; k < s->fed.clients; k++) {
            assert_true(a.row.client_step_size[k * n] == (double)(float)given);
            for (int64_t i = 0; i < d; i++) {
                assert_true(is_float(a.row.client_mean[k * d + i]));
                n_unrounded += !is_float(a.row.z[i]);
            }
        }
        fbt_server_clear(&server);
    }
    assert_true(n_unrounded > 0); /* the server itself goes on in double */
    toy_alone_stop(&a);
}

static void server_uses_what_was_sent(void **state)
{
    check_rounded("fed.protocol=nvflare", "cma.covariance=full", *state);
    check_rounded("fed.protocol=nvflare", "cma.covariance=separable", *state);
    check_rounded("fed.protocol=paper", "cma.covariance=full", *state);
    check_rounded("fed.protocol=fedavg-bbt", "cma.covariance=isotropic", *state);
}

/* Bytes of a round by hand: d = 6, I = 3, lambda = 4, 4 clients; a full C has 21 numbers. */
static void ledger(void **state)
{
    static const struct {
        const char *protocol, *covariance;
        int64_t up, down; /* numbers of a participant */
    } cases[] = {
        {"fed.protocol=nvflare", "cma.covariance=full", 6 + 3 + 1, 6 + 1 + 21},
        {"fed.protocol=paper", "cma.covariance=separable", 6 + 3 + 1, 6 + 1 + 6},
        {"fed.protocol=fedavg-bbt", "cma.covariance=full", 6 + 1 + 21, 6 + 1 + 21},
        {"fed.protocol=fedavg-bbt", "cma.covariance=isotropic", 6 + 1, 6 + 1},
        {"fed.protocol=synchronous", "cma.covariance=full", 3 * 4, 3 * 4},
        {"fed.ranking=improvement", "cma.covariance=full", 6 + 3 + 1, 6 + 1 + 21},
    };
    static const char *const wires[] = {"fed.wire=float32", "fed.wire=float64"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int w = 0; w < 2; w++) {
            toy_alone a;
            int64_t up, down;
            const int64_t value_bytes = w == 0 ? 4 : 8;
            assert_int_equal(
                toy_alone_start(&a, (const char *const[]){cases[i].protocol, cases[i].covariance, wires[w], NULL},
                                *state),
                FBT_OK);
            fbt_protocol_bytes(&a.problem.settings, &up, &down);
            assert_int_equal(up, cases[i].up * value_bytes);
            assert_int_equal(down, cases[i].down * value_bytes);
            for (uint32_t round = 1; round <= 2; round++) {
                assert_int_equal(fbt_federation_round(a.federation, round, false, &a.row), FBT_OK);
                assert_int_equal(a.row.bytes_up, 4 * up);
                assert_int_equal(a.row.bytes_down, 4 * down);
            }
            toy_alone_stop(&a);
        }
    }
}

/* C with the block 1, 1 - 1e-10: condition 2e10, but singular once it is rounded to float32. The round goes on from
 * C = identity and says so. Broken by an error, by clients that sample from what they were not sent. */
static void shapes_that_do_not_survive(void **state)
{
    static const char *const wires[] = {"fed.wire=float32", "fed.wire=float64"};
    for (int w = 0; w < 2; w++) {
        toy_alone a;
        fbt_server server;
        fbt_array_list checkpoint = {0};
        double shape[MAX_DIMENSION * MAX_DIMENSION] = {0};
        assert_int_equal(
            toy_alone_start(&a, (const char *const[]){"fed.protocol=nvflare", "cma.covariance=full", wires[w], NULL},
                            *state),
            FBT_OK);
        make_server(&a, &server);
        for (int64_t i = 0; i < a.problem.settings.cma.dimension; i++) {
            shape[i * (i + 1) / 2 + i] = 1;
        }
        shape[1] = 1 - 1e-10; /* row 1, column 0 */
        assert_int_equal(fbt_optimiser_set_shape(server.optimiser, shape), FBT_OK);
        assert_int_equal(fbt_server_export(&server, "", &checkpoint), FBT_OK);
        assert_int_equal(fbt_federation_restore(a.federation, checkpoint.items, &FBT_NO_BEST_ROUND), FBT_OK);
        assert_int_equal(fbt_federation_round(a.federation, 1, false, &a.row), FBT_OK);
        assert_int_equal(a.row.n_resets, w == 0 ? 1 : 0);
        assert_true(w == 0 ? a.row.client_condition[0] < 1e3 : a.row.client_condition[0] > 1e9);
        fbt_array_list_clear(&checkpoint);
        fbt_server_clear(&server);
        toy_alone_stop(&a);
    }
}

/* A protocol refuses by name what it cannot run. */
static void protocols_check_their_settings(void **state)
{
    static const struct {
        const char *assignments[5];
        const char *sentence; /* its start; NULL: it runs */
    } cases[] = {
        {{"fed.clients=1", "fed.protocol=nvflare"}, "fed.clients: protocol nvflare ranks"},
        {{"fed.protocol=paper", "fed.participation=0.25"}, "fed.clients: protocol paper ranks"},
        {{"fed.protocol=paper", "fed.participation=0.5"}, NULL},
        {{"fed.clients=1", "fed.protocol=synchronous"}, NULL},
        {{"fed.clients=1", "fed.protocol=fedavg-bbt"}, NULL},
        {{"fed.clients=1", "fed.protocol=nvflare", "fed.aggregation=average"}, NULL},
        {{"fed.clients=1", "fed.protocol=synchronous", "fed.client_work=local_search", "fed.aggregation=official"},
         "fed.weighting: samples, but fed.aggregation official"},
        {{"fed.protocol=nvflare", "fed.client_work=shared_population"},
         "fed.aggregation: official has no use for what clients of fed.client_work shared_population"},
        {{"fed.protocol=synchronous", "fed.aggregation=best_half"},
         "fed.aggregation: best_half has no use for what clients of fed.client_work shared_population"},
        {{"fed.protocol=paper", "fed.weighting=samples"}, "fed.weighting: samples, but fed.aggregation best_half"},
        {{"fed.protocol=fedavg-bbt", "fed.ranking=improvement"},
         "fed.ranking: improvement, but fed.aggregation average ranks nobody"},
        {{"fed.protocol=paper", "fed.ranking=improvement"}, NULL},
        {{"fed.protocol=feedsign"},
         "fed.aggregation: majority votes on pairs of opposite candidates, which fed.optimiser cma"},
        {{"fed.protocol=feedsign", "fed.optimiser=spsa", "fed.client_work=local_search"},
         "fed.aggregation: majority has no use for"},
        {{"fed.protocol=feedsign", "fed.optimiser=spsa", "fed.quantise_bits=8"}, "fed.quantise_bits: clients of"},
        {{"fed.protocol=feedsign", "fed.optimiser=spsa", "privacy.clip=1"},
         "privacy.clip: the server of fed.protocol feedsign"},
        {{"fed.protocol=feedsign", "fed.optimiser=spsa", "fed.weighting=samples"},
         "fed.weighting: samples, but fed.aggregation majority"},
        {{"fed.protocol=feedsign", "fed.optimiser=spsa", "fed.clients=1"}, NULL},
        {{"fed.protocol=paper", "fed.optimiser=kseed"}, "fed.optimiser: kseed learns from its own candidates alone"},
        {{"fed.protocol=fedavg-bbt", "fed.optimiser=kseed", "cma.norm_bound=1"}, "cma.norm_bound: the mean of"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        toy_problem problem;
        toy_problem_init(&problem, cases[i].assignments);
        const fbt_status status = fbt_protocol_check(&problem.settings);
        assert_int_equal(status, cases[i].sentence == NULL ? FBT_OK : FBT_ERR_CONFIG);
        if (cases[i].sentence != NULL) {
            assert_ptr_equal(strstr(fbt_error_message(), cases[i].sentence), fbt_error_message());
        }
        fbt_error_clear();
        toy_problem_clear(&problem);
    }
}

/* Broken by a round of one client's message, laid open as the sum of itself. */
static void least_reports(void **state)
{
    static const struct {
        const char *assignments[3];
        int64_t n;
    } cases[] = {{{"fed.protocol=nvflare"}, 2},
                 {{"fed.protocol=synchronous"}, 1},
                 {{"fed.protocol=synchronous", "fed.secure_aggregation=true"}, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        toy_problem problem;
        toy_problem_init(&problem, cases[i].assignments);
        assert_int_equal(fbt_protocol_least_reports(&problem.settings), cases[i].n);
        toy_problem_clear(&problem);
    }
}

/* ---- An optimiser that no list names ---- */

/* An optimiser that only counts: all of its interface is in this file. */
typedef struct counter {
    double mean[MAX_DIMENSION], step_size;
    int64_t n_tells;
} counter;

static fbt_status counter_new(const fbt_optimiser_options *options, const double *mean, double step_size, void **self)
{
    counter *c = NULL;
    const fbt_status status = fbt_memory_alloc(&c, 1, sizeof *c);
    *self = c;
    if (status == FBT_OK) {
        memcpy(c->mean, mean, (size_t)options->dimension * sizeof *mean);
        c->step_size = step_size;
    }
    return status;
}

static fbt_status counter_tell(void *self, int64_t n, const double *x, const double *fitness)
{
    (void)n;
    (void)x;
    (void)fitness;
    ((counter *)self)->n_tells++;
    return FBT_OK;
}

static double counter_step_size(const void *self)
{
    return ((const counter *)self)->step_size;
}

static fbt_status counter_set_step_size(void *self, double step_size)
{
    ((counter *)self)->step_size = step_size;
    return FBT_OK;
}

static const double *counter_mean(const void *self)
{
    return ((const counter *)self)->mean;
}

/* A protocol's update meets any optimiser: nothing behind the interface is CMA-ES's. */
static void an_optimiser_in_no_list(void **state)
{
    static const fbt_optimiser_type type = {.new = counter_new,
                                            .free = free,
                                            .tell_foreign = counter_tell,
                                            .mean = counter_mean,
                                            .step_size = counter_step_size,
                                            .set_step_size = counter_set_step_size};
    const fbt_settings settings = {.fed = {.local_generations = 2}, .cma = {.dimension = 3, .population = 4}};
    const double zero[3] = {0};
    fbt_server server = {.step_size_local = 1};
    fbt_schema schema = {0};
    fbt_messages up;
    (void)state;
    assert_int_equal(fbt_optimiser_new_of(&type, &(fbt_optimiser_options){.dimension = 3}, zero, 1, &server.optimiser),
                     FBT_OK);
    fbt_local_search_up_ranked(&settings, &schema);
    assert_int_equal(fbt_messages_init(&up, &schema, FBT_WIRE_FLOAT32, 2), FBT_OK);
    for (int i = 0; i < 4; i++) {
        fbt_messages_field(&up, "step_size")[i] = 3;
    }
    assert_int_equal(fbt_protocol_of(&settings).rule->aggregate(
                         &(fbt_round){.settings = &settings, .n_participants = 2, .server = &server, .up = &up}),
                     FBT_OK);
    assert_true(fbt_optimiser_step_size(server.optimiser) == 3 && server.step_size_local == 1);
    assert_null(fbt_optimiser_cma_of(server.optimiser));
    fbt_messages_clear(&up);
    fbt_server_clear(&server);
}

static void best_up(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_schema_add(schema, "mean", settings->cma.dimension, FBT_FIELD_REAL, FBT_FIELD_SENT);
    fbt_schema_add(schema, "fitness", 1, FBT_FIELD_REAL, FBT_FIELD_SENT);
    fbt_schema_add(schema, "step_size", settings->fed.local_generations, FBT_FIELD_POSITIVE, FBT_FIELD_RECORDED);
}

/* The example of docs/adding-a-protocol.md: the server goes on from the best participant's mean. */
static fbt_status best_aggregate(fbt_round *round)
{
    const double *fitness = fbt_messages_field(round->up, "fitness");
    int64_t best = 0;
    for (int64_t k = 1; k < round->n_participants; k++) {
        best = fitness[k] < fitness[best] ? k : best;
    }
    return fbt_optimiser_set_mean(round->server->optimiser, fbt_messages_at(round->up, "mean", best));
}

/* Two fields up, one function: a protocol is that, and it needs nothing from elsewhere. */
static void a_protocol_in_no_list(void **state)
{
    static const fbt_aggregation_rule rule = {.up = best_up, .aggregate = best_aggregate};
    static const fbt_protocol best = {.clients = &fbt_local_search, .rule = &rule};
    const fbt_settings settings = {.fed = {.local_generations = 2}, .cma = {.dimension = 3, .population = 4}};
    const fbt_optimiser_options options = {.dimension = 3, .population = 4};
    const double fitness[2] = {2, 1}, means[2][3] = {{1, 1, 1}, {0.5, 0.25, 4}};
    fbt_server server = {0};
    fbt_schema schema_up, schema_down;
    fbt_messages up;
    (void)state;
    fbt_protocol_schemas(&best, &settings, &schema_up, &schema_down);
    assert_int_equal(fbt_schema_bytes(&schema_up, FBT_WIRE_FLOAT32), (3 + 1) * 4);
    assert_int_equal(fbt_messages_init(&up, &schema_up, FBT_WIRE_FLOAT32, 2), FBT_OK);
    assert_int_equal(fbt_server_init(&server, &options, 1), FBT_OK);
    for (int64_t k = 0; k < 2; k++) {
        fbt_messages_put(&up, "mean", k, means[k]);
        fbt_messages_put(&up, "fitness", k, &fitness[k]);
    }
    assert_int_equal(
        rule.aggregate(&(fbt_round){.settings = &settings, .n_participants = 2, .server = &server, .up = &up}), FBT_OK);
    assert_memory_equal(fbt_optimiser_mean(server.optimiser), means[1], sizeof means[1]);
    fbt_messages_clear(&up);
    fbt_server_clear(&server);
}

int main(int argc, char **argv)
{
    fbt_comm *world;
    if (fbt_comm_start(&argc, &argv, &world) != FBT_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(server_uses_what_was_sent, world),
                                       cmocka_unit_test_prestate(ledger, world),
                                       cmocka_unit_test_prestate(shapes_that_do_not_survive, world),
                                       cmocka_unit_test(protocols_check_their_settings),
                                       cmocka_unit_test(least_reports),
                                       cmocka_unit_test(an_optimiser_in_no_list),
                                       cmocka_unit_test(a_protocol_in_no_list)};
    const int n_failed = cmocka_run_group_tests_name("wire", tests, NULL, NULL);
    fbt_comm_stop(world);
    return n_failed;
}
