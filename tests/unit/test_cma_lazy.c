/* CMA-ES: deferred work, sharing between server and local searches, checkpoints. All of it must not change a bit. */
#include "cma_fixture.h"

static fbt_cma_statistics work_of(const fbt_cma *cma)
{
    fbt_cma_statistics work;
    fbt_cma_statistics_get(cma, &work);
    return work;
}

/* The local search of the paper's setting: 8 generations of 5 in 500 dimensions end before the first decomposition is
 * due. Broken by any O(d^2) work on the way, or by results that depend on it being done. */
static void short_search_does_no_matrix_work(void **state)
{
    (void)state;
    for (int preset = 0; preset < 2; preset++) {
        const fbt_cma_options options = {.dimension = 500,
                                         .population = 5,
                                         .decomposition = preset == 1 ? FBT_CMA_EIGEN : FBT_CMA_CHOLESKY,
                                         .constants = (fbt_cma_constants)preset,
                                         .active = true,
                                         .mirrored = preset == 1};
        fbt_cma *lazy = make_cma(&options, 1, 1), *eager = make_cma(&options, 1, 1);
        evolve(lazy, 0, 8, 0);
        const fbt_cma_statistics work = work_of(lazy);
        assert_int_equal(work.n_decompositions + work.n_matrix_vector + work.n_rank_one + work.n_matrix_copies, 0);
        evolve(eager, 0, 8, 1);
        assert_true(work_of(eager).n_rank_one >= 8 * 4);
        assert_same(lazy, eager);
        fbt_cma_free(lazy);
        fbt_cma_free(eager);
    }
}

/* Over many decompositions too, with negative weights whose rescaling is deferred along. */
static void read_c(fbt_cma_decomposition decomposition)
{
    const fbt_cma_options options = {.dimension = 60,
                                     .population = 5,
                                     .decomposition = decomposition,
                                     .constants = FBT_CMA_CONSTANTS_PYCMA,
                                     .active = true,
                                     .mirrored = true};
    fbt_cma *lazy = make_cma(&options, 1, 1), *eager = make_cma(&options, 1, 1);
    evolve(lazy, 0, 50, 0);
    evolve(eager, 0, 50, 1);
    assert_same(lazy, eager);
    /* Due every third generation: the gap is 60 / 26.7 = 2.2. */
    assert_int_equal(work_of(lazy).n_decompositions, 16);
    assert_int_equal(work_of(eager).n_decompositions, 16);
    fbt_cma_free(lazy);
    fbt_cma_free(eager);
}

static void reading_c_changes_nothing(void **state)
{
    (void)state;
    read_c(FBT_CMA_EIGEN);
    read_c(FBT_CMA_CHOLESKY);
}

/* A rank that asked for no candidate tells the same as one that asked for all. Broken by decomposing in ask alone. */
static void asking_changes_nothing(void **state)
{
    (void)state;
    enum { D = 30, N = 5 };
    const fbt_cma_options options = {
        .dimension = D, .population = N, .constants = FBT_CMA_CONSTANTS_PYCMA, .active = true, .mirrored = true};
    fbt_cma *asker = make_cma(&options, 1, 1), *listener = make_cma(&options, 1, 1);
    double x[N * D], fitness[N];
    gsl_rng *rng;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    for (uint32_t g = 0; g < 20; g++) {
        ask_all(asker, rng, g, x, fitness);
        assert_int_equal(fbt_cma_tell(asker, N, x, fitness), FBT_OK);
        assert_int_equal(fbt_cma_tell(listener, N, x, fitness), FBT_OK);
    }
    assert_same(asker, listener);
    gsl_rng_free(rng);
    fbt_cma_free(asker);
    fbt_cma_free(listener);
}

/* The shortcut for C = I gives the bits of the general path: here through a checkpoint that says the identity is dense.
 * Broken by a shortcut that is not the same arithmetic. */
