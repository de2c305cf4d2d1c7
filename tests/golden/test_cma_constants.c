/* CMA-ES constants and weights against recorded ones (make_pycma_constants.py): pycma's, and the tutorial's. Broken by
 * any change to a formula, and by the presets exchanging one. */
#include "optim/cma.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MAX_POPULATION = 100 };

static void expect(const json_t *test_case, const char *key, double got)
{
    const double expected = json_number_value(json_object_get(test_case, key));
    if (!(fabs(got - expected) <= 1e-13 * fabs(expected))) {
        fail_msg("%s is %.17g instead of %.17g in %s", key, got, expected, json_dumps(test_case, 0));
    }
}

static fbt_cma_options options_of(const json_t *test_case)
{
    fbt_cma_options options = {
        .dimension = json_integer_value(json_object_get(test_case, "dimension")),
        .population = json_integer_value(json_object_get(test_case, "population")),
        .n_parents = json_integer_value(json_object_get(test_case, "n_parents")),
        .active = json_is_true(json_object_get(test_case, "active")),
        .mirrored = json_is_true(json_object_get(test_case, "mirrored")),
    };
    const char *covariance = json_string_value(json_object_get(test_case, "covariance"));
    const char *constants = json_string_value(json_object_get(test_case, "constants"));
    assert_true(fbt_choice_find(fbt_cma_covariance_names, covariance) >= 0);
    assert_true(fbt_choice_find(fbt_cma_constants_names, constants) >= 0);
    options.covariance = (fbt_cma_covariance)fbt_choice_find(fbt_cma_covariance_names, covariance);
    options.constants = (fbt_cma_constants)fbt_choice_find(fbt_cma_constants_names, constants);
    return options;
}

static void check_case(const json_t *test_case)
{
    const fbt_cma_options options = options_of(test_case);
    const json_t *expected = json_object_get(test_case, "weights");
    fbt_cma_parameters p;
    double weights[MAX_POPULATION];
    assert_int_equal(fbt_cma_parameters_compute(&options, &p, weights), FBT_OK);
    assert_int_equal(p.mu, json_integer_value(json_object_get(test_case, "mu")));
    expect(test_case, "mu_eff", p.mu_eff);
    expect(test_case, "c_sigma", p.c_sigma);
    expect(test_case, "d_sigma", p.d_sigma);
    expect(test_case, "c_c", p.c_c);
    expect(test_case, "c_1", p.c_1);
    expect(test_case, "c_mu", p.c_mu);
    expect(test_case, "chi", p.chi);
    if (options.covariance == FBT_CMA_FULL) {
        expect(test_case, "lazy_gap", p.lazy_gap);
    }
    assert_int_equal(json_array_size(expected), options.population);
    for (int64_t i = 0; i < options.population; i++) {
        const double w = json_number_value(json_array_get(expected, (size_t)i));
        if (!(fabs(weights[i] - w) <= 1e-13)) {
            fail_msg("weight %d is %.17g instead of %.17g in %s", (int)i, weights[i], w, json_dumps(test_case, 0));
        }
    }
}

static void recorded_constants(void **state)
{
    (void)state;
    json_error_t error;
    json_t *file = json_load_file(FBT_TEST_DATA "/cma_constants.json", 0, &error);
    const json_t *test_case;
    size_t k;
    if (file == NULL) {
        fail_msg("%s: line %d: %s", FBT_TEST_DATA "/cma_constants.json", error.line, error.text);
    }
    assert_true(json_array_size(json_object_get(file, "cases")) > 50);
    json_array_foreach(json_object_get(file, "cases"), k, test_case)
    {
        check_case(test_case);
    }
    json_decref(file);
}

/* The official server with 10 clients, all of them parents: published weights, w_i ~ ln(10.5) - ln i. */
static void ten_parents_of_ten(void **state)
{
    (void)state;
    const double expected[] = {.2796, .1972, .1490, .1148, .0882, .0665, .0482, .0323, .0183, .0058};
    const fbt_cma_options options = {
        .dimension = 500, .population = 10, .n_parents = 10, .constants = FBT_CMA_CONSTANTS_PYCMA, .active = true};
    fbt_cma_parameters p;
    double weights[10];
    assert_int_equal(fbt_cma_parameters_compute(&options, &p, weights), FBT_OK);
    for (int i = 0; i < 10; i++) {
        assert_true(fabs(weights[i] - expected[i]) < 6e-5);
    }
    assert_true(fabs(p.mu_eff - 5.94) < 5e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_constants),
        cmocka_unit_test(ten_parents_of_ten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
