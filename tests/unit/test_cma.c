/* CMA-ES: options, errors, sampling, explicit changes, foreign solutions, restricted covariance. */
#include "cma_fixture.h"

#include <dlfcn.h>
#include <gsl/gsl_randist.h>

static const fbt_cma_options small = {
    .dimension = 2, .population = 6, .constants = FBT_CMA_CONSTANTS_PYCMA, .active = true};

static void assert_explained(const char *text)
{
    if (strstr(fbt_error_message(), text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", fbt_error_message(), text);
    }
    fbt_error_clear();
}

/* Broken by a range that is not checked, or a sentence that does not name the value. */
static void options_are_checked(void **state)
{
    (void)state;
    struct {
        fbt_cma_options options;
        const char *text;
    } bad[] = {
        {{.dimension = 0, .population = 6}, "dimension is 0"},
        {{.dimension = 20001, .population = 6}, "1 to 20000"},
        {{.dimension = 2, .population = 1}, "population is 1"},
        {{.dimension = 2, .population = 6, .n_parents = 7}, "7 parents of a population of 6"},
        {{.dimension = 2, .population = 6, .n_parents = -1}, "-1 parents"},
        {{.dimension = 2, .population = 6, .covariance = (fbt_cma_covariance)3}, "covariance model 3"},
        {{.dimension = 2, .population = 6, .constants = (fbt_cma_constants)2}, "constants 2"},
        {{.dimension = 2, .population = 6, .decomposition = (fbt_cma_decomposition)2}, "decomposition 2"},
    };
    const double mean[2] = {0, 0};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        fbt_cma *cma = (fbt_cma *)8;
        assert_int_equal(fbt_cma_new(&bad[k].options, mean, 1, &cma), FBT_ERR_CONFIG);
        assert_null(cma);
        assert_explained(bad[k].text);
    }
}

static void bad_starts(void **state)
{
    (void)state;
    const double mean[2] = {0, 0}, bad_mean[2] = {0, INFINITY}, bad_steps[] = {0, -1, NAN, INFINITY};
    fbt_cma *cma;
    for (int k = 0; k < 4; k++) {
        assert_int_equal(fbt_cma_new(&small, mean, bad_steps[k], &cma), FBT_ERR_ARG);
        assert_explained("step size");
    }
    assert_int_equal(fbt_cma_new(&small, bad_mean, 1, &cma), FBT_ERR_ARG);
    assert_explained("element 1 of the mean");
    fbt_cma_free(NULL);
}

