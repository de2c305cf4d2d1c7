/* Evolution paths that clients' searches keep from round to round (cma.keep_paths): against rounds that are made here
 * from the formulas, under selection at random, and what they are worth where the step size is wrong. */
#include "base/memory.h"
#include "base/rng.h"
#include "fed/local_search.h"
#include "toy.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- A search and its rounds by hand ---- */

enum { D = 6, LAMBDA = 4, MU = 2, CLIENTS = 4, GENERATIONS = 3 };

/* Isotropic CMA-ES of Hansen's tutorial. */
typedef struct search {
    double mean[D], path[D], sigma;
} search;

typedef struct rates {
    double weights[MU], mu_eff, c, damping, chi;
} rates;

static rates rates_of_tutorial(void)
{
    rates r;
    const double sum = 2 * log(2.5) - log(2); /* ln((lambda + 1) / 2) - ln i, i = 1, 2 */
    r.weights[0] = log(2.5) / sum;
    r.weights[1] = (log(2.5) - log(2)) / sum;
    r.mu_eff = 1 / (r.weights[0] * r.weights[0] + r.weights[1] * r.weights[1]);
    r.c = (r.mu_eff + 2) / (D + r.mu_eff + 5);
    r.damping = 1 + r.c; /* mu_eff is small */
    r.chi = sqrt(D) * (1 - 1.0 / (4 * D) + 1.0 / (21 * D * D));
    return r;
}

static void update(search *s, const rates *r, double noise[LAMBDA][D], const double *fitness)
{
    int best = 0, second = -1;
    double squares = 0;
    for (int i = 1; i < LAMBDA; i++) {
        best = fitness[i] < fitness[best] ? i : best;
    }
    for (int i = 0; i < LAMBDA; i++) {
        second = i != best && (second < 0 || fitness[i] < fitness[second]) ? i : second;
    }
    for (int i = 0; i < D; i++) {
        const double step = r->weights[0] * noise[best][i] + r->weights[1] * noise[second][i];
        s->mean[i] += s->sigma * step;
        s->path[i] = (1 - r->c) * s->path[i] + sqrt(r->c * (2 - r->c) * r->mu_eff) * step;
        squares += s->path[i] * s->path[i];
    }
    s->sigma *= exp(r->c / r->damping * (sqrt(squares) / r->chi - 1));
}

static double loss_of(const toy_problem *p, int64_t k, const double *z)
{
    const fbt_split *train = &p->dataset.train;
    const int64_t first = p->partition.sample_offsets[k], end = p->partition.sample_offsets[k + 1];
    double sum = 0;
    for (int64_t i = first; i < end; i++) {
        const int64_t row = p->partition.sample_index[i], at = train->offsets[row];
        sum += (double)toy_loss(z, D, train->tokens + at, train->offsets[row + 1] - at, train->labels[row]);
    }
    return sum / (double)(end - first);
}

/* A client's part of a round; step_sizes: [GENERATIONS], those that it samples with. */
static void search_locally(search *s, const rates *r, const toy_problem *p, uint32_t round, int64_t k, gsl_rng *rng,
                           double *step_sizes)
{
    for (int g = 0; g < GENERATIONS; g++) {
        double noise[LAMBDA][D], x[D], fitness[LAMBDA];
        step_sizes[g] = s->sigma;
        for (int c = 0; c < LAMBDA; c++) {
            fbt_rng_seek(rng, &(fbt_rng_stream){.seed = (uint64_t)p->settings.run.seed,
                                                .purpose = FBT_RNG_SEARCH,
                                                .round = round,
                                                .client = (uint32_t)k,
                                                .generation = (uint32_t)g,
                                                .candidate = (uint32_t)c});
            for (int i = 0; i < D; i++) {
                noise[c][i] = gsl_ran_gaussian_ziggurat(rng, 1);
                x[i] = s->mean[i] + s->sigma * noise[c][i];
            }
            fitness[c] = loss_of(p, k, x);
        }
        update(s, r, noise, fitness);
    }
}

/* The server's: means and step sizes are averaged, paths p' = a p + sum w (p_k - a p) / sqrt(sum w^2). */
static void recombine(search *server, const rates *r, const search *clients, const double *weights)
{
    const double a = pow(1 - r->c, GENERATIONS);
    search next = {.sigma = 0};
    double squares = 0;
    for (int k = 0; k < CLIENTS; k++) {
        squares += weights[k] * weights[k];
    }
    for (int k = 0; k < CLIENTS; k++) {
        next.sigma += weights[k] * clients[k].sigma;
        for (int i = 0; i < D; i++) {
            next.mean[i] += weights[k] * clients[k].mean[i];
            next.path[i] += weights[k] * (clients[k].path[i] - a * server->path[i]) / sqrt(squares);
        }
    }
    for (int i = 0; i < D; i++) {
        next.path[i] += a * server->path[i];
    }
    *server = next;
}

