/* Data: how many samples each client gets. Statistical bounds are on fixed seeds: they hold or fail for good. */
#include "base/timer.h"
#include "data/client_sizes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MANY = (1 << 24) - 1, CLIENTS_MAX = 1000 };

static void make(const fbt_client_sizes_options *o, int64_t n_clients, int64_t n_samples, int64_t *sizes)
{
    int64_t sum = 0;
    assert_int_equal(fbt_client_sizes_make(o, n_clients, n_samples, sizes), FBT_OK);
    for (int64_t k = 0; k < n_clients; k++) {
        assert_true(sizes[k] >= 1);
        sum += sizes[k];
    }
    assert_int_equal(sum, n_samples);
}

/* Every sample has a client and every client a sample, also where shares are beyond any double. */
static void all_samples_have_a_client(void **state)
{
    (void)state;
    const int64_t clients[] = {1, 2, 7, 100, CLIENTS_MAX}, more[] = {0, 1, 3, 500, MANY - CLIENTS_MAX};
    const double alphas[] = {1e-6, 0.01, 1, 1e6}, sigmas[] = {1e-9, 1, 10, 100};
    int64_t sizes[CLIENTS_MAX];
    for (int variant = 0; variant < 5 * 5 * 4; variant++) {
        const int64_t n_clients = clients[variant % 5], n_samples = n_clients + more[variant / 5 % 5];
        fbt_client_sizes_options o = {
            .seed = (uint64_t)variant, .alpha = alphas[variant / 25], .sigma = sigmas[variant / 25]};
        for (o.kind = FBT_SIZES_EQUAL; o.kind <= FBT_SIZES_LOGNORMAL; o.kind++) {
            make(&o, n_clients, n_samples, sizes);
            assert_true(o.kind != FBT_SIZES_EQUAL ||
                        (sizes[0] - sizes[n_clients - 1] <= 1 && sizes[0] == (n_samples + n_clients - 1) / n_clients));
        }
    }
}

/* E sum p^2 of Dirichlet(alpha, ..., alpha) is (alpha + 1) / (K alpha + 1), and each share's mean 1 / K. Broken by a
 * distribution of another spread, and by a rule that favours a client's place. */
static void dirichlet_shares_have_their_moments(void **state)
{
    (void)state;
    enum { CLIENTS = 20, SEEDS = 4000 };
    const double alphas[] = {0.1, 0.5, 1, 5};
    for (int a = 0; a < 4; a++) {
        fbt_client_sizes_options o = {.kind = FBT_SIZES_DIRICHLET, .alpha = alphas[a]};
        double mean[CLIENTS] = {0}, squares = 0, squares_squared = 0;
        for (o.seed = 0; o.seed < SEEDS; o.seed++) {
            int64_t sizes[CLIENTS];
            double sum = 0;
            make(&o, CLIENTS, MANY, sizes);
            for (int k = 0; k < CLIENTS; k++) {
                const double p = (double)sizes[k] / MANY;
                mean[k] += p / SEEDS;
                sum += p * p;
            }
            squares += sum / SEEDS;
            squares_squared += sum * sum / SEEDS;
        }
        const double expected = (alphas[a] + 1) / (CLIENTS * alphas[a] + 1);
        const double of_one = expected / CLIENTS - 1.0 / (CLIENTS * CLIENTS);
        assert_true(fabs(squares - expected) < 5 * sqrt((squares_squared - squares * squares) / SEEDS));
        for (int k = 0; k < CLIENTS; k++) {
            assert_true(fabs(mean[k] - 1.0 / CLIENTS) < 5 * sqrt(of_one / SEEDS));
        }
    }
}

/* Logarithms of the sizes are normal: their standard deviation is sigma, their skewness 0 and their kurtosis 3. */
static void lognormal_sizes_have_their_moments(void **state)
{
    (void)state;
    enum { SEEDS = 40 };
    const double sigmas[] = {0.2, 0.5, 1}, n = (double)SEEDS * CLIENTS_MAX;
    for (int i = 0; i < 3; i++) {
        fbt_client_sizes_options o = {.kind = FBT_SIZES_LOGNORMAL, .sigma = sigmas[i]};
        double moments[5] = {0};
        for (o.seed = 0; o.seed < SEEDS; o.seed++) {
            int64_t sizes[CLIENTS_MAX];
            double mean = 0;
            make(&o, CLIENTS_MAX, MANY, sizes);
            for (int k = 0; k < CLIENTS_MAX; k++) {
                mean += log((double)sizes[k]) / CLIENTS_MAX;
            }
            for (int k = 0; k < CLIENTS_MAX; k++) {
                const double x = (log((double)sizes[k]) - mean) / sigmas[i];
                for (int m = 2; m < 5; m++) {
                    moments[m] += pow(x, m) / n;
                }
            }
        }
        print_message("lognormal, sigma %g: moments %.3f, %.3f, %.3f\n", sigmas[i], moments[2], moments[3], moments[4]);
        assert_true(fabs(moments[2] - 1) < 5 * sqrt(2 / n) + 1.0 / CLIENTS_MAX);
        assert_true(fabs(moments[3]) < 5 * sqrt(6 / n));
        assert_true(fabs(moments[4] - 3) < 5 * sqrt(24 / n) + 6.0 / CLIENTS_MAX);
    }
}

