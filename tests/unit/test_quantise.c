/* Quantised messages: their bytes, their values' expectation and variance against the closed form, and what error
 * feedback keeps. */
#include "check_settings.h"
#include "fed/protocol.h"
#include "sending.h"

#include <math.h>

enum { D = 13, LAMBDA = 5, N_DRAWS = 20000 };

static const int all_bits[] = {1, 2, 4, 8};
enum { N_BITS = sizeof all_bits / sizeof all_bits[0] };

/* Fields 0 to 4; 4 is what error feedback keeps. */
static fbt_schema schema_of(const fbt_settings *settings)
{
    fbt_schema schema = {0};
    fbt_schema_add(&schema, "mean", D, FBT_FIELD_UPDATE, FBT_FIELD_SENT);
    fbt_schema_add(&schema, "losses", LAMBDA, FBT_FIELD_COMPARED, FBT_FIELD_SENT);
    fbt_schema_add(&schema, "step_size", 2, FBT_FIELD_POSITIVE, FBT_FIELD_SENT);
    fbt_schema_add(&schema, "fitness", 1, FBT_FIELD_REAL, FBT_FIELD_SENT);
    fbt_uplink_add_fields(settings, &schema);
    return schema;
}

static void start(sending *s, int bits, bool error_feedback, double *residuals)
{
    double reference[D];
    for (int i = 0; i < D; i++) {
        reference[i] = 100 + i;
    }
    *s = (sending){
        .settings = {
            .run = {.seed = 5},
            .fed = {.wire = FBT_WIRE_FLOAT32, .clients = 10, .quantise_bits = bits, .error_feedback = error_feedback},
            .cma = {.dimension = D}}};
    const fbt_schema schema = schema_of(&s->settings);
    sending_init(s, &schema, 2, reference, D);
    s->uplink.residuals = residuals;
}

/* Client k's update of the mean. */
static double update_of(int64_t i)
{
    return sin(2.0 * (double)i) + (i == 3 ? 2 : 0);
}

static void make_mean(double *mean)
{
    for (int64_t i = 0; i < D; i++) {
        mean[i] = 100 + (double)i + update_of(i);
    }
}

/* Bytes by hand: scale, (level of losses), packed codes; what is neither mean nor losses has 4 bytes a number. Broken
 * by bytes of codes that are not packed, by a scale that is not counted. */
static void bytes(void **state)
{
    (void)state;
    for (int b = 0; b < N_BITS; b++) {
        sending s;
        start(&s, all_bits[b], false, NULL);
        const int64_t mean = 4 + (D * all_bits[b] + 7) / 8, losses = 8 + (LAMBDA * all_bits[b] + 7) / 8;
        assert_int_equal(fbt_messages_send(&s.up, 1), FBT_OK);
        assert_int_equal(s.up.n_bytes, mean + losses + 3 * 4);
        assert_int_equal(fbt_uplink_bytes(&s.settings, &s.up.schema), s.up.n_bytes);
        sending_clear(&s);
    }
}

/* Step sizes and the fitness that clients are ranked by arrive as floats, whatever the bits. Broken by a transform that
 * takes all fields. */
static void what_is_not_quantised(void **state)
{
    (void)state;
    sending s;
    double step_sizes[] = {1.0 / 3, 1e-100}, fitness[] = {1.0 / 7};
    start(&s, 1, false, NULL);
    send_field(&s, 2, 0, step_sizes);
    send_field(&s, 3, 0, fitness);
    assert_true(step_sizes[0] == (double)(1.0F / 3) && step_sizes[1] > 0 && fitness[0] == (double)(1.0F / 7));
    sending_clear(&s);
}

/* Moments of value i over many rounds against QSGD's: expectation x, variance step^2 (t - floor t)(1 - t + floor t)
 * where x lies t steps above -scale, here written out by itself. Bounds are five standard errors; a variance's is
 * bounded by that of a number of two values. Broken by rounding to the nearest, by one random number for all values, by
 * a scale below the largest number, by a grid of 2^b steps. */
