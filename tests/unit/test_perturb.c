/* Perturbed tokens, as the processor's backend makes them; others are held to the same bits by the conformance suite.
 * Statistical bounds are 5 standard deviations on fixed seeds: they hold or fail for good. */
#include "base/rng.h"
#include "kernels/backend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 101, FRONT = 3, ROWS = N + FRONT }; /* tokens of a sample: odd, so that the last block is half used */

static fbt_backend *b;

static void sample_make(int32_t tokens[N], uint8_t frozen[N])
{
    for (int t = 0; t < N; t++) {
        tokens[t] = -1 - t; /* outside every vocabulary: a replacement always shows */
        frozen[t] = t % 3 == 0;
    }
}

static fbt_buffer *buffer_of(const void *bytes, int64_t n_bytes)
{
    fbt_buffer *buffer;
    assert_int_equal(fbt_buffer_new(b, n_bytes, &buffer), FBT_OK);
    assert_int_equal(fbt_buffer_write(b, buffer, bytes, n_bytes), FBT_OK);
    return buffer;
}

/* n_tokens of each sample behind FRONT other rows. frozen: of all samples, or NULL. out: [n_samples, N]. */
static void perturb_all(const fbt_perturbation *p, const fbt_origin *origins, int64_t n_samples,
                        const int32_t tokens[N], const uint8_t *frozen, int64_t n_tokens, int32_t *out)
{
    const int64_t length = FRONT + n_tokens, n_rows = n_samples * length;
    int32_t *rows = test_malloc((size_t)n_rows * sizeof *rows);
    int32_t *offsets = test_malloc((size_t)(n_samples + 1) * sizeof *offsets);
    uint8_t *all_frozen = test_calloc((size_t)n_rows, 1);
    for (int64_t s = 0; s < n_samples; s++) {
        offsets[s] = (int32_t)(s * length);
        for (int64_t i = 0; i < length; i++) {
            rows[s * length + i] = i < FRONT ? 7777 : tokens[i - FRONT];
            all_frozen[s * length + i] = i < FRONT || frozen == NULL ? 0 : frozen[i - FRONT];
        }
    }
    offsets[n_samples] = (int32_t)n_rows;
    fbt_buffer *tokens_buffer = buffer_of(rows, n_rows * (int64_t)sizeof *rows);
    fbt_buffer *origins_buffer = buffer_of(origins, n_samples * (int64_t)sizeof *origins);
    fbt_buffer *frozen_buffer = frozen == NULL ? NULL : buffer_of(all_frozen, n_rows);
    fbt_buffer *offsets_buffer = buffer_of(offsets, (n_samples + 1) * (int64_t)sizeof *offsets);
    const fbt_packed packed = {.tokens = tokens_buffer,
                               .offsets = offsets_buffer,
                               .host_offsets = offsets,
                               .n_sequences = n_samples,
                               .n_rows = n_rows,
                               .max_length = length};
    assert_int_equal(fbt_perturb(b, tokens_buffer, p, origins_buffer, frozen_buffer, &packed), FBT_OK);
    assert_int_equal(fbt_buffer_read(b, rows, tokens_buffer, n_rows * (int64_t)sizeof *rows), FBT_OK);
    assert_int_equal(fbt_stream_sync(b), FBT_OK);
    for (int64_t s = 0; s < n_samples; s++) {
        for (int64_t i = 0; i < FRONT; i++) {
            assert_int_equal(rows[s * length + i], 7777);
        }
        memcpy(out + s * N, rows + s * length + FRONT, (size_t)n_tokens * sizeof *out);
    }
    fbt_buffer_free(b, tokens_buffer);
    fbt_buffer_free(b, offsets_buffer);
    fbt_buffer_free(b, origins_buffer);
    fbt_buffer_free(b, frozen_buffer);
    test_free(rows);
    test_free(offsets);
    test_free(all_frozen);
}

static void perturb(const fbt_perturbation *p, int32_t round, int32_t client, int32_t sample, const int32_t tokens[N],
                    const uint8_t *frozen, int64_t n_tokens, int32_t *out)
{
    const fbt_origin origin = {.client = client, .sample = sample, .round = round, .n_placeholders = FRONT};
    perturb_all(p, &origin, 1, tokens, frozen, n_tokens, out);
}

