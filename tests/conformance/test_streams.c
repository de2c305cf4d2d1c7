/* Conformance: order and independence of what is queued, results handed over by sync, events,
 * what is told within operations. */
#include "suite.h"

#include "base/timer.h"
#include "kernels/backend_ops.h"

#include <string.h>

enum { N_ROWS = 40, WIDTH = 64, N = N_ROWS * WIDTH, N_STEPS = 12 };

/* A chain of operations from `x` through `y` on the current stream: y = LN(relu(x W^T)), ... */
static void queue_chain(suite *s, const fbt_matrix *w, const fbt_norm *norm, fbt_buffer *x, fbt_buffer *y)
{
    for (int i = 0; i < N_STEPS; i++) {
        suite_ok(fbt_linear(s->b, y, x, w, FBT_ACT_RELU, N_ROWS));
        suite_ok(fbt_linear_norm(s->b, x, y, w, x, norm, N_ROWS));
    }
}

/* Chains on all streams at once, queued in turns, each on its own buffers. Broken by streams that share a workspace,
 * staging memory or results, and by work queued on another stream than the selected. */
static void streams_do_not_mix(void **state)
{
    suite *s = *state;
    enum { MOST = 8 };
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t n_bytes = N * (int64_t)fbt_dtype_bytes(dtype);
    const fbt_matrix *w = suite_matrix(s, suite_random(s, WIDTH * WIDTH, 0.1, 0), NULL, WIDTH, WIDTH, suite_types(s));
    const fbt_norm norm = suite_norm(s, NULL, NULL, WIDTH, 1e-5f);
    fbt_backend_info info;
    fbt_backend_get_info(s->b, &info);
    assert_true(info.n_streams <= MOST);
    fbt_buffer *x[MOST], *y[MOST];
    char *sent[MOST], *alone[MOST], *together[MOST];
    for (int l = 0; l < info.n_streams; l++) {
        sent[l] = suite_typed(s, suite_random(s, N, 1, 0), N, dtype);
        alone[l] = suite_block(s, n_bytes);
        together[l] = suite_block(s, n_bytes);
        x[l] = suite_buffer_bytes(s, sent[l], n_bytes);
        y[l] = suite_poisoned(s, N, dtype);
        queue_chain(s, w, &norm, x[l], y[l]);
        suite_read_bytes(s, alone[l], x[l], n_bytes);
    }
    for (int round = 0; round < 3; round++) {
        for (int l = 0; l < info.n_streams; l++) {
            fbt_stream_select(s->b, l);
            suite_ok(fbt_buffer_write(s->b, x[l], sent[l], n_bytes));
            queue_chain(s, w, &norm, x[l], y[l]);
            memset(together[l], 0, (size_t)n_bytes);
            suite_ok(fbt_buffer_read(s->b, together[l], x[l], n_bytes));
        }
        for (int l = info.n_streams - 1; l >= 0; l--) {
            fbt_stream_select(s->b, l);
            suite_ok(fbt_stream_sync(s->b));
            assert_memory_equal(together[l], alone[l], (size_t)n_bytes);
        }
    }
}

/* write may be given memory that changes at once, and read hands over what the buffer held at its turn, whatever is
 * queued behind it; more of both than staging memory holds. Broken by copies that read the host's memory, or write it,
 * late or early. */
