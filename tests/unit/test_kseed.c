/* FedKSeed by hand: rounds of local steps along the directions of a pool, written from the paper (Qin et al. 2024,
 * arXiv 2312.06353, algorithm 1) with its own letters, against federations with fed.optimiser kseed; their bytes; and
 * what an optimiser makes of the accumulators alone. */
#include "base/rng.h"
#include "fed/protocol.h"
#include "toy.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N_ROUNDS = 4, K = 5, D = 6, N_PAIRS = 2, POPULATION = 2 * N_PAIRS };

/* ---- Whole rounds ---- */

/* z of a seed. */
static void perturbation(const fbt_settings *s, gsl_rng *rng, int64_t seed, double *z)
{
    fbt_rng_seek(
        rng, &(fbt_rng_stream){.seed = (uint64_t)s->run.seed, .purpose = FBT_RNG_SERVER, .candidate = (uint32_t)seed});
    for (int i = 0; i < D; i++) {
        z[i] = gsl_ran_gaussian_ziggurat(rng, 1.0);
    }
}

static void move(double *w, double by, const double *z)
{
    for (int i = 0; i < D; i++) {
        w[i] += by * z[i];
    }
}

static double loss_at(const toy_problem *p, int64_t client, const double *w, double by, const double *z)
{
    double moved[D];
    memcpy(moved, w, sizeof moved);
    move(moved, by, z);
    return toy_client_loss(p, client, moved);
}

/* The client's local steps from w, each along N_PAIRS seeds at once; scalar gradients are added to g: [K]. */
static void steps_by_hand(const toy_problem *p, int64_t client, uint32_t round, gsl_rng *rng, double *w, double *g)
{
    const fbt_settings *s = &p->settings;
    const double epsilon = s->cma.sigma, eta = s->es.learning_rate * epsilon * epsilon;
    for (int64_t t = 0; t < s->fed.local_generations; t++) {
        double z[N_PAIRS][D], gradient[N_PAIRS];
        for (int j = 0; j < N_PAIRS; j++) {
            fbt_rng_seek(rng, &(fbt_rng_stream){.seed = (uint64_t)s->run.seed,
                                                .purpose = FBT_RNG_SEARCH,
                                                .round = round,
                                                .client = (uint32_t)client,
                                                .generation = (uint32_t)t,
                                                .candidate = (uint32_t)(2 * j)});
            const int64_t seed = (int64_t)gsl_rng_uniform_int(rng, K);
            perturbation(s, rng, seed, z[j]);
            const double difference = loss_at(p, client, w, epsilon, z[j]) - loss_at(p, client, w, -epsilon, z[j]);
            gradient[j] = difference / (2 * epsilon) / N_PAIRS;
            g[seed] += gradient[j];
        }
        for (int j = 0; j < N_PAIRS; j++) {
            move(w, -eta * gradient[j], z[j]);
        }
    }
}

static void expect_vector(const double *got, const double *expected, double tolerance)
{
    for (int i = 0; i < D; i++) {
        assert_true(fabs(got[i] - expected[i]) <= tolerance);
    }
}

/* Every round anew from w0 = 0 and the accumulators A of all rounds, as a client that was never there before would. */
static void check_rounds(const char *const *assignments, double tolerance, const fbt_comm *world)
{
    toy_alone a;
    gsl_rng *rng;
    double A[K] = {0}, w[D] = {0};
    assert_int_equal(toy_alone_start(&a, assignments, world), FBT_OK);
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    const fbt_settings *s = &a.problem.settings;
    const double eta = s->es.learning_rate * s->cma.sigma * s->cma.sigma;
    for (uint32_t round = 1; round <= N_ROUNDS; round++) {
        double sum[K] = {0};
        assert_int_equal(fbt_federation_round(a.federation, round, false, &a.row), FBT_OK);
        for (int64_t client = 0; client < s->fed.clients; client++) {
            const int64_t *offsets = a.problem.partition.sample_offsets;
            double own[D], g[K] = {0};
            memcpy(own, w, sizeof own);
            steps_by_hand(&a.problem, client, round, rng, own, g);
            expect_vector(a.row.client_mean + client * D, own, tolerance);
            for (int j = 0; j < K; j++) {
                sum[j] += g[j] * (double)(offsets[client + 1] - offsets[client]) / (double)offsets[s->fed.clients];
            }
        }
        memset(w, 0, sizeof w);
        for (int j = 0; j < K; j++) {
            double z[D];
            A[j] += sum[j];
            perturbation(s, rng, j, z);
            move(w, -eta * A[j], z);
        }
        expect_vector(a.row.z, w, tolerance);
    }
    assert_true(fabs(w[0]) > 0.01);
    gsl_rng_free(rng);
    toy_alone_stop(&a);
}

#define FEDKSEED                                                                                                       \
    "fed.protocol=fedavg-bbt", "fed.optimiser=kseed", "fed.weighting=samples", "es.seeds=5", "es.learning_rate=1.5",   \
        "cma.sigma=0.25", "run.client_means=true"

/* Broken by a rate in other units, by seeds that are not drawn anew for each pair, by clients that all draw the same
 * ones, by averages that forget n_k, by a mean that goes on where its accumulators do not. An update that is clipped
 * nowhere and one that is summed under masks are the accumulators', and the same to their rounding. */
