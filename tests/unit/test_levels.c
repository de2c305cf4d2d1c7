/* How a decoder's batch becomes levels: which rows are computed once, and what every row is. */
#include "model/levels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_TOKENS = 8, P = 2 };

/* A sequence of a hand-made batch, read at its token `readout`. */
typedef struct text {
    int32_t tokens[MAX_TOKENS];
    int32_t n_tokens, readout, prompt;
    uint8_t frozen[MAX_TOKENS];
    int32_t client; /* -1: as it is */
} text;

static void fill(fbt_batch *batch, fbt_prompt_mode mode, const text *texts, int64_t n)
{
    fbt_batch_reset(batch);
    for (int64_t i = 0; i < n; i++) {
        const fbt_sequence sequence = {.tokens = texts[i].tokens,
                                       .frozen = texts[i].frozen,
                                       .n_tokens = texts[i].n_tokens,
                                       .readout = texts[i].readout,
                                       .origin = {.client = texts[i].client, .sample = (int32_t)i}};
        const int64_t in_front = mode == FBT_PROMPT_CAT || mode == FBT_PROMPT_INPUT ? P : 0;
        assert_int_equal(fbt_batch_append(batch, &sequence, in_front, texts[i].prompt), FBT_OK);
    }
}

/* The levels of a batch of texts. */
typedef struct fixture {
    fbt_batch batch;
    fbt_level_lists lists;
} fixture;

static void build(fixture *f, fbt_level_request request, const text *texts, int64_t n)
{
    fill(&f->batch, request.mode, texts, n);
    request.batch = &f->batch;
    request.n_prompt_tokens = request.mode == FBT_PROMPT_NONE ? 0 : P;
    assert_int_equal(fbt_level_lists_build(&f->lists, &request), FBT_OK);
}

static void clear(fixture *f)
{
    fbt_level_lists_clear(&f->lists);
    fbt_batch_clear(&f->batch);
}

#define N_ITEMS(array) (int64_t)(sizeof(array) / sizeof(array)[0])

static void assert_items(const int32_t *items, const int32_t *expected, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(items[i], expected[i]);
    }
}

/* A level has these offsets. */
#define assert_level(f, kind, ...)                                                                                     \
    do {                                                                                                               \
        const int32_t expected_[] = {__VA_ARGS__};                                                                     \
        assert_int_equal((f).lists.level[kind].n_sequences, N_ITEMS(expected_) - 1);                                   \
        assert_items((f).lists.level[kind].offsets, expected_, N_ITEMS(expected_));                                    \
    } while (0)

/* A list begins with these items. */
#define assert_list(list, ...)                                                                                         \
    do {                                                                                                               \
        const int32_t expected_[] = {__VA_ARGS__};                                                                     \
        assert_items(list, expected_, N_ITEMS(expected_));                                                             \
    } while (0)

/* A text read at its last word. */
#define TEXT(words, prompt_, ...)                                                                                      \
    {                                                                                                                  \
        .tokens = {__VA_ARGS__}, .n_tokens = words, .readout = (words)-1, .prompt = prompt_, .client = -1              \
    }

/* One level where nothing is shared: prompt rows have no token and stand in front, positions run over both, rows behind
 * the one that is read are left out. Broken by positions that count from the text, by prompt rows of the wrong prompt,
 * and by reading at a row of the batch. */
static void whole_sequences_are_one_level(void **state)
{
    (void)state;
    const text texts[] = {TEXT(3, 0, 10, 11, 12),
                          {.tokens = {10, 11, 13, 14}, .n_tokens = 4, .readout = 1, .prompt = 3, .client = -1}};
    fixture f = {0};
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_CAT}, texts, 2);
    assert_level(f, FBT_LEVEL_PREFIXES, 0);
    assert_level(f, FBT_LEVEL_SEQUENCES, 0, 5, 9);
    assert_int_equal(f.lists.level[FBT_LEVEL_SEQUENCES].max_length, 5);
    assert_int_equal(f.lists.n_rows, 9);
    assert_list(f.lists.tokens, -1, -1, 10, 11, 12, -1, -1, 10, 11);
    assert_list(f.lists.positions, 0, 1, 2, 3, 4, 0, 1, 2, 3);
    assert_list(f.lists.prompt_rows, 0, 1, -1, -1, -1, 6, 7, -1, -1);
    assert_list(f.lists.readout, 4, 8);
    clear(&f);
}

/* Mode add: the prompt is added to the first P rows, the first among them, and tokens stay; mode none has no prompt
 * rows. Broken by leaving out the row of the token that begins a text, and by tokens that the prompt stands for. */
static void tokens_stay_where_a_prompt_is_added(void **state)
{
    (void)state;
    const text texts[] = {TEXT(4, 1, 10, 11, 12, 13)};
    fixture f = {0};
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_ADD}, texts, 1);
    assert_list(f.lists.tokens, 10, 11, 12, 13);
    assert_list(f.lists.prompt_rows, 2, 3, -1, -1);
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_NONE}, texts, 1);
    assert_list(f.lists.tokens, 10, 11, 12, 13);
    assert_list(f.lists.prompt_rows, -1, -1, -1, -1);
    clear(&f);
}

