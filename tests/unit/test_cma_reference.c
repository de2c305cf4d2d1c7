/* CMA-ES with the tutorial's constants against a second, plain implementation of its equations: dense, nothing
 * deferred, and GSL's eigenvalues or a textbook's Cholesky factor. Broken by a wrong sign, order, factor or stale
 * quantity in any update. (pycma's constants are held against pycma itself in tests/golden.) */
#include "cma_fixture.h"

#include <gsl/gsl_eigen.h>

enum { D = 9, N = 8 };

typedef struct reference {
    fbt_cma_parameters p;
    double w[N], m[D], sigma, c[D][D], root_inverse[D][D], p_sigma[D], p_c[D];
    int g, age;
    bool separable, triangular;
} reference;

/* L^-1 of C = L L^T, row by row from the textbook. */
static void decompose_triangular(reference *r)
{
    double l[D][D] = {{0}};
    for (int i = 0; i < D; i++) {
        for (int j = 0; j <= i; j++) {
            double sum = r->c[i][j];
            for (int k = 0; k < j; k++) {
                sum -= l[i][k] * l[j][k];
            }
            l[i][j] = i == j ? sqrt(sum) : sum / l[j][j];
        }
    }
    for (int j = 0; j < D; j++) {
        for (int i = 0; i < D; i++) {
            double sum = i == j;
            for (int k = j; k < i; k++) {
                sum -= l[i][k] * r->root_inverse[k][j];
            }
            r->root_inverse[i][j] = i < j ? 0 : sum / l[i][i];
        }
    }
    r->age = 0;
}

/* C^(-1/2) = B diag(1 / sqrt(l)) B^T. */
static void decompose(reference *r)
{
    if (r->triangular) {
        decompose_triangular(r);
        return;
    }
    gsl_matrix *a = gsl_matrix_alloc(D, D), *b = gsl_matrix_alloc(D, D);
    gsl_vector *l = gsl_vector_alloc(D);
    gsl_eigen_symmv_workspace *w = gsl_eigen_symmv_alloc(D);
    for (int i = 0; i < D; i++) {
        for (int j = 0; j < D; j++) {
            gsl_matrix_set(a, (size_t)i, (size_t)j, r->c[i][j]);
        }
    }
    gsl_eigen_symmv(a, l, b, w);
    for (int i = 0; i < D; i++) {
        for (int j = 0; j < D; j++) {
            r->root_inverse[i][j] = 0;
            for (size_t k = 0; k < D; k++) {
                r->root_inverse[i][j] +=
                    gsl_matrix_get(b, (size_t)i, k) * gsl_matrix_get(b, (size_t)j, k) / sqrt(gsl_vector_get(l, k));
            }
        }
    }
    r->age = 0;
    gsl_eigen_symmv_free(w);
    gsl_vector_free(l);
    gsl_matrix_free(a);
    gsl_matrix_free(b);
}

static double length(const double *v)
{
    double sum = 0;
    for (int i = 0; i < D; i++) {
        sum += v[i] * v[i];
    }
    return sqrt(sum);
}

static void whiten(const reference *r, const double *v, double *out)
{
    for (int i = 0; i < D; i++) {
        out[i] = 0;
        for (int j = 0; j < D; j++) {
            out[i] += r->root_inverse[i][j] * v[j];
        }
    }
}

/* Steps by rank: equations 38 to 47 of the tutorial. */
static void update(reference *r, double y[N][D])
{
    const fbt_cma_parameters *p = &r->p;
    double step[D] = {0}, z[D], sum_w = 0;
    for (int k = 0; k < N; k++) {
        sum_w += r->w[k];
        for (int i = 0; i < D; i++) {
            step[i] += r->w[k] > 0 ? r->w[k] * y[k][i] : 0;
        }
    }
    whiten(r, step, z);
    for (int i = 0; i < D; i++) {
        r->m[i] += r->sigma * step[i];
        r->p_sigma[i] = (1 - p->c_sigma) * r->p_sigma[i] + sqrt(p->c_sigma * (2 - p->c_sigma) * p->mu_eff) * z[i];
    }
    r->g++;
    const double norm = length(r->p_sigma);
    const bool h = norm / sqrt(1 - pow(1 - p->c_sigma, 2 * r->g)) < (1.4 + 2.0 / (D + 1)) * p->chi;
    for (int i = 0; i < D; i++) {
        r->p_c[i] = (1 - p->c_c) * r->p_c[i] + (h ? sqrt(p->c_c * (2 - p->c_c) * p->mu_eff) * step[i] : 0);
    }
    const double delta = h ? 0 : p->c_c * (2 - p->c_c);
    for (int i = 0; i < D; i++) {
        for (int j = 0; j < D; j++) {
            r->c[i][j] *= 1 + p->c_1 * delta - p->c_1 - p->c_mu * sum_w;
            r->c[i][j] += p->c_1 * r->p_c[i] * r->p_c[j];
        }
    }
    for (int k = 0; k < N; k++) {
        whiten(r, y[k], z);
        const double w = r->w[k] >= 0 ? r->w[k] : r->w[k] * D / (length(z) * length(z));
        for (int i = 0; i < D; i++) {
            for (int j = 0; j < D; j++) {
                r->c[i][j] += i == j || !r->separable ? p->c_mu * w * y[k][i] * y[k][j] : 0;
            }
        }
    }
    for (int i = 0; i < D; i++) {
        for (int j = 0; j < D && r->separable; j++) {
            r->c[i][j] *= i == j;
        }
    }
    r->sigma *= exp(p->c_sigma / p->d_sigma * (norm / p->chi - 1));
    r->age++;
}

