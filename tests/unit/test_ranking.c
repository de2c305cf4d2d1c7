/* Agreement of two rankings: against definitions, and against SciPy's kendalltau. */
#include "fed/ranking.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_MAX = 20 };

static void expect(double got, double expected)
{
    assert_true(isfinite(got));
    assert_true(fabs(got - expected) <= 1e-15);
}

/* scipy.stats.kendalltau(a, b).statistic of SciPy 1.17.1. Broken by ties that count as discordant, by tau-a or tau-c.
 */
static void scipy(void **state)
{
    static const struct {
        int n;
        double a[N_MAX], b[N_MAX], tau;
    } cases[] = {
        {5, {13, 12, 79, 49, 59}, {13, 12, 94, 49, 59}, 0.99999999999999989},
        {8, {2, 1, 0, 1, 1, 1, 2, 0}, {2, 1, 2, 1, 2, 1, 2, 0}, 0.46169025843831929},
        {12, {2, 0, 2, 3, 3, 3, 3, 0, 3, 1, 2, 1}, {2, 3, 2, 3, 2, 3, 3, 0, 3, 1, 2, 1}, 0.64012803841280441},
        {20,
         {89, 459, 819, 691, 856, 54, 497, 34, 191, 845, 73, 587, 20, 308, 932, 317, 309, 89, 774, 172},
         {89, 258, 819, 691, 367, 54, 497, 340, 935, 845, 773, 587, 20, 308, 932, 40, 309, 67, 774, 172},
         0.52242925916057537},
        {7, {1, 0, 0, 1, 0, 1, 0}, {1, 1, 0, 0, 0, 1, 0}, 0.41666666666666674},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect(fbt_ranking_tau(cases[i].a, cases[i].b, cases[i].n), cases[i].tau);
        expect(fbt_ranking_tau(cases[i].b, cases[i].a, cases[i].n), cases[i].tau);
    }
}

/* Of n entries the reverse has tau -1, and one exchanged pair of neighbours 1 - 4 / (n (n - 1)). A threshold of 1 must
 * not fire where the rankings are one: exactly 1 is asked for. Broken by a rounded denominator. */
static void closed_forms(void **state)
{
    (void)state;
    for (int n = 2; n <= 200; n++) {
        double a[200], b[200], swapped[200];
        for (int i = 0; i < n; i++) {
            a[i] = (i * 7919 % 200) + 0.001 * i; /* no two alike */
            b[i] = exp(1e-3 * a[i]);
            swapped[i] = i;
        }
        swapped[n - 1] = n - 2;
        swapped[n - 2] = n - 1;
        assert_true(fbt_ranking_tau(a, b, n) == 1);
        for (int i = 0; i < n; i++) {
            b[i] = -b[i];
        }
        assert_true(fbt_ranking_tau(a, b, n) == -1);
        for (int i = 0; i < n; i++) {
            a[i] = i;
        }
        expect(fbt_ranking_tau(a, swapped, n), 1 - 4.0 / (n * (n - 1.0)));
    }
}

/* Where one precision can tell nothing apart and the other can, the rankings do not agree. Broken by 0 / 0. */
static void constant(void **state)
{
    (void)state;
    const double same[] = {2, 2, 2}, other[] = {1, 2, 3};
    assert_true(fbt_ranking_tau(same, same, 3) == 1);
    assert_true(fbt_ranking_tau(same, other, 3) == 0);
    assert_true(fbt_ranking_tau(other, same, 3) == 0);
}

/* Broken by worst taken for best, by ties that go to the higher index, by a union in the denominator. */
static void overlap(void **state)
{
    (void)state;
    const double a[] = {4, 1, 3, 2, 5, 0}, b[] = {4, 1, 9, 2, 5, 8}, tied[] = {7, 7, 7, 7, 7, 7};
    expect(fbt_ranking_overlap(a, a, 6, 3), 1);
    expect(fbt_ranking_overlap(a, b, 6, 3), 2.0 / 3); /* {1, 3, 5} and {0, 1, 3} */
    expect(fbt_ranking_overlap(a, b, 6, 1), 0);
    expect(fbt_ranking_overlap(a, b, 6, 6), 1);
    expect(fbt_ranking_overlap(a, tied, 6, 3), 1.0 / 3); /* {1, 3, 5} and {0, 1, 2} */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scipy),
        cmocka_unit_test(closed_forms),
        cmocka_unit_test(constant),
        cmocka_unit_test(overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