/* An optimiser that refuses what it is told stays as it was. */
static void bad_tells_change_nothing(void **state)
{
    (void)state;
    fbt_cma *cma = make_cma(&small, 1, 1), *twin = make_cma(&small, 1, 1);
    double x[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, fitness[6] = {1, 2, NAN, 4, 5, 6};
    assert_int_equal(fbt_cma_tell(cma, 6, x, fitness), FBT_ERR_NUMERIC);
    assert_explained("solution 2");
    fitness[2] = INFINITY;
    assert_int_equal(fbt_cma_tell(cma, 5, x, fitness), FBT_ERR_ARG);
    assert_explained("told 5 solutions");
    x[7] = NAN;
    assert_int_equal(fbt_cma_tell(cma, 6, x, fitness), FBT_ERR_NUMERIC);
    assert_explained("element 1 of solution 3");
    gsl_rng *rng;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    assert_int_equal(fbt_cma_ask(cma, 6, rng, x), FBT_ERR_ARG);
    assert_explained("candidate 6");
    gsl_rng_free(rng);
    assert_int_equal(fbt_cma_set_step_size(cma, -1), FBT_ERR_ARG);
    fbt_error_clear();
    assert_int_equal(fbt_cma_set_mean(cma, (double[]){NAN, 0}), FBT_ERR_ARG);
    fbt_error_clear();
    assert_same(cma, twin);
    x[7] = 7; /* and an infinite fitness is a legal worst */
    assert_int_equal(fbt_cma_tell(cma, 6, x, fitness), FBT_OK);
    fbt_cma_free(cma);
    fbt_cma_free(twin);
}

/* A step size that overflows is an error before anything is changed, not a run full of infinities. */
static void step_size_overflow(void **state)
{
    (void)state;
    fbt_cma_options options = small;
    options.constants = FBT_CMA_CONSTANTS_TUTORIAL; /* pycma's bound on the change would hide it */
    fbt_cma *cma = make_cma(&options, 0, 1e-6), *twin = make_cma(&options, 0, 1e-6);
    double x[12];
    const double fitness[6] = {0};
    for (int i = 0; i < 12; i++) {
        x[i] = 1e6;
    }
    assert_int_equal(fbt_cma_tell(cma, 6, x, fitness), FBT_ERR_NUMERIC);
    assert_explained("step size");
    assert_same(cma, twin);
    fbt_cma_free(cma);
    fbt_cma_free(twin);
}

/* x = m + sigma C^(1/2) n with the symmetric root: for C = [2 1; 1 2] that is [a b; b a], a, b = (sqrt(3) +- 1) / 2.
 * Broken by a Cholesky or B D factor, a transposed eigenvector matrix, another sampler. */
static void samples_use_the_symmetric_root(void **state)
{
    (void)state;
    const double c[4] = {2, 1, 1, 2}, a = (sqrt(3) + 1) / 2, b = (sqrt(3) - 1) / 2;
    fbt_cma *cma = make_cma(&small, 5, 0.5);
    gsl_rng *rng;
    double x[2];
    fbt_cma_health health;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    assert_int_equal(fbt_cma_set_covariance(cma, c), FBT_OK);
    for (uint32_t k = 0; k < 10; k++) {
        const fbt_rng_stream stream = {.seed = 1, .purpose = FBT_RNG_SEARCH, .candidate = k};
        fbt_rng_seek(rng, &stream);
        assert_int_equal(fbt_cma_ask(cma, 3, rng, x), FBT_OK);
        fbt_rng_seek(rng, &stream);
        const double n0 = gsl_ran_gaussian_ziggurat(rng, 1), n1 = gsl_ran_gaussian_ziggurat(rng, 1);
        assert_true(fabs(x[0] - (5 + 0.5 * (a * n0 + b * n1))) < 1e-14);
        assert_true(fabs(x[1] - (5.01 + 0.5 * (b * n0 + a * n1))) < 1e-14);
    }
    fbt_cma_health_get(cma, &health);
    assert_true(fabs(health.condition - 3) < 1e-13 && fabs(health.axis_ratio - sqrt(3)) < 1e-13);
    gsl_rng_free(rng);
    fbt_cma_free(cma);
}

/* The same with the triangular root [sqrt(2) 0; 1 / sqrt(2) sqrt(3 / 2)], and all candidates at once in the bits of one
 * by one, a mirror among them. */
static void samples_use_the_triangular_root(void **state)
{
    (void)state;
    const double c[4] = {2, 1, 1, 2};
    fbt_cma_options options = small;
    options.decomposition = FBT_CMA_CHOLESKY;
    options.mirrored = true;
    fbt_cma *cma = make_cma(&options, 5, 0.5);
    gsl_rng *rng;
    double x[12], all[12], fitness[6];
    fbt_rng_stream stream = {.seed = 1, .purpose = FBT_RNG_SEARCH};
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    assert_int_equal(fbt_cma_set_covariance(cma, c), FBT_OK);
    for (stream.candidate = 0; stream.candidate < 6; stream.candidate++) {
        double *const own = x + 2 * stream.candidate;
        fbt_rng_seek(rng, &stream);
        assert_int_equal(fbt_cma_ask(cma, stream.candidate, rng, own), FBT_OK);
        fbt_rng_seek(rng, &stream);
        const double n0 = gsl_ran_gaussian_ziggurat(rng, 1), n1 = gsl_ran_gaussian_ziggurat(rng, 1);
        assert_true(fabs(own[0] - (5 + 0.5 * sqrt(2) * n0)) < 1e-14);
        assert_true(fabs(own[1] - (5.01 + 0.5 * (n0 / sqrt(2) + sqrt(1.5) * n1))) < 1e-14);
    }
    assert_int_equal(fbt_cma_ask_all(cma, rng, &stream, all), FBT_OK);
    assert_memory_equal(x, all, sizeof x);
    fbt_cma_health health;
    fbt_cma_health_get(cma, &health);
    assert_true(fabs(health.condition - 3) < 1e-12 && fabs(health.axis_ratio - sqrt(3)) < 1e-12);
    ask_all(cma, rng, 0, x, fitness);
    assert_int_equal(fbt_cma_tell(cma, 6, x, fitness), FBT_OK);
    ask_all(cma, rng, 1, x, fitness);
    stream = (fbt_rng_stream){.seed = 5, .purpose = FBT_RNG_SEARCH, .generation = 1};
    assert_int_equal(fbt_cma_ask_all(cma, rng, &stream, all), FBT_OK);
    assert_memory_equal(x, all, sizeof x);
    gsl_rng_free(rng);
    fbt_cma_free(cma);
}

static void check_covariances(fbt_cma_decomposition decomposition)
{
    fbt_cma_options options = small;
    options.decomposition = decomposition;
    const double indefinite[4] = {1, 2, 2, 1}, negative[4] = {1, 0, 0, -1}, flat[4] = {1, 0, 0, 1e-15},
                 nearly_singular[4] = {1, 1, 1, 1 + 1e-15}, not_finite[4] = {1, 0, NAN, 1}, good[4] = {1, 0, 0, 4};
    const double *const bad[] = {indefinite, negative, flat, nearly_singular, not_finite};
    fbt_cma *cma = make_cma(&options, 0, 1), *twin = make_cma(&options, 0, 1);
    for (int k = 0; k < 5; k++) {
        assert_int_equal(fbt_cma_set_covariance(cma, bad[k]), FBT_ERR_NUMERIC);
        assert_explained("covariance matrix");
    }
    assert_same(cma, twin);
    assert_int_equal(fbt_cma_set_covariance(cma, good), FBT_OK);
    fbt_cma_health health;
    fbt_cma_statistics work;
    fbt_cma_health_get(cma, &health);
    fbt_cma_statistics_get(cma, &work);
    assert_true(health.condition == 4);
    /* Of the dense ones above alone, of which the eigensolver is not given the one that is not finite. */
    assert_int_equal(work.n_decompositions, decomposition == FBT_CMA_EIGEN ? 2 : 3);
    fbt_cma_free(cma);
    fbt_cma_free(twin);
}

static void covariance_is_checked(void **state)
{
    (void)state;
    check_covariances(FBT_CMA_EIGEN);
    check_covariances(FBT_CMA_CHOLESKY);
}

/* Foreign solutions count as if they lay at Mahalanobis length sqrt(d) + 2 d / (d + 2); our own, and foreign ones
 * inside, count as they are. Broken by clipping in the Euclidean norm, with the wrong sigma, about the wrong point, or
 * everything. */
static void foreign_solutions_are_clipped(void **state)
{
    (void)state;
    const double c[4] = {4, 0, 0, 1}, limit = sqrt(2) + 2 * 2.0 / 4, mean[2] = {1, -1};
    const double far_x[4] = {1 + 2 * 2 * 1000, -1, 1, -1 - 2 * 1000}; /* 1000 lengths away, sigma = 2 */
    const double clipped_x[4] = {1 + 2 * 2 * limit, -1, 1, -1 - 2 * limit};
    const double inside[8] = {1.5, -1, 1, -1.5, 0.5, 0, 2, 2}, fitness[6] = {1, 2, 3, 4, 5, 6};
    const bool is_foreign[6] = {true, true};
    fbt_cma *cma[3];
    double x[2][12];
    memcpy(x[0], far_x, sizeof far_x);
    memcpy(x[1], clipped_x, sizeof clipped_x);
    memcpy(x[0] + 4, inside, sizeof inside);
    memcpy(x[1] + 4, inside, sizeof inside);
    for (int k = 0; k < 3; k++) {
        cma[k] = make_cma(&small, 1, 2);
        assert_int_equal(fbt_cma_set_mean(cma[k], mean), FBT_OK);
        assert_int_equal(fbt_cma_set_covariance(cma[k], c), FBT_OK);
    }
    assert_int_equal(fbt_cma_tell_foreign(cma[0], 6, x[0], fitness, is_foreign), FBT_OK);
    assert_int_equal(fbt_cma_tell_foreign(cma[1], 6, x[0], fitness, NULL), FBT_OK);
    assert_int_equal(fbt_cma_tell(cma[2], 6, x[1], fitness), FBT_OK);
    assert_same(cma[0], cma[1]);
    for (int k = 0; k < 2; k++) {
        assert_true(fabs(fbt_cma_mean(cma[0])[k] - fbt_cma_mean(cma[2])[k]) < 1e-13);
    }
    assert_true(fabs(fbt_cma_step_size(cma[0]) / fbt_cma_step_size(cma[2]) - 1) < 1e-13);
    for (int k = 0; k < 3; k++) {
        fbt_cma_free(cma[k]);
    }
}

static void ties_rank_by_index(void **state)
{
    (void)state;
    const double x[12] = {1, 0, 0, 1, 2, 0, 0, 2, 3, 0, 0, 3}, equal[6] = {7, 7, 7, 7, 7, 7},
                 rising[6] = {1, 2, 3, 4, 5, 6};
    fbt_cma *cma = make_cma(&small, 0, 1), *twin = make_cma(&small, 0, 1);
    assert_int_equal(fbt_cma_tell(cma, 6, x, equal), FBT_OK);
    assert_int_equal(fbt_cma_tell(twin, 6, x, rising), FBT_OK);
    assert_same(cma, twin);
    fbt_cma_free(cma);
    fbt_cma_free(twin);
}

/* The mirror of a worst solution that was near the mean keeps its distance; that of a far one gets the length of the
 * step that its stream draws. Other candidates, and a search without the option, have nothing of it. */
static void mirrors(void **state)
{
    (void)state;
    const double near_x[12] = {0.1, 0, 0, 0.1, 0.2, 0, 0, 0.2, 0.3, 0, 0.1, 0.3}, fitness[6] = {1, 2, 3, 4, 5, 6};
    const fbt_rng_stream stream = {.seed = 1, .purpose = FBT_RNG_SEARCH};
    gsl_rng *rng;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    for (int far = 0; far < 2; far++) {
        fbt_cma_options options = small;
        options.covariance = FBT_CMA_ISOTROPIC; /* lengths are plain ones */
        double told[12], x[2], plain_x[2];
        const double start[2] = {0, 0.01}, scale = far ? 1000 : 1;
        for (int i = 0; i < 12; i++) {
            told[i] = scale * near_x[i];
        }
        fbt_cma *plain = make_cma(&options, 0, 1);
        options.mirrored = true;
        fbt_cma *cma = make_cma(&options, 0, 1);
        assert_int_equal(fbt_cma_tell(cma, 6, told, fitness), FBT_OK);
        assert_int_equal(fbt_cma_tell(plain, 6, told, fitness), FBT_OK);
        const double direction[2] = {start[0] - told[10], start[1] - told[11]};
        fbt_rng_seek(rng, &stream);
        const double n0 = gsl_ran_gaussian_ziggurat(rng, 1), n1 = gsl_ran_gaussian_ziggurat(rng, 1);
        const double factor = far ? fbt_cma_step_size(cma) * hypot(n0, n1) / hypot(direction[0], direction[1]) : 1;
        fbt_rng_seek(rng, &stream);
        assert_int_equal(fbt_cma_ask(cma, 0, rng, x), FBT_OK);
        for (int k = 0; k < 2; k++) {
            assert_true(fabs(x[k] - fbt_cma_mean(cma)[k] - factor * direction[k]) < 1e-12 * scale);
        }
        fbt_rng_seek(rng, &stream);
        assert_int_equal(fbt_cma_ask(plain, 0, rng, plain_x), FBT_OK);
        assert_true(fabs(plain_x[0] - fbt_cma_mean(plain)[0] - fbt_cma_step_size(plain) * n0) < 1e-12 * scale);
        fbt_cma_free(cma);
        fbt_cma_free(plain);
    }
    gsl_rng_free(rng);
}

/* A foreign solution in the mirror's place is no mirror: its negative weight counts. */
static void foreign_solutions_are_no_mirrors(void **state)
{
    (void)state;
    const double x[12] = {1, 1, 0.1, 0, 0, 0.1, 0.2, 0, 0, 0.2, 0.3, 0}, fitness[6] = {6, 1, 2, 3, 4, 5};
    fbt_cma_options options = {.dimension = 2, .population = 6, .active = true};
    fbt_cma *plain = make_cma(&options, 0, 1);
    options.mirrored = true;
    fbt_cma *mirrored = make_cma(&options, 0, 1), *own = make_cma(&options, 0, 1);
    fbt_cma *all[3] = {plain, mirrored, own};
    double c[3][4];
    for (int k = 0; k < 3; k++) {
        /* The first tell's worst is number 0, no mirror yet, so that a mirror is planned for the second. */
        assert_int_equal(fbt_cma_tell(all[k], 6, x, fitness), FBT_OK);
        assert_int_equal(
            k < 2 ? fbt_cma_tell_foreign(all[k], 6, x, fitness, NULL) : fbt_cma_tell(all[k], 6, x, fitness), FBT_OK);
        assert_int_equal(fbt_cma_covariance_full(all[k], c[k]), FBT_OK);
        fbt_cma_free(all[k]);
    }
    assert_memory_equal(c[0], c[1], sizeof c[0]);
    assert_true(c[0][1] != c[2][1]);
}

/* OpenBLAS sums differently with each number of threads; after the first decomposition it has one, whatever it started
 * with. */
static void blas_has_one_thread(void **state)
{
    (void)state;
    const double c[4] = {2, 1, 1, 2};
    int (*n_threads)(void);
    fbt_cma *cma = make_cma(&small, 0, 1);
    assert_int_equal(fbt_cma_set_covariance(cma, c), FBT_OK);
    fbt_cma_free(cma);
    void *blas = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_NOLOAD); /* by the optimiser, for itself alone */
    *(void **)&n_threads = blas == NULL ? NULL : dlsym(blas, "openblas_get_num_threads");
    if (n_threads == NULL) {
        skip(); /* another BLAS */
    }
    assert_int_equal(n_threads(), 1);
}

