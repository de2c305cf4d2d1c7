/* Data: packing sequences into a batch, and the data set in memory. */
#include "base/memory.h"
#include "data/batch.h"
#include "data/dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A sequence that is not perturbed. */
static fbt_status append(fbt_batch *batch, const int32_t *tokens, int32_t n_tokens, int64_t n_placeholders,
                         int32_t readout, int32_t label, int32_t prompt_index)
{
    const fbt_sequence sequence = {
        .tokens = tokens, .n_tokens = n_tokens, .readout = readout, .label = label, .origin = {.client = -1}};
    return fbt_batch_append(batch, &sequence, n_placeholders, prompt_index);
}

/* Placeholders come first as token -1, and readout counts them and everything before. Broken by a readout that is
 * relative to the sequence or that forgets the prompt, by frozen flags that shift against the tokens. */
static void sequences_are_packed(void **state)
{
    (void)state;
    const int32_t tokens[] = {10, 11, 12, 13, 14};
    const uint8_t flags[] = {1, 0, 0, 1, 0};
    fbt_batch batch = {0};
    assert_int_equal(append(&batch, tokens, 3, 0, 2, 1, 0), FBT_OK);
    const fbt_sequence perturbed = {.tokens = tokens,
                                    .frozen = flags,
                                    .n_tokens = 5,
                                    .readout = 1,
                                    .origin = {.client = 4, .sample = 9, .round = 2}};
    assert_int_equal(fbt_batch_append(&batch, &perturbed, 2, 7), FBT_OK);
    assert_int_equal(append(&batch, tokens + 4, 1, 1, 0, 3, 2), FBT_OK);

    const int32_t packed[] = {10, 11, 12, -1, -1, 10, 11, 12, 13, 14, -1, 14};
    const int32_t offsets[] = {0, 3, 10, 12};
    const int32_t readout[] = {2, 6, 11};
    const int32_t labels[] = {1, 0, 3};
    const int32_t prompt_index[] = {0, 7, 2};
    const uint8_t frozen[] = {0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0};
    const fbt_origin origins[] = {{-1, 0, 0, 0}, {4, 9, 2, 2}, {-1, 0, 0, 1}};
    assert_int_equal(batch.n_sequences, 3);
    assert_int_equal(batch.n_rows, 12);
    assert_int_equal(batch.max_length, 7);
    assert_memory_equal(batch.tokens, packed, sizeof packed);
    assert_memory_equal(batch.offsets, offsets, sizeof offsets);
    assert_memory_equal(batch.readout, readout, sizeof readout);
    assert_memory_equal(batch.labels, labels, sizeof labels);
    assert_memory_equal(batch.prompt_index, prompt_index, sizeof prompt_index);
    assert_memory_equal(batch.frozen, frozen, sizeof frozen);
    assert_memory_equal(batch.origins, origins, sizeof origins);
    assert_int_equal(batch.n_perturbed, 1);
    fbt_batch_clear(&batch);
    assert_null(batch.tokens);
}

/* Many sequences of odd lengths: what was written before the arrays grew is still there; reset keeps the memory. */
static void batch_grows_and_is_reused(void **state)
{
    (void)state;
    enum { N = 1000 };
    int32_t tokens[37];
    fbt_batch batch = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t s = 0; s < N; s++) {
            for (int t = 0; t < 37; t++) {
                tokens[t] = s * 100 + t;
            }
            const fbt_origin origin = {.client = s % 5 - 1, .sample = s, .round = 3 * s};
            const fbt_sequence sequence = {
                .tokens = tokens, .n_tokens = 1 + s % 37, .readout = s % (1 + s % 37), .label = s, .origin = origin};
            assert_int_equal(fbt_batch_append(&batch, &sequence, s % 3, N - s), FBT_OK);
        }
        assert_int_equal(batch.n_sequences, N);
        assert_int_equal(batch.offsets[0], 0);
        assert_int_equal(batch.offsets[N], batch.n_rows);
        for (int32_t s = 0; s < N; s++) {
            int32_t text = batch.offsets[s] + s % 3;
            assert_int_equal(batch.offsets[s + 1] - text, 1 + s % 37);
            assert_int_equal(batch.tokens[batch.offsets[s + 1] - 1], s * 100 + s % 37);
            assert_int_equal(batch.tokens[batch.readout[s]], s * 100 + s % (1 + s % 37));
            assert_int_equal(batch.labels[s], s);
            assert_int_equal(batch.prompt_index[s], N - s);
            assert_int_equal(batch.origins[s].sample, s);
            assert_int_equal(batch.frozen[batch.offsets[s]], s % 3 > 0);
        }
        assert_int_equal(batch.n_perturbed, N - N / 5);
        const int32_t *memory = batch.tokens;
        fbt_batch_reset(&batch);
        assert_int_equal(batch.n_sequences + batch.n_rows + batch.max_length + batch.n_perturbed, 0);
        assert_ptr_equal(batch.tokens, memory);
    }
    fbt_batch_clear(&batch);
}

