/* Conformance: repeated graphs give what the same operations give unrepeated. */
#include "suite.h"

#include <string.h>

enum { N_ROWS = 9, WIDTH = 32, N = N_ROWS * WIDTH, N_REPEATS = 5 };

/* Operands of a graph: y = LN(relu(x W^T) W^T + x). */
typedef struct graph_net {
    const fbt_matrix *w;
    fbt_norm norm;
    fbt_buffer *x, *between, *y;
    int64_t n_bytes;
} graph_net;

static graph_net make_net(suite *s)
{
    const fbt_dtype dtype = suite_dtype(s);
    return (graph_net){.w = suite_matrix(s, suite_random(s, WIDTH * WIDTH, 0.3, 0), NULL, WIDTH, WIDTH, suite_types(s)),
                       .norm = suite_norm(s, NULL, NULL, WIDTH, 1e-5f),
                       .x = suite_poisoned(s, N, dtype),
                       .between = suite_poisoned(s, N, dtype),
                       .y = suite_poisoned(s, N, dtype),
                       .n_bytes = N * (int64_t)fbt_dtype_bytes(dtype)};
}

static void queue_operations(suite *s, const graph_net *net)
{
    suite_ok(fbt_linear(s->b, net->between, net->x, net->w, FBT_ACT_RELU, N_ROWS));
    suite_ok(fbt_linear_norm(s->b, net->y, net->between, net->w, net->x, &net->norm, N_ROWS));
}

/* Writes fresh numbers into x; *want: what y must be for them, from buffers of its own and outside any graph. */
static void renew_inputs(suite *s, const graph_net *net, char *want)
{
    const fbt_dtype dtype = suite_dtype(s);
    double values[N];
    graph_net other = *net;
    for (int i = 0; i < N; i++) {
        values[i] = (double)suite_random_below(s, 2001) / 1000 - 1;
    }
    const void *typed = suite_typed(s, values, N, dtype);
    other.x = suite_buffer_bytes(s, typed, net->n_bytes);
    other.between = suite_poisoned(s, N, dtype);
    other.y = suite_poisoned(s, N, dtype);
    queue_operations(s, &other);
    suite_read_bytes(s, want, other.y, net->n_bytes);
    suite_ok(fbt_buffer_write(s->b, net->x, typed, net->n_bytes));
}

/* Runs the graph of that key on fresh inputs and checks the result; whether the backend knew it. */
static int run_graph(suite *s, const graph_net *net, const void *key, int64_t n_key)
{
    int is_known = -1;
    char *want = suite_block(s, net->n_bytes), *got = suite_block(s, net->n_bytes);
    renew_inputs(s, net, want);
    suite_ok(fbt_graph_begin(s->b, key, n_key, &is_known));
    assert_true(is_known == 0 || is_known == 1);
    if (!is_known) {
        queue_operations(s, net);
        suite_ok(fbt_graph_end(s->b, FBT_OK, NULL));
    }
    suite_read_bytes(s, got, net->y, net->n_bytes);
    assert_memory_equal(got, want, (size_t)net->n_bytes);
    return is_known;
}

/* Every repetition sees the buffers as they are then. Broken by a graph that is recorded and not run, or replayed with
 * what the buffers held when it was recorded. */
static void graphs_see_new_contents(void **state)
{
    suite *s = *state;
    const graph_net net = make_net(s);
    int n_known = 0;
    for (int i = 0; i < N_REPEATS; i++) {
        n_known += run_graph(s, &net, "a graph", 6);
    }
    assert_true(n_known == (suite_is_cuda(s) ? N_REPEATS - 2 : 0)); /* seen, recorded, then repeated */
}

/* Keys are told apart by their bytes and lengths, of 1 up to the most. Broken by keys compared as text or in part. */
static void keys_are_told_apart(void **state)
{
    suite *s = *state;
    const graph_net nets[3] = {make_net(s), make_net(s), make_net(s)};
    unsigned char keys[3][FBT_GRAPH_KEY_BYTES] = {{0}};
    const int64_t sizes[3] = {FBT_GRAPH_KEY_BYTES, FBT_GRAPH_KEY_BYTES, 1};
    int is_known;
    keys[1][FBT_GRAPH_KEY_BYTES - 1] = 1;
    for (int i = 0; i < N_REPEATS; i++) {
        for (int k = 0; k < 3; k++) {
            run_graph(s, &nets[k], keys[k], sizes[k]);
        }
    }
    suite_expect(FBT_ERR_ARG, fbt_graph_begin(s->b, keys[0], 0, &is_known));
    suite_expect(FBT_ERR_ARG, fbt_graph_begin(s->b, keys[0], FBT_GRAPH_KEY_BYTES + 1, &is_known));
}

/* The same key on another stream is another graph: on other buffers, as a caller has them. */
static void streams_have_graphs_of_their_own(void **state)
{
    suite *s = *state;
    fbt_backend_info info;
    fbt_backend_get_info(s->b, &info);
    const graph_net nets[2] = {make_net(s), make_net(s)};
    for (int i = 0; i < N_REPEATS; i++) {
        for (int l = 0; l < 2 && l < info.n_streams; l++) {
            fbt_stream_select(s->b, l);
            run_graph(s, &nets[l], "key", 3);
        }
    }
    fbt_stream_select(s->b, 0);
}