/* Isotropic: m and sigma move, C is the identity for ever and no other is accepted. */
static void isotropic(void **state)
{
    (void)state;
    enum { D = 6 };
    const fbt_cma_options options = {.dimension = D, .population = 8, .covariance = FBT_CMA_ISOTROPIC, .active = true};
    fbt_cma *cma = make_cma(&options, 3, 1);
    double c[D * D], other[D * D] = {0};
    fbt_cma_statistics work;
    fbt_cma_health health;
    evolve(cma, 0, 300, 0);
    assert_true(fbt_cma_step_size(cma) < 1e-3);
    assert_int_equal(fbt_cma_covariance_full(cma, c), FBT_OK);
    for (int i = 0; i < D * D; i++) {
        assert_true(c[i] == (i % (D + 1) == 0 ? 1 : 0));
        other[i] = i % (D + 1) == 0 ? 2 : 0;
    }
    fbt_cma_statistics_get(cma, &work);
    fbt_cma_health_get(cma, &health);
    assert_int_equal(work.n_decompositions + work.n_matrix_vector + work.n_rank_one + work.n_matrix_copies, 0);
    assert_true(health.condition == 1 && health.generation == 300 && health.n_evaluations == 2400);
    assert_true(health.path_sigma_length > 0 && isfinite(health.path_sigma_ratio));
    assert_int_equal(fbt_cma_set_covariance(cma, c), FBT_OK);
    assert_int_equal(fbt_cma_set_covariance(cma, other), FBT_ERR_ARG);
    assert_explained("isotropic");
    fbt_cma_free(cma);
}

