/* Conformance: a row's or sequence's result has the same bits alone, in any batch, in any order, for any number of
 * threads. The run file's promise of equal bits for every number of ranks rests on this. */
#include "suite.h"

#include <math.h>
#include <string.h>

/* A matrix with all that goes with it, and rows to multiply. */
typedef struct linear_net {
    fbt_matrix *w;
    fbt_norm norm;
    const char *x, *residual;
    int64_t n_out, x_bytes, y_bytes; /* of a row */
} linear_net;

/* Runs linear with an activation or (FBT_ACT_NONE) with residual and norm on rows first .. first + n - 1; the bytes of
 * y. */
static const char *linear_rows(suite *s, const linear_net *net, fbt_activation activation, int64_t first, int64_t n)
{
    fbt_buffer *xb = suite_buffer_bytes(s, net->x + first * net->x_bytes, n * net->x_bytes);
    fbt_buffer *yb = suite_buffer_bytes(s, net->residual + first * net->y_bytes, n * net->y_bytes);
    char *y = suite_block(s, n * net->y_bytes);
    if (activation == FBT_ACT_NONE) {
        suite_ok(fbt_linear_norm(s->b, yb, xb, net->w, yb, &net->norm, n));
    } else {
        suite_ok(fbt_linear(s->b, yb, xb, net->w, activation, n));
    }
    suite_read_bytes(s, y, yb, n * net->y_bytes);
    return y;
}

enum { N_ROWS = 700, N_KINDS = 3 };
static const fbt_activation kinds[N_KINDS] = {FBT_ACT_NONE, FBT_ACT_GELU_ERF, FBT_ACT_RELU};

/* Rows of widely spread sizes, mirrored at their middle; negated there for sign -1. */
static double *mirrored_rows(suite *s, int64_t n_rows, int64_t n_dim, double sign)
{
    double *rows = suite_random(s, n_rows * n_dim, 1, 0);
    for (int64_t r = 0; r < n_rows; r++) {
        double *row = rows + r * n_dim;
        for (int64_t k = 0; k < n_dim - 1 - k; k++) {
            row[k] = ldexp(row[k], (int)suite_random_below(s, 21) - 8);
            row[n_dim - 1 - k] = sign * row[k];
        }
        if (n_dim % 2 == 1 && sign < 0) {
            row[n_dim / 2] = 0;
        }
    }
    return rows;
}

/* cancels: all products are 0 but for the roundings of their sums, which any other order of summation changes: rounding
 * to bfloat16 hides it in ordinary numbers. */
static linear_net make_linear_net(suite *s, int64_t n_out, int64_t n_in, int cancels)
{
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t item = (int64_t)fbt_dtype_bytes(dtype);
    double *weight =
        cancels ? mirrored_rows(s, n_out, n_in, -1) : suite_random(s, n_out * n_in, 1 / sqrt((double)n_in), 0);
    double *x = cancels ? mirrored_rows(s, N_ROWS, n_in, 1) : suite_random(s, N_ROWS * n_in, 1, 0);
    double *bias = suite_random(s, n_out, 1, 0);
    return (linear_net){.w = suite_matrix(s, weight, bias, n_out, n_in, suite_types(s)),
                        .norm = suite_norm(s, NULL, NULL, n_out, 1e-5f),
                        .x = suite_typed(s, x, N_ROWS * n_in, dtype),
                        .residual = suite_typed(s, suite_random(s, N_ROWS * n_out, 1, 0), N_ROWS * n_out, dtype),
                        .n_out = n_out,
                        .x_bytes = n_in * item,
                        .y_bytes = n_out * item};
}

static void check_linear_rows(int64_t n_out, int64_t n_in, int cancels, int n_threads,
                              const char *const expected[N_KINDS])
{
    static const int64_t parts[][2] = {{0, 1},    {1, 1},    {699, 1},   {63, 1},    {5, 2},   {64, 64},
                                       {60, 9},   {100, 63}, {3, 65},    {200, 130}, {1, 193}, {128, 192},
                                       {17, 257}, {0, 384},  {100, 512}, {1, 699}};
    suite *s = suite_begin(n_threads);
    const linear_net net = make_linear_net(s, suite_width(s, n_out), n_in, cancels);
    const char *all[N_KINDS];
    for (int k = 0; k < N_KINDS; k++) {
        all[k] = linear_rows(s, &net, kinds[k], 0, N_ROWS);
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            const char *some = linear_rows(s, &net, kinds[k], parts[i][0], parts[i][1]);
            assert_memory_equal(some, all[k] + parts[i][0] * net.y_bytes, (size_t)(parts[i][1] * net.y_bytes));
        }
        if (expected != NULL) { /* one thread's result, from the same seed */
            assert_memory_equal(expected[k], all[k], (size_t)(N_ROWS * net.y_bytes));
        }
    }
    for (int t = 2; t <= 3 && expected == NULL && !suite_is_cuda(s); t++) {
        check_linear_rows(n_out, n_in, cancels, t, all);
    }
    suite_end(s);
}