/* The shares among n_samples by their definition: weights (descending) of which the last few have one sample each, as
 * many as need be. */
static void define_shares(const double *weight, int64_t n, double n_samples, double *share)
{
    for (int64_t n_free = n; n_free > 0; n_free--) {
        double sum = 0;
        for (int64_t i = 0; i < n_free; i++) {
            sum += weight[i];
        }
        const double scale = (n_samples - (double)(n - n_free)) / sum;
        if (weight[n_free - 1] * scale >= 1) {
            for (int64_t i = 0; i < n; i++) {
                share[i] = i < n_free ? weight[i] * scale : 1;
            }
            return;
        }
    }
    fail();
}

static int descending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Few samples are divided as very many are, which show the weights, with one for whoever would have less: each size is
 * its share rounded down or up, and no fraction is rounded up while a larger is rounded down. */
static void few_samples_follow_the_shares(void **state)
{
    (void)state;
    enum { CLIENTS = 50 };
    for (int variant = 0; variant < 200; variant++) {
        const fbt_client_sizes_options o = {.seed = (uint64_t)variant,
                                            .kind = variant % 2 ? FBT_SIZES_DIRICHLET : FBT_SIZES_LOGNORMAL,
                                            .alpha = 0.7,
                                            .sigma = 1.5};
        const int64_t n_samples = CLIENTS + variant * 3;
        int64_t large[CLIENTS], small[CLIENTS];
        double weight[CLIENTS], share[CLIENTS], least_up = 2, most_down = -1;
        make(&o, CLIENTS, MANY, large);
        make(&o, CLIENTS, n_samples, small);
        qsort(large, CLIENTS, sizeof *large, descending);
        qsort(small, CLIENTS, sizeof *small, descending);
        for (int i = 0; i < CLIENTS; i++) {
            weight[i] = (double)large[i];
        }
        define_shares(weight, CLIENTS, (double)n_samples, share);
        for (int i = 0; i < CLIENTS; i++) {
            const double over = share[i] - (double)small[i];
            assert_true(fabs(over) < 1 + 1e-3);
            least_up = over < -1e-3 ? fmin(least_up, over + 1) : least_up;
            most_down = over > 1e-3 ? fmax(most_down, over) : most_down;
        }
        assert_true(least_up > most_down - 1e-3);
    }
}

/* A client's weight is drawn by its place: more clients change no ratio of two. */
static void weights_are_by_place(void **state)
{
    (void)state;
    int64_t few[10], many[100];
    for (int kind = FBT_SIZES_DIRICHLET; kind <= FBT_SIZES_LOGNORMAL; kind++) {
        const fbt_client_sizes_options o = {.seed = 5, .kind = (fbt_sizes_kind)kind, .alpha = 3, .sigma = 0.7};
        make(&o, 10, MANY, few);
        make(&o, 100, MANY, many);
        for (int k = 1; k < 10; k++) {
            const double ratio = (double)few[k] / (double)few[0];
            assert_true(fabs((double)many[k] / (double)many[0] / ratio - 1) < 1e-3);
        }
    }
}

/* Seconds of the largest number of clients that there may be; broken by work that grows faster than they do. */
static void a_million_clients(void **state)
{
    (void)state;
    enum { CLIENTS = (1 << 20) - 1 };
    int64_t *sizes = malloc(CLIENTS * sizeof *sizes);
    const double alphas[] = {0.01, 1};
    assert_non_null(sizes);
    for (int i = 0; i < 4; i++) {
        const fbt_client_sizes_options o = {.seed = 1,
                                            .kind = i < 2 ? FBT_SIZES_DIRICHLET : FBT_SIZES_LOGNORMAL,
                                            .alpha = alphas[i % 2],
                                            .sigma = 1 + 4 * (i % 2)};
        const double begin = fbt_timer_now_s();
        make(&o, CLIENTS, MANY, sizes);
        const double seconds = fbt_timer_now_s() - begin;
        print_message("a million clients: %.2f s\n", seconds);
        assert_true(seconds < 30);
    }
    free(sizes);
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    const double values[] = {0, -1, 1e7, NAN, INFINITY};
    int64_t sizes[3];
    for (int i = 0; i < 5; i++) {
        const fbt_client_sizes_options alpha = {.kind = FBT_SIZES_DIRICHLET, .alpha = values[i], .sigma = 1},
                                       sigma = {.kind = FBT_SIZES_LOGNORMAL, .alpha = 1, .sigma = values[i]};
        assert_int_equal(fbt_client_sizes_make(&alpha, 3, 10, sizes), FBT_ERR_CONFIG);
        assert_int_equal(fbt_client_sizes_make(&sigma, 3, 10, sizes), FBT_ERR_CONFIG);
    }
    fbt_error_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_samples_have_a_client),
        cmocka_unit_test(dirichlet_shares_have_their_moments),
        cmocka_unit_test(lognormal_sizes_have_their_moments),
        cmocka_unit_test(few_samples_follow_the_shares),
        cmocka_unit_test(weights_are_by_place),
        cmocka_unit_test(a_million_clients),
        cmocka_unit_test(bad_input_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