/* Broken by a graph that is replayed on memory that was freed: its key may come back with other buffers. */
static void freed_buffers_are_forgotten(void **state)
{
    suite *s = *state;
    const fbt_dtype dtype = suite_dtype(s);
    graph_net net = make_net(s);
    for (int round = 0; round < 2; round++) {
        suite_ok(fbt_buffer_new(s->b, net.n_bytes, &net.between));
        for (int i = 0; i < N_REPEATS; i++) {
            const int is_known = run_graph(s, &net, "key", 3);
            assert_true(i > 0 || !is_known);
        }
        fbt_buffer_free(s->b, net.between);
    }
    fbt_matrix *w;
    suite_ok(fbt_matrix_new(
        s->b,
        &(fbt_matrix_spec){.weight = suite_typed(s, suite_random(s, WIDTH * WIDTH, 0.3, 0), WIDTH * WIDTH, dtype),
                           .dtype = dtype,

                           .n_out = WIDTH,
                           .n_in = WIDTH,
                           .types = suite_types(s)},
        &w));
    net.between = suite_poisoned(s, N, dtype);
    for (int i = 0; i < N_REPEATS; i++) {
        run_graph(s, &net, "key", 3);
    }
    fbt_matrix_free(s->b, w);
    assert_false(run_graph(s, &net, "key", 3));
}

/* At whichever repetition an operation fails, the graph is not kept and the next one is as if it had not been. Broken
 * by a recording that is left open or replayed in part. */
static void failed_graphs_are_discarded(void **state)
{
    suite *s = *state;
    const graph_net net = make_net(s);
    char key = 0;
    for (int n_before = 0; n_before < 2; n_before++, key++) {
        int is_known;
        for (int i = 0; i < n_before; i++) {
            run_graph(s, &net, &key, 1);
        }
        suite_ok(fbt_graph_begin(s->b, &key, 1, &is_known));
        assert_false(is_known);
        suite_ok(fbt_linear(s->b, net.between, net.x, net.w, FBT_ACT_RELU, N_ROWS));
        const fbt_status status = fbt_linear(s->b, net.between, net.x, net.w, FBT_ACT_RELU, N_ROWS + 1);
        assert_int_equal(status, FBT_ERR_ARG);
        suite_expect(FBT_ERR_ARG, fbt_graph_end(s->b, status, NULL));
        assert_false(run_graph(s, &net, &key, 1));
        for (int i = 0; i < N_REPEATS; i++) {
            run_graph(s, &net, &key, 1);
        }
    }
}

/* A device that does not take a graph leaves nothing undone, and is not asked again. Broken by operations that were
 * recorded and never run. */
static void graphs_can_be_done_without(void **state)
{
    suite *s = *state;
    const graph_net net = make_net(s);
    int is_queued = 1, n_queued = 0;
    char *want = suite_block(s, net.n_bytes), *got = suite_block(s, net.n_bytes);
    if (!suite_is_emulated(s)) {
        skip(); /* a real device cannot be made to */
    }
    assert_int_equal(setenv("FBT_EMULATION_NO_GRAPHS", "1", 1), 0);
    run_graph(s, &net, "key", 3);
    renew_inputs(s, &net, want);
    do {
        suite_ok(fbt_graph_begin(s->b, "key", 3, &is_queued));
        assert_false(is_queued);
        queue_operations(s, &net);
        suite_ok(fbt_graph_end(s->b, FBT_OK, &is_queued));
        n_queued++;
    } while (!is_queued);
    assert_int_equal(unsetenv("FBT_EMULATION_NO_GRAPHS"), 0);
    suite_read_bytes(s, got, net.y, net.n_bytes);
    assert_memory_equal(got, want, (size_t)net.n_bytes);
    assert_int_equal(n_queued, 2);
    for (int i = 0; i < N_REPEATS; i++) {
        assert_false(run_graph(s, &net, "key", 3));
    }
}

/* More graphs than anyone keeps. Broken by a table that overflows, or a graph given away while it is in use. */
static void many_graphs_are_kept_apart(void **state)
{
    enum { N_PASSES = 70, N_ROUNDS = 3, N_NETS = 3 };
    (void)state;
    for (int round = 0; round < N_ROUNDS; round++) {
        suite *s = suite_begin(1);
        graph_net nets[N_NETS] = {make_net(s), make_net(s), make_net(s)};
        int is_known;
        char *got = suite_block(s, nets[0].n_bytes), *want[N_NETS];
        for (int k = 0; k < N_NETS; k++) {
            want[k] = suite_block(s, nets[k].n_bytes);
            renew_inputs(s, &nets[k], want[k]);
        }
        for (int i = 0; i < 3 * N_PASSES; i++) {
            const int32_t key = round == 0   ? i % N_PASSES
                                : round == 1 ? i / 3
                                             : (int32_t)suite_random_below(s, N_PASSES);
            const graph_net *net = &nets[key % N_NETS];
            suite_ok(fbt_buffer_write(s->b, net->y, got, net->n_bytes));
            suite_ok(fbt_graph_begin(s->b, &key, sizeof key, &is_known));
            if (!is_known) {
                queue_operations(s, net);
                suite_ok(fbt_graph_end(s->b, FBT_OK, NULL));
            }
            suite_read_bytes(s, got, net->y, net->n_bytes);
            assert_memory_equal(got, want[key % N_NETS], (size_t)net->n_bytes);
            memset(got, 0xff, (size_t)net->n_bytes);
        }
        suite_end(s);
    }
}

int run_graph_tests(void)
{
    const struct CMUnitTest graphs[] = {
        cmocka_unit_test_setup_teardown(graphs_see_new_contents, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(keys_are_told_apart, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(streams_have_graphs_of_their_own, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(freed_buffers_are_forgotten, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(failed_graphs_are_discarded, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(graphs_can_be_done_without, suite_setup, suite_teardown),
        cmocka_unit_test(many_graphs_are_kept_apart),
    };
    return cmocka_run_group_tests(graphs, NULL, NULL);
}
