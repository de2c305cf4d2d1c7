/* Conformance: opening, memory, and the errors of both. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

/* Broken by a buffer that is smaller than asked for, or a copy that runs past one. */
static void buffers_keep_bytes(void **state)
{
    suite *s = *state;
    char sent[1001], got[1001];
    fbt_buffer *buffer;
    for (size_t i = 0; i < sizeof sent; i++) {
        sent[i] = (char)suite_random_below(s, 256);
    }
    suite_ok(fbt_buffer_new(s->b, sizeof sent, &buffer));
    suite_ok(fbt_buffer_write(s->b, buffer, sent, sizeof sent));
    suite_read_bytes(s, got, buffer, sizeof got);
    assert_memory_equal(sent, got, sizeof sent);
    suite_expect(FBT_ERR_ARG, fbt_buffer_write(s->b, buffer, sent, sizeof sent + 1));
    suite_expect(FBT_ERR_ARG, fbt_buffer_read(s->b, got, buffer, sizeof got + 1));
    fbt_buffer_free(s->b, buffer);
    suite_ok(fbt_buffer_new(s->b, 0, &buffer));
    suite_ok(fbt_buffer_write(s->b, buffer, sent, 0));
    fbt_buffer_free(s->b, buffer);
}

static void impossible_sizes_are_refused(void **state)
{
    suite *s = *state;
    const float weight[4] = {0};
    fbt_buffer *buffer;
    fbt_matrix *matrix;
    fbt_table *table;
    suite_expect(FBT_ERR_ARG, fbt_buffer_new(s->b, -1, &buffer));
    assert_null(buffer);
    suite_expect(FBT_ERR_MEMORY, fbt_buffer_new(s->b, INT64_MAX / 2, &buffer));
    assert_null(buffer);
    suite_expect(FBT_ERR_ARG, fbt_matrix_new(s->b,
                                             &(fbt_matrix_spec){.weight = weight,
                                                                .dtype = FBT_F32,

                                                                .n_out = 0,
                                                                .n_in = 4,
                                                                .types = fbt_types_find("fp32")},
                                             &matrix));
    assert_null(matrix);
    suite_expect(FBT_ERR_ARG, fbt_table_new(s->b, weight, FBT_F32, 1, 0, &table));
    assert_null(table);
    fbt_buffer_free(s->b, NULL);
    fbt_matrix_free(s->b, NULL);
    fbt_table_free(s->b, NULL);
}

/* Quarters of the whole memory cannot all be had: the call that fails says so, and what is freed can be had again.
 * Broken by a failed allocation that leaves an error behind. A host may promise memory that it does not have, a device
 * does not. */
static void memory_runs_out(void **state)
{
    suite *s = *state;
    enum { MOST = 8 };
    fbt_buffer *buffers[MOST] = {NULL};
    fbt_backend_memory memory, later;
    fbt_status status = FBT_OK;
    int n = 0;
    suite_ok(fbt_backend_get_memory(s->b, &memory));
    assert_true(memory.free > 0 && memory.free <= memory.total);
    if (!suite_is_cuda(s)) {
        return;
    }
    while (n < MOST && status == FBT_OK) {
        status = fbt_buffer_new(s->b, memory.total / 4, &buffers[n++]);
    }
    assert_int_equal(status, FBT_ERR_MEMORY);
    assert_non_null(strstr(fbt_error_message(), "out of device memory"));
    fbt_error_clear();
    assert_null(buffers[n - 1]);
    suite_ok(fbt_backend_get_memory(s->b, &later));
    assert_true(later.free < memory.free - memory.total / 4);
    for (int i = 0; i < n; i++) {
        fbt_buffer_free(s->b, buffers[i]);
    }
    suite_ok(fbt_buffer_new(s->b, memory.total / 4, &buffers[0]));
    suite_ok(fbt_stream_sync(s->b));
    fbt_buffer_free(s->b, buffers[0]);
}

/* Broken by a backend that opens as something else than it was asked for. */
static void opens_as_asked(void **state)
{
    suite *s = *state;
    fbt_backend_options options = {
        .name = suite_backend, .precision = suite_precision, .n_threads = 1, .n_local_ranks = 1};
    fbt_backend_info info;
    fbt_backend *b;
    fbt_backend_get_info(s->b, &info);
    assert_string_equal(info.name, suite_backend);
    assert_string_equal(info.types->name, suite_precision);
    assert_int_equal(info.types, suite_types(s));
    assert_true(info.n_threads >= 1 && info.device[0] != '\0' && info.isa[0] != '\0' && info.libraries[0] != '\0');
    assert_true(info.n_streams >= 1 && info.device_id != NULL && (info.device_id[0] != '\0') == suite_is_cuda(s));
    options.name = "abacus";
    suite_expect(FBT_ERR_CONFIG, fbt_backend_open(&options, &b));
    assert_null(b);
    options.name = suite_backend;
    options.precision = "fp64";
    suite_expect(FBT_ERR_CONFIG, fbt_backend_open(&options, &b));
    options.precision = "auto";
    options.n_threads = -1;
    suite_expect(FBT_ERR_ARG, fbt_backend_open(&options, &b));
    options.n_threads = 0;
    suite_ok(fbt_backend_open(&options, &b));
    fbt_backend_get_info(b, &info);
    assert_true(info.n_threads >= 1);
    fbt_backend_close(b);
}

/* Ranks of a node take its devices in turn, and there may be more ranks than devices. Broken by a rank's number in the
 * whole run, or a rank beyond the devices that is refused. */
static void ranks_take_devices_in_turn(void **state)
{
    enum { N_RANKS = 6 };
    char ids[N_RANKS][64];
    int n_devices = 1;
    (void)state;
    setenv("FBT_EMULATION_DEVICES", "2", 1); /* what an emulated machine listens to */
    for (int r = 0; r < N_RANKS; r++) {
        const fbt_backend_options options = {.name = suite_backend,
                                             .precision = suite_precision,
                                             .n_threads = 1,
                                             .local_rank = r,
                                             .n_local_ranks = N_RANKS};
        fbt_backend_info info;
        fbt_backend *b;
        suite_ok(fbt_backend_open(&options, &b));
        fbt_backend_get_info(b, &info);
        snprintf(ids[r], sizeof ids[r], "%s", info.device_id);
        if (strstr(info.device, "emulated") != NULL) {
            n_devices = 2;
        }
        fbt_backend_close(b);
    }
    unsetenv("FBT_EMULATION_DEVICES");
    while (n_devices < N_RANKS && strcmp(ids[0], ids[n_devices]) != 0) {
        n_devices++;
    }
    for (int r = 0; r < N_RANKS; r++) {
        for (int other = 0; other < r; other++) {
            assert_int_equal(strcmp(ids[r], ids[other]) == 0, r % n_devices == other % n_devices);
        }
    }
}

int run_memory_tests(void)
{
    const struct CMUnitTest memory[] = {
        cmocka_unit_test_setup_teardown(buffers_keep_bytes, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(impossible_sizes_are_refused, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(memory_runs_out, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(opens_as_asked, suite_setup, suite_teardown),
        cmocka_unit_test(ranks_take_devices_in_turn),
    };
    return cmocka_run_group_tests(memory, NULL, NULL);
}
