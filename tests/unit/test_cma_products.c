/* CMA-ES: products with its matrices, and the two decompositions beside each other. */
#include "cma_fixture.h"
#include "optim/covariance.h"
#include "optim/products.h"

enum { MOST = 70, MANY = FBT_PRODUCTS_MANY, N_TERMS = 7 };

typedef struct workspace {
    double values[MOST * MOST], triangle[5 * FBT_PANEL * FBT_PANEL * 6], v[MANY * MOST], out[MANY * MOST];
    double scratch[MANY * (MOST + FBT_PANEL)], added[MOST * MOST], fused[MOST * MOST];
    double scaled[N_TERMS * MOST];
} workspace;

static double draw(void)
{
    return 2 * drand48() - 1;
}

/* A positive definite matrix B B^T + I, in full, and vectors. */
static void fill(workspace *w, int64_t d)
{
    static double b[MOST * MOST];
    for (int64_t i = 0; i < d * d; i++) {
        b[i] = draw();
    }
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j < d; j++) {
            w->values[i * d + j] = i == j;
            for (int64_t k = 0; k < d; k++) {
                w->values[i * d + j] += b[i * d + k] * b[j * d + k];
            }
        }
    }
    for (int64_t i = 0; i < MANY * d; i++) {
        w->v[i] = draw();
    }
}

static void expect_near(int64_t n, const double *got, const double *expected, double tolerance)
{
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(got[i] - expected[i]) <= tolerance)) {
            fail_msg("element %lld: %.17g instead of %.17g", (long long)i, got[i], expected[i]);
        }
    }
}

/* out = C v in full. */
static void multiply(int64_t d, const double *c, const double *v, double *out)
{
    for (int64_t i = 0; i < d; i++) {
        out[i] = fbt_vector_dot(c + i * d, v, d);
    }
}

/* L L^T v = C v, and both inverses take it back. Broken by a wrong square of the factor, what lies beyond the last row,
 * or a vector that reaches into its neighbour. */
static void factor_and_products_agree(void **state)
{
    (void)state;
    static workspace w;
    double product[MOST], back[MOST], through[MOST];
    const fbt_products *products = fbt_products_get();
    srand48(1);
    for (int64_t d = 1; d <= MOST; d += d < 35 ? 1 : 7) {
        fill(&w, d);
        assert_true(fbt_triangle_size(d) * (int64_t)sizeof(double) <= (int64_t)sizeof w.triangle);
        assert_true(products->factor(d, w.values, w.triangle));
        for (int64_t c = 0; c < MANY; c++) {
            const double *v = w.v + c * d;
            multiply(d, w.values, v, product);
            products->times_transposed(d, w.triangle, v, through, w.scratch);
            products->times(d, w.triangle, 1, through, back, w.scratch);
            expect_near(d, back, product, 1e-12 * (double)(d * d));
            products->solve(d, w.triangle, 1, product, through, w.scratch);
            products->solve_transposed(d, w.triangle, through, back, w.scratch);
            expect_near(d, back, v, 1e-10 * (double)d);
        }
        for (int64_t n = 1; n <= MANY; n++) { /* one by one and together, in place */
            memcpy(w.out, w.v, sizeof w.v);
            products->times(d, w.triangle, n, w.out, w.out, w.scratch);
            for (int64_t c = 0; c < n; c++) {
                products->times(d, w.triangle, 1, w.v + c * d, through, w.scratch);
                assert_memory_equal(through, w.out + c * d, (size_t)d * sizeof *through);
            }
            assert_memory_equal(w.out + n * d, w.v + n * d, (size_t)((MANY - n) * d) * sizeof *w.v);
            products->solve(d, w.triangle, n, w.out, w.out, w.scratch);
            expect_near(n * d, w.out, w.v, 1e-10 * (double)d);
        }
    }
}

static void what_is_not_positive_definite(void **state)
{
    (void)state;
    static workspace w;
    const double bad[] = {0, -1, NAN, INFINITY};
    srand48(2);
    for (int64_t d = 1; d <= MOST; d += 23) {
        for (int k = 0; k < 4; k++) {
            fill(&w, d);
            w.values[d * d - 1] = bad[k];
            assert_false(fbt_products_get()->factor(d, w.values, w.triangle));
        }
        fill(&w, d);
        if (d > 1) {
            w.values[(d - 1) * d] = INFINITY;
            assert_false(fbt_products_get()->factor(d, w.values, w.triangle));
        }
    }
}

/* Everything that one copy makes of the same numbers. */
static void use_all(const fbt_products *p, int64_t d, workspace *w, double *results)
{
    static const double decay[] = {0.9, 1.1}, weight[N_TERMS] = {1, -0.1, 0.5, 2, 0.25, -0.2, 1};
    static const int64_t first_row[] = {0, 3, N_TERMS};
    const fbt_terms terms = {2, decay, first_row, weight, w->v, w->scaled};
    const int64_t n = MANY * d;
    memcpy(w->added, w->values, sizeof w->values);
    memcpy(w->fused, w->values, sizeof w->values);
    p->add_terms(d, &terms, w->added);
    p->add_terms_fused(d, &terms, w->fused);
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            *results++ = w->added[i * d + j];
            *results++ = w->fused[i * d + j];
        }
    }
    assert_true(p->factor(d, w->values, w->triangle));
    p->to_basis(d, w->values, MANY, w->v, results);
    p->from_basis(d, w->values, MANY, w->v, results + n);
    p->times(d, w->triangle, MANY, w->v, results + 2 * n, w->scratch);
    p->solve(d, w->triangle, MANY, w->v, results + 3 * n, w->scratch);
    p->times_transposed(d, w->triangle, w->v, results + 4 * n, w->scratch);
    p->solve_transposed(d, w->triangle, w->v, results + 4 * n + d, w->scratch);
}