/* Separable: C stays diagonal and follows the axes' scales, at O(d) work; a matrix with other elements is refused. */
static void separable(void **state)
{
    (void)state;
    enum { D = 5, N = 8 };
    for (int preset = 0; preset < 2; preset++) {
        const fbt_cma_options options = {.dimension = D,
                                         .population = N,
                                         .covariance = FBT_CMA_SEPARABLE,
                                         .constants = (fbt_cma_constants)preset,
                                         .active = true};
        fbt_cma *cma = make_cma(&options, 3, 1);
        double c[D * D], x[N * D], fitness[N];
        gsl_rng *rng;
        fbt_cma_statistics work;
        assert_int_equal(fbt_rng_new(&rng), FBT_OK);
        for (uint32_t g = 0; g < 150; g++) {
            ask_all(cma, rng, g, x, fitness);
            for (int i = 0; i < N; i++) {
                fitness[i] = 1e4 * x[i * D] * x[i * D];
                for (int k = 1; k < D; k++) {
                    fitness[i] += x[i * D + k] * x[i * D + k];
                }
            }
            assert_int_equal(fbt_cma_tell(cma, N, x, fitness), FBT_OK);
        }
        assert_int_equal(fbt_cma_covariance_full(cma, c), FBT_OK);
        for (int i = 0; i < D * D; i++) {
            assert_true(i % (D + 1) == 0 ? c[i] > 0 : c[i] == 0);
        }
        assert_true(c[6] / c[0] > 1e3 && c[6] / c[0] < 1e5);
        fbt_cma_statistics_get(cma, &work);
        assert_int_equal(work.n_decompositions + work.n_matrix_vector + work.n_rank_one, 0);
        c[1] = c[D] = 0.01;
        assert_int_equal(fbt_cma_set_covariance(cma, c), FBT_ERR_ARG);
        assert_explained("separable");
        gsl_rng_free(rng);
        fbt_cma_free(cma);
    }
}

