/* Data: the perturbed copy. Statistical bounds are 5 standard deviations on fixed seeds: they hold or fail for good. */
#include "perturb.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 101 }; /* tokens of a sample: odd, so that the last block is half used */

static void sample_make(int32_t tokens[N], uint8_t frozen[N])
{
    for (int t = 0; t < N; t++) {
        tokens[t] = -1 - t; /* outside every vocabulary: a replacement always shows */
        frozen[t] = t % 3 == 0;
    }
}

/* Exactly the words that the header names, so that another device can make the same. */
static void tokens_follow_the_stream(void **state)
{
    (void)state;
    const fbt_perturbation p = {.seed = 99, .rate = 0.3, .vocab_size = 30522};
    int32_t tokens[N], out[N];
    uint8_t frozen[N];
    sample_make(tokens, frozen);
    fbt_perturb(&p, 3, 5, 7, tokens, frozen, N, out);
    for (int t = 0; t < N; t++) {
        uint32_t w[4];
        fbt_rng_block(
            &(fbt_rng_stream){.seed = 99, .purpose = FBT_RNG_PERTURB, .round = 3, .client = 5, .candidate = 7},
            (uint32_t)(t / 2), w);
        const uint32_t *pair = w + 2 * (t % 2);
        int32_t expected = pair[0] < 0.3 * 4294967296.0 ? (int32_t)((uint64_t)pair[1] * 30522 >> 32) : tokens[t];
        assert_int_equal(out[t], expected);
    }
}

/* A token's fate is its own: not its sample's length, nor the other tokens, nor what is frozen; nor whether in place.
 */
static void tokens_are_independent(void **state)
{
    (void)state;
    fbt_perturbation p = {.seed = 4, .rate = 0.5, .vocab_size = 1000};
    int32_t tokens[N], out[N], other[N];
    uint8_t frozen[N];
    sample_make(tokens, frozen);
    fbt_perturb(&p, 1, 2, 3, tokens, frozen, N, out);
    for (int n = 0; n <= N; n++) {
        memset(other, 0x55, sizeof other);
        fbt_perturb(&p, 1, 2, 3, tokens, frozen, n, other);
        assert_memory_equal(other, out, (size_t)n * sizeof *out);
        if (n < N) {
            assert_int_equal(other[n], 0x55555555);
        }
    }
    memcpy(other, tokens, sizeof other);
    fbt_perturb(&p, 1, 2, 3, other, NULL, N, other);
    assert_memory_equal(other, out, sizeof out);

    p.text_only = 1;
    fbt_perturb(&p, 1, 2, 3, tokens, frozen, N, other);
    for (int t = 0; t < N; t++) {
        assert_int_equal(other[t], frozen[t] ? tokens[t] : out[t]);
    }
    fbt_perturb(&p, 1, 2, 3, tokens, NULL, N, other);
    assert_memory_equal(other, out, sizeof out);
}

static void every_sample_and_round_differs(void **state)
{
    (void)state;
    fbt_perturbation p = {.seed = 4, .rate = 0.5, .vocab_size = 1000};
    int32_t tokens[N], out[6][N];
    uint8_t frozen[N];
    sample_make(tokens, frozen);
    fbt_perturb(&p, 1, 2, 3, tokens, frozen, N, out[0]);
    fbt_perturb(&p, 2, 2, 3, tokens, frozen, N, out[1]);
    fbt_perturb(&p, 1, 3, 3, tokens, frozen, N, out[2]);
    fbt_perturb(&p, 1, 2, 4, tokens, frozen, N, out[3]);
    p.seed = 5;
    fbt_perturb(&p, 1, 2, 3, tokens, frozen, N, out[4]);
    p.seed = 4;
    fbt_perturb(&p, 1, 2, 3, tokens, frozen, N, out[5]);
    for (int i = 1; i < 5; i++) {
        assert_memory_not_equal(out[i], out[0], sizeof out[0]);
    }
    assert_memory_equal(out[5], out[0], sizeof out[0]);
}