/* Sequences of one prompt share its rows and the tokens that all of them begin with; those of another prompt have
 * theirs, and one that is alone has all rows itself. Broken by sharing across prompts, by taking the longest prefix of
 * two sequences only, and by an index that counts prompts. */
static void what_a_prompts_sequences_begin_with_is_shared(void **state)
{
    (void)state;
    const text texts[] = {TEXT(4, 2, 10, 11, 12, 13),     TEXT(2, 1, 10, 11),         TEXT(4, 0, 10, 11, 12, 14),
                          TEXT(5, 2, 10, 11, 12, 15, 16), TEXT(4, 0, 10, 20, 12, 14), TEXT(4, 2, 10, 11, 17, 18)};
    fixture f = {0};
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_INPUT, .shares_prefixes = true}, texts, N_ITEMS(texts));
    assert_level(f, FBT_LEVEL_PREFIXES, 0, 3, 7);
    assert_level(f, FBT_LEVEL_SEQUENCES, 7, 9, 13, 16, 19, 22, 24);
    assert_list(f.lists.level[FBT_LEVEL_SEQUENCES].index, 1, -1, 0, 1, 0, 1);
    assert_int_equal(f.lists.level[FBT_LEVEL_PREFIXES].max_length, 4);
    assert_int_equal(f.lists.level[FBT_LEVEL_SEQUENCES].max_length, 4);
    assert_list(f.lists.tokens, -1, -1, 10, -1, -1, 10, 11, 12, 13, -1, -1, 10, 11, 11, 12, 14, 12, 15, 16, 20, 12, 14,
                17, 18);
    assert_list(f.lists.prompt_rows, 0, 1, -1, 4, 5, -1, -1, -1, -1, 2, 3, -1, -1, -1);
    assert_list(f.lists.positions, 0, 1, 2, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 3, 4, 5);
    assert_list(f.lists.readout, 8, 12, 15, 18, 21, 23);
    clear(&f);
}

/* Broken by sharing the row that is read, where one text is the beginning of the other or both are the same. */
static void the_row_that_is_read_is_not_shared(void **state)
{
    (void)state;
    const text texts[] = {TEXT(3, 0, 10, 11, 12), TEXT(3, 0, 10, 11, 12), TEXT(2, 0, 10, 11)};
    fixture f = {0};
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_NONE, .shares_prefixes = true}, texts, 2);
    assert_level(f, FBT_LEVEL_PREFIXES, 0, 2);
    assert_level(f, FBT_LEVEL_SEQUENCES, 2, 3, 4);
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_NONE, .shares_prefixes = true}, texts, 3);
    assert_level(f, FBT_LEVEL_PREFIXES, 0, 1);
    assert_level(f, FBT_LEVEL_SEQUENCES, 1, 3, 5, 6);
    clear(&f);
}

/* Without a prompt all sequences may share, whatever their prompt is called. Broken by grouping by prompt_index. */
static void without_a_prompt_all_share(void **state)
{
    (void)state;
    const text texts[] = {TEXT(2, 5, 10, 11), TEXT(2, 9, 10, 12)};
    fixture f = {0};
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_NONE, .shares_prefixes = true}, texts, 2);
    assert_level(f, FBT_LEVEL_PREFIXES, 0, 1);
    assert_list(f.lists.prompt_rows, -1, -1, -1);
    clear(&f);
}

/* Frozen tokens of perturbed sequences are shared where they stay, and up to the first that does not; the tokens of
 * what is left keep their numbers in the stream of the perturbation. Broken by sharing a token that may be replaced and
 * by counting tokens from the first row of the level. */
static void frozen_tokens_are_shared(void **state)
{
    (void)state;
    const text texts[] = {
        TEXT(5, 0, 10, 11, 12, 13, 14),
        {.tokens = {10, 11, 12, 13, 14}, .n_tokens = 5, .readout = 4, .frozen = {1, 1, 0, 1, 1}, .client = 3}};
    fixture f = {0};
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_CAT, .shares_prefixes = true, .keeps_frozen = true}, texts, 2);
    assert_level(f, FBT_LEVEL_PREFIXES, 0, 4);
    assert_level(f, FBT_LEVEL_SEQUENCES, 4, 7, 10);
    assert_int_equal(f.lists.origins[1].n_placeholders, -2);
    assert_int_equal(f.lists.origins[1].client, 3);
    assert_int_equal(f.lists.origins[1].sample, 1);
    assert_int_equal(f.lists.frozen[7], 0);
    assert_int_equal(f.lists.frozen[8], 1);
    clear(&f);
}

/* Where every token may be replaced, perturbed sequences share the prompt's rows alone, with each other or, if that
 * takes fewer rows, with all; the others share their tokens. In mode add they share nothing. Broken by sharing tokens
 * of perturbed sequences, and by a second prefix that costs more rows than it saves. */