static void identity_shortcut_is_exact(void **state)
{
    (void)state;
    enum { D = 37, N = 7, KIND = 11, HEADER_REALS = 1 + 4 * D, N_C = D * (D + 1) / 2 };
    const fbt_cma_options options = {.dimension = D, .population = N, .active = true};
    fbt_cma *shortcut = make_cma(&options, 1, 1), *general = make_cma(&options, 1, 1);
    double reals[HEADER_REALS + N_C] = {0};
    fbt_cma_state s;
    assert_int_equal(fbt_cma_state_export(shortcut, &s), FBT_OK);
    assert_int_equal(s.n_reals, HEADER_REALS);
    memcpy(reals, s.reals, HEADER_REALS * sizeof *reals);
    for (int64_t i = 0; i < D; i++) {
        reals[HEADER_REALS + i * (i + 1) / 2 + i] = 1;
    }
    s.integers[KIND] = 2;
    assert_int_equal(
        fbt_cma_state_import(general, &(fbt_cma_state){s.n_integers, HEADER_REALS + N_C, s.integers, reals}), FBT_OK);
    fbt_cma_state_clear(&s);
    evolve(shortcut, 0, 1, 0);
    evolve(general, 0, 1, 0);
    assert_int_equal(work_of(shortcut).n_matrix_vector, 0);
    assert_true(work_of(general).n_matrix_vector >= 2 * N + 2);
    assert_true(fbt_cma_step_size(shortcut) == fbt_cma_step_size(general));
    assert_memory_equal(fbt_cma_mean(shortcut), fbt_cma_mean(general), D * sizeof(double));
    assert_memory_equal(fbt_cma_path_sigma(shortcut), fbt_cma_path_sigma(general), D * sizeof(double));
    fbt_cma_free(shortcut);
    fbt_cma_free(general);
}

/* Local searches share the server's C: one decomposition for all of them, no copy, and what happens to the server
 * afterwards does not reach them. */
static void share(fbt_cma_covariance covariance, fbt_cma_decomposition decomposition)
{
    enum { D = 40, N_LOCALS = 4 };
    const fbt_cma_options options = {.dimension = D,
                                     .population = 6,
                                     .covariance = covariance,
                                     .decomposition = decomposition,
                                     .constants = FBT_CMA_CONSTANTS_PYCMA,
                                     .active = true};
    fbt_cma *server = make_cma(&options, 1, 1), *twin = make_cma(&options, 1, 1), *locals[N_LOCALS];
    double c[D * D], e[D * D];
    evolve(server, 0, 10, 0);
    evolve(twin, 0, 10, 0);
    assert_int_equal(fbt_cma_covariance_full(twin, c), FBT_OK);
    const int64_t before = work_of(server).n_decompositions;
    for (int k = 0; k < N_LOCALS; k++) {
        locals[k] = make_cma(&options, 0, 3);
        evolve(locals[k], 0, 3, 0);
        assert_int_equal(fbt_cma_restart_from(locals[k], server, 0.25), FBT_OK);
        const fbt_cma_statistics work = work_of(locals[k]);
        assert_int_equal(work.n_matrix_copies, 0);
        fbt_cma_health health;
        fbt_cma_health_get(locals[k], &health);
        assert_int_equal(health.generation, 0);
        assert_int_equal(health.n_evaluations, 0);
        assert_true(fbt_cma_step_size(locals[k]) == 0.25);
        assert_true(fbt_cma_path_sigma(locals[k])[0] == 0 && fbt_cma_path_c(locals[k])[0] == 0);
        assert_memory_equal(fbt_cma_mean(locals[k]), fbt_cma_mean(server), D * sizeof(double));
    }
    assert_true(work_of(server).n_decompositions <= before + 1);
    evolve(server, 10, 30, 0);
    evolve(twin, 10, 30, 0);
    assert_same(server, twin);
    fbt_cma_free(server);
    assert_int_equal(fbt_cma_covariance_full(locals[0], e), FBT_OK);
    assert_memory_equal(c, e, sizeof c);
    evolve(locals[0], 0, 10, 0);
    assert_int_equal(fbt_cma_covariance_full(locals[1], e), FBT_OK);
    assert_memory_equal(c, e, sizeof c);
    evolve(locals[1], 0, 10, 0);
    assert_same(locals[0], locals[1]);
    for (int k = 0; k < N_LOCALS; k++) {
        fbt_cma_free(locals[k]);
    }
    fbt_cma_free(twin);
}