static void check_moments(int field, int64_t n, const double *values, const double *level, int bits)
{
    sending s;
    double sum[D] = {0}, square[D] = {0}, scale = 0;
    start(&s, bits, false, NULL);
    for (int64_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs(values[i] - level[i]));
    }
    for (uint32_t r = 0; r < N_DRAWS; r++) {
        double sent[D];
        memcpy(sent, values, (size_t)n * sizeof *sent);
        s.uplink.round = r;
        send_field(&s, field, 1, sent);
        for (int64_t i = 0; i < n; i++) {
            sum[i] += sent[i] - values[i];
            square[i] += (sent[i] - values[i]) * (sent[i] - values[i]);
        }
    }
    const double step = 2 * scale / ((1 << bits) - 1);
    for (int64_t i = 0; i < n; i++) {
        const double t = (values[i] - level[i] + scale) / step, part = t - floor(t);
        const double variance = step * step * part * (1 - part), error = 1e-6 * scale;
        assert_true(fabs(sum[i] / N_DRAWS) <= 5 * sqrt(variance / N_DRAWS) + error);
        assert_true(fabs(square[i] / N_DRAWS - variance) <= 5 * step * sqrt(variance / N_DRAWS) + error * step);
    }
    sending_clear(&s);
}

static void moments(void **state)
{
    (void)state;
    double mean[D], reference[D], level[LAMBDA];
    const double losses[LAMBDA] = {1.25, 1.5, 1.125, 1.0625, 1.3125}; /* their mean is 1.25 */
    make_mean(mean);
    for (int i = 0; i < D; i++) {
        reference[i] = 100 + i;
        level[i < LAMBDA ? i : 0] = 1.25;
    }
    for (int b = 0; b < N_BITS; b++) {
        check_moments(0, D, mean, reference, all_bits[b]);
        check_moments(1, LAMBDA, losses, level, all_bits[b]);
    }
}

/* Errors of any two places (value, client, exchange, field) are uncorrelated: at 1 bit over N_DRAWS rounds their
 * correlation is within five standard errors. Broken by a stream that lacks a member. */
static void places_differ(void **state)
{
    (void)state;
    sending s;
    double product[4] = {0}, square = 0;
    start(&s, 1, false, NULL);
    for (uint32_t r = 0; r < N_DRAWS; r++) {
        double a[D], b[D], c[D];
        make_mean(a);
        make_mean(b);
        make_mean(c);
        s.uplink.round = r;
        s.uplink.exchange = 0;
        send_field(&s, 0, 0, a);
        send_field(&s, 0, 1, b);
        s.uplink.exchange = 1;
        send_field(&s, 0, 0, c);
        const double own = a[1] - 101 - update_of(1), next = a[2] - 102 - update_of(2);
        product[0] += own * next;
        product[1] += own * (b[1] - 101 - update_of(1));
        product[2] += own * (c[1] - 101 - update_of(1));
        product[3] += (a[0] - 100) * (b[2] - 102 - update_of(2));
        square += own * own;
    }
    for (int i = 0; i < 4; i++) {
        assert_true(fabs(product[i]) <= 6 * square / sqrt(N_DRAWS));
    }
    sending_clear(&s);
}

/* One bit with feedback is sign(x) times the mean of |x| (Karimireddy et al. 2019, algorithm 2), x the update and what
 * was left out before; what is left out is x less that. Over rounds all that was sent and what is left is all that
 * was to be sent. Broken by a residual of another client, by one that is added twice or lost, by another scale. */