static void tokens_that_may_be_replaced_are_not_shared(void **state)
{
    (void)state;
    text texts[] = {TEXT(4, 0, 10, 11, 12, 13), TEXT(4, 0, 10, 11, 12, 14), TEXT(4, 0, 10, 11, 12, 15),
                    TEXT(4, 0, 10, 11, 12, 13), TEXT(4, 0, 10, 11, 12, 14)};
    fixture f = {0};
    texts[3].client = texts[4].client = 0;
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_CAT, .shares_prefixes = true}, texts, 5);
    assert_level(f, FBT_LEVEL_PREFIXES, 0, 5, 7);
    assert_list(f.lists.level[FBT_LEVEL_SEQUENCES].index, 0, 0, 0, 1, 1);
    assert_level(f, FBT_LEVEL_SEQUENCES, 7, 8, 9, 10, 14, 18);
    assert_int_equal(f.lists.origins[3].n_placeholders, 0);
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_CAT, .shares_prefixes = true}, texts + 2, 3);
    assert_level(f, FBT_LEVEL_PREFIXES, 0, 2);
    assert_list(f.lists.level[FBT_LEVEL_SEQUENCES].index, 0, 0, 0);
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_ADD, .shares_prefixes = true}, texts, 5);
    assert_level(f, FBT_LEVEL_PREFIXES, 0, 3);
    assert_list(f.lists.level[FBT_LEVEL_SEQUENCES].index, 0, 0, 0, -1, -1);
    assert_int_equal(f.lists.origins[3].n_placeholders, 0);
    clear(&f);
}

/* Words of labels behind each sequence: all tokens but the last, with the positions that go on behind the row that is
 * read. Broken by a label that sees another's words, a token that is told by the row that holds it, or a label's rows
 * that are taken for others among those that are read. */
static void label_words_are_a_level(void **state)
{
    (void)state;
    const text texts[] = {TEXT(2, 0, 10, 11), TEXT(1, 0, 12)};
    const int32_t tokens[] = {7, 5, 9, 3, 4, 6};
    const int64_t offsets[] = {0, 1, 4, 6};
    const fbt_model_options options = {
        .n_labels = 3, .label_tokens = tokens, .label_offsets = offsets, .label_scoring = FBT_LABEL_SCORING_MEAN};
    float factors[3 * 8];
    fbt_label_words labels = {0};
    fixture f = {0};
    assert_int_equal(fbt_label_words_copy(&options, 4, &labels), FBT_OK);
    build(&f, (fbt_level_request){.mode = FBT_PROMPT_NONE, .labels = &labels}, texts, 2);
    assert_level(f, FBT_LEVEL_SEQUENCES, 0, 2, 3);
    assert_level(f, FBT_LEVEL_LABELS, 3, 5, 6, 8, 9);
    assert_list(f.lists.level[FBT_LEVEL_LABELS].index, 0, 0, 1, 1);
    assert_list(f.lists.tokens, 10, 11, 12, 5, 9, 4, 5, 9, 4);
    assert_list(f.lists.positions, 0, 1, 0, 2, 3, 2, 1, 2, 1);
    assert_int_equal(f.lists.n_read, 8);
    assert_list(f.lists.readout, 1, 2, 3, 4, 5, 6, 7, 8);
    assert_list(f.lists.label_reads, 2, 4, 5, 7, 8);
    assert_int_equal(fbt_label_words_list_targets(&labels, 2), FBT_OK);
    assert_list(labels.target_rows, 0, 0, 2, 3, 0, 4, 0, 0, 1, 1, 5, 6, 1, 7, 1, 1);
    assert_list(labels.target_tokens, 7, 5, 9, 3, 4, 6, 7, 7, 7, 5, 9, 3, 4, 6, 7, 7);
    fbt_label_words_factors(&labels, options.label_scoring, factors);
    assert_true(factors[0] == 1 && factors[8 + 1] == 1.0F / 3 && factors[16 + 5] == 0.5F && factors[16 + 3] == 0);
    fbt_label_words_clear(&labels);
    clear(&f);
}

/* Broken by numbers of rows that wrap around. */
static void too_many_rows_are_refused(void **state)
{
    (void)state;
    const text texts[] = {TEXT(2, 0, 10, 11), TEXT(1, 0, 12)};
    const fbt_label_words labels = {.sizes = {.n_rows = INT32_MAX / 2}};
    fixture f = {0};
    fill(&f.batch, FBT_PROMPT_NONE, texts, 2);
    assert_int_equal(fbt_level_lists_build(&f.lists, &(fbt_level_request){.batch = &f.batch, .labels = &labels}),
                     FBT_ERR_ARG);
    fbt_error_clear();
    clear(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_sequences_are_one_level),
        cmocka_unit_test(tokens_stay_where_a_prompt_is_added),
        cmocka_unit_test(what_a_prompts_sequences_begin_with_is_shared),
        cmocka_unit_test(the_row_that_is_read_is_not_shared),
        cmocka_unit_test(without_a_prompt_all_share),
        cmocka_unit_test(frozen_tokens_are_shared),
        cmocka_unit_test(label_words_are_a_level),
        cmocka_unit_test(too_many_rows_are_refused),
        cmocka_unit_test(tokens_that_may_be_replaced_are_not_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
