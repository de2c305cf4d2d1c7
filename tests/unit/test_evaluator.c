/* How evaluations are cut into batches, and the sizes that memory is planned for. */
#include "fed/evaluator.h"
#include "toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_CANDIDATES = 3, N_SAMPLES = 6, N_ITEMS = N_CANDIDATES * N_SAMPLES, MAX_TOKENS = 5 };

static int64_t n_tokens_of(int64_t item)
{
    return 2 + item * 5 % 4; /* 2 to 5 */
}

/* The samples under every candidate. */
static void make_items(fbt_item items[N_ITEMS])
{
    static const int32_t tokens[MAX_TOKENS] = {2, 1, 3, 4, 5};
    for (int32_t i = 0; i < N_ITEMS; i++) {
        items[i] = (fbt_item){
            .sequence = {.tokens = tokens, .n_tokens = (int32_t)n_tokens_of(i), .readout = 1, .origin = {.client = -1}},
            .candidate = i / N_SAMPLES};
    }
}

/* n_behind: rows of labels behind each of them. */
static fbt_evaluation_size size_of_items(int64_t n_shared, int64_t n_behind)
{
    fbt_evaluation_size size = {.n_sequences = N_ITEMS,
                                .n_candidates = N_CANDIDATES,
                                .shortest = 2 + TOY_PROMPT_TOKENS + n_behind,
                                .longest = MAX_TOKENS + TOY_PROMPT_TOKENS + n_behind,
                                .n_shared = n_shared};
    for (int64_t i = 0; i < N_ITEMS; i++) {
        size.n_rows += n_tokens_of(i) + TOY_PROMPT_TOKENS + n_behind;
    }
    return size;
}

/* The largest numbers of the batches that the items are cut into; *n_tokens: all rows that are counted. */
static fbt_model_limits largest_of(int64_t batch_tokens, int full_sequences, int64_t n_behind, int64_t *n_tokens)
{
    fbt_item items[N_ITEMS];
    double losses[N_ITEMS];
    const double z[N_CANDIDATES] = {0};
    fbt_evaluator *evaluator;
    fbt_model *model = toy_model_new(1);
    make_items(items);
    model->options.full_sequences = full_sequences;
    model->n_label_rows = n_behind;
    assert_int_equal(fbt_evaluator_new(model, FBT_LOSS_CE, batch_tokens, &evaluator), FBT_OK);
    const fbt_status status = fbt_evaluator_run(evaluator, &(fbt_evaluation){.items = items,
                                                                             .n_items = N_ITEMS,
                                                                             .z = z,
                                                                             .n_candidates = N_CANDIDATES,
                                                                             .d = 1,
                                                                             .scores = {.losses = losses}});
    assert_int_equal(status, FBT_OK);
    const fbt_model_limits largest = model->largest;
    *n_tokens = fbt_evaluator_n_tokens(evaluator);
    fbt_evaluator_free(evaluator);
    toy_model_free(model);
    return largest;
}

static void check_limits(int full_sequences, int64_t n_behind)
{
    const fbt_evaluation_size size = size_of_items(full_sequences ? 0 : TOY_PROMPT_TOKENS, n_behind);
    for (int64_t batch_tokens = 1; batch_tokens < 110 + N_ITEMS * n_behind; batch_tokens++) {
        fbt_model_limits limits = {0};
        int64_t n_tokens;
        const fbt_model_limits largest = largest_of(batch_tokens, full_sequences, n_behind, &n_tokens);
        fbt_evaluation_limits(&size, batch_tokens, &limits);
        assert_in_range(largest.n_rows, 1, limits.n_rows);
        assert_true(largest.n_rows <= batch_tokens || largest.n_rows <= size.longest);
        assert_in_range(largest.n_sequences, 1, limits.n_sequences);
        assert_in_range(largest.n_prompts, 1, limits.n_prompts);
        assert_true(largest.n_sequences < N_ITEMS || largest.n_rows == limits.n_rows);
        assert_int_equal(n_tokens, size.n_rows);
    }
}

/* No batch passes the limits that are planned for it, nor batch_tokens with more than one sequence, whatever its size
 * and whether prompts are shared; what all items take together is planned to the row. Broken by limits that count a
 * prompt once an evaluation where batches begin with it again, by sequences counted with a prompt each, by a batch that
 * is cut by other rows than those planned, by labels' rows that nobody counts, by tokens that the cut changes. */
static void batches_keep_to_the_limits(void **state)
{
    (void)state;
    for (int full_sequences = 0; full_sequences <= 1; full_sequences++) {
        check_limits(full_sequences, 0);
        check_limits(full_sequences, 7);
    }
}

/* Broken by cutting by rows that are not computed. */
static void a_batch_holds_more_where_prompts_are_shared(void **state)
{
    int64_t n_tokens;
    (void)state;
    assert_int_equal(largest_of(1000, 1, 0, &n_tokens).n_rows - largest_of(1000, 0, 0, &n_tokens).n_rows,
                     (N_ITEMS - N_CANDIDATES) * TOY_PROMPT_TOKENS);
    assert_true(largest_of(40, 0, 0, &n_tokens).n_sequences > largest_of(40, 1, 0, &n_tokens).n_sequences);
}

/* Broken by a batch that is filled and leaves the next one a sequence. */
static void batches_are_of_about_equal_size(void **state)
{
    const fbt_evaluation_size size = size_of_items(0, 0);
    int64_t n_tokens;
    (void)state;
    for (int n_batches = 2; n_batches <= 4; n_batches++) {
        const int64_t batch_tokens = size.n_rows / (n_batches - 1) - 1;
        assert_in_range(largest_of(batch_tokens, 1, 0, &n_tokens).n_rows, 1, size.n_rows / n_batches + size.longest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_keep_to_the_limits),
        cmocka_unit_test(a_batch_holds_more_where_prompts_are_shared),
        cmocka_unit_test(batches_are_of_about_equal_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