static void expect_near(double got, double expected)
{
    assert_true(fabs(got - expected) <= 1e-9 * (1 + fabs(expected)));
}

static void check_rounds(const char *weighting, bool by_samples, const fbt_comm *world)
{
    toy_alone a;
    gsl_rng *rng;
    const rates r = rates_of_tutorial();
    search server = {.sigma = 1};
    assert_int_equal(toy_alone_start(&a,
                                     (const char *const[]){"fed.protocol=fedavg-bbt", "cma.covariance=isotropic",
                                                           "cma.constants=tutorial", "fed.wire=float64",
                                                           "cma.keep_paths=true", weighting, NULL},
                                     world),
                     FBT_OK);
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    const int64_t *offsets = a.problem.partition.sample_offsets;
    for (uint32_t round = 1; round <= 6; round++) {
        search clients[CLIENTS];
        double weights[CLIENTS], step_sizes[GENERATIONS], squares = 0;
        assert_int_equal(fbt_federation_round(a.federation, round, false, &a.row), FBT_OK);
        for (int k = 0; k < CLIENTS; k++) {
            clients[k] = server;
            weights[k] = by_samples ? (double)(offsets[k + 1] - offsets[k]) / (double)offsets[CLIENTS] : 1.0 / CLIENTS;
            search_locally(&clients[k], &r, &a.problem, round, k, rng, step_sizes);
            for (int g = 0; g < GENERATIONS; g++) {
                expect_near(a.row.client_step_size[k * GENERATIONS + g], step_sizes[g]);
            }
        }
        recombine(&server, &r, clients, weights);
        expect_near(a.row.step_size, server.sigma);
        for (int i = 0; i < D; i++) {
            expect_near(a.row.z[i], server.mean[i]);
            squares += server.path[i] * server.path[i];
        }
        expect_near(a.row.path_sigma_norm, sqrt(squares));
    }
    gsl_rng_free(rng);
    toy_alone_stop(&a);
}

/* Broken by paths that begin empty, by their plain mean, by another client's, by what clients send but are not sent. */
static void rounds_by_hand(void **state)
{
    check_rounds("fed.weighting=uniform", false, *state);
    check_rounds("fed.weighting=samples", true, *state);
}

/* ---- Selection at random ---- */

enum { N_NEUTRAL = 800, BURN_IN = 50, D_NEUTRAL = 40, M_NEUTRAL = 5, I_NEUTRAL = 4 };

/* Each client's search of a round, told numbers that have nothing to do with its candidates. */
static void search_at_random(const fbt_settings *s, fbt_server *server, uint32_t round, fbt_messages *up, gsl_rng *rng)
{
    fbt_optimiser_options options;
    double x[16 * D_NEUTRAL], fitness[16];
    fbt_local_search_options(s, &options);
    for (int64_t k = 0; k < up->n; k++) {
        fbt_optimiser *client;
        assert_int_equal(fbt_optimiser_new(&options, fbt_optimiser_mean(server->optimiser), 1, &client), FBT_OK);
        assert_int_equal(fbt_optimiser_restart_from(client, server->optimiser, 1), FBT_OK);
        fbt_optimiser_get_paths(server->optimiser, fbt_messages_at(up, "paths", k));
        assert_int_equal(fbt_optimiser_set_paths(client, fbt_messages_at(up, "paths", k),
                                                 fbt_optimiser_generation(server->optimiser)),
                         FBT_OK);
        for (uint32_t g = 0; g < I_NEUTRAL; g++) {
            fbt_rng_stream stream = {.purpose = FBT_RNG_SEARCH, .round = round, .client = (uint32_t)k, .generation = g};
            assert_int_equal(fbt_optimiser_ask(client, rng, &stream, x), FBT_OK);
            stream.purpose = FBT_RNG_SYNTHETIC;
            fbt_rng_seek(rng, &stream);
            for (int64_t c = 0; c < options.population; c++) {
                fitness[c] = gsl_rng_uniform(rng);
            }
            assert_int_equal(fbt_optimiser_tell(client, options.population, x, fitness), FBT_OK);
        }
        fbt_optimiser_get_paths(client, fbt_messages_at(up, "paths", k));
        fbt_messages_put(up, "mean", k, fbt_optimiser_mean(client));
        fbt_messages_put_one(up, "step_size_end", k, 1);
        fbt_optimiser_free(client);
    }
}