/* Broken by a library that plans a product by its number of rows or threads: oneDNN 2.6 with AMX does so from 1,536
 * columns on, its gemm for one row, cuBLAS by split-K. */
static void linear_does_not_depend_on_the_batch(void **state)
{
    static const int64_t sizes[][2] = {{53, 37},     {384, 384},   {96, 1536},  {96, 4096},
                                       {1024, 1024}, {3072, 1024}, {1024, 4096}};
    suite *s = *state;
    const int n_sizes = suite_is_emulated(s) ? 3 : suite_is_cuda(s) ? 7 : 5;
    for (int i = 0; i < n_sizes; i++) {
        for (int cancels = 0; cancels < 2; cancels++) {
            check_linear_rows(sizes[i][0], sizes[i][1], cancels, 1, NULL);
        }
    }
}

enum { N_SEQUENCES = 7, N_HEADS = 2, HEAD_DIM = 32, WIDTH = N_HEADS * HEAD_DIM, N_TOKENS = 50, N_OUTPUTS = 5 };
static const int32_t sequence_lengths[N_SEQUENCES] = {1, 17, 71, 4, 64, 33, 22};

/* Operations of a forward pass on sequences: embedding, attention (all queries and one), normalisation, pooling. */
typedef struct sequence_net {
    fbt_embedding e;
    fbt_matrix *qkv;
} sequence_net;

static sequence_net make_net(suite *s)
{
    sequence_net net = {.e = {.position_offset = 1, .n_dim = WIDTH}};
    net.e.word = suite_table(s, suite_random(s, N_TOKENS * WIDTH, 1, 0), N_TOKENS, WIDTH, FBT_F32);
    net.e.position = suite_table(s, suite_random(s, 80 * WIDTH, 1, 0), 80, WIDTH, FBT_F32);
    net.e.norm = suite_norm(s, NULL, NULL, WIDTH, 1e-5f);
    net.qkv = suite_matrix(s, suite_random(s, 3 * WIDTH * WIDTH, 0.2, 0), NULL, 3 * WIDTH, WIDTH, suite_types(s));
    return net;
}

/* Bytes of each operation's output for the sequences named by `order`: output k of the i-th is at out[k][i]. */
static void run_net(suite *s, const sequence_net *net, const int32_t *tokens[], const int *order, int n,
                    const char *out[N_OUTPUTS][N_SEQUENCES], int64_t sizes[N_OUTPUTS][N_SEQUENCES])
{
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t item = (int64_t)fbt_dtype_bytes(dtype);
    int32_t lengths[N_SEQUENCES], *flat, *prompts;
    for (int i = 0; i < n; i++) {
        lengths[i] = sequence_lengths[order[i]];
    }
    fbt_packed packed = suite_packed(s, lengths, n, N_TOKENS, 1, &flat, &prompts);
    for (int i = 0; i < n; i++) {
        memcpy(flat + packed.host_offsets[i], tokens[order[i]], (size_t)lengths[i] * sizeof *flat);
    }
    packed.tokens = suite_buffer_bytes(s, flat, packed.n_rows * (int64_t)sizeof *flat);
    fbt_buffer *x = suite_poisoned(s, packed.n_rows * WIDTH, dtype),
               *h = suite_poisoned(s, packed.n_rows * 3 * WIDTH, dtype);
    fbt_buffer *y = suite_poisoned(s, packed.n_rows * WIDTH, dtype), *one = suite_poisoned(s, n * WIDTH, dtype);
    fbt_buffer *norm = suite_poisoned(s, packed.n_rows * WIDTH, dtype), *pool = suite_poisoned(s, n * WIDTH, FBT_F32);
    fbt_attention a = {.q = {h, 3 * WIDTH, 0},
                       .k = {h, 3 * WIDTH, WIDTH},
                       .v = {h, 3 * WIDTH, 2 * WIDTH},
                       .packed = &packed,
                       .n_heads = N_HEADS,
                       .head_dim = HEAD_DIM,
                       .scale = 0.2f};
    suite_ok(fbt_embed(s->b, x, &net->e, &packed));
    suite_ok(fbt_linear(s->b, h, x, net->qkv, FBT_ACT_NONE, packed.n_rows));
    suite_ok(fbt_attend(s->b, y, &a));
    suite_ok(fbt_gather_rows(s->b, one, x, suite_dtype(s), packed.offsets, n, WIDTH));
    a.q = (fbt_heads){one, WIDTH, 0};
    a.one_query = 1;
    fbt_buffer *last = suite_poisoned(s, n * WIDTH, dtype);
    suite_ok(fbt_attend(s->b, last, &a));
    suite_ok(fbt_layernorm(s->b, norm, y, suite_dtype(s), &net->e.norm, packed.n_rows, WIDTH));
    suite_ok(fbt_mean_pool(s->b, pool, norm, &packed, WIDTH));
    const fbt_buffer *outputs[N_OUTPUTS] = {x, y, norm, last, pool};
    for (int k = 0; k < N_OUTPUTS; k++) {
        const int per_row = k < 3;
        const int64_t row_bytes = WIDTH * (k == 4 ? 4 : item), n_bytes = (per_row ? packed.n_rows : n) * row_bytes;
        char *bytes = suite_block(s, n_bytes);
        suite_read_bytes(s, bytes, outputs[k], n_bytes);
        for (int i = 0; i < n; i++) {
            out[k][order[i]] = bytes + (per_row ? packed.host_offsets[i] : i) * row_bytes;
            sizes[k][order[i]] = (per_row ? lengths[i] : 1) * row_bytes;
        }
    }
}