static void restarts_share(void **state)
{
    (void)state;
    share(FBT_CMA_FULL, FBT_CMA_EIGEN);
    share(FBT_CMA_FULL, FBT_CMA_CHOLESKY);
    share(FBT_CMA_SEPARABLE, FBT_CMA_EIGEN);
}

/* The server hands out its current C even where its own factor is of an older one: a restarted search samples as one
 * that was given that C. */
static void restarts_take_the_current_c(void **state)
{
    (void)state;
    enum { D = 60 };
    const fbt_cma_options options = {
        .dimension = D, .population = 5, .constants = FBT_CMA_CONSTANTS_PYCMA, .active = true};
    fbt_cma *server = make_cma(&options, 1, 1), *restarted = make_cma(&options, 0, 1),
            *given = make_cma(&options, 0, 1);
    static double c[D * D];
    evolve(server, 0, 5, 0); /* the last decomposition was before generation 3 */
    assert_int_equal(work_of(server).n_decompositions, 1);
    assert_int_equal(fbt_cma_restart_from(restarted, server, 0.5), FBT_OK);
    assert_int_equal(work_of(server).n_decompositions, 2);
    assert_int_equal(fbt_cma_covariance_full(server, c), FBT_OK);
    assert_int_equal(fbt_cma_set_covariance(given, c), FBT_OK);
    assert_int_equal(fbt_cma_set_mean(given, fbt_cma_mean(server)), FBT_OK);
    assert_int_equal(fbt_cma_set_step_size(given, 0.5), FBT_OK);
    evolve(restarted, 0, 6, 0);
    evolve(given, 0, 6, 0);
    assert_same(restarted, given);
    fbt_cma_free(server);
    fbt_cma_free(restarted);
    fbt_cma_free(given);
}

static void impossible_restarts(void **state)
{
    (void)state;
    fbt_cma_options options = {.dimension = 4, .population = 6};
    fbt_cma *server = make_cma(&options, 1, 1);
    options.dimension = 5;
    fbt_cma *other = make_cma(&options, 1, 1);
    options.dimension = 4;
    options.covariance = FBT_CMA_SEPARABLE;
    fbt_cma *separable = make_cma(&options, 1, 1);
    options.covariance = FBT_CMA_ISOTROPIC;
    fbt_cma *isotropic = make_cma(&options, 1, 1);
    assert_int_equal(fbt_cma_restart_from(other, server, 1), FBT_ERR_ARG);
    assert_int_equal(fbt_cma_restart_from(server, server, 0), FBT_ERR_ARG);
    assert_int_equal(fbt_cma_restart_from(separable, server, 1), FBT_OK); /* C is still the identity */
    assert_int_equal(fbt_cma_restart_from(isotropic, server, 1), FBT_OK);
    evolve(separable, 0, 3, 0);
    evolve(server, 0, 3, 0);
    assert_int_equal(fbt_cma_restart_from(separable, server, 1), FBT_ERR_ARG);
    assert_int_equal(fbt_cma_restart_from(isotropic, separable, 1), FBT_ERR_ARG);
    options.covariance = FBT_CMA_FULL;
    options.decomposition = FBT_CMA_CHOLESKY;
    fbt_cma *triangular = make_cma(&options, 1, 1);
    assert_int_equal(fbt_cma_restart_from(triangular, server, 1), FBT_ERR_ARG); /* it has eigenvectors */
    fbt_cma_free(triangular);
    assert_int_equal(fbt_cma_restart_from(server, separable, 1), FBT_OK);
    assert_int_equal(fbt_cma_restart_from(server, server, 1), FBT_OK);
    fbt_error_clear();
    evolve(server, 0, 3, 0);
    fbt_cma_free(server);
    fbt_cma_free(other);
    fbt_cma_free(separable);
    fbt_cma_free(isotropic);
}