static void error_feedback_of_one_bit(void **state)
{
    (void)state;
    sending s;
    double residuals[10 * D] = {0}, left[D] = {0}, all_sent[D] = {0};
    start(&s, 1, true, residuals);
    for (uint32_t round = 1; round <= 50; round++) {
        double sent[D], scale = 0, x[D];
        make_mean(sent);
        for (int i = 0; i < D; i++) {
            x[i] = update_of(i) + left[i];
            scale += fabs(x[i]) / D;
        }
        s.uplink.round = round;
        send_field(&s, 0, 1, sent);
        fbt_uplink_gather(&s.up);
        for (int i = 0; i < D; i++) {
            const double expected = x[i] < 0 ? -scale : scale;
            assert_true(fabs(sent[i] - 100 - i - expected) <= 1e-6 * scale);
            left[i] = x[i] - (sent[i] - 100 - i);
            all_sent[i] += sent[i] - 100 - i;
            assert_true(fabs(residuals[6 * D + i] - left[i]) <= 1e-9); /* of participant 1, client 6 */
            assert_true(residuals[3 * D + i] == 0);
            assert_true(fabs(all_sent[i] + left[i] - round * update_of(i)) <= 1e-9 * round);
        }
    }
    sending_clear(&s);
}

/* With any bits what is left out is shorter than what was to be sent: the contraction without which it would grow for
 * ever. One large number among small ones is where rounding to the nearest alone is none. Broken by the scale of
 * stochastic rounding. */
static void error_feedback_contracts(void **state)
{
    (void)state;
    for (int b = 0; b < N_BITS; b++) {
        sending s;
        double residuals[10 * D] = {0};
        start(&s, all_bits[b], true, residuals);
        for (uint32_t round = 1; round <= 200; round++) {
            double sent[D], before = 0, after = 0;
            for (int i = 0; i < D; i++) {
                const double x = (i == (int)(round % D) ? 10 : 0.01) + residuals[3 * D + i];
                sent[i] = 100 + i + x - residuals[3 * D + i];
                before += x * x;
            }
            s.uplink.round = round;
            send_field(&s, 0, 0, sent);
            fbt_uplink_gather(&s.up);
            for (int i = 0; i < D; i++) {
                after += residuals[3 * D + i] * residuals[3 * D + i];
            }
            assert_true(after < before);
            assert_true(after < 1e5);
        }
        sending_clear(&s);
    }
}

/* Nothing but numbers becomes codes; nothing at all is told apart from something. */
static void edges(void **state)
{
    (void)state;
    const double none[] = {NAN, INFINITY, -1e39};
    sending s;
    double mean[D];
    start(&s, 8, false, NULL);
    for (int i = 0; i < D; i++) {
        mean[i] = 100 + i;
    }
    send_field(&s, 0, 0, mean); /* no update at all */
    for (int i = 0; i < D; i++) {
        assert_true(mean[i] == 100 + i);
    }
    for (int i = 0; i < 3; i++) {
        mean[4] = none[i];
        assert_int_equal(fbt_messages_send_field(&s.up, &s.up.schema.fields[0], 0, mean), FBT_ERR_NUMERIC);
        assert_non_null(strstr(fbt_error_message(), "a message's mean holds"));
        fbt_error_clear();
    }
    sending_clear(&s);
}

/* Settings that cannot be quantised by are refused by name. */
static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *assignments[5];
        const char *sentence; /* NULL: it runs */
    } cases[] = {
        {{"fed.quantise_bits=3"}, "fed.quantise_bits: numbers of 3 bits"},
        {{"fed.quantise_bits=8", "fed.protocol=synchronous"}, NULL},
        {{"fed.quantise_bits=8", "fed.protocol=nvflare", "fed.error_feedback=true"}, NULL},
        {{"fed.quantise_bits=8", "fed.protocol=synchronous", "fed.error_feedback=true"}, "fed.error_feedback: clients"},
        {{"fed.quantise_bits=8", "fed.error_feedback=true", "fed.clients=100000", "cma.dimension=500"},
         "fed.error_feedback: 100000 clients (fed.clients) that send 500 numbers each (their mean)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_settings(NULL, cases[i].assignments, cases[i].sentence, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes),
                                       cmocka_unit_test(what_is_not_quantised),
                                       cmocka_unit_test(moments),
                                       cmocka_unit_test(places_differ),
                                       cmocka_unit_test(error_feedback_of_one_bit),
                                       cmocka_unit_test(error_feedback_contracts),
                                       cmocka_unit_test(edges),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests_name("quantise", tests, NULL, NULL);
}