/* On any processor the same bits, the terms those of a plain loop. Broken by a product that one copy fuses and another
 * does not, by lanes that are added up in another order, and by a tile that ends elsewhere. */
static void copies_agree(void **state)
{
    (void)state;
    enum { N_RESULTS = MOST * (MOST + 1) + 4 * MANY * MOST + 2 * MOST };
    static workspace w;
    static double results[N_RESULTS], others[N_RESULTS];
    srand48(3);
    for (int64_t d = 1; d <= MOST; d++) {
        const fbt_products *const *p = fbt_products_all();
        fill(&w, d);
        use_all(p[0], d, &w, results);
        for (int k = 1; p[k] != NULL; k++) {
            use_all(p[k], d, &w, others);
            assert_memory_equal(results, others, (size_t)(d * (d + 1) + 4 * MANY * d + 2 * d) * sizeof *results);
        }
    }
}

/* Two searches are told the same for hundreds of generations, one from the other's mean and step size each time: C is
 * the same but for rounding, whatever it is decomposed into, and so are lengths and the condition number. Broken by an
 * update that depends on the root, by one that the factor is not made of, and by a condition that is another one. */
static void both_ways_have_one_covariance(void **state)
{
    (void)state;
    enum { D = 40, N = 12 };
    fbt_cma_options options = {.dimension = D, .population = N, .constants = FBT_CMA_CONSTANTS_PYCMA, .active = true};
    fbt_cma *eigen = make_cma(&options, 1, 1);
    options.decomposition = FBT_CMA_CHOLESKY;
    fbt_cma *triangular = make_cma(&options, 1, 1);
    static double x[N * D], fitness[N], c[D * D], e[D * D];
    fbt_cma_health health, other;
    gsl_rng *rng;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    for (uint32_t g = 0; g < 400; g++) {
        assert_int_equal(fbt_cma_set_mean(triangular, fbt_cma_mean(eigen)), FBT_OK);
        assert_int_equal(fbt_cma_set_step_size(triangular, fbt_cma_step_size(eigen)), FBT_OK);
        ask_all(g % 2 ? eigen : triangular, rng, g, x, fitness);
        assert_int_equal(fbt_cma_tell(eigen, N, x, fitness), FBT_OK);
        assert_int_equal(fbt_cma_tell(triangular, N, x, fitness), FBT_OK);
        assert_int_equal(fbt_cma_covariance_full(eigen, c), FBT_OK);
        assert_int_equal(fbt_cma_covariance_full(triangular, e), FBT_OK);
        expect_near(D * D, e, c, 1e-11);
        fbt_cma_health_get(eigen, &health);
        fbt_cma_health_get(triangular, &other);
        assert_true(other.condition <= health.condition * (1 + 1e-9) && other.condition >= 0.99 * health.condition);
    }
    assert_true(health.condition > 3);
    gsl_rng_free(rng);
    fbt_cma_free(eigen);
    fbt_cma_free(triangular);
}

/* H diag(l) H with the reflection H of a random vector has the eigenvalues l. Broken by too few steps, and by an end of
 * the spectrum that is not found. */
static void condition_is_found(void **state)
{
    (void)state;
    enum { D = 300 };
    static double c[D * D];
    double u[D], l[D], norm = 0;
    const double expected[] = {1, 1.5, 1e3, 1e8, 1e13};
    fbt_cma_options options = {.dimension = D, .population = 10, .decomposition = FBT_CMA_CHOLESKY};
    fbt_cma *cma = make_cma(&options, 0, 1);
    srand48(4);
    for (int i = 0; i < D; i++) {
        u[i] = draw();
        norm += u[i] * u[i];
    }
    for (size_t k = 0; k < sizeof expected / sizeof expected[0]; k++) {
        double between = 0;
        for (int i = 0; i < D; i++) {
            l[i] = pow(expected[k], (double)i / (D - 1));
            between += l[i] * u[i] * u[i];
        }
        for (int i = 0; i < D; i++) {
            for (int j = 0; j < D; j++) {
                c[i * D + j] = (i == j ? l[i] : 0) - 2 * (l[i] + l[j]) * u[i] * u[j] / norm +
                               4 * between * u[i] * u[j] / (norm * norm);
            }
        }
        fbt_cma_health health;
        assert_int_equal(fbt_cma_set_covariance(cma, c), FBT_OK);
        fbt_cma_health_get(cma, &health);
        if (!(health.condition > 0.98 * expected[k] && health.condition < 1.02 * expected[k])) {
            fail_msg("%g instead of %g", health.condition, expected[k]);
        }
    }
    fbt_cma_free(cma);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factor_and_products_agree),
        cmocka_unit_test(what_is_not_positive_definite),
        cmocka_unit_test(copies_agree),
        cmocka_unit_test(both_ways_have_one_covariance),
        cmocka_unit_test(condition_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
