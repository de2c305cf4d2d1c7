/* Base: the random streams, the digest and the error sentence. */
#include "base/choices.h"
#include "base/digest.h"
#include "base/environment.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/prompt_mode.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Names and enumerators of a list belong together. Broken by a search that goes on behind the end, or takes a prefix.
 */
static void choices_have_names(void **state)
{
    (void)state;
    char text[64], cut[8];
    assert_int_equal(fbt_choice_find(fbt_protocol_names, "fedavg-bbt"), FBT_PROTOCOL_FEDAVG_BBT);
    assert_int_equal(fbt_choice_find(fbt_precision_names, "bf16"), FBT_PRECISION_BF16);
    assert_int_equal(fbt_choice_find(fbt_readout_names, "last"), FBT_READOUT_LAST);
    assert_int_equal(fbt_choice_find(fbt_cma_covariance_names, "Full"), -1);
    assert_int_equal(fbt_choice_find(fbt_cma_covariance_names, ""), -1);
    assert_string_equal(fbt_choice_name(fbt_cma_constants_names, FBT_CMA_CONSTANTS_PYCMA), "pycma");
    assert_null(fbt_choice_name(fbt_cma_constants_names, FBT_CMA_CONSTANTS_PYCMA + 1));
    assert_null(fbt_choice_name(fbt_cma_constants_names, -1));
    fbt_choice_list(fbt_loss_names, text, sizeof text);
    assert_string_equal(text, "ce, hinge or accuracy");
    fbt_choice_list(fbt_loss_names, cut, sizeof cut);
    assert_string_equal(cut, "ce, hin");
}

/* Rows of each mode, by the definition of the modes. Broken by a prompt that is counted where there is none. */
static void prompt_modes_have_rows(void **state)
{
    (void)state;
    static const struct {
        fbt_prompt_mode mode;
        int64_t all, in_front, without_position;
    } modes[] = {{FBT_PROMPT_NONE, 0, 0, 0},
                 {FBT_PROMPT_ADD, 50, 0, 0},
                 {FBT_PROMPT_CAT, 50, 50, 50},
                 {FBT_PROMPT_INPUT, 50, 50, 0}};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        assert_int_equal(fbt_prompt_rows(modes[i].mode, 50), modes[i].all);
        assert_int_equal(fbt_prompt_rows_in_front(modes[i].mode, 50), modes[i].in_front);
        assert_int_equal(fbt_prompt_rows_without_position(modes[i].mode, 50), modes[i].without_position);
    }
}

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
        {.seed = 1, .purpose = FBT_RNG_SEARCH, .client = 1 << 16},
        {.seed = 1, .purpose = FBT_RNG_SEARCH, .client = 1 << 17},
        {.seed = 1, .purpose = FBT_RNG_SEARCH, .client = FBT_RNG_N_CLIENTS - 1},
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

/* The counter of a stream of the first 65,536 clients. Broken by a layout that gives runs of earlier versions other
 * numbers. */