static void extreme_rates_are_exact(void **state)
{
    (void)state;
    fbt_perturbation p = {.seed = 1, .rate = 0, .vocab_size = 50};
    int32_t tokens[N], out[N];
    uint8_t frozen[N];
    sample_make(tokens, frozen);
    for (uint32_t sample = 0; sample < 200; sample++) {
        p.rate = 0;
        fbt_perturb(&p, 0, 0, sample, tokens, frozen, N, out);
        assert_memory_equal(out, tokens, sizeof out);
        p.rate = 1;
        fbt_perturb(&p, 0, 0, sample, tokens, frozen, N, out);
        for (int t = 0; t < N; t++) {
            assert_in_range(out[t], 0, 49);
        }
    }
}

/* Replaced tokens are binomial at every rate, neighbours (of one block and of two) are uncorrelated, and the new tokens
 * are uniform: chi-squared over the vocabulary. */
static void replacements_have_their_distribution(void **state)
{
    (void)state;
    enum { N_SAMPLES = 2000, VOCABULARY = 17 };
    const double rates[] = {0.2, 0.5, 0.8};
    int32_t tokens[N], out[N];
    uint8_t frozen[N];
    sample_make(tokens, frozen);
    for (int r = 0; r < 3; r++) {
        const fbt_perturbation p = {.seed = 11, .rate = rates[r], .vocab_size = VOCABULARY};
        double n_replaced = 0, n_both[2] = {0, 0}, counts[VOCABULARY] = {0};
        for (uint32_t sample = 0; sample < N_SAMPLES; sample++) {
            fbt_perturb(&p, 0, 1, sample, tokens, frozen, N, out);
            for (int t = 0; t < N; t++) {
                n_replaced += out[t] >= 0;
                n_both[t % 2] += t + 1 < N && out[t] >= 0 && out[t + 1] >= 0;
                if (out[t] >= 0) {
                    assert_true(out[t] < VOCABULARY);
                    counts[out[t]]++;
                }
            }
        }
        const double q = rates[r], n = (double)N * N_SAMPLES, n_pairs = n_both[0] + n_both[1];
        assert_true(n_pairs > 0);
        assert_true(fabs(n_replaced - q * n) < 5 * sqrt(n * q * (1 - q)));
        for (int k = 0; k < 2; k++) {
            double n_k = (double)(N / 2) * N_SAMPLES;
            assert_true(fabs(n_both[k] - q * q * n_k) < 5 * sqrt(n_k * q * q * (1 - q * q)));
        }
        double chi2 = 0;
        for (int v = 0; v < VOCABULARY; v++) {
            double expected = n_replaced / VOCABULARY;
            chi2 += (counts[v] - expected) * (counts[v] - expected) / expected;
        }
        assert_true(chi2 < 16 + 5 * sqrt(2 * 16));
    }
}

/* The whole vocabulary can come, its last token too. */
static void vocabulary_is_covered(void **state)
{
    (void)state;
    const fbt_perturbation p = {.seed = 2, .rate = 1, .vocab_size = 250};
    int seen[250] = {0}, n_seen = 0;
    int32_t tokens[N], out[N];
    uint8_t frozen[N];
    sample_make(tokens, frozen);
    for (uint32_t sample = 0; sample < 100; sample++) {
        fbt_perturb(&p, 0, 0, sample, tokens, frozen, N, out);
        for (int t = 0; t < N; t++) {
            n_seen += !seen[out[t]];
            seen[out[t]] = 1;
        }
    }
    assert_int_equal(n_seen, 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_follow_the_stream),
        cmocka_unit_test(tokens_are_independent),
        cmocka_unit_test(every_sample_and_round_differs),
        cmocka_unit_test(extreme_rates_are_exact),
        cmocka_unit_test(replacements_have_their_distribution),
        cmocka_unit_test(vocabulary_is_covered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
