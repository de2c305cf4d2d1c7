/* Conformance: log-probabilities of tokens among all of a vocabulary. A backend without FBT_FEATURE_LOG_PROBS refuses
 * them. */
#include "suite.h"

#include <math.h>
#include <string.h>

/* One call: x [n_rows, d], words [n_words, d] of a type of their own, n targets. */
typedef struct problem {
    int64_t n_rows, n_words, d, n;
    double *x, *words, *bias; /* bias NULL: none */
    int32_t *rows, *tokens;
    fbt_buffer *xb, *bias_buffer, *rows_buffer, *tokens_buffer;
    fbt_table *table;
} problem;

static problem make_problem(suite *s, int64_t n_rows, int64_t n_words, int64_t d, fbt_dtype dtype, double spread)
{
    problem p = {.n_rows = n_rows, .n_words = n_words, .d = d, .n = 2 * n_rows};
    p.x = suite_random(s, n_rows * d, spread / sqrt((double)d), 0);
    p.words = suite_random(s, n_words * d, 1, 0);
    p.bias = n_words % 2 == 0 ? suite_random(s, n_words, 1, 0) : NULL;
    p.rows = suite_block(s, p.n * (int64_t)sizeof *p.rows);
    p.tokens = suite_block(s, p.n * (int64_t)sizeof *p.tokens);
    for (int64_t i = 0; i < p.n; i++) {
        p.rows[i] = (int32_t)(i < n_rows ? n_rows - 1 - i : suite_random_below(s, n_rows));
        p.tokens[i] = (int32_t)(i == 0 ? n_words - 1 : suite_random_below(s, n_words));
    }
    p.xb = suite_buffer(s, p.x, n_rows * d, suite_dtype(s));
    p.table = suite_table(s, p.words, n_words, d, dtype);
    p.bias_buffer = p.bias != NULL ? suite_buffer(s, p.bias, n_words, FBT_F32) : NULL;
    p.rows_buffer = suite_buffer_bytes(s, p.rows, p.n * (int64_t)sizeof *p.rows);
    p.tokens_buffer = suite_buffer_bytes(s, p.tokens, p.n * (int64_t)sizeof *p.tokens);
    return p;
}

static fbt_status run(suite *s, const problem *p, fbt_buffer *y)
{
    const fbt_vocabulary vocabulary = {.words = p->table, .bias = p->bias_buffer};
    const fbt_token_targets targets = {.rows = p->rows_buffer, .tokens = p->tokens_buffer, .n = p->n};
    return fbt_token_log_probs(s->b, y, p->xb, &vocabulary, &targets, p->n_rows);
}

/* *error: what a sum in fp32 may be off by. */
static double logit(const problem *p, int64_t row, int64_t word, double *error)
{
    double sum = p->bias != NULL ? p->bias[word] : 0, size = fabs(sum);
    for (int64_t k = 0; k < p->d; k++) {
        sum += p->x[row * p->d + k] * p->words[word * p->d + k];
        size += fabs(p->x[row * p->d + k] * p->words[word * p->d + k]);
    }
    *error = 1e-6 * size;
    return sum;
}

/* The log of the sum moves by no more than the largest error of a logit. */
static void reference(const problem *p, int64_t target, double *want, double *tolerance)
{
    double error, most_error = 0, sum = 0;
    const double of_token = logit(p, p->rows[target], p->tokens[target], &error);
    for (int64_t word = 0; word < p->n_words; word++) {
        sum += exp(logit(p, p->rows[target], word, &error) - of_token);
        most_error = fmax(most_error, error);
    }
    *want = -log(sum);
    *tolerance = 2 * most_error + 1e-6 * (1 + fabs(*want));
}

static void check(suite *s, const problem *p)
{
    double *want = suite_block(s, p->n * (int64_t)sizeof *want);
    double *tolerance = suite_block(s, p->n * (int64_t)sizeof *tolerance);
    fbt_buffer *y = suite_poisoned(s, p->n, FBT_F32);
    for (int64_t i = 0; i < p->n; i++) {
        reference(p, i, &want[i], &tolerance[i]);
    }
    suite_ok(run(s, p, y));
    suite_compare("token_log_probs", suite_read(s, y, p->n, FBT_F32), want, tolerance, p->n);
}