static void first_clients_keep_their_streams(void **state)
{
    (void)state;
    const fbt_rng_stream stream = {.seed = 9,
                                   .purpose = FBT_RNG_CHECK,
                                   .round = 77,
                                   .client = 65535,
                                   .generation = 65534,
                                   .candidate = FBT_RNG_N_CANDIDATES - 2};
    const philox4x32_ctr_t counter = {{3, 0x09fffffe, 77, 0xfffffffe}};
    const philox4x32_key_t key = {{9, 0}};
    const philox4x32_ctr_t expected = philox4x32(counter, key);
    uint32_t words[4];
    fbt_rng_block(&stream, 3, words);
    assert_memory_equal(words, expected.v, sizeof words);
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
    memset(text, 0, sizeof text);
    assert_int_equal(fbt_digest_bytes("abc", 3, text), FBT_OK);
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

/* Broken by a sentence that is lost while it is quoted, and by one that is told again after it was taken. */
static void sentences_are_reworded_and_taken(void **state)
{
    (void)state;
    fbt_error_clear();
    fbt_fail(FBT_ERR_DATA, "row 7");
    assert_int_equal(fbt_refail(FBT_ERR_IO, "a.h5: %s\n", fbt_error_message()), FBT_ERR_IO);
    assert_string_equal(fbt_error_message(), "a.h5: row 7?");
    assert_string_equal(fbt_error_take(), "a.h5: row 7?");
    assert_string_equal(fbt_error_message(), "");
    fbt_fail(FBT_ERR_DATA, "another");
    assert_string_equal(fbt_error_take(), "another");
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

/* Where the fault is, and what is made of it. */
static void utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n_bytes, fault;
        const char *repaired;
    } cases[] = {
        {"", 0, 0, ""},
        {"plain", 5, 5, "plain"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"a\0b", 3, 1, "a"},
        {"a\xff", 2, 1, "a\xef\xbf\xbd"},
        {"\xe9t\xe9", 3, 0, "\xef\xbf\xbdt\xef\xbf\xbd"},
        {"\xc3", 1, 0, "\xef\xbf\xbd"},                                   /* cut off */
        {"\xc0\x80", 2, 0, "\xef\xbf\xbd\xef\xbf\xbd"},                   /* zero in two bytes */
        {"x\xed\xa0\xbd", 4, 1, "x\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* half of a pair of UTF-16 */
        {"\xf4\x90\x80\x80", 4, 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *copy;
        assert_int_equal(fbt_utf8_find_fault(cases[i].text, cases[i].n_bytes), cases[i].fault);
        assert_int_equal(fbt_utf8_repair(cases[i].text, &copy), FBT_OK);
        assert_string_equal(copy, cases[i].repaired);
        free(copy);
    }
}

/* A sweep goes on with its other runs after the second kind alone. */
static void failed_writes_are_told_apart(void **state)
{
    (void)state;
    const int of_all[] = {ENOSPC, EDQUOT, EROFS, EIO, EMFILE}, of_one[] = {EACCES, EFBIG, EISDIR, ENAMETOOLONG, ENOENT};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(fbt_status_of_system(of_all[i]), FBT_ERR_STORAGE);
        assert_int_equal(fbt_status_of_system(of_one[i]), FBT_ERR_IO);
    }
}

/* A run of 1,000 rounds of 10 ms: 1 ms to write each, and 20 ms more for every tenth. Broken by an estimate that leaves
 * out the rare, long writes, or the one that is still to come for the last round. */
static void what_is_left_counts_all_writes(void **state)
{
    (void)state;
    enum { N = 1000 };
    fbt_progress progress = {0};
    assert_true(fbt_progress_left_s(&progress, N, N) == 0);
    fbt_progress_add_write(&progress, 0.003);
    for (int64_t r = 1; r <= N; r++) {
        fbt_progress_add_round(&progress, 0.01);
        const double truth_s = (double)(N - r) * 0.01 + (double)(N - r + 1) * 0.003;
        const double left_s = fbt_progress_left_s(&progress, N - r, N - r + 1);
        assert_true(r < 100 || fabs(left_s - truth_s) <= 0.03 * truth_s);
        fbt_progress_add_write(&progress, r % 10 == 0 ? 0.021 : 0.001);
    }
}

/* A variable is another one meanwhile and then as it was, set or not. Broken by one that is left behind for those that
 * this process starts. */
static void environment_is_given_back(void **state)
{
    static const char *const name = "FEDBPT_TEST_VARIABLE";
    (void)state;
    unsetenv(name);
    fbt_environment outer = fbt_environment_begin(name, "outer", true);
    fbt_environment kept = fbt_environment_begin(name, "kept", false);
    assert_string_equal(getenv(name), "outer");
    fbt_environment inner = fbt_environment_begin(name, "inner", true);
    assert_string_equal(getenv(name), "inner");
    fbt_environment_end(&inner);
    fbt_environment_end(&kept);
    assert_string_equal(getenv(name), "outer");
    fbt_environment_end(&outer);
    assert_null(getenv(name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_writes_are_told_apart),
        cmocka_unit_test(what_is_left_counts_all_writes),
        cmocka_unit_test(choices_have_names),
        cmocka_unit_test(prompt_modes_have_rows),
        cmocka_unit_test(philox_known_answer),
        cmocka_unit_test(streams_are_keyed),
        cmocka_unit_test(first_clients_keep_their_streams),
        cmocka_unit_test(digest_known_answer),
        cmocka_unit_test(first_error_is_kept),
        cmocka_unit_test(sentences_are_reworded_and_taken),
        cmocka_unit_test(memory_refuses_absurd_sizes),
        cmocka_unit_test(utf8),
        cmocka_unit_test(environment_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
