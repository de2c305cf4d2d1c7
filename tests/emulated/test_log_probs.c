/* Kernels of log-probabilities: widened elements, softmax over blocks of words, targets' logits. */
#include "row_fixture.h"

#include <math.h>
#include <string.h>

/* Broken by elements left out or swapped, and by a type read as the other. */
static void widening_changes_no_number(void **state)
{
    const fbt_dtype dtypes[] = {FBT_BF16, FBT_F16};
    const int64_t sizes[] = {8, 2048, 2056, 5000};
    (void)state;
    for (int p = 0; p < 2; p++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            typed x = typed_random(dtypes[p], sizes[i], 1, 0), y = typed_poisoned(FBT_F32, sizes[i]);
            cuda_ok(fbt_cuda_launch_widen(NULL, y.device, x.device, dtypes[p], sizes[i]));
            typed_read(&y);
            assert_memory_equal(y.values, x.values, (size_t)sizes[i] * sizeof *x.values);
        }
    }
}

/* Logits of a whole vocabulary, of which the kernels see blocks. */
typedef struct problem {
    int64_t n_rows, n_words, n;
    typed logits, bias; /* [n_rows, n_words]; bias.device NULL: none */
    int32_t *rows, *tokens, *device_rows, *device_tokens;
    int32_t *error; /* device */
} problem;

static problem make_problem(int64_t n_rows, int64_t n_words, int64_t n, int has_bias)
{
    const int32_t no_error = FBT_CUDA_ERROR_NONE;
    problem p = {
        .n_rows = n_rows, .n_words = n_words, .n = n, .logits = typed_random(FBT_F32, n_rows * n_words, 5, 30)};
    p.bias = typed_random(FBT_F32, n_words, 1, 0);
    for (int64_t c = 0; c < n_words && !has_bias; c++) {
        p.bias.values[c] = 0;
    }
    p.bias.device = has_bias ? p.bias.device : NULL;
    p.rows = malloc((size_t)n * sizeof *p.rows);
    p.tokens = malloc((size_t)n * sizeof *p.tokens);
    assert_true(p.rows != NULL && p.tokens != NULL);
    for (int64_t i = 0; i < n; i++) {
        p.rows[i] = (int32_t)random_below(n_rows);
        p.tokens[i] = (int32_t)(i == 0 ? 0 : i == 1 ? n_words - 1 : random_below(n_words));
    }
    p.device_rows = device_copy(p.rows, n * (int64_t)sizeof *p.rows);
    p.device_tokens = device_copy(p.tokens, n * (int64_t)sizeof *p.tokens);
    p.error = device_copy(&no_error, sizeof no_error);
    return p;
}

static void free_problem(problem *p)
{
    free(p->rows);
    free(p->tokens);
}

/* Rows first_row .. of the problem, by blocks that end at words ends[0], ends[1], ..., the last one at n_words. */
static void run_rows(const problem *p, int64_t first_row, int64_t n_rows, const int64_t *ends, typed *y)
{
    typed largest = typed_poisoned(FBT_F32, n_rows), sum = typed_poisoned(FBT_F32, n_rows);
    const fbt_cuda_targets targets = {
        .y = y->device, .rows = p->device_rows, .tokens = p->device_tokens, .n = p->n, .error = p->error};
    fbt_cuda_logits_block block = {.bias = p->bias.device,
                                   .largest = largest.device,
                                   .sum = sum.device,
                                   .first_row = first_row,
                                   .n_rows = n_rows,
                                   .n_vocabulary = p->n_words};
    for (int i = 0; block.first_word < p->n_words; i++) {
        block.n_words = ends[i] - block.first_word;
        typed logits = typed_poisoned(FBT_F32, n_rows * block.n_words);
        for (int64_t r = 0; r < n_rows; r++) {
            memcpy(logits.values + r * block.n_words,
                   p->logits.values + (first_row + r) * p->n_words + block.first_word,
                   (size_t)block.n_words * sizeof *logits.values);
        }
        typed_write(&logits);
        block.logits = logits.device;
        cuda_ok(fbt_cuda_launch_fold_logits(NULL, &block));
        cuda_ok(fbt_cuda_launch_pick_logits(NULL, &block, &targets));
        cuda_ok(cudaDeviceSynchronize());
        block.first_word = ends[i];
    }
}

static double reference(const problem *p, int64_t i)
{
    const double *logits = p->logits.values + p->rows[i] * p->n_words, *bias = p->bias.values;
    const double of_token = logits[p->tokens[i]] + bias[p->tokens[i]];
    double sum = 0;
    for (int64_t c = 0; c < p->n_words; c++) {
        sum += exp(logits[c] + bias[c] - of_token);
    }
    return -log(sum);
}