/* Exactly the words that the contract names, so that another device can make the same. */
static void tokens_follow_the_stream(void **state)
{
    (void)state;
    const fbt_perturbation p = {.seed = 99, .rate = 0.3, .vocab_size = 30522};
    int32_t tokens[N], out[N];
    uint8_t frozen[N];
    sample_make(tokens, frozen);
    perturb(&p, 3, 5, 7, tokens, frozen, N, out);
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

/* A token's fate is its own: not its sample's length, nor the other tokens, nor what is frozen. */
static void tokens_are_independent(void **state)
{
    (void)state;
    fbt_perturbation p = {.seed = 4, .rate = 0.5, .vocab_size = 1000};
    int32_t tokens[N], out[N], other[N];
    uint8_t frozen[N];
    sample_make(tokens, frozen);
    perturb(&p, 1, 2, 3, tokens, frozen, N, out);
    for (int n = 0; n <= N; n++) {
        perturb(&p, 1, 2, 3, tokens, frozen, n, other);
        assert_memory_equal(other, out, (size_t)n * sizeof *out);
    }
    perturb(&p, 1, 2, 3, tokens, NULL, N, other);
    assert_memory_equal(other, out, sizeof out);

    p.text_only = 1;
    perturb(&p, 1, 2, 3, tokens, frozen, N, other);
    for (int t = 0; t < N; t++) {
        assert_int_equal(other[t], frozen[t] ? tokens[t] : out[t]);
    }
    perturb(&p, 1, 2, 3, tokens, NULL, N, other);
    assert_memory_equal(other, out, sizeof out);
}

static void every_sample_and_round_differs(void **state)
{
    (void)state;
    fbt_perturbation p = {.seed = 4, .rate = 0.5, .vocab_size = 1000};
    int32_t tokens[N], out[6][N];
    uint8_t frozen[N];
    sample_make(tokens, frozen);
    perturb(&p, 1, 2, 3, tokens, frozen, N, out[0]);
    perturb(&p, 2, 2, 3, tokens, frozen, N, out[1]);
    perturb(&p, 1, 3, 3, tokens, frozen, N, out[2]);
    perturb(&p, 1, 2, 4, tokens, frozen, N, out[3]);
    p.seed = 5;
    perturb(&p, 1, 2, 3, tokens, frozen, N, out[4]);
    p.seed = 4;
    perturb(&p, 1, 2, 3, tokens, frozen, N, out[5]);
    for (int i = 1; i < 5; i++) {
        assert_memory_not_equal(out[i], out[0], sizeof out[0]);
    }
    assert_memory_equal(out[5], out[0], sizeof out[0]);
}

enum { N_SAMPLES = 2000 };

/* Samples 0 .. n - 1 of client 1. */
static void perturb_samples(const fbt_perturbation *p, int64_t n, int32_t *out)
{
    int32_t tokens[N];
    uint8_t frozen[N];
    fbt_origin origins[N_SAMPLES];
    sample_make(tokens, frozen);
    for (int64_t i = 0; i < n; i++) {
        origins[i] = (fbt_origin){.client = 1, .sample = (int32_t)i, .n_placeholders = FRONT};
    }
    perturb_all(p, origins, n, tokens, frozen, N, out);
}

static void extreme_rates_are_exact(void **state)
{
    (void)state;
    enum { N_FEW = 200 };
    fbt_perturbation p = {.seed = 1, .rate = 0, .vocab_size = 50};
    int32_t out[N_FEW * N];
    perturb_samples(&p, N_FEW, out);
    for (int i = 0; i < N_FEW * N; i++) {
        assert_int_equal(out[i], -1 - i % N);
    }
    p.rate = 1;
    perturb_samples(&p, N_FEW, out);
    for (int i = 0; i < N_FEW * N; i++) {
        assert_in_range(out[i], 0, 49);
    }
}

/* Sequences whose origin has no client stay, between others that do not. */
static void sequences_without_origin_stay(void **state)
{
    (void)state;
    const fbt_perturbation p = {.seed = 1, .rate = 1, .vocab_size = 50};
    fbt_origin origins[5];
    int32_t tokens[N], out[5 * N], alone[N];
    uint8_t frozen[N];
    sample_make(tokens, frozen);
    for (int s = 0; s < 5; s++) {
        origins[s] =
            (fbt_origin){.client = s % 2 ? 65535 : -1, .sample = 16777215, .round = -1, .n_placeholders = FRONT};
    }
    perturb_all(&p, origins, 5, tokens, frozen, N, out);
    perturb(&p, -1, 65535, 16777215, tokens, frozen, N, alone);
    for (int s = 0; s < 5; s++) {
        assert_memory_equal(out + s * N, s % 2 ? alone : tokens, sizeof alone);
    }
}

/* Replaced tokens are binomial at every rate, neighbours (of one block and of two) are uncorrelated, and the new tokens
 * are uniform: chi-squared over the vocabulary. */
static void replacements_have_their_distribution(void **state)
{
    (void)state;
    enum { VOCABULARY = 17 };
    const double rates[] = {0.2, 0.5, 0.8};
    int32_t *all = test_malloc((size_t)N_SAMPLES * N * sizeof *all);
    for (int r = 0; r < 3; r++) {
        const fbt_perturbation p = {.seed = 11, .rate = rates[r], .vocab_size = VOCABULARY};
        double n_replaced = 0, n_both[2] = {0, 0}, counts[VOCABULARY] = {0};
        perturb_samples(&p, N_SAMPLES, all);
        for (const int32_t *out = all; out < all + (int64_t)N_SAMPLES * N; out += N) {
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
    test_free(all);
}

/* The whole vocabulary can come, its last token too. */
static void vocabulary_is_covered(void **state)
{
    (void)state;
    enum { N_FEW = 100 };
    const fbt_perturbation p = {.seed = 2, .rate = 1, .vocab_size = 250};
    int seen[250] = {0}, n_seen = 0;
    int32_t out[N_FEW * N];
    perturb_samples(&p, N_FEW, out);
    for (int i = 0; i < N_FEW * N; i++) {
        n_seen += !seen[out[i]];
        seen[out[i]] = 1;
    }
    assert_int_equal(n_seen, 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_follow_the_stream),       cmocka_unit_test(tokens_are_independent),
        cmocka_unit_test(every_sample_and_round_differs), cmocka_unit_test(extreme_rates_are_exact),
        cmocka_unit_test(sequences_without_origin_stay),  cmocka_unit_test(replacements_have_their_distribution),
        cmocka_unit_test(vocabulary_is_covered),
    };
    const fbt_backend_options options = {.name = "cpu", .precision = "fp32", .n_threads = 2, .n_local_ranks = 1};
    if (fbt_backend_open(&options, &b) != FBT_OK) {
        return 1;
    }
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    fbt_backend_close(b);
    return n_failed;
}
