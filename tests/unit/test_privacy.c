/* Differential privacy: what leaves a client, the noise of the server's average, and epsilon. */
#include "check_settings.h"
#include "fed/privacy.h"
#include "fed/protocol.h"
#include "sending.h"

#include <math.h>
#include <stdlib.h>

enum { D = 7, LAMBDA = 6, M = 4, N_DRAWS = 20000 };

static void start(sending *s, bool losses, double clip, double noise_multiplier)
{
    double reference[D];
    fbt_schema schema = {0};
    for (int i = 0; i < D; i++) {
        reference[i] = 10 - i;
    }
    *s = (sending){.settings = {.run = {.seed = 5},
                                .fed = {.wire = FBT_WIRE_FLOAT64},
                                .privacy = {.clip = clip, .noise_multiplier = noise_multiplier, .delta = 1e-5}}};
    fbt_schema_add(&schema, losses ? "losses" : "mean", losses ? LAMBDA : D,
                   losses ? FBT_FIELD_COMPARED : FBT_FIELD_UPDATE, FBT_FIELD_SENT);
    fbt_schema_add(&schema, "step_size_end", losses ? 0 : 1, FBT_FIELD_POSITIVE, FBT_FIELD_SENT);
    fbt_schema_add(&schema, "fitness", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
    sending_init(s, &schema, M, reference, D);
}

static double norm(int64_t n, const double *x)
{
    double square = 0;
    for (int64_t i = 0; i < n; i++) {
        square += x[i] * x[i];
    }
    return sqrt(square);
}

/* An update that is too long is shortened in its own direction; a shorter one arrives as it is. Broken by clipping
 * component by component, by clipping the mean itself in place of its update. */
static void clipping(void **state)
{
    (void)state;
    for (int longer = 0; longer < 2; longer++) {
        sending s;
        double mean[D], update[D];
        start(&s, false, longer ? 1.5 : 1e6, 0);
        for (int i = 0; i < D; i++) {
            update[i] = i % 2 == 0 ? 2 + i : -1;
            mean[i] = 10 - i + update[i];
        }
        const double factor = longer ? 1.5 / norm(D, update) : 1;
        send_field(&s, 0, 1, mean);
        for (int i = 0; i < D; i++) {
            assert_true(fabs(mean[i] - (10 - i + factor * update[i])) <= 1e-12);
        }
        sending_clear(&s);
    }
}

/* Losses arrive less their mean, of which nothing is told otherwise, and shortened. */
static void losses_are_centred(void **state)
{
    (void)state;
    sending s;
    double losses[LAMBDA] = {5, 4, 6, 7, 3, 5}; /* their mean is 5; the rest has the norm sqrt(10) */
    const double centred[LAMBDA] = {0, -1, 1, 2, -2, 0};
    start(&s, true, 1, 0);
    send_field(&s, 0, 0, losses);
    for (int i = 0; i < LAMBDA; i++) {
        assert_true(fabs(losses[i] - centred[i] / sqrt(10)) <= 1e-12);
    }
    sending_clear(&s);
}

/* Step sizes take no bytes and arrive as the server's own, whatever the client's. Broken by a message that tells of a
 * client's data what is neither clipped nor noised. */
static void step_sizes_stay(void **state)
{
    (void)state;
    sending s;
    start(&s, false, 1, 1);
    for (int64_t i = 0; i < D; i++) {
        fbt_messages_at(&s.up, "mean", 2)[i] = 10;
    }
    fbt_messages_put_one(&s.up, "step_size_end", 2, 123);
    assert_int_equal(fbt_messages_send(&s.up, 2), FBT_OK);
    assert_true(*fbt_messages_at(&s.up, "step_size_end", 2) == 0.75);
    assert_int_equal(s.up.n_bytes, D * 8);
    assert_int_equal(fbt_uplink_bytes(&s.settings, &s.up.schema), D * 8);
    sending_clear(&s);
}

/* The server's average of clients whose updates are 0, over many rounds: normal noise of z C max(w) in each component,
 * whatever the weights, and uncorrelated. Mean and variance are within five standard errors, and as many lie beyond one
 * and two standard deviations as of a normal distribution. Broken by noise that is not shared out, by weights that are
 * passed over, by components or clients with the same noise. */
static void check_noise(const double *weights)
{
    sending s;
    double sum[D] = {0}, square[D] = {0}, product = 0, largest = 0, all = 0;
    int64_t beyond[2] = {0};
    start(&s, false, 3, 0.5);
    s.uplink.weights = weights;
    for (int k = 0; k < M; k++) {
        const double weight = weights == NULL ? 1 : weights[k];
        largest = fmax(largest, weight);
        all += weight;
    }
    const double expected = 0.5 * 3 * largest / all;
    for (uint32_t round = 0; round < N_DRAWS; round++) {
        double average[D] = {0};
        s.uplink.round = round;
        for (int64_t k = 0; k < M; k++) {
            double mean[D];
            for (int i = 0; i < D; i++) {
                mean[i] = 10 - i;
            }
            send_field(&s, 0, k, mean);
            for (int i = 0; i < D; i++) {
                average[i] += (weights == NULL ? 1 : weights[k]) / all * (mean[i] - (10 - i));
            }
        }
        for (int i = 0; i < D; i++) {
            sum[i] += average[i];
            square[i] += average[i] * average[i];
            beyond[0] += fabs(average[i]) > expected;
            beyond[1] += fabs(average[i]) > 2 * expected;
        }
        product += average[0] * average[1] + average[1] * average[2];
    }
    for (int i = 0; i < D; i++) {
        assert_true(fabs(sum[i] / N_DRAWS) <= 5 * expected / sqrt(N_DRAWS));
        assert_true(fabs(square[i] / N_DRAWS - expected * expected) <= 5 * expected * expected * sqrt(2.0 / N_DRAWS));
    }
    assert_true(fabs(product / N_DRAWS) <= 5 * expected * expected * sqrt(2.0 / N_DRAWS));
    for (int i = 0; i < 2; i++) {
        const double share = erfc((i + 1) / sqrt(2)), n = (double)N_DRAWS * D;
        assert_true(fabs((double)beyond[i] / n - share) <= 5 * sqrt(share * (1 - share) / n));
    }
    sending_clear(&s);
}

static void noise(void **state)
{
    static const double weights[M] = {5, 20, 1, 0};
    (void)state;
    check_noise(NULL);
    check_noise(weights);
}

/* Nothing but numbers is clipped: what is none would arrive as it is. */
static void what_is_no_number(void **state)
{
    (void)state;
    sending s;
    double mean[D] = {0, 0, NAN};
    start(&s, false, 1, 1);
    assert_int_equal(fbt_messages_send_field(&s.up, &s.up.schema.fields[0], 0, mean), FBT_ERR_NUMERIC);
    fbt_error_clear();
    sending_clear(&s);
}

/* 100 rounds of 2 averages at z = 10: rho = 200 / 200 = 1, and with ln(1 / delta) = 9 epsilon = 1 + 2 * 3 = 7. */
static void epsilon(void **state)
{
    (void)state;
    fbt_settings settings = {.privacy = {.clip = 3, .noise_multiplier = 10, .delta = exp(-9)}};
    assert_true(fabs(fbt_privacy_epsilon(&settings, 2, 100) - 7) <= 1e-12);
    assert_true(fbt_privacy_epsilon(&settings, 2, 0) == 0);
    settings.privacy.noise_multiplier = 0;
    assert_true(isnan(fbt_privacy_epsilon(&settings, 2, 100)));
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *assignments[5];
        const char *words[2]; /* NULL: it runs */
    } cases[] = {
        {{"fed.protocol=synchronous", "privacy.clip=1", "privacy.noise_multiplier=1"}, {NULL, NULL}},
        {{"fed.protocol=fedavg-bbt", "cma.covariance=isotropic", "privacy.clip=1"}, {NULL, NULL}},
        {{"fed.protocol=fedavg-bbt", "privacy.clip=1"}, {"privacy.clip:", "cma.covariance"}},
        {{"fed.protocol=nvflare", "privacy.clip=1"}, {"privacy.clip:", "fed.protocol nvflare"}},
        {{"fed.protocol=synchronous", "privacy.noise_multiplier=1"}, {"privacy.noise_multiplier:", "privacy.clip"}},
        {{"fed.protocol=synchronous", "privacy.clip=1", "fed.quantise_bits=8"}, {"fed.quantise_bits:", "privacy.clip"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_settings(NULL, cases[i].assignments, cases[i].words[0], cases[i].words[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clipping), cmocka_unit_test(losses_are_centred), cmocka_unit_test(step_sizes_stay),
        cmocka_unit_test(noise),    cmocka_unit_test(what_is_no_number),  cmocka_unit_test(epsilon),
        cmocka_unit_test(refused)};
    return cmocka_run_group_tests_name("privacy", tests, NULL, NULL);
}
