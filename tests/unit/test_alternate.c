/* Layers in turn (prompt.deep alternate): a run is, bit for bit, the runs of its layers' parts of z by themselves, each
 * on the loss in which the other parts are what they were, and makes a round when it is its turn. */
#include "toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_LAYERS = 3, SEARCHED = 6, D = N_LAYERS * SEARCHED, N_ROUNDS = 8, CLIENTS = 4, MAX_ASSIGNMENTS = 10 };

/* The searches of the parts by themselves; z: [D], where they have come to, which is where the others are. */
typedef struct parts {
    toy_problem problem;
    fbt_model *models[N_LAYERS];
    fbt_federation *federations[N_LAYERS];
    double z[D];
} parts;

static void start_parts(parts *p, const char *const *assignments, const fbt_comm *world)
{
    memset(p, 0, sizeof *p);
    toy_problem_init(&p->problem, assignments);
    for (int l = 0; l < N_LAYERS; l++) {
        fbt_round_row row;
        p->models[l] = toy_model_new(D);
        p->models[l]->around = p->z;
        p->models[l]->first = (int64_t)l * SEARCHED;
        p->models[l]->n_given = SEARCHED;
        assert_int_equal(toy_federation_new(&p->problem, world, p->models[l], &p->federations[l]), FBT_OK);
        assert_int_equal(fbt_federation_start(p->federations[l], &row), FBT_OK);
    }
}

static void stop_parts(parts *p)
{
    for (int l = 0; l < N_LAYERS; l++) {
        fbt_federation_free(p->federations[l]);
        toy_model_free(p->models[l]);
    }
    toy_problem_clear(&p->problem);
}

static void expect_same(const fbt_round_row *whole, const fbt_round_row *part, int64_t layer, bool all_take_part)
{
    const double numbers[] = {whole->train_loss,       whole->step_size,          whole->step_size_local,
                              whole->condition_number, (double)whole->n_reported, (double)whole->bytes_up,
                              (double)whole->n_tokens};
    const double expected[] = {part->train_loss,       part->step_size,          part->step_size_local,
                               part->condition_number, (double)part->n_reported, (double)part->bytes_up,
                               (double)part->n_tokens};
    assert_memory_equal(numbers, expected, sizeof numbers);
    assert_memory_equal(whole->client_fitness, part->client_fitness,
                        (size_t)whole->n_participants * sizeof *whole->client_fitness);
    assert_memory_equal(whole->z + layer * SEARCHED, part->z, SEARCHED * sizeof *whole->z);
    for (int64_t k = 0; k < whole->n_reported; k++) {
        assert_memory_equal(whole->client_mean + k * D + layer * SEARCHED, part->client_mean + k * SEARCHED,
                            SEARCHED * sizeof *whole->z);
    }
    assert_true(all_take_part ? whole->bytes_down == part->bytes_down : whole->bytes_down > part->bytes_down);
}

/* Assignments with three more behind them. */
static void extend(const char *const *from, const char *const *with, const char **to)
{
    int n = 0;
    for (int i = 0; from[i] != NULL; i++) {
        to[n++] = from[i];
    }
    for (int i = 0; with[i] != NULL; i++) {
        to[n++] = with[i];
    }
    assert_true(n < MAX_ASSIGNMENTS);
    to[n] = NULL;
}

static void compare(const char *const *assignments, const fbt_comm *world)
{
    toy_alone whole;
    parts p;
    const char *all[MAX_ASSIGNMENTS], *one[MAX_ASSIGNMENTS];
    extend(assignments, (const char *const[]){"prompt.deep=alternate", "prompt.layers=3", "cma.dimension=18", NULL},
           all);
    extend(assignments, (const char *const[]){"cma.dimension=6", NULL}, one);
    assert_int_equal(toy_alone_start(&whole, all, world), FBT_OK);
    start_parts(&p, one, world);
    for (uint32_t round = 1; round <= N_ROUNDS; round++) {
        const int64_t layer = (round - 1) % N_LAYERS;
        fbt_round_row row;
        assert_int_equal(fbt_federation_round(whole.federation, round, true, &whole.row), FBT_OK);
        assert_int_equal(fbt_federation_round(p.federations[layer], round, true, &row), FBT_OK);
        expect_same(&whole.row, &row, layer, fbt_settings_all_take_part(&whole.problem.settings));
        memcpy(p.z + layer * SEARCHED, row.z, SEARCHED * sizeof *p.z);
        assert_memory_equal(whole.row.z, p.z, sizeof p.z);
    }
    stop_parts(&p);
    toy_alone_stop(&whole);
}

/* Every protocol and search. Broken by another order of layers, by a state that one layer's search takes from another,
 * by candidates whose other parts are not those of the server, by messages of all of z. */