/* Saved anywhere, also with updates deferred and a mirror planned, and loaded into a new optimiser, a search goes on
 * bit for bit. */
static void checkpoints_continue(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) { /* 3: full and triangular */
        for (uint32_t stop = 0; stop < 7; stop++) {
            const fbt_cma_options options = {.dimension = 60,
                                             .population = 5,
                                             .covariance = (fbt_cma_covariance)(kind % 3),
                                             .decomposition = kind == 3 ? FBT_CMA_CHOLESKY : FBT_CMA_EIGEN,
                                             .constants = FBT_CMA_CONSTANTS_PYCMA,
                                             .active = true,
                                             .mirrored = true};
            fbt_cma *whole = make_cma(&options, 1, 1), *resumed = make_cma(&options, 9, 9);
            fbt_cma_state s;
            evolve(resumed, 0, 5, 0); /* what it held before must not matter */
            evolve(whole, 0, stop, 0);
            assert_int_equal(fbt_cma_state_export(whole, &s), FBT_OK);
            assert_int_equal(fbt_cma_state_import(resumed, &s), FBT_OK);
            fbt_cma_state_clear(&s);
            assert_same(whole, resumed);
            evolve(whole, stop, 15, 0);
            evolve(resumed, stop, 15, 0);
            assert_same(whole, resumed);
            fbt_cma_free(whole);
            fbt_cma_free(resumed);
        }
    }
}

/* Each integer changed, arrays cut, an infinity among the reals: an error, and the optimiser is as it was. */
static void damaged_checkpoints(void **state)
{
    (void)state;
    const fbt_cma_options options = {.dimension = 60, .population = 5, .active = true};
    fbt_cma *cma = make_cma(&options, 1, 1), *twin = make_cma(&options, 1, 1);
    fbt_cma_state s;
    evolve(cma, 0, 5, 0);
    assert_int_equal(fbt_cma_state_export(cma, &s), FBT_OK);
    fbt_cma_free(cma);
    cma = make_cma(&options, 1, 1);
    for (int64_t k = 0; k < s.n_integers; k++) {
        const int64_t kept = s.integers[k];
        for (int64_t change = -1000; change <= 1000; change += 2000) {
            s.integers[k] += change;
            assert_int_equal(fbt_cma_state_import(cma, &s),
                             k == 8 || k == 9 ? (change > 0 ? FBT_OK : FBT_ERR_DATA) : FBT_ERR_DATA);
            s.integers[k] = kept;
            fbt_error_clear();
        }
    }
    assert_int_equal(fbt_cma_state_import(cma, &s), FBT_OK);
    fbt_cma_free(cma);
    cma = make_cma(&options, 1, 1);
    s.n_reals--;
    assert_int_equal(fbt_cma_state_import(cma, &s), FBT_ERR_DATA);
    s.n_reals++;
    s.n_integers = 3;
    assert_int_equal(fbt_cma_state_import(cma, &s), FBT_ERR_DATA);
    s.n_integers = 0;
    assert_int_equal(fbt_cma_state_import(cma, &s), FBT_ERR_DATA);
    fbt_error_clear();
    assert_same(cma, twin);
    fbt_cma_state_clear(&s);
    fbt_cma_free(cma);
    fbt_cma_free(twin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_search_does_no_matrix_work),
        cmocka_unit_test(reading_c_changes_nothing),
        cmocka_unit_test(asking_changes_nothing),
        cmocka_unit_test(identity_shortcut_is_exact),
        cmocka_unit_test(restarts_share),
        cmocka_unit_test(restarts_take_the_current_c),
        cmocka_unit_test(impossible_restarts),
        cmocka_unit_test(checkpoints_continue),
        cmocka_unit_test(damaged_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