static int is_refused(suite *s)
{
    fbt_backend_info info;
    fbt_backend_get_info(s->b, &info);
    if ((info.features & FBT_FEATURE_LOG_PROBS) != 0) {
        return 0;
    }
    const problem p = make_problem(s, 1, 2, suite_width(s, 8), FBT_F32, 1);
    suite_expect(FBT_ERR_UNSUPPORTED, run(s, &p, suite_poisoned(s, p.n, FBT_F32)));
    return 1;
}

/* Broken by a chunk of words or rows that is left out or counted twice, logits rounded to bf16, words of one type read
 * as another, exp without subtracting the largest (spread 60), a row's token looked up in another's logits. */
static void log_probs_match_reference(void **state)
{
    suite *s = *state;
    const fbt_dtype dtypes[] = {FBT_F32, FBT_BF16, FBT_F16};
    const int64_t sizes[][3] = {{1, 1, 8},      {1, 257, 24}, {5, 640, 40},   {50, 1026, 72},
                                {3, 10001, 24}, {97, 255, 8}, {2, 10001, 16}, {1030, 9, 8}};
    for (int k = 0; k < 8 && !is_refused(s); k++) {
        const problem p = make_problem(s, sizes[k][0], sizes[k][1], suite_width(s, sizes[k][2] - 3), dtypes[k % 3], 3);
        check(s, &p);
    }
    if (!is_refused(s)) {
        const problem p = make_problem(s, 4, 300, suite_width(s, 64), FBT_F32, 60);
        check(s, &p);
    }
}

/* A row's bits are its own: broken by sums that follow the number of rows or threads. */
static void log_probs_are_batch_invariant(void **state)
{
    suite *s = *state;
    enum { N_ROWS = 53 };
    const int64_t d = suite_width(s, 72);
    float all[2 * N_ROWS], alone[2];
    if (is_refused(s)) {
        return;
    }
    const problem p = make_problem(s, N_ROWS, 1000, d, FBT_BF16, 3);
    fbt_buffer *y = suite_poisoned(s, p.n, FBT_F32);
    suite_ok(run(s, &p, y));
    suite_read_bytes(s, all, y, sizeof all);
    for (int64_t i = 0; i < N_ROWS; i += 13) {
        const int32_t zero = 0;
        problem one = p;
        one.n_rows = one.n = 1;
        one.xb = suite_buffer(s, p.x + p.rows[i] * d, d, suite_dtype(s));
        one.rows_buffer = suite_buffer_bytes(s, &zero, sizeof zero);
        one.tokens_buffer = suite_buffer_bytes(s, &p.tokens[i], sizeof p.tokens[i]);
        suite_ok(run(s, &one, y));
        suite_read_bytes(s, alone, y, sizeof *alone);
        assert_memory_equal(alone, &all[i], sizeof *alone);
    }
}