static void copies_keep_their_turn(void **state)
{
    suite *s = *state;
    enum { N_TURNS = 24, BYTES = 700001 };
    fbt_buffer *buffer = suite_poisoned(s, (BYTES + 3) / 4, FBT_I32);
    unsigned char *sent = suite_block(s, BYTES), *got[N_TURNS];
    for (int turn = 0; turn < N_TURNS; turn++) {
        got[turn] = suite_block(s, BYTES);
        for (int i = 0; i < BYTES; i++) {
            sent[i] = (unsigned char)(i * 31 + turn * 7 + i / 251);
        }
        suite_ok(fbt_buffer_write(s->b, buffer, sent, BYTES));
        memset(sent, 0xff, BYTES);
        suite_ok(fbt_buffer_read(s->b, got[turn], buffer, BYTES));
        suite_ok(fbt_buffer_write(s->b, buffer, sent, 5));
    }
    suite_ok(fbt_stream_sync(s->b));
    for (int turn = 0; turn < N_TURNS; turn++) {
        for (int i = 0; i < BYTES; i++) {
            if (got[turn][i] != (unsigned char)(i * 31 + turn * 7 + i / 251)) {
                fail_msg("byte %d of turn %d is %d", i, turn, got[turn][i]);
            }
        }
    }
}

/* One write larger than any staging memory. */
static void large_writes_arrive(void **state)
{
    suite *s = *state;
    enum { N_ITEMS = 5000011 };
    int32_t *sent = suite_block(s, N_ITEMS * (int64_t)sizeof *sent),
            *got = suite_block(s, N_ITEMS * (int64_t)sizeof *got);
    for (int i = 0; i < N_ITEMS; i++) {
        sent[i] = i * 2654435761U >> 3;
    }
    fbt_buffer *buffer = suite_buffer_bytes(s, sent, N_ITEMS * (int64_t)sizeof *sent);
    suite_read_bytes(s, got, buffer, N_ITEMS * (int64_t)sizeof *got);
    assert_memory_equal(sent, got, N_ITEMS * sizeof *sent);
}

/* Events come in the order in which they were queued, and within the time that the host saw pass. Broken by events set
 * when they are queued, or by a unit other than the second. */
static void events_are_in_order(void **state)
{
    suite *s = *state;
    enum { N_EVENTS = 5 };
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t indices[N_EVENTS] = {0, 7, 8, 3, FBT_MAX_EVENTS - 1};
    const fbt_matrix *w = suite_matrix(s, suite_random(s, WIDTH * WIDTH, 0.1, 0), NULL, WIDTH, WIDTH, suite_types(s));
    const fbt_norm norm = suite_norm(s, NULL, NULL, WIDTH, 1e-5f);
    fbt_buffer *x = suite_buffer(s, suite_random(s, N, 1, 0), N, dtype), *y = suite_poisoned(s, N, dtype);
    double last = 0, seconds;
    queue_chain(s, w, &norm, x, y);
    suite_ok(fbt_stream_sync(s->b));
    for (int round = 0; round < 2; round++) {
        const double begin_s = fbt_timer_now_s();
        for (int i = 0; i < N_EVENTS; i++) {
            suite_ok(fbt_event_record(s->b, indices[i]));
            queue_chain(s, w, &norm, x, y);
        }
        suite_ok(fbt_stream_sync(s->b));
        const double passed_s = fbt_timer_now_s() - begin_s;
        suite_ok(fbt_event_seconds(s->b, 0, &seconds));
        assert_true(seconds == 0);
        last = 0;
        for (int i = 1; i < N_EVENTS; i++) {
            suite_ok(fbt_event_seconds(s->b, indices[i], &seconds));
            assert_true(seconds > last && seconds <= passed_s * 1.01 + 1e-4);
            last = seconds;
        }
    }
    suite_expect(FBT_ERR_ARG, fbt_event_record(s->b, FBT_MAX_EVENTS));
    suite_expect(FBT_ERR_ARG, fbt_event_record(s->b, -1));
    suite_expect(FBT_ERR_ARG, fbt_event_seconds(s->b, FBT_MAX_EVENTS, &seconds));
}

typedef struct watched {
    fbt_backend *b;
    int n;
    fbt_status answer;
} watched;

static fbt_status product_queued(void *context)
{
    watched *w = context;
    w->n++;
    return w->answer == FBT_OK ? fbt_event_record(w->b, 1) : fbt_fail(w->answer, "said by the watcher");
}

