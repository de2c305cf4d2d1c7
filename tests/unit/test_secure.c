/* Secure aggregation: masks that cancel exactly, messages that look like noise, and clients that drop out. */
#include "check_settings.h"
#include "fed/protocol.h"
#include "fed/secure_sum.h"
#include "sending.h"

#include <math.h>

enum { D = 11, M = 5 };

static void start(sending *s, int64_t dimension, double range)
{
    double reference[4096] = {0};
    fbt_schema schema = {0};
    for (int64_t i = 0; i < dimension; i++) {
        reference[i] = 3 - (double)(i % 7);
    }
    *s = (sending){.settings = {.run = {.seed = 5},
                                .fed = {.wire = FBT_WIRE_FLOAT32, .secure_aggregation = true, .secure_range = range}}};
    fbt_schema_add(&schema, "mean", dimension, FBT_FIELD_UPDATE, FBT_FIELD_SENT);
    fbt_schema_add(&schema, "step_size_end", 1, FBT_FIELD_POSITIVE, FBT_FIELD_SENT);
    sending_init(s, &schema, M, reference, dimension);
}

static double update_of(int64_t k, int64_t i)
{
    return sin(3.0 * (double)k + (double)i) / 3;
}

/* Of the participants' masked messages comes, bit for bit, the sum of their rounded updates without any mask, with the
 * scale worked out here: the largest power of two with which 5 numbers of 64 and their roundings stay below 2^31 is
 * 2^22 (320 * 2^22 = 1.34e9; twice that is 2.7e9). Each participant's message becomes the average. Broken by masks that
 * do not cancel, by one that is missing, by sums that overflow, by weights that are lost. */
static void check_sum(const double *weights)
{
    sending s;
    start(&s, D, 64);
    s.uplink.weights = weights;
    double all = 0;
    for (int k = 0; k < M; k++) {
        all += weights == NULL ? 1 : weights[k];
    }
    int64_t sum[D] = {0};
    for (int64_t k = 0; k < M; k++) {
        double *mean = fbt_messages_at(&s.up, "mean", k);
        const double weight = M * (weights == NULL ? 1 : weights[k]) / all;
        for (int64_t i = 0; i < D; i++) {
            const double reference = 3 - (double)(i % 7);
            mean[i] = reference + update_of(k, i);
            sum[i] += llrint((mean[i] - reference) * (0x1p22 * weight));
        }
        fbt_messages_put_one(&s.up, "step_size_end", k, 0.5);
        assert_int_equal(fbt_messages_send(&s.up, k), FBT_OK);
    }
    assert_int_equal(s.up.n_bytes, M * 4 * (D + 1));
    fbt_uplink_gather(&s.up);
    for (int64_t k = 0; k < M; k++) {
        for (int64_t i = 0; i < D; i++) {
            assert_true(fbt_messages_at(&s.up, "mean", k)[i] == 3 - (double)(i % 7) + (double)sum[i] / 0x1p22 / M);
        }
        assert_true(fabs(*fbt_messages_at(&s.up, "step_size_end", k) - 0.5) <= 1e-6);
    }
    sending_clear(&s);
}

static void sums(void **state)
{
    static const double weights[M] = {1, 2, 7, 0, 4};
    (void)state;
    check_sum(NULL);
    check_sum(weights);
}

/* The largest numbers that the setting allows add up without overflow, for any number of participants; larger ones are
 * refused, and step sizes that would be rounded to nothing. */
static void ranges(void **state)
{
    (void)state;
    for (int64_t n = 2; n <= 1024; n = n * 3 / 2 + 1) {
        for (double range = 1e-3; range < 1e6; range *= 7) {
            const double scale = fbt_secure_scale(range, n);
            assert_true((double)n * (rint(range * scale) + 1) < 0x1p31);
            assert_true((double)n * range * scale > 0x1p29);
        }
    }
    sending s;
    start(&s, D, 0.25);
    double step[] = {0.26};
    assert_int_equal(fbt_messages_send_field(&s.up, &s.up.schema.fields[1], 0, step), FBT_ERR_NUMERIC);
    assert_non_null(strstr(fbt_error_message(), "fed.secure_range"));
    fbt_error_clear();
    step[0] = 1e-10; /* below 2^-31 */
    assert_int_equal(fbt_messages_send_field(&s.up, &s.up.schema.fields[1], 0, step), FBT_ERR_NUMERIC);
    assert_non_null(strstr(fbt_error_message(), "fed.secure_range"));
    assert_non_null(strstr(fbt_error_message(), "lower it"));
    fbt_error_clear();
    step[0] = NAN;
    assert_int_equal(fbt_messages_send_field(&s.up, &s.up.schema.fields[1], 0, step), FBT_ERR_NUMERIC);
    fbt_error_clear();
    sending_clear(&s);
}

/* The bytes of one masked message, whose numbers are all the same, are uniform: chi-square with 255 degrees of freedom
 * within five standard deviations (sqrt(510) = 22.6), at each of the four places. Broken by masks that are small, that
 * repeat, or that are missing. */