/* One generation of a search in which the second coordinate is free: its scale grows against the first one's without
 * end. */
static void one_sided_generation(fbt_cma *cma, gsl_rng *rng, uint32_t generation)
{
    enum { N = 6 };
    double x[N * 2], fitness[N];
    ask_all(cma, rng, generation, x, fitness);
    for (int i = 0; i < N; i++) {
        fitness[i] = fabs(x[2 * i]);
    }
    assert_int_equal(fbt_cma_tell(cma, N, x, fitness), FBT_OK);
}

static void assert_fresh(fbt_cma *cma, int64_t d)
{
    double c[4];
    assert_int_equal(fbt_cma_covariance_full(cma, c), FBT_OK);
    for (int64_t i = 0; i < d * d; i++) {
        assert_true(c[i] == (i % (d + 1) == 0));
    }
    for (int64_t i = 0; i < d; i++) {
        assert_true(fbt_cma_path_sigma(cma)[i] == 0 && fbt_cma_path_c(cma)[i] == 0);
    }
}

/* Beyond the condition limit a search goes on from its mean with its step size and C = identity, as often as need be.
 */
static void condition_limit(void **state)
{
    (void)state;
    const fbt_cma_covariance kinds[] = {FBT_CMA_FULL, FBT_CMA_SEPARABLE};
    gsl_rng *rng;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    for (int k = 0; k < 8; k++) {
        const fbt_cma_options options = {.dimension = 2,
                                         .population = 6,
                                         .covariance = kinds[k % 2],
                                         .decomposition = (fbt_cma_decomposition)(k / 4),
                                         .constants = (fbt_cma_constants)(k / 2 % 2),
                                         .active = true};
        fbt_cma *cma = make_cma(&options, 0, 1);
        fbt_cma_health health, before = {0};
        uint32_t g = 0;
        for (; g < 5000 && before.n_resets < 2; g++) {
            const double mean[2] = {fbt_cma_mean(cma)[0], fbt_cma_mean(cma)[1]};
            const double step_size = fbt_cma_step_size(cma);
            assert_int_equal(fbt_cma_settle(cma), FBT_OK);
            fbt_cma_health_get(cma, &health);
            assert_true(health.condition <= FBT_CMA_CONDITION_LIMIT);
            if (health.n_resets > before.n_resets && options.covariance == FBT_CMA_FULL) {
                assert_fresh(cma, 2);
                assert_memory_equal(mean, fbt_cma_mean(cma), sizeof mean);
                assert_true(step_size == fbt_cma_step_size(cma));
            }
            before = health;
            one_sided_generation(cma, rng, g);
        }
        assert_true(before.n_resets >= 2 && fbt_cma_step_size(cma) > 1e-90); /* neither for want of a step size */
        assert_string_equal(fbt_error_message(), "");
        fbt_cma_free(cma);
    }
    gsl_rng_free(rng);
}

