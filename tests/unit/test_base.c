/* Base: the random streams, the digest and the error sentence. */
#include "digest.h"
#include "memory.h"
#include "rng.h"
#include "status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Known answer of Philox4x32-10 for key and counter all zero (Random123's kat_vectors). Broken by any other generator,
 * number of rounds or word order. */
static void philox_known_answer(void **state)
{
    (void)state;
    uint32_t words[4];
    fbt_rng_block(&(fbt_rng_stream){0}, 0, words);
    assert_int_equal(words[0], 0x6627e8d5);
    assert_int_equal(words[1], 0xe169c58d);
    assert_int_equal(words[2], 0xbc57ac4c);
    assert_int_equal(words[3], 0x9b00dbd8);
}

/* Streams that differ in one member differ; the same stream repeats; GSL's draws are the blocks' words. */
static void streams_are_keyed(void **state)
{
    (void)state;
    const fbt_rng_stream streams[] = {
        {.seed = 1, .purpose = FBT_RNG_SEARCH},
        {.seed = 2, .purpose = FBT_RNG_SEARCH},
        {.seed = 1ULL << 40, .purpose = FBT_RNG_SEARCH},
        {.seed = 1, .purpose = FBT_RNG_PERTURB},
        {.seed = 1, .purpose = FBT_RNG_SEARCH, .round = 1},
        {.seed = 1, .purpose = FBT_RNG_SEARCH, .client = 1},
        {.seed = 1, .purpose = FBT_RNG_SEARCH, .generation = 1},
        {.seed = 1, .purpose = FBT_RNG_SEARCH, .candidate = 1},
    };
    enum { N = sizeof streams / sizeof streams[0] };
    unsigned long first[N];
    gsl_rng *rng;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    for (int i = 0; i < N; i++) {
        uint32_t words[4];
        fbt_rng_seek(rng, &streams[i]);
        first[i] = gsl_rng_get(rng);
        for (int k = 1; k < 5; k++) {
            gsl_rng_get(rng);
        }
        fbt_rng_block(&streams[i], 1, words);
        assert_int_equal(gsl_rng_get(rng), words[1]);
        fbt_rng_block(&streams[i], 0, words);
        assert_int_equal(first[i], words[0]);
        for (int j = 0; j < i; j++) {
            assert_int_not_equal(first[i], first[j]);
        }
    }
    gsl_rng_free(rng);
}

/* FIPS 180-2, appendix B.1. */
static void digest_known_answer(void **state)
{
    (void)state;
    fbt_digest *digest;
    char text[FBT_DIGEST_TEXT_BYTES];
    assert_int_equal(fbt_digest_new(&digest), FBT_OK);
    assert_int_equal(fbt_digest_add(digest, "a", 1), FBT_OK);
    assert_int_equal(fbt_digest_add(digest, "bc", 2), FBT_OK);
    assert_int_equal(fbt_digest_end(digest, text), FBT_OK);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(fbt_digest_file("/nonexistent/file", text), FBT_ERR_IO);
    assert_non_null(strstr(fbt_error_message(), "/nonexistent/file"));
    fbt_error_clear();
}

static void first_error_is_kept(void **state)
{
    (void)state;
    assert_int_equal(fbt_fail(FBT_ERR_DATA, "row %d", 7), FBT_ERR_DATA);
    assert_int_equal(fbt_fail(FBT_ERR_IO, "later"), FBT_ERR_IO);
    assert_string_equal(fbt_error_message(), "row 7");
    fbt_error_clear();
    fbt_fail(FBT_ERR_DATA, "name '%s'", "a\n\x1b[2J\x7f\xc3\xa4"); /* one line that draws nothing; other scripts stay */
    assert_string_equal(fbt_error_message(), "name 'a??[2J?\xc3\xa4'");
    fbt_error_clear();
    assert_string_equal(fbt_error_message(), "");
}

static void memory_refuses_absurd_sizes(void **state)
{
    (void)state;
    double *block = (double *)1;
    assert_int_equal(fbt_memory_alloc(&block, -1, sizeof *block), FBT_ERR_ARG);
    assert_null(block);
    assert_int_equal(fbt_memory_alloc(&block, INT64_MAX, sizeof *block), FBT_ERR_ARG);
    fbt_error_clear();
    assert_int_equal(fbt_memory_alloc(&block, 3, sizeof *block), FBT_OK);
    assert_int_equal((uintptr_t)block % 64, 0);
    assert_true(block[0] == 0 && block[2] == 0);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_known_answer),   cmocka_unit_test(streams_are_keyed),
        cmocka_unit_test(digest_known_answer),   cmocka_unit_test(first_error_is_kept),
        cmocka_unit_test(memory_refuses_absurd_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