/* A backend that leaves this out has no kernels behind products. */
static void watch_products(fbt_backend *b, fbt_status (*queued)(void *context), void *context)
{
    if (b->ops->watch_products != NULL) {
        b->ops->watch_products(b, queued, context);
    }
}

/* Where a product and what follows it are kernels of their own, which is so on a CUDA device for a norm and for the
 * GELU that its library lacks, the time in between can be told. Broken by a call too many, one before the product, or
 * one whose error is lost. */
static void products_are_watched(void **state)
{
    suite *s = *state;
    const fbt_dtype dtype = suite_dtype(s);
    const fbt_matrix *w = suite_matrix(s, suite_random(s, WIDTH * WIDTH, 0.1, 0), NULL, WIDTH, WIDTH, suite_types(s));
    const fbt_norm norm = suite_norm(s, NULL, NULL, WIDTH, 1e-5f);
    fbt_buffer *x = suite_buffer(s, suite_random(s, N, 1, 0), N, dtype), *y = suite_poisoned(s, N, dtype);
    const int n_own = suite_is_cuda(s) ? 1 : 0;
    watched context = {.b = s->b};
    double between_s, after_s;
    watch_products(s->b, product_queued, &context);
    suite_ok(fbt_linear(s->b, y, x, w, FBT_ACT_NONE, N_ROWS));
    assert_int_equal(context.n, 0);
    suite_ok(fbt_linear_norm(s->b, x, y, w, x, &norm, N_ROWS));
    assert_int_equal(context.n, n_own);
    suite_ok(fbt_event_record(s->b, 0));
    suite_ok(fbt_linear(s->b, y, x, w, FBT_ACT_GELU_ERF, N_ROWS));
    suite_ok(fbt_event_record(s->b, 2));
    assert_int_equal(context.n, 2 * n_own);
    suite_ok(fbt_stream_sync(s->b));
    if (n_own > 0) {
        suite_ok(fbt_event_seconds(s->b, 1, &between_s));
        suite_ok(fbt_event_seconds(s->b, 2, &after_s));
        assert_true(0 < between_s && between_s < after_s);
        context.answer = FBT_ERR_BACKEND;
        suite_expect(FBT_ERR_BACKEND, fbt_linear(s->b, y, x, w, FBT_ACT_GELU_ERF, N_ROWS));
        suite_expect(FBT_ERR_BACKEND, fbt_linear_norm(s->b, x, y, w, x, &norm, N_ROWS));
    }
    context = (watched){.b = s->b};
    watch_products(s->b, NULL, NULL);
    suite_ok(fbt_linear(s->b, y, x, w, FBT_ACT_GELU_ERF, N_ROWS));
    assert_int_equal(context.n, 0);
}

/* The peaks tell a time. Broken by a measurement of the launch alone: a copy within 1 MB takes longer than
 * nothing, and more takes longer. */
static void peaks_are_measured(void **state)
{
    suite *s = *state;
    const int64_t size[3] = {96, 64, 80}, none[3] = {96, 0, 80};
    double seconds = -1, small_s = 0, large_s = 0;
    suite_ok(fbt_library_product(s->b, suite_types(s), size, 2, &seconds));
    assert_true(seconds > 0 && seconds < 10);
    suite_expect(FBT_ERR_ARG, fbt_library_product(s->b, suite_types(s), none, 2, &seconds));
    suite_ok(fbt_library_copy(s->b, 1 << 10, 100, &small_s));
    suite_ok(fbt_library_copy(s->b, 1 << 26, 3, &large_s));
    assert_true(small_s >= 0 && large_s > small_s && large_s < 10);
}

int run_stream_tests(void)
{
    const struct CMUnitTest streams[] = {
        cmocka_unit_test_setup_teardown(streams_do_not_mix, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(copies_keep_their_turn, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(large_writes_arrive, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(events_are_in_order, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(products_are_watched, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(peaks_are_measured, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(streams, NULL, NULL);
}
