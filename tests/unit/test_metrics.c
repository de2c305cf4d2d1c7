/* Scores of a split, by hand. */
#include "fed/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(double got, double expected)
{
    assert_true(isfinite(got));
    assert_true(fabs(got - expected) <= 1e-15);
}

/* Label 1: 2 right of 3 predicted and 4 present, F1 = 4/7. Broken by F1 of label 0 (2/5), or by the mean of both. */
static void two_labels(void **state)
{
    (void)state;
    const double losses[] = {1, 2, 3, 4, 5, 9}, predictions[] = {1, 1, 1, 0, 0, 0};
    const int32_t labels[] = {1, 1, 0, 1, 1, 0};
    const fbt_metrics m = fbt_metrics_compute(losses, predictions, labels, 6, 2);
    expect(m.loss, 4);
    expect(m.accuracy, 3.0 / 6);
    expect(m.f1, 4.0 / 7);
}

/* F1 by label: 2/3 (1 right; 1 predicted, 2 present), 1, 0 (predicted once, never right), 0 (not seen). Broken by
 * weights in proportion to the labels, by leaving out labels without samples, by a micro average. */
static void macro_f1(void **state)
{
    (void)state;
    const double losses[] = {0, 0, 0, 1}, predictions[] = {0, 2, 1, 1};
    const int32_t labels[] = {0, 0, 1, 1};
    const fbt_metrics m = fbt_metrics_compute(losses, predictions, labels, 4, 4);
    expect(m.loss, 0.25);
    expect(m.accuracy, 3.0 / 4);
    expect(m.f1, (2.0 / 3 + 1 + 0 + 0) / 4);
}

/* Broken by 0 / 0 or by a score of 0 for what was not measured. */
static void no_samples(void **state)
{
    (void)state;
    const fbt_metrics m = fbt_metrics_compute(NULL, NULL, NULL, 0, 2);
    assert_true(isnan(m.loss) && isnan(m.accuracy) && isnan(m.f1));
}

/* Nobody predicts or has label 1. Broken by 0 / 0. */
static void absent_label(void **state)
{
    (void)state;
    const double losses[] = {0.5}, predictions[] = {0};
    const int32_t labels[] = {0};
    expect(fbt_metrics_compute(losses, predictions, labels, 1, 2).f1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_labels), cmocka_unit_test(macro_f1),
                                       cmocka_unit_test(no_samples), cmocka_unit_test(absent_label)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