static void bad_sequences_are_refused(void **state)
{
    (void)state;
    const int32_t tokens[] = {1, 2, 3};
    fbt_batch batch = {0};
    assert_int_equal(append(&batch, tokens, 3, 0, 0, 0, 0), FBT_OK);
    assert_int_equal(append(&batch, tokens, 0, 0, 0, 0, 0), FBT_ERR_ARG);
    assert_int_equal(append(&batch, tokens, 3, -1, 0, 0, 0), FBT_ERR_ARG);
    assert_int_equal(append(&batch, tokens, 3, 0, 3, 0, 0), FBT_ERR_ARG);
    assert_int_equal(append(&batch, tokens, 3, 0, -1, 0, 0), FBT_ERR_ARG);
    assert_int_equal(append(&batch, tokens, 3, INT32_MAX, 0, 0, 0), FBT_ERR_ARG);
    assert_int_equal(append(&batch, tokens, 3, INT64_MAX, 0, 0, 0), FBT_ERR_ARG);
    assert_int_equal(append(&batch, tokens, INT32_MAX, INT32_MAX, 0, 0, 0), FBT_ERR_ARG);
    assert_int_equal(batch.n_sequences, 1);
    assert_int_equal(batch.n_rows, 3);

    /* The last row that 32-bit offsets can name, without the memory for all those before. */
    batch.n_rows = INT32_MAX - 2;
    assert_int_equal(append(&batch, tokens, 3, 0, 0, 0, 0), FBT_ERR_ARG);
    fbt_error_clear();
    fbt_batch_clear(&batch);
}

static void longest_sample_is_found(void **state)
{
    (void)state;
    int64_t offsets[] = {0, 4, 13, 13, 20};
    const fbt_split split = {.n_samples = 4, .offsets = offsets};
    assert_int_equal(fbt_split_max_length(&split), 9);
    assert_int_equal(fbt_split_max_length(&(fbt_split){0}), 0);
}

/* The leak checker sees what clear forgets; twice is fine, and so is a data set that was only half read. */
static void dataset_is_cleared(void **state)
{
    (void)state;
    fbt_dataset dataset = {.n_labels = 2};
    fbt_split *const splits[] = {&dataset.train, &dataset.dev, &dataset.test};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fbt_memory_alloc(&splits[i]->tokens, 3, sizeof(int32_t)), FBT_OK);
        assert_int_equal(fbt_memory_alloc(&splits[i]->offsets, 3, sizeof(int64_t)), FBT_OK);
        assert_int_equal(fbt_memory_alloc(&splits[i]->labels, 3, sizeof(int32_t)), FBT_OK);
        assert_int_equal(fbt_memory_alloc(&splits[i]->readout, 3, sizeof(int32_t)), FBT_OK);
        assert_int_equal(fbt_memory_alloc(&splits[i]->frozen, 3, 1), FBT_OK);
    }
    assert_int_equal(fbt_memory_alloc(&dataset.label_words, 2, sizeof(char *)), FBT_OK);
    assert_int_equal(fbt_memory_strdup(&dataset.label_words[0], "bad"), FBT_OK);
    assert_int_equal(fbt_memory_strdup(&dataset.task, "sst2"), FBT_OK);
    assert_int_equal(fbt_memory_strdup(&dataset.template_text, "It was"), FBT_OK);
    assert_int_equal(fbt_memory_strdup(&dataset.source, "a.tsv"), FBT_OK);
    assert_int_equal(fbt_memory_alloc(&dataset.label_token_ids, 2, sizeof(int32_t)), FBT_OK);
    assert_int_equal(fbt_memory_alloc(&dataset.label_tokens, 2, sizeof(int32_t)), FBT_OK);
    assert_int_equal(fbt_memory_alloc(&dataset.label_offsets, 3, sizeof(int64_t)), FBT_OK);
    fbt_dataset_clear(&dataset);
    assert_null(dataset.label_words);
    assert_int_equal(dataset.n_labels, 0);
    dataset.n_labels = 5;
    fbt_dataset_clear(&dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_are_packed),      cmocka_unit_test(batch_grows_and_is_reused),
        cmocka_unit_test(bad_sequences_are_refused), cmocka_unit_test(longest_sample_is_found),
        cmocka_unit_test(dataset_is_cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