/* The same numbers from one thread and from three. */
static void log_probs_do_not_depend_on_threads(void **state)
{
    suite *s = *state;
    enum { N_ROWS = 5 };
    float got[2][2 * N_ROWS];
    const int64_t d = suite_width(s, 40);
    if (is_refused(s)) {
        return;
    }
    const problem p = make_problem(s, N_ROWS, 3000, d, FBT_F32, 3);
    for (int k = 0; k < 2; k++) {
        suite *own = suite_begin(k == 0 ? 1 : 3);
        problem q = p;
        q.xb = suite_buffer(own, p.x, N_ROWS * d, suite_dtype(own));
        q.table = suite_table(own, p.words, p.n_words, d, FBT_F32);
        q.bias_buffer = suite_buffer(own, p.bias, p.n_words, FBT_F32);
        q.rows_buffer = suite_buffer_bytes(own, p.rows, p.n * (int64_t)sizeof *p.rows);
        q.tokens_buffer = suite_buffer_bytes(own, p.tokens, p.n * (int64_t)sizeof *p.tokens);
        fbt_buffer *y = suite_poisoned(own, p.n, FBT_F32);
        suite_ok(run(own, &q, y));
        suite_read_bytes(own, got[k], y, sizeof got[k]);
        suite_end(own);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
}

/* Each problem on a stream of its own, in turns, as graphs that are repeated; then a vocabulary comes that needs more
 * memory than those before. Broken by streams that share scratch memory, and by a graph that is replayed with memory
 * that has been given back. */
static void log_probs_are_repeated_on_streams(void **state)
{
    suite *s = *state;
    enum { N_ROWS = 6, N_WORDS = 300, N_ROUNDS = 6, MOST = 2 };
    const int64_t d = suite_width(s, 24), n_bytes = 2 * N_ROWS * (int64_t)sizeof(float);
    float want[MOST][2 * N_ROWS], got[MOST][2 * N_ROWS], poison[2 * N_ROWS];
    fbt_buffer *y[MOST];
    problem p[MOST];
    fbt_backend_info info;
    if (is_refused(s)) {
        return;
    }
    fbt_backend_get_info(s->b, &info);
    const problem large = make_problem(s, N_ROWS, 9 * N_WORDS, d, FBT_F16, 3);
    memset(poison, 0xff, sizeof poison);
    for (int k = 0; k < MOST; k++) {
        p[k] = make_problem(s, N_ROWS, N_WORDS, d, FBT_F16, 3);
        y[k] = suite_poisoned(s, p[k].n, FBT_F32);
        suite_ok(run(s, &p[k], y[k]));
        suite_read_bytes(s, want[k], y[k], n_bytes);
    }
    for (int round = 0; round < N_ROUNDS; round++) {
        for (int k = 0; k < MOST; k++) {
            int is_known;
            fbt_stream_select(s->b, k % info.n_streams);
            suite_ok(fbt_buffer_write(s->b, y[k], poison, n_bytes));
            suite_ok(fbt_graph_begin(s->b, &k, sizeof k, &is_known));
            suite_ok(is_known ? FBT_OK : fbt_graph_end(s->b, run(s, &p[k], y[k]), NULL));
            suite_ok(fbt_buffer_read(s->b, got[k], y[k], n_bytes));
        }
        for (int k = 0; k < MOST; k++) {
            fbt_stream_select(s->b, k % info.n_streams);
            suite_ok(fbt_stream_sync(s->b));
            assert_memory_equal(got[k], want[k], sizeof got[k]);
        }
        if (round == 3) {
            suite_ok(run(s, &large, suite_poisoned(s, large.n, FBT_F32)));
        }
    }
}

/* A NaN among the logits, whichever word's, must show: a broken forward pass is found that way. */
static void log_probs_pass_nan_on(void **state)
{
    suite *s = *state;
    const int64_t d = suite_width(s, 8), n_words = 600, at[] = {0, 299, 599};
    if (is_refused(s)) {
        return;
    }
    for (int k = 0; k < 3; k++) {
        problem p = make_problem(s, 1, n_words, d, FBT_F32, 1);
        p.words[at[k] * d + 3] = NAN;
        p.table = suite_table(s, p.words, n_words, d, FBT_F32);
        fbt_buffer *y = suite_buffer(s, suite_random(s, p.n, 1, 0), p.n, FBT_F32);
        float got[2];
        suite_ok(run(s, &p, y));
        suite_read_bytes(s, got, y, sizeof got);
        assert_true(isnan(got[0]) && isnan(got[1]));
    }
}

static void log_probs_refuse_what_does_not_fit(void **state)
{
    suite *s = *state;
    if (is_refused(s)) {
        return;
    }
    const problem good = make_problem(s, 3, 20, suite_width(s, 8), FBT_F32, 1);
    fbt_buffer *y = suite_poisoned(s, good.n, FBT_F32);
    const int32_t outside[] = {-1, 20};
    problem bad = good;
    bad.n_rows = 0;
    suite_ok(run(s, &bad, y));
    bad.n_rows = 4;
    suite_expect(FBT_ERR_ARG, run(s, &bad, y));
    bad = good;
    bad.n = good.n + 1;
    suite_expect(FBT_ERR_ARG, run(s, &bad, y));
    bad = good;
    bad.table = NULL;
    suite_expect(FBT_ERR_ARG, run(s, &bad, y));
    for (int k = 0; k < 2; k++) {
        bad = good;
        bad.n = 1;
        bad.tokens_buffer = suite_buffer_bytes(s, &outside[k], sizeof outside[k]);
        suite_expect_by_sync(s, FBT_ERR_ARG, run(s, &bad, y));
        if (suite_checks_indices(s)) {
            bad.tokens_buffer = good.tokens_buffer;
            bad.rows_buffer = suite_buffer_bytes(s, &outside[k], sizeof outside[k]);
            suite_expect(FBT_ERR_ARG, run(s, &bad, y));
        }
    }
}

int run_log_prob_tests(void)
{
    const struct CMUnitTest log_probs[] = {
        cmocka_unit_test_setup_teardown(log_probs_match_reference, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(log_probs_are_batch_invariant, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(log_probs_do_not_depend_on_threads, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(log_probs_are_repeated_on_streams, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(log_probs_pass_nan_on, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(log_probs_refuse_what_does_not_fit, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(log_probs, NULL, NULL);
}