/* The variance of the server's path over rounds and coordinates, which is 1: it has a standard error of 1.3%. Broken
 * by a mean of the paths (0.6), by paths whose common part is scaled up, too (2 and more), by empty ones (0.5). */
static void path_is_stationary(void **state)
{
    static const double n_samples[M_NEUTRAL] = {1, 2, 3, 4, 10};
    toy_problem problem;
    toy_problem_init(&problem, (const char *const[]){"fed.protocol=fedavg-bbt", "cma.covariance=isotropic",
                                                     "cma.keep_paths=true", "cma.dimension=40", "cma.population=6",
                                                     "fed.local_generations=4", "fed.weighting=samples", NULL});
    const fbt_protocol protocol = fbt_protocol_of(&problem.settings);
    fbt_schema schemas[2];
    fbt_messages up, down;
    fbt_server server = {0};
    fbt_optimiser_options options;
    gsl_rng *rng;
    double squares = 0;
    (void)state;
    fbt_protocol_schemas(&protocol, &problem.settings, &schemas[0], &schemas[1]);
    protocol.rule->server_options(&problem.settings, M_NEUTRAL, &options);
    assert_int_equal(fbt_messages_init(&up, &schemas[0], FBT_WIRE_FLOAT64, M_NEUTRAL), FBT_OK);
    assert_int_equal(fbt_messages_init(&down, &schemas[1], FBT_WIRE_FLOAT64, 1), FBT_OK);
    assert_int_equal(fbt_server_init(&server, &options, 1), FBT_OK);
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    for (uint32_t round = 1; round <= N_NEUTRAL; round++) {
        double path[D_NEUTRAL];
        fbt_optimiser_get_paths(server.optimiser, fbt_messages_field(&down, "paths"));
        search_at_random(&problem.settings, &server, round, &up, rng);
        assert_int_equal(protocol.rule->aggregate(&(fbt_round){.settings = &problem.settings,
                                                               .n_participants = M_NEUTRAL,
                                                               .n_samples = n_samples,
                                                               .n_samples_all = 20,
                                                               .server = &server,
                                                               .up = &up,
                                                               .down = &down}),
                         FBT_OK);
        fbt_optimiser_get_paths(server.optimiser, path);
        for (int i = 0; i < D_NEUTRAL; i++) {
            squares += round > BURN_IN ? path[i] * path[i] : 0;
        }
    }
    const double variance = squares / D_NEUTRAL / (N_NEUTRAL - BURN_IN);
    print_message("variance of the path: %.3f\n", variance);
    assert_true(fabs(variance - 1) < 0.06);
    gsl_rng_free(rng);
    fbt_messages_clear(&up);
    fbt_messages_clear(&down);
    fbt_server_clear(&server);
    toy_problem_clear(&problem);
}

/* ---- Where the step size is wrong ---- */

enum { D_QUADRATIC = 30, ROUNDS_MAX = 60, N_SEEDS = 5, N_EVALUATIONS = 8 * 6 + 1 };

/* The z of the least train loss: each sample's is a paraboloid of the same shape, of which c is the bottom. */
static void find_bottom(const toy_problem *p, double *bottom)
{
    const fbt_split *train = &p->dataset.train;
    const int64_t n = p->partition.sample_offsets[CLIENTS];
    memset(bottom, 0, D_QUADRATIC * sizeof *bottom);
    for (int64_t s = 0; s < n; s++) {
        const int64_t row = p->partition.sample_index[s], first = train->offsets[row], end = train->offsets[row + 1];
        for (int64_t t = first; t < end; t++) {
            for (int i = 0; i < D_QUADRATIC; i++) {
                bottom[i] += sin(1.3 * i + 0.7 * train->tokens[t]) / (double)((end - first) * n);
            }
        }
    }
}

static double distance(const double *z, const double *bottom)
{
    double squares = 0;
    for (int i = 0; i < D_QUADRATIC; i++) {
        squares += (z[i] - bottom[i]) * (z[i] - bottom[i]);
    }
    return sqrt(squares);
}