static void is_its_layers_by_themselves(void **state)
{
    static const char *const cases[][MAX_ASSIGNMENTS] = {
        {"fed.protocol=nvflare"},
        {"fed.protocol=nvflare", "fed.ranking=improvement", "perturb.rate=0.4"},
        {"fed.protocol=nvflare", "fed.participation=0.5"},
        {"fed.protocol=paper", "cma.covariance=separable"},
        {"fed.protocol=paper", "fed.optimiser=cem", "faults.dropout=0.3"},
        {"fed.protocol=fedavg-bbt", "cma.covariance=full", "fed.wire=float64"},
        {"fed.protocol=fedavg-bbt", "fed.optimiser=lm-ma"},
        {"fed.protocol=fedavg-bbt", "fed.optimiser=kseed", "es.seeds=9", "fed.quantise_bits=1",
         "fed.error_feedback=true"},
        {"fed.protocol=fedavg-bbt", "fed.optimiser=tpa-es"},
        {"fed.protocol=fedavg-bbt", "cma.covariance=isotropic", "fed.quantise_bits=1", "fed.error_feedback=true"},
        {"fed.protocol=fedavg-bbt", "cma.covariance=isotropic", "fed.secure_aggregation=true", "privacy.clip=1",
         "privacy.noise_multiplier=0.1"},
        {"fed.protocol=synchronous"},
        {"fed.protocol=synchronous", "fed.optimiser=openai-es", "cma.norm_bound=0.4"},
        {"fed.protocol=synchronous", "fed.optimiser=random"},
        {"fed.protocol=feedsign", "fed.optimiser=spsa"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        compare(cases[i], *state);
    }
}

/* One layer is all of z. */
static void one_layer_is_no_deep_prompt(void **state)
{
    toy_alone plain, alternate;
    assert_int_equal(toy_alone_start(&plain, (const char *const[]){"fed.protocol=nvflare", NULL}, *state), FBT_OK);
    assert_int_equal(
        toy_alone_start(&alternate,
                        (const char *const[]){"fed.protocol=nvflare", "prompt.deep=alternate", "prompt.layers=1", NULL},
                        *state),
        FBT_OK);
    for (uint32_t round = 1; round <= 3; round++) {
        assert_int_equal(fbt_federation_round(plain.federation, round, true, &plain.row), FBT_OK);
        assert_int_equal(fbt_federation_round(alternate.federation, round, true, &alternate.row), FBT_OK);
        assert_memory_equal(alternate.row.z, plain.row.z, 6 * sizeof *plain.row.z);
        assert_int_equal(alternate.row.bytes_down, plain.row.bytes_down);
    }
    toy_alone_stop(&plain);
    toy_alone_stop(&alternate);
}

/* Bytes of a round by hand, of two layers of three numbers each. Where some do not take part they may have missed
 * what the other layer has come to, and are sent it. */
static void ledger(void **state)
{
    static const struct {
        const char *assignments[4];
        int64_t up, down; /* numbers of a participant */
    } cases[] = {
        {{"fed.protocol=nvflare", "cma.covariance=full"}, 3 + 3 + 1, 3 + 1 + 6},
        {{"fed.protocol=paper", "cma.covariance=isotropic", "fed.participation=0.5"}, 3 + 3 + 1, 3 + 1 + 3},
        {{"fed.protocol=fedavg-bbt", "cma.covariance=separable"}, 3 + 1 + 3, 3 + 1 + 3},
        {{"fed.protocol=synchronous"}, 3 * 4, 3 * 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        toy_alone a;
        const char *assignments[MAX_ASSIGNMENTS];
        extend(cases[i].assignments, (const char *const[]){"prompt.deep=alternate", "prompt.layers=2", NULL},
               assignments);
        assert_int_equal(toy_alone_start(&a, assignments, *state), FBT_OK);
        for (uint32_t round = 1; round <= 3; round++) {
            assert_int_equal(fbt_federation_round(a.federation, round, false, &a.row), FBT_OK);
            assert_int_equal(a.row.bytes_up, a.row.n_reported * cases[i].up * 4);
            assert_int_equal(a.row.bytes_down, a.row.n_reported * cases[i].down * 4);
        }
        toy_alone_stop(&a);
    }
}

/* The mean of the last z, of all layers. */
static void last_means_are_averaged(void **state)
{
    toy_alone plain, averaging;
    const char *with[] = {"prompt.deep=alternate", "prompt.layers=2", "fed.average_means=2", NULL};
    const char *without[] = {"prompt.deep=alternate", "prompt.layers=2", NULL};
    double before[6];
    assert_int_equal(toy_alone_start(&plain, without, *state), FBT_OK);
    assert_int_equal(toy_alone_start(&averaging, with, *state), FBT_OK);
    for (uint32_t round = 1; round <= 4; round++) {
        memcpy(before, plain.row.z, sizeof before);
        assert_int_equal(fbt_federation_round(plain.federation, round, false, &plain.row), FBT_OK);
        assert_int_equal(fbt_federation_round(averaging.federation, round, false, &averaging.row), FBT_OK);
        for (int i = 0; i < 6; i++) {
            const double expected = round == 1 ? plain.row.z[i] : before[i] / 2 + plain.row.z[i] / 2;
            assert_true(averaging.row.z[i] == expected);
        }
    }
    toy_alone_stop(&plain);
    toy_alone_stop(&averaging);
}

int main(int argc, char **argv)
{
    fbt_comm *world;
    if (fbt_comm_start(&argc, &argv, &world) != FBT_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(is_its_layers_by_themselves, world),
                                       cmocka_unit_test_prestate(one_layer_is_no_deep_prompt, world),
                                       cmocka_unit_test_prestate(ledger, world),
                                       cmocka_unit_test_prestate(last_means_are_averaged, world)};
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    fbt_comm_stop(world);
    return n_failed;
}