/* A server that has collapsed is reset once, and all local searches begin from the same new start. */
static void a_collapsed_server(void **state)
{
    (void)state;
    const fbt_cma_options options = {.dimension = 2, .population = 6, .active = true};
    fbt_cma *server = make_cma(&options, 0, 1), *locals[2] = {make_cma(&small, 1, 1), make_cma(&small, 2, 1)};
    fbt_cma_health health = {0}, of_local;
    gsl_rng *rng;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    for (uint32_t g = 0; g < 5000 && health.n_resets == 0; g++) {
        one_sided_generation(server, rng, g);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(fbt_cma_restart_from(locals[i], server, 0.5), FBT_OK);
        }
        fbt_cma_health_get(server, &health);
    }
    assert_int_equal(health.n_resets, 1);
    for (int i = 0; i < 2; i++) {
        assert_fresh(locals[i], 2);
        assert_memory_equal(fbt_cma_mean(locals[i]), fbt_cma_mean(server), 2 * sizeof(double));
        fbt_cma_health_get(locals[i], &of_local);
        assert_int_equal(of_local.n_resets, 0);
        fbt_cma_free(locals[i]);
    }
    assert_fresh(server, 2);
    gsl_rng_free(rng);
    fbt_cma_free(server);
}

/* All candidates at the mean: the step size shrinks, and is kept from vanishing. */
static void vanishing_step_size(void **state)
{
    (void)state;
    fbt_cma *cma = make_cma(&small, 0, 1e-97);
    double x[12] = {0, 0.01, 0, 0.01, 0, 0.01, 0, 0.01, 0, 0.01, 0, 0.01};
    const double fitness[6] = {0};
    fbt_cma_health health;
    for (int g = 0; g < 300; g++) {
        assert_int_equal(fbt_cma_tell(cma, 6, x, fitness), FBT_OK);
        assert_true(fbt_cma_step_size(cma) >= FBT_CMA_STEP_SIZE_MIN);
    }
    fbt_cma_health_get(cma, &health);
    assert_true(health.n_resets > 0);
    assert_int_equal(health.generation, 300);
    fbt_cma_free(cma);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(bad_starts),
        cmocka_unit_test(bad_tells_change_nothing),
        cmocka_unit_test(step_size_overflow),
        cmocka_unit_test(samples_use_the_symmetric_root),
        cmocka_unit_test(samples_use_the_triangular_root),
        cmocka_unit_test(covariance_is_checked),
        cmocka_unit_test(foreign_solutions_are_clipped),
        cmocka_unit_test(ties_rank_by_index),
        cmocka_unit_test(mirrors),
        cmocka_unit_test(foreign_solutions_are_no_mirrors),
        cmocka_unit_test(blas_has_one_thread),
        cmocka_unit_test(isotropic),
        cmocka_unit_test(separable),
        cmocka_unit_test(condition_limit),
        cmocka_unit_test(a_collapsed_server),
        cmocka_unit_test(vanishing_step_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