static void one_message_is_uniform(void **state)
{
    enum { N = 4096, N_ROUNDS = 8 };
    (void)state;
    sending s;
    static double mean[N];
    static int64_t counts[4][256];
    start(&s, N, 64);
    for (uint32_t round = 0; round < N_ROUNDS; round++) {
        s.uplink.round = round;
        for (int i = 0; i < N; i++) {
            mean[i] = fbt_messages_field(&s.down, "mean")[i] + 1;
        }
        send_field(&s, 0, 2, mean);
        for (int i = 0; i < N; i++) {
            for (int place = 0; place < 4; place++) {
                counts[place][(uint32_t)mean[i] >> 8 * place & 255]++;
            }
        }
    }
    const double expected = N * N_ROUNDS / 256.0;
    for (int place = 0; place < 4; place++) {
        double chi = 0;
        for (int v = 0; v < 256; v++) {
            chi += ((double)counts[place][v] - expected) * ((double)counts[place][v] - expected) / expected;
        }
        assert_true(fabs(chi - 255) <= 5 * sqrt(510));
    }
    sending_clear(&s);
}

/* Any three shares of five give the key back, in any order; of two every secret is as likely: the third share can be
 * made to fit any. Broken by coefficients that are 0, by arithmetic that overflows. */
static void shares(void **state)
{
    (void)state;
    const uint64_t secrets[] = {0, 1, FBT_SECURE_PRIME - 1, UINT64_C(0x123456789abcdef)};
    for (uint32_t k = 0; k < sizeof secrets / sizeof secrets[0]; k++) {
        const fbt_rng_stream stream = {.seed = 9, .purpose = FBT_RNG_MASK, .client = k};
        uint64_t all[5];
        assert_int_equal(fbt_secure_share(secrets[k], 3, 5, &stream, all), FBT_OK);
        for (uint64_t a = 0; a < 5; a++) {
            for (uint64_t b = 0; b < 5; b++) {
                for (uint64_t c = 0; c < 5; c++) {
                    if (a != b && b != c && a != c) {
                        const uint64_t x[] = {a + 1, b + 1, c + 1}, of[] = {all[a], all[b], all[c]};
                        assert_true(fbt_secure_recover(3, x, of) == secrets[k]);
                    }
                }
            }
            assert_true(all[a] != secrets[k]);
        }
        const uint64_t x[] = {1, 2}, two[] = {all[0], all[1]};
        assert_true(fbt_secure_recover(2, x, two) != secrets[k]);
    }
    assert_int_equal(fbt_secure_share(1, 4, 3, &(fbt_rng_stream){.seed = 1, .purpose = FBT_RNG_MASK}, NULL),
                     FBT_ERR_ARG);
    fbt_error_clear();
}

/* One of five clients drops out once masks are agreed on. The sum of the others lacks nothing but its masks with each
 * of them, which the server makes itself, from the key that three of the others' shares give back. Broken by a key that
 * is not the one that masks come from, by masks of the wrong sign. */
static void a_client_drops_out(void **state)
{
    (void)state;
    fbt_secure_party parties[M] = {{.client = 3}, {.client = 8}, {.client = 20}, {.client = 21}, {.client = 1000000}};
    const fbt_secure_vector vector = {.round = 7, .exchange = 1, .index = 2, .count = D};
    uint32_t sum[D] = {0}, plain[D] = {0};
    for (int k = 0; k < M; k++) {
        parties[k].key = fbt_secure_key(5, 7, parties[k].client);
    }
    for (uint32_t k = 0; k < M; k++) {
        for (int64_t i = 0; k != 2 && i < D; i++) {
            plain[i] += 1000 * k + (uint32_t)i;
            sum[i] += 1000 * k + (uint32_t)i;
        }
        for (uint32_t j = 0; k != 2 && j < M; j++) {
            if (j != k) {
                fbt_secure_mask(&vector, &parties[k], &parties[j], sum);
            }
        }
    }
    assert_memory_not_equal(sum, plain, sizeof sum);
    uint64_t shared[4];
    assert_int_equal(
        fbt_secure_share(parties[2].key, 3, 4, &(fbt_rng_stream){.seed = 1, .purpose = FBT_RNG_MASK}, shared), FBT_OK);
    const uint64_t x[] = {4, 1, 2}, of[] = {shared[3], shared[0], shared[1]};
    const fbt_secure_party dropped = {parties[2].client, fbt_secure_recover(3, x, of)};
    for (uint32_t j = 0; j < M; j++) {
        if (j != 2) {
            fbt_secure_mask(&vector, &dropped, &parties[j], sum);
        }
    }
    assert_memory_equal(sum, plain, sizeof sum);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *assignments[5];
        const char *words[2]; /* NULL: it runs */
    } cases[] = {
        {{"fed.protocol=synchronous"}, {NULL, NULL}},
        {{"fed.protocol=fedavg-bbt", "cma.covariance=isotropic"}, {NULL, NULL}},
        {{"fed.protocol=fedavg-bbt"}, {"fed.secure_aggregation:", "cma.covariance"}},
        {{"fed.protocol=nvflare"}, {"fed.secure_aggregation:", "fed.protocol nvflare"}},
        {{"fed.protocol=paper"}, {"fed.secure_aggregation:", "fed.protocol paper"}},
        {{"fed.protocol=synchronous", "fed.quantise_bits=8"}, {"fed.quantise_bits:", "fed.secure_aggregation"}},
        {{"fed.protocol=synchronous", "fed.clients=1"}, {"fed.secure_aggregation:", "fed.participants"}},
        {{"fed.protocol=synchronous", "fed.clients=1025"}, {"fed.secure_aggregation:", "fed.participants"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_settings("fed.secure_aggregation=true", cases[i].assignments, cases[i].words[0], cases[i].words[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums),
                                       cmocka_unit_test(ranges),
                                       cmocka_unit_test(one_message_is_uniform),
                                       cmocka_unit_test(shares),
                                       cmocka_unit_test(a_client_drops_out),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests_name("secure", tests, NULL, NULL);
}