static void check(int64_t n_rows, int64_t n_words, const int64_t *ends, int has_bias)
{
    problem p = make_problem(n_rows, n_words, 150, has_bias);
    typed y = typed_poisoned(FBT_F32, p.n);
    const int64_t half = n_rows / 2;
    if (half > 0) {
        run_rows(&p, 0, half, ends, &y);
    }
    run_rows(&p, half, n_rows - half, ends, &y);
    typed_read(&y);
    for (int64_t i = 0; i < p.n; i++) { /* logits are about 30: their last bit is 2^-19 */
        assert_near("log_probs", i, y.values[i], reference(&p, i), 1e-6, 0x1p-19);
    }
    free_problem(&p);
}

/* One block and several, whole rows and rows that do not begin at 16 bytes, words for a part of the threads and for
 * every one. Broken by a word that is left out or counted twice, a largest logit that is not the one of all blocks, a
 * bias of another word, and a target that is picked in another block's row. */
static void log_probs_match_reference(void **state)
{
    (void)state;
    for (int has_bias = 0; has_bias < 2; has_bias++) {
        check(1, 1, (int64_t[]){1}, has_bias);
        check(3, 1000, (int64_t[]){1000}, has_bias);
        check(4, 1001, (int64_t[]){256, 512, 768, 1001}, has_bias);
        check(5, 2 * FBT_CUDA_BLOCK_WORDS + 255,
              (int64_t[]){FBT_CUDA_BLOCK_WORDS, 2 * FBT_CUDA_BLOCK_WORDS, 2 * FBT_CUDA_BLOCK_WORDS + 255}, has_bias);
    }
}

/* The largest logit in the first block, and in the last, so large that exp without it overflows; a word to which the
 * others add nothing has log-probability 0. Broken by a target just behind a block that is read as the block's. */
static void log_probs_of_large_logits(void **state)
{
    const int64_t at[] = {1, 9};
    (void)state;
    for (int k = 0; k < 2; k++) {
        problem p = make_problem(1, 10, 3, 0);
        typed y = typed_poisoned(FBT_F32, 3);
        p.logits.values[at[k]] = 400;
        p.device_tokens = device_copy((int32_t[]){(int32_t)at[k], 5, 4}, 3 * sizeof(int32_t));
        run_rows(&p, 0, 1, (int64_t[]){4, 8, 10}, &y);
        typed_read(&y);
        assert_true(y.values[0] == 0);
        assert_near("log_probs", 1, y.values[1], p.logits.values[5] - 400, 1e-6, 0);
        assert_near("log_probs", 2, y.values[2], p.logits.values[4] - 400, 1e-6, 0);
        free_problem(&p);
    }
}

/* A NaN in any block shows in its row and in no other; a token that is none gives NaN and is told. */
static void log_probs_keep_what_is_no_number(void **state)
{
    const int64_t at[] = {0, 5, 9};
    const int32_t rows[] = {0, 1, 1}, tokens[] = {2, 2, 9};
    int32_t error;
    (void)state;
    for (int k = 0; k < 3; k++) {
        problem p = make_problem(2, 10, 3, 0);
        typed y = typed_poisoned(FBT_F32, 3);
        p.device_rows = device_copy(rows, sizeof rows);
        p.device_tokens = device_copy(tokens, sizeof tokens);
        p.logits.values[at[k]] = NAN;
        run_rows(&p, 0, 2, (int64_t[]){4, 8, 10}, &y);
        typed_read(&y);
        assert_true(isnan(y.values[0]) && isfinite(y.values[1]) && isfinite(y.values[2]));
        p.device_tokens = device_copy((int32_t[]){-1, 10, 9}, sizeof tokens);
        run_rows(&p, 0, 2, (int64_t[]){4, 8, 10}, &y);
        host_copy(&error, p.error, sizeof error);
        typed_read(&y);
        assert_int_equal(error, FBT_CUDA_ERROR_TOKEN);
        assert_true(isnan(y.values[0]) && isnan(y.values[1]) && isfinite(y.values[2]));
        free_problem(&p);
    }
}

static void log_probs_of_nothing(void **state)
{
    const fbt_cuda_logits_block wide = {.n_rows = 1, .n_words = FBT_CUDA_BLOCK_WORDS + 4};
    const fbt_cuda_targets none = {.n = 0};
    (void)state;
    cuda_ok(fbt_cuda_launch_widen(NULL, NULL, NULL, FBT_BF16, 0));
    cuda_ok(fbt_cuda_launch_pick_logits(NULL, &wide, &none));
    assert_int_equal(fbt_cuda_launch_fold_logits(NULL, &wide), cudaErrorInvalidValue);
}

int run_log_probs_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(widening_changes_no_number, device_clear),
        cmocka_unit_test_teardown(log_probs_match_reference, device_clear),
        cmocka_unit_test_teardown(log_probs_of_large_logits, device_clear),
        cmocka_unit_test_teardown(log_probs_keep_what_is_no_number, device_clear),
        cmocka_unit_test_teardown(log_probs_of_nothing, device_clear),
    };
    return cmocka_run_group_tests_name("kernels of log-probabilities", tests, NULL, NULL);
}