static void tell_reference(reference *r, const double *x, const double *fitness)
{
    double y[N][D];
    if (r->separable || r->age >= r->p.lazy_gap) {
        decompose(r);
    }
    for (int i = 0; i < N; i++) {
        int rank = 0;
        for (int k = 0; k < N; k++) {
            rank += fitness[k] < fitness[i];
        }
        for (int k = 0; k < D; k++) {
            y[rank][k] = (x[i * D + k] - r->m[k]) / r->sigma;
        }
    }
    update(r, y);
}

static void expect_close(double got, double expected, double scale)
{
    if (!(fabs(got - expected) <= 1e-8 * scale)) {
        fail_msg("%.17g instead of %.17g", got, expected);
    }
}

static void compare(fbt_cma *cma, const reference *r)
{
    double c[D * D], largest = 0;
    assert_int_equal(fbt_cma_covariance_full(cma, c), FBT_OK);
    for (int i = 0; i < D; i++) {
        largest = fmax(largest, r->c[i][i]);
    }
    expect_close(fbt_cma_step_size(cma), r->sigma, r->sigma);
    for (int i = 0; i < D; i++) {
        expect_close(fbt_cma_mean(cma)[i], r->m[i], fabs(r->m[i]) + r->sigma);
        expect_close(fbt_cma_path_sigma(cma)[i], r->p_sigma[i], r->p.chi);
        expect_close(fbt_cma_path_c(cma)[i], r->p_c[i], sqrt(largest));
        for (int j = 0; j < D; j++) {
            expect_close(c[i * D + j], r->c[i][j], largest);
        }
    }
}

static void follow(fbt_cma_covariance covariance, fbt_cma_decomposition decomposition, bool active)
{
    const fbt_cma_options options = {
        .dimension = D, .population = N, .covariance = covariance, .decomposition = decomposition, .active = active};
    fbt_cma *cma = make_cma(&options, 3, 0.05); /* small: p_sigma grows long and p_c stalls at first */
    reference r = {
        .sigma = 0.05, .separable = covariance == FBT_CMA_SEPARABLE, .triangular = decomposition == FBT_CMA_CHOLESKY};
    double x[N * D], fitness[N];
    gsl_rng *rng;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    assert_int_equal(fbt_cma_parameters_compute(&options, &r.p, r.w), FBT_OK);
    for (int i = 0; i < D; i++) {
        r.m[i] = 3 + 0.01 * i;
        r.c[i][i] = 1;
    }
    decompose(&r);
    for (uint32_t g = 0; g < 60; g++) {
        ask_all(cma, rng, g, x, fitness);
        assert_int_equal(fbt_cma_tell(cma, N, x, fitness), FBT_OK);
        tell_reference(&r, x, fitness);
        compare(cma, &r);
    }
    gsl_rng_free(rng);
    fbt_cma_free(cma);
}

static void full(void **state)
{
    (void)state;
    follow(FBT_CMA_FULL, FBT_CMA_EIGEN, false);
}

static void full_active(void **state)
{
    (void)state;
    follow(FBT_CMA_FULL, FBT_CMA_EIGEN, true);
}

static void triangular(void **state)
{
    (void)state;
    follow(FBT_CMA_FULL, FBT_CMA_CHOLESKY, false);
}

static void triangular_active(void **state)
{
    (void)state;
    follow(FBT_CMA_FULL, FBT_CMA_CHOLESKY, true);
}

static void separable(void **state)
{
    (void)state;
    follow(FBT_CMA_SEPARABLE, FBT_CMA_EIGEN, false);
}

static void separable_active(void **state)
{
    (void)state;
    follow(FBT_CMA_SEPARABLE, FBT_CMA_EIGEN, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full),       cmocka_unit_test(full_active),
        cmocka_unit_test(triangular), cmocka_unit_test(triangular_active),
        cmocka_unit_test(separable),  cmocka_unit_test(separable_active),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