static void compare_runs(const char *a[N_OUTPUTS][N_SEQUENCES], const char *b[N_OUTPUTS][N_SEQUENCES],
                         int64_t sizes[N_OUTPUTS][N_SEQUENCES], const int *order, int n)
{
    for (int k = 0; k < N_OUTPUTS; k++) {
        for (int i = 0; i < n; i++) {
            assert_memory_equal(a[k][order[i]], b[k][order[i]], (size_t)sizes[k][order[i]]);
        }
    }
}

static void check_sequences(int n_threads, const char *expected[N_OUTPUTS][N_SEQUENCES])
{
    static const int orders[][N_SEQUENCES] = {
        {0, 1, 2, 3, 4, 5, 6}, {6, 3, 0, 5, 2, 4, 1}, {2, 1}, {4}, {0}, {3, 6, 0}};
    static const int counts[] = {7, 7, 2, 1, 1, 3};
    suite *s = suite_begin(n_threads);
    const sequence_net net = make_net(s);
    const int32_t *tokens[N_SEQUENCES];
    const char *all[N_OUTPUTS][N_SEQUENCES], *some[N_OUTPUTS][N_SEQUENCES];
    int64_t sizes[N_OUTPUTS][N_SEQUENCES];
    for (int q = 0; q < N_SEQUENCES; q++) {
        int32_t *own = suite_block(s, sequence_lengths[q] * (int64_t)sizeof *own);
        for (int t = 0; t < sequence_lengths[q]; t++) {
            own[t] = (int32_t)suite_random_below(s, N_TOKENS);
        }
        tokens[q] = own;
    }
    run_net(s, &net, tokens, orders[0], N_SEQUENCES, all, sizes);
    if (expected != NULL) { /* one thread's results, from the same seed */
        compare_runs(expected, all, sizes, orders[0], N_SEQUENCES);
    }
    for (size_t k = 1; k < sizeof counts / sizeof counts[0]; k++) {
        run_net(s, &net, tokens, orders[k], counts[k], some, sizes);
        compare_runs(all, some, sizes, orders[k], counts[k]);
    }
    for (int t = 2; t <= 3 && expected == NULL && !suite_is_cuda(s); t++) {
        check_sequences(t, all);
    }
    suite_end(s);
}

/* Broken by padding to the longest sequence of a batch, or work split within a sum. */
static void sequences_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    check_sequences(1, NULL);
}

int run_invariance_tests(void)
{
    const struct CMUnitTest invariance[] = {
        cmocka_unit_test_setup_teardown(linear_does_not_depend_on_the_batch, suite_setup, suite_teardown),
        cmocka_unit_test(sequences_do_not_depend_on_the_batch),
    };
    return cmocka_run_group_tests(invariance, NULL, NULL);
}
