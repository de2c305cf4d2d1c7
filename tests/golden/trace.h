/* Numbers of a trace of pycma (make_pycma_trace.py) and comparisons with them. */
#ifndef FBT_TESTS_TRACE_H
#define FBT_TESTS_TRACE_H

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Relative to the largest element of a vector. Replays differ from pycma by rounding alone, about 1e-14. */
static const double trace_tolerance = 1e-12;

enum { TRACE_MAX_DIMENSION = 64, TRACE_MAX_POPULATION = 16 };

static double trace_largest_error;

static inline json_t *trace_member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (value == NULL) {
        fail_msg("the trace has no %s", key);
    }
    return value;
}

/* Release with json_decref. */
static inline json_t *trace_load(void)
{
    json_error_t error;
    json_t *trace = json_load_file(FBT_TEST_DATA "/nvflare_trace.json", 0, &error);
    if (trace == NULL) {
        fail_msg("%s: line %d: %s", FBT_TEST_DATA "/nvflare_trace.json", error.line, error.text);
    }
    assert_string_equal(json_string_value(trace_member(trace, "format")), "fedbpt nvflare trace 1");
    return trace;
}

static inline double trace_number(const json_t *object, const char *key)
{
    return json_number_value(trace_member(object, key));
}

static inline int64_t trace_integer(const json_t *object, const char *key)
{
    return json_integer_value(trace_member(object, key));
}

static inline void trace_vector(const json_t *array, int64_t n, double *out)
{
    assert_int_equal((int64_t)json_array_size(array), n);
    for (int64_t i = 0; i < n; i++) {
        out[i] = json_number_value(json_array_get(array, (size_t)i));
    }
}

static inline void trace_expect_vector(const json_t *object, const char *key, const double *got, int64_t n)
{
    double expected[TRACE_MAX_DIMENSION], scale = 0, error = 0;
    trace_vector(trace_member(object, key), n, expected);
    for (int64_t i = 0; i < n; i++) {
        assert_true(isfinite(got[i]));
        scale = fmax(scale, fabs(expected[i]));
        error = fmax(error, fabs(got[i] - expected[i]));
    }
    trace_largest_error = fmax(trace_largest_error, error / scale);
    if (!(error <= trace_tolerance * scale)) {
        fail_msg("%s differs by %.3g of its largest element", key, error / scale);
    }
}

static inline void trace_expect_number(const json_t *object, const char *key, double got)
{
    const double expected = trace_number(object, key);
    const double error = fabs(got - expected) / fabs(expected);
    trace_largest_error = fmax(trace_largest_error, error);
    if (!(error <= trace_tolerance)) {
        fail_msg("%s is %.17g instead of %.17g", key, got, expected);
    }
}

#endif