static void rounds(void **state)
{
    check_rounds((const char *const[]){FEDKSEED, "fed.wire=float64", NULL}, 1e-12, *state);
    check_rounds((const char *const[]){FEDKSEED, "fed.wire=float64", "privacy.clip=1e3", NULL}, 1e-12, *state);
    check_rounds((const char *const[]){FEDKSEED, "fed.wire=float32", NULL}, 1e-6, *state);
    check_rounds((const char *const[]){FEDKSEED, "fed.secure_aggregation=true", "fed.secure_range=1", NULL}, 1e-6,
                 *state);
}

/* K accumulators and the step size each way, whatever d is; those of a quantised message with their scale. Broken by a
 * mean that is sent, too. */
static void bytes(void **state)
{
    static const struct {
        const char *assignment;
        int64_t up;
    } cases[] = {{"fed.wire=float32", 4 * (K + 1)}, {"fed.quantise_bits=8", K + 4 + 4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        toy_alone a;
        int64_t up, down;
        const char *const assignments[] = {FEDKSEED, "fed.weighting=uniform", cases[i].assignment, NULL};
        assert_int_equal(toy_alone_start(&a, assignments, *state), FBT_OK);
        assert_int_equal(fbt_federation_round(a.federation, 1, false, &a.row), FBT_OK);
        fbt_protocol_bytes(&a.problem.settings, &up, &down);
        assert_true(up == cases[i].up && down == 4 * (K + 1));
        assert_true(a.row.bytes_up == 4 * up && a.row.bytes_down == 4 * down); /* 4 clients */
        toy_alone_stop(&a);
    }
}

/* ---- The optimiser ---- */

static fbt_optimiser *optimiser_of(int64_t n_seeds)
{
    fbt_optimiser *optimiser;
    const fbt_optimiser_options options = {.kind = FBT_OPTIMISER_KSEED,
                                           .dimension = D,
                                           .population = POPULATION,
                                           .es = {.learning_rate = 1, .seeds = n_seeds, .pool_seed = 3}};
    assert_int_equal(fbt_optimiser_new(&options, (const double[D]){1, 2, 3}, 1, &optimiser), FBT_OK);
    return optimiser;
}

/* A mean of shapes is the shape of the mean of the means, and what has the same shape has the same bits. Broken by a
 * start that is forgotten, by a mean that depends on how it was come to. */
static void the_mean_follows_from_the_shape(void **state)
{
    const double shapes[2][K] = {{0, 0.5, 0, -2, 1}, {4, 0, 0, 1, 3}};
    double means[2][D], between[K], expected[D];
    fbt_optimiser *first = optimiser_of(K), *second = optimiser_of(K);
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fbt_optimiser_set_shape(first, shapes[i]), FBT_OK);
        memcpy(means[i], fbt_optimiser_mean(first), sizeof means[i]);
    }
    for (int j = 0; j < K; j++) {
        between[j] = 0.25 * shapes[0][j] + 0.75 * shapes[1][j];
    }
    for (int i = 0; i < D; i++) {
        expected[i] = 0.25 * means[0][i] + 0.75 * means[1][i];
    }
    assert_int_equal(fbt_optimiser_set_shape(first, between), FBT_OK);
    expect_vector(fbt_optimiser_mean(first), expected, 1e-14);
    assert_int_equal(fbt_optimiser_set_shape(second, between), FBT_OK);
    assert_memory_equal(fbt_optimiser_mean(first), fbt_optimiser_mean(second), sizeof expected);
    fbt_optimiser_free(first);
    fbt_optimiser_free(second);
}

/* Broken by a mean that is set and does not follow, by candidates of which it knows no seed, by a pool of another size.
 */
static void it_refuses(void **state)
{
    const double x[POPULATION * D] = {0}, fitness[POPULATION] = {0};
    fbt_array_list arrays = {0};
    fbt_optimiser *optimiser = optimiser_of(K), *other = optimiser_of(K + 1);
    (void)state;
    assert_int_equal(fbt_optimiser_set_mean(optimiser, x), FBT_ERR_UNSUPPORTED);
    assert_int_equal(fbt_optimiser_tell_foreign(optimiser, POPULATION, x, fitness), FBT_ERR_UNSUPPORTED);
    assert_int_equal(fbt_optimiser_tell(optimiser, POPULATION, x, fitness), FBT_ERR_ARG);
    assert_int_equal(fbt_optimiser_restart_from(other, optimiser, 1), FBT_ERR_ARG);
    assert_int_equal(fbt_optimiser_export(optimiser, "x_", &arrays), FBT_OK);
    assert_int_equal(fbt_optimiser_import(other, "x_", arrays.items), FBT_ERR_DATA);
    fbt_error_clear();
    fbt_array_list_clear(&arrays);
    fbt_optimiser_free(optimiser);
    fbt_optimiser_free(other);
}

int main(int argc, char **argv)
{
    fbt_comm *world;
    if (fbt_comm_start(&argc, &argv, &world) != FBT_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(rounds, world),
        cmocka_unit_test_prestate(bytes, world),
        cmocka_unit_test(the_mean_follows_from_the_shape),
        cmocka_unit_test(it_refuses),
    };
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    fbt_comm_stop(world);
    return n_failed;
}