/* Rounds until a run has come three times as near to the bottom as it began. */
static int count_rounds(const char *paths, const char *sigma, const char *seed, const fbt_comm *world)
{
    toy_alone a;
    double bottom[D_QUADRATIC];
    uint32_t round = 0;
    assert_int_equal(toy_alone_start(&a,
                                     (const char *const[]){"fed.protocol=fedavg-bbt", "cma.covariance=isotropic",
                                                           "cma.dimension=30", "cma.population=6", paths, sigma, seed,
                                                           "fed.local_generations=8", "fed.weighting=samples", NULL},
                                     world),
                     FBT_OK);
    find_bottom(&a.problem, bottom);
    const double target = distance(a.row.z, bottom) / 3;
    while (round < ROUNDS_MAX && distance(a.row.z, bottom) > target) {
        assert_int_equal(fbt_federation_round(a.federation, ++round, false, &a.row), FBT_OK);
    }
    toy_alone_stop(&a);
    return (int)round;
}

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static int median_rounds(const char *paths, const char *sigma, const fbt_comm *world)
{
    static const char *const seeds[N_SEEDS] = {"run.seed=1", "run.seed=2", "run.seed=3", "run.seed=4", "run.seed=5"};
    int rounds[N_SEEDS];
    for (int i = 0; i < N_SEEDS; i++) {
        rounds[i] = count_rounds(paths, sigma, seeds[i], world);
    }
    qsort(rounds, N_SEEDS, sizeof rounds[0], compare_ints);
    return rounds[N_SEEDS / 2];
}

/* A client's evaluations on a sum of paraboloids, from step sizes that are too small, about right, and too large. Empty
 * paths shrink it in every round, which helps where that is right, and ends the search where it is not;
 * docs/optimisers.md has these numbers, and those of a search that needs no path. Broken by paths that are of no use.
 */
static void evaluations_on_a_paraboloid(void **state)
{
    static const struct {
        const char *sigma;
        double most; /* of evaluations without kept paths */
    } cases[] = {{"cma.sigma=0.01", 0.25}, {"cma.sigma=0.1", 1.6}, {"cma.sigma=1", 1.6}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int kept = median_rounds("cma.keep_paths=true", cases[i].sigma, *state);
        const int fresh = median_rounds("cma.keep_paths=false", cases[i].sigma, *state);
        const int two_points = median_rounds("fed.optimiser=tpa-es", cases[i].sigma, *state);
        print_message("%s: %d evaluations of a client with kept paths, %d without, %d with two points\n",
                      cases[i].sigma, kept * N_EVALUATIONS, fresh * N_EVALUATIONS, two_points * N_EVALUATIONS);
        assert_true(kept < ROUNDS_MAX && kept <= cases[i].most * fresh);
        assert_true(two_points <= kept);
    }
}

/* Broken by a combination that is computed as if it were another. */
static void is_refused_by_name(void **state)
{
    static const struct {
        const char *assignments[4];
        const char *parts[2];
    } cases[] = {
        {{"fed.protocol=nvflare"}, {"fed.protocol nvflare", "official"}},
        {{"fed.protocol=paper"}, {"fed.protocol paper", "best_half"}},
        {{"fed.protocol=synchronous"}, {"fed.protocol synchronous", "average"}},
        {{"fed.protocol=fedavg-bbt", "fed.optimiser=lm-ma"}, {"fed.optimiser lm-ma", "fed.optimiser cma"}},
        {{"fed.protocol=fedavg-bbt", "fed.client_seeds=shared"}, {"fed.client_seeds", "independent"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fbt_settings s = {0};
        assert_int_equal(fbt_settings_defaults(&s), FBT_OK);
        assert_int_equal(fbt_settings_set(&s, "cma.keep_paths=true"), FBT_OK);
        for (int k = 0; cases[i].assignments[k] != NULL; k++) {
            assert_int_equal(fbt_settings_set(&s, cases[i].assignments[k]), FBT_OK);
        }
        assert_int_equal(fbt_protocol_check(&s), FBT_ERR_CONFIG);
        assert_non_null(strstr(fbt_error_message(), "cma.keep_paths"));
        assert_non_null(strstr(fbt_error_message(), cases[i].parts[0]));
        assert_non_null(strstr(fbt_error_message(), cases[i].parts[1]));
        fbt_error_clear();
        fbt_settings_clear(&s);
    }
}

int main(int argc, char **argv)
{
    fbt_comm *world;
    if (fbt_comm_start(&argc, &argv, &world) != FBT_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(rounds_by_hand, world), cmocka_unit_test(path_is_stationary),
        cmocka_unit_test_prestate(evaluations_on_a_paraboloid, world), cmocka_unit_test(is_refused_by_name)};
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    fbt_comm_stop(world);
    return n_failed;
}
