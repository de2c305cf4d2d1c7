/* Who of the chosen clients reports, and when: the draws against their distributions, the rules against a plain count.
 */
#include "fed/reports.h"

#include "base/memory.h"
#include "config/options.h"
#include "fed/participants.h"

#include <gsl/gsl_cdf.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { K = 4000 };

static int64_t work[K];

static void init(fbt_settings *settings, fbt_reports **reports, const char *const *assignments)
{
    assert_int_equal(fbt_settings_defaults(settings), FBT_OK);
    assert_int_equal(fbt_settings_set(settings, "model.path=(none)"), FBT_OK);
    assert_int_equal(fbt_settings_set(settings, "data.path=(none)"), FBT_OK);
    for (; *assignments != NULL; assignments++) {
        assert_int_equal(fbt_settings_set(settings, *assignments), FBT_OK);
    }
    assert_int_equal(fbt_settings_check(settings), FBT_OK);
    for (int64_t k = 0; k < K; k++) {
        work[k] = 100 + k % 7;
    }
    assert_int_equal(fbt_reports_new(settings, work, reports), FBT_OK);
}

static void clear(fbt_settings *settings, fbt_reports *reports)
{
    fbt_reports_free(reports);
    fbt_settings_clear(settings);
}

static int rising(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Kolmogorov's distance of n values from the uniform distribution that they are made into; 1.95 / sqrt(n) is exceeded
 * once in a thousand times. */
static void expect_uniform(double *values, int n)
{
    double distance = 0;
    qsort(values, (size_t)n, sizeof *values, rising);
    for (int i = 0; i < n; i++) {
        distance = fmax(distance, fmax(values[i] - (double)i / n, (i + 1.0) / n - values[i]));
    }
    assert_true(distance < 1.95 / sqrt(n));
}

/* Without faults the chosen ones are those who take part, and nothing takes time. */
static void all_report(void **state)
{
    (void)state;
    const char *const assignments[] = {"fed.clients=4000", "fed.participants=37", NULL};
    fbt_settings s = {0};
    fbt_reports *reports;
    fbt_round_reports drawn;
    int64_t chosen[37];
    init(&s, &reports, assignments);
    assert_false(fbt_settings_have_faults(&s));
    for (uint32_t round = 1; round < 20; round++) {
        fbt_participants_draw(&s, round, chosen);
        fbt_reports_draw(reports, round, &drawn);
        assert_int_equal(drawn.n, 37);
        assert_memory_equal(drawn.clients, chosen, sizeof chosen);
        assert_int_equal(drawn.n_reported, 37);
        assert_int_equal(drawn.n_dropped + drawn.n_late, 0);
        assert_true(isnan(drawn.simulated_s));
    }
    clear(&s, reports);
}

/* Counts in how many of n_rounds rounds each client drops out, where all are chosen. */
static void count_drops(fbt_reports *reports, uint32_t n_rounds, int64_t *counts)
{
    fbt_round_reports drawn;
    for (int64_t k = 0; k < K; k++) {
        counts[k] = n_rounds;
    }
    for (uint32_t round = 1; round <= n_rounds; round++) {
        fbt_reports_draw(reports, round, &drawn);
        assert_int_equal(drawn.n + drawn.n_dropped, K);
        for (int64_t i = 0; i < drawn.n; i++) {
            counts[drawn.clients[i]]--;
        }
    }
}

/* By round: binomial for every client, so that the counts' variance is n p (1 - p). Broken by draws that a client
 * keeps, by those that all clients of a round share, by reporting with the probability of dropping out. */
static void a_rate_for_all(void **state)
{
    (void)state;
    const char *const assignments[] = {"fed.clients=4000", "faults.dropout=0.3", NULL};
    enum { N = 60 };
    static int64_t counts[K];
    fbt_settings s = {0};
    fbt_reports *reports;
    double mean = 0, variance = 0;
    init(&s, &reports, assignments);
    count_drops(reports, N, counts);
    for (int64_t k = 0; k < K; k++) {
        mean += (double)counts[k] / K;
    }
    for (int64_t k = 0; k < K; k++) {
        variance += ((double)counts[k] - mean) * ((double)counts[k] - mean) / (K - 1);
    }
    const double expected = N * 0.3 * 0.7;
    assert_true(fabs(mean - N * 0.3) < 4 * sqrt(expected / K));
    assert_true(fabs(variance - expected) < 4 * expected * sqrt(2.0 / K));
    clear(&s, reports);
}

/* By client: p_k ~ Beta(2 p, 2 (1 - p)), kept for all rounds. Broken by a probability of the round's, by another mean.
 */
static void rates_of_their_own(void **state)
{
    (void)state;
    const char *const assignments[] = {"fed.clients=4000", "faults.dropout=0.2", "faults.dropout_kind=client", NULL};
    enum { N = 100 };
    static int64_t counts[K];
    static double values[K];
    fbt_settings s = {0};
    fbt_reports *reports;
    double misfit = 0;
    int n = 0;
    init(&s, &reports, assignments);
    count_drops(reports, N, counts);
    for (int64_t k = 0; k < K; k++) {
        const double p = fbt_reports_dropout(reports, k), variance = N * p * (1 - p);
        values[k] = gsl_cdf_beta_P(p, 2 * 0.2, 2 * 0.8);
        if (variance > 1) { /* chi squared: counts follow each client's own rate */
            misfit += ((double)counts[k] - N * p) * ((double)counts[k] - N * p) / variance;
            n++;
        }
    }
    assert_true(n > K / 2 && fabs(misfit / n - 1) < 4 * sqrt(3.0 / n));
    expect_uniform(values, K);
    clear(&s, reports);
}

/* Times are log-normal around what a client of median speed takes. Broken by a sigma that is used
 * twice or not at all, by one draw for both rates, by bytes or tokens of one direction or generation. */
static void times_are_log_normal(void **state)
{
    (void)state;
    const char *const both[] = {
        "fed.clients=4000",       "fed.protocol=synchronous", "fed.local_generations=3",   "cma.population=4",
        "pace.compute_seconds=2", "pace.compute_sigma=0.5",   "pace.latency_seconds=0.25", NULL};
    const char *const rate[] = {"fed.clients=4000",
                                "fed.protocol=synchronous",
                                "fed.local_generations=3",
                                "cma.population=4",
                                "pace.bytes_per_second=50",
                                "pace.bandwidth_sigma=1.5",
                                NULL};
    static double values[2][K];
    double correlation = 0;
    for (int i = 0; i < 2; i++) {
        fbt_settings s = {0};
        fbt_reports *reports;
        init(&s, &reports, i == 0 ? both : rate);
        for (int64_t k = 0; k < K; k++) {
            const double t = fbt_reports_client_s(reports, k);
            /* 12 passes over its tokens and 3 exchanges; 3 times 4 losses up and 4 fitnesses down, of 4 bytes */
            const double z = i == 0 ? log((t - 3 * 0.25) / (2 * 12 * (double)work[k] / 1000)) / 0.5
                                    : log(t / ((3 * 4 * 4 + 3 * 4 * 4) / 50.0)) / -1.5;
            values[i][k] = gsl_cdf_ugaussian_P(z);
        }
        clear(&s, reports);
    }
    for (int k = 0; k < K; k++) {
        correlation += 12 * (values[0][k] - 0.5) * (values[1][k] - 0.5) / K;
    }
    assert_true(fabs(correlation) < 4 / sqrt(K));
    expect_uniform(values[0], K);
    expect_uniform(values[1], K);
}

/* Counts client by client, as the header says. */
static void expect_reports(fbt_reports *reports, const fbt_settings *s, const int64_t *chosen, int64_t n_chosen,
                           const fbt_round_reports *drawn)
{
    const int64_t m = fbt_settings_participants(s);
    const double deadline_s = s->pace.deadline_seconds;
    double last_s = 0;
    int64_t n_in_time = 0, n_counted = 0;
    for (int64_t i = 0; i < n_chosen; i++) {
        const double t = fbt_reports_client_s(reports, chosen[i]);
        int64_t n_before = 0;
        for (int64_t j = 0; j < n_chosen; j++) {
            n_before += fbt_reports_client_s(reports, chosen[j]) < t;
        }
        n_in_time += t <= deadline_s;
        if (n_before < m && t <= deadline_s) {
            assert_int_equal(drawn->clients[n_counted++], chosen[i]);
            last_s = fmax(last_s, t);
        }
    }
    assert_int_equal(drawn->n_reported, n_counted);
    assert_int_equal(drawn->n_late, n_chosen - n_counted);
    assert_true(drawn->simulated_s == (n_in_time >= m ? last_s : deadline_s));
}

/* Broken by the first clients by number, by those beyond the deadline, by a round that ends before its last report. */
static void the_first_to_report_count(void **state)
{
    (void)state;
    const char *const assignments[] = {"fed.clients=4000",
                                       "fed.participants=10",
                                       "fed.over_selection=1.3",
                                       "pace.compute_seconds=1",
                                       "pace.compute_sigma=1",
                                       "pace.deadline_seconds=9",
                                       NULL};
    fbt_settings s = {0};
    fbt_reports *reports;
    fbt_round_reports drawn;
    int64_t chosen[13], n_full = 0, n_short = 0;
    init(&s, &reports, assignments);
    assert_int_equal(fbt_settings_chosen(&s), 13);
    for (uint32_t round = 1; round <= 100; round++) {
        fbt_participants_draw(&s, round, chosen);
        fbt_reports_draw(reports, round, &drawn);
        expect_reports(reports, &s, chosen, 13, &drawn);
        n_full += drawn.n == 10;
        n_short += drawn.n < 10;
    }
    assert_true(n_full > 10 && n_short > 10);
    clear(&s, reports);
}

/* Where all take the same time, whoever is chosen counts as often as any other. Broken by ties that go to the lower
 * client. */
static void equals_report_in_random_order(void **state)
{
    (void)state;
    const char *const assignments[] = {"fed.clients=20", "fed.participants=10", "fed.over_selection=2", NULL};
    enum { N = 2000 };
    fbt_settings s = {0};
    fbt_reports *reports;
    fbt_round_reports drawn;
    int64_t counts[20] = {0};
    init(&s, &reports, assignments);
    for (uint32_t round = 1; round <= N; round++) {
        fbt_reports_draw(reports, round, &drawn);
        assert_int_equal(drawn.n, 10);
        for (int i = 0; i < 10; i++) {
            counts[drawn.clients[i]]++;
        }
    }
    for (int k = 0; k < 20; k++) {
        assert_true(fabs((double)counts[k] - N / 2.0) < 4 * sqrt(N / 4.0));
    }
    clear(&s, reports);
}

/* One report cannot be ranked. */
static void too_few_reports(void **state)
{
    (void)state;
    static const char *const protocols[] = {"fed.protocol=nvflare", "fed.protocol=paper", "fed.protocol=fedavg-bbt",
                                            "fed.protocol=synchronous"};
    for (int p = 0; p < 4; p++) {
        const char *const assignments[] = {"fed.clients=4", protocols[p], "faults.dropout=0.7", NULL};
        fbt_settings s = {0};
        fbt_reports *reports;
        fbt_round_reports drawn;
        int64_t n_single = 0, n_none = 0;
        init(&s, &reports, assignments);
        for (uint32_t round = 1; round <= 100; round++) {
            fbt_reports_draw(reports, round, &drawn);
            assert_int_equal(drawn.n, drawn.n_reported == 1 && p < 2 ? 0 : drawn.n_reported);
            n_single += drawn.n_reported == 1;
            n_none += drawn.n_reported == 0;
        }
        assert_true(n_single > 10 && n_none > 10);
        clear(&s, reports);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_report),
        cmocka_unit_test(a_rate_for_all),
        cmocka_unit_test(rates_of_their_own),
        cmocka_unit_test(times_are_log_normal),
        cmocka_unit_test(the_first_to_report_count),
        cmocka_unit_test(equals_report_in_random_order),
        cmocka_unit_test(too_few_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
