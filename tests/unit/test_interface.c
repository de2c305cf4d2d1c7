/* The interface above the backends, with a backend that computes nothing: memory, graphs, events, profiles, and the
 * list of backends. Broken by a check that is left out, a bad call that is handed on, or a default that is none. */
#include "config/options.h"
#include "fake_backend.h"

static void memory_is_checked(void **state)
{
    char host[8] = {0};
    const float weight[4] = {0};
    fbt_buffer *buffer;
    fbt_matrix *matrix;
    fbt_table *table;
    (void)state;
    REFUSED(fbt_buffer_new(&f.b, -1, &buffer));
    TAKEN(fbt_buffer_write(&f.b, f.x, host, sizeof host));
    NOTHING(fbt_buffer_write(&f.b, f.x, host, 0));
    REFUSED(fbt_buffer_write(&f.b, f.small, host, sizeof host));
    REFUSED(fbt_buffer_write(&f.b, f.x, host, -1));
    REFUSED(fbt_buffer_write(&f.b, NULL, host, 1));
    REFUSED(fbt_buffer_read(&f.b, host, f.small, sizeof host));
    REFUSED(fbt_buffer_read(&f.b, host, NULL, 1));
    NOTHING(fbt_buffer_read(&f.b, host, f.x, 0));
    const fbt_matrix_spec good = {.weight = weight, .n_out = 2, .n_in = 2};
    fbt_matrix_spec bad[] = {good, good, good, good, good, good};
    bad[0].weight = NULL;
    bad[1].n_out = 0;
    bad[2].n_in = -1;
    bad[3].dtype = FBT_I32;
    bad[4].n_out = bad[4].n_in = INT64_C(1) << 40;
    bad[5].operation = FBT_N_OPERATIONS;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSED(fbt_matrix_new(&f.b, &bad[i], &matrix));
        assert_null(matrix);
    }
    REFUSED(fbt_table_new(&f.b, NULL, FBT_F32, 1, 1, &table));
    REFUSED(fbt_table_new(&f.b, weight, FBT_I32, 1, 1, &table));
    REFUSED(fbt_table_new(&f.b, weight, FBT_F32, 0, 1, &table));
    REFUSED(fbt_table_new(&f.b, weight, FBT_F32, 1, 0, &table));
    REFUSED(fbt_table_new(&f.b, weight, FBT_F32, INT64_C(1) << 40, INT64_C(1) << 40, &table));
}

/* A matrix of types that the backend does not compute in must not be made: it would be computed in others. */
static void foreign_types_are_refused(void **state)
{
    const float weight[4] = {0};
    const fbt_backend_driver driver = {.name = "fake", .types = {"fp32"}};
    fbt_matrix_spec spec = {.weight = weight, .n_out = 2, .n_in = 2, .types = fbt_types_find("bf16")};
    fbt_matrix *matrix;
    (void)state;
    f.b.driver = &driver;
    REFUSED(fbt_matrix_new(&f.b, &spec, &matrix));
    spec.types = NULL;
    TAKEN(fbt_matrix_new(&f.b, &spec, &matrix));
    assert_ptr_equal(matrix->types, fbt_types_find("fp32"));
    fbt_matrix_free(&f.b, matrix);
}

static void peaks_are_checked(void **state)
{
    const int64_t good[3] = {1, 2, 3}, bad[3][3] = {{0, 2, 3}, {1, 0, 3}, {1, 2, 0}};
    double seconds;
    (void)state;
    TAKEN(fbt_library_product(&f.b, fbt_backend_types(&f.b), good, 1, &seconds));
    REFUSED(fbt_library_product(&f.b, fbt_backend_types(&f.b), good, 0, &seconds));
    for (int i = 0; i < 3; i++) {
        REFUSED(fbt_library_product(&f.b, fbt_backend_types(&f.b), bad[i], 1, &seconds));
    }
    TAKEN(fbt_library_copy(&f.b, 1, 1, &seconds));
    REFUSED(fbt_library_copy(&f.b, 0, 1, &seconds));
    REFUSED(fbt_library_copy(&f.b, 1, 0, &seconds));
}

/* Calls that must not be within a graph, whether or not the backend records one. */
static void graphs_hold_operations_alone(void **state)
{
    char host[4];
    const float weight[4] = {0};
    const fbt_matrix_spec spec = {.weight = weight, .n_out = 2, .n_in = 2};
    fbt_buffer *buffer;
    fbt_matrix *matrix;
    fbt_table *table;
    int is_known = 7;
    double seconds;
    (void)state;
    REFUSED(fbt_graph_begin(&f.b, NULL, 1, &is_known));
    REFUSED(fbt_graph_begin(&f.b, host, 0, &is_known));
    REFUSED(fbt_graph_begin(&f.b, host, FBT_GRAPH_KEY_BYTES + 1, &is_known));
    NOTHING(fbt_graph_begin(&f.b, host, 1, &is_known));
    assert_int_equal(is_known, 0);
    REFUSED(fbt_graph_begin(&f.b, host, 1, &is_known));
    REFUSED(fbt_buffer_new(&f.b, 1, &buffer));
    REFUSED(fbt_buffer_write(&f.b, f.x, host, 1));
    REFUSED(fbt_buffer_read(&f.b, host, f.x, 1));
    REFUSED(fbt_matrix_new(&f.b, &spec, &matrix));
    REFUSED(fbt_table_new(&f.b, weight, FBT_F32, 1, 1, &table));
    REFUSED(fbt_stream_sync(&f.b));
    REFUSED(fbt_stream_select(&f.b, 0));
    REFUSED(fbt_library_copy(&f.b, 1, 1, &seconds));
    TAKEN(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, DIM));
    fake_expect(FBT_ERR_NUMERIC, 0, fbt_graph_end(&f.b, fbt_fail(FBT_ERR_NUMERIC, "told from within"), NULL), "end",
                __LINE__);
    REFUSED(fbt_graph_end(&f.b, FBT_OK, NULL));
    NOTHING(fbt_stream_sync(&f.b));
}

/* This backend leaves out streams, graphs, events, memory and shares. */
static void what_is_left_out_has_a_default(void **state)
{
    fbt_backend_memory memory;
    fbt_share share = {0};
    double seconds;
    (void)state;
    NOTHING(fbt_stream_select(&f.b, 0));
    REFUSED(fbt_stream_select(&f.b, 1));
    REFUSED(fbt_stream_select(&f.b, -1));
    NOTHING(fbt_stream_sync(&f.b));
    REFUSED(fbt_event_seconds(&f.b, 1, &seconds));
    NOTHING(fbt_event_record(&f.b, 0));
    NOTHING(fbt_event_record(&f.b, 1));
    NOTHING(fbt_event_seconds(&f.b, 1, &seconds));
    assert_true(seconds >= 0);
    REFUSED(fbt_event_record(&f.b, -1));
    REFUSED(fbt_event_record(&f.b, FBT_MAX_EVENTS));
    REFUSED(fbt_event_seconds(&f.b, FBT_MAX_EVENTS, &seconds));
    UNSUPPORTED(fbt_backend_get_memory(&f.b, &memory));
    UNSUPPORTED(fbt_share_export(&f.b, &share));
    UNSUPPORTED(fbt_share_import(&f.b, &share));
}

/* Work by hand: rows of float, a matrix [16, 8] that was made as "up", tables of half precision. */
static void work_is_counted_once(void **state)
{
    fbt_profile profile = {{0}, {0}, {0}};
    (void)state;
    fbt_profile_start(&f.b, &profile);
    TAKEN(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_NONE, N));
    TAKEN(fbt_linear_norm(&f.b, f.y, f.x, f.w, f.y, &f.norm, N));
    TAKEN(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_TANH, N));
    TAKEN(fbt_attend(&f.b, f.y, &f.a));
    TAKEN(fbt_embed(&f.b, f.x, &f.e, &f.packed));
    TAKEN(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, DIM));
    NOTHING(fbt_stream_sync(&f.b));
    assert_true(profile.flops[FBT_OP_UP] == 3 * 2 * N * DIM * N_IN);
    assert_true(profile.bytes[FBT_OP_UP] == 4 * (3 * (N * N_IN + DIM * N_IN + N * DIM) + N * DIM));
    assert_true(profile.bytes[FBT_OP_ACTIVATION] == 4 * 2 * N * DIM);
    assert_true(profile.flops[FBT_OP_ATTENTION] == 4 * DIM * (1 * 1 + 3 * 3));
    assert_true(profile.bytes[FBT_OP_ATTENTION] == 4 * 2 * DIM * (N + N));
    assert_true(profile.bytes[FBT_OP_EMBED] == DIM * ((N - 2) * 2 + 3 * 2 + 2 * 4) + 4 * DIM * N);
    assert_true(profile.bytes[FBT_OP_NORM] == 4 * 2 * N * DIM);
    for (int i = 0; i < FBT_N_OPERATIONS; i++) {
        assert_true(profile.seconds[i] >= 0 && fbt_operation_name((fbt_operation)i) != NULL);
    }
    fbt_profile_stop(&f.b);
    assert_null(fake.queued);
    const fbt_profile before = profile;
    TAKEN(fbt_linear(&f.b, f.y, f.x, f.w, FBT_ACT_TANH, N));
    assert_memory_equal(&before, &profile, sizeof profile);
}

/* Of decoders: queries of a group of heads that see two prefixes of a row or three each, and what of their own rows
 * they may. */
static void work_of_decoders_is_counted(void **state)
{
    fbt_profile profile = {{0}, {0}, {0}};
    (void)state;
    f.b.info.features = ~0u;
    f.a.is_causal = 1;
    f.a.n_kv_heads = 1;
    f.a.prefix = &f.prefix;
    f.index[1] = 1; /* sequence 1 sees prefixes of 3 rows and 3; sequence 0 those of one row */
    fbt_profile_start(&f.b, &profile);
    TAKEN(fbt_attend(&f.b, f.y, &f.a));
    assert_true(profile.flops[FBT_OP_ATTENTION] == 4 * DIM * (3 + (7 + 8 + 9)));
    assert_true(profile.bytes[FBT_OP_ATTENTION] == 4 * 2 * (DIM * N + 8 * 3 * N));
    f.a.one_query = 1;
    TAKEN(fbt_attend(&f.b, f.y, &f.a));
    assert_true(profile.flops[FBT_OP_ATTENTION] == 4 * DIM * (3 + (7 + 8 + 9) + 3 + 9));
    TAKEN(fbt_embed_rows(&f.b, f.x, &f.rows, N));
    TAKEN(fbt_rotate(&f.b, f.x, &f.a.q, 2, 8, &f.rotary, N));
    TAKEN(fbt_norm_heads(&f.b, f.x, &f.a.q, 2, 8, &f.rms, N));
    TAKEN(fbt_gate(&f.b, f.y, f.x, FBT_ACT_SILU, N, DIM));
    TAKEN(fbt_linear_residual(&f.b, f.y, f.x, f.w, f.y, N));
    assert_true(profile.bytes[FBT_OP_EMBED] == N * DIM * (2 + 2 + 4));
    assert_true(profile.bytes[FBT_OP_ROTATE] == 4 * 2 * N * 2 * 8);
    assert_true(profile.bytes[FBT_OP_NORM] == 4 * 2 * N * 2 * 8);
    assert_true(profile.bytes[FBT_OP_ACTIVATION] == 4 * 3 * N * DIM);
    assert_true(profile.flops[FBT_OP_UP] == 2 * N * DIM * N_IN);
    fbt_profile_stop(&f.b);
}

/* More operations than events are refused, and a wait makes room for as many again. */
static void profiles_end_in_time(void **state)
{
    fbt_profile profile = {{0}, {0}, {0}};
    (void)state;
    fbt_profile_start(&f.b, &profile);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 1; i < FBT_MAX_EVENTS; i++) {
            TAKEN(fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, DIM));
        }
        fake_expect(FBT_ERR_UNSUPPORTED, 1, fbt_layernorm(&f.b, f.x, f.x, FBT_F32, &f.norm, N, DIM), "one more",
                    __LINE__);
        NOTHING(fbt_stream_sync(&f.b));
    }
    fbt_profile_stop(&f.b);
}

/* Settings name what the list of backends has, and nothing else. */
static void settings_name_the_list(void **state)
{
    const fbt_option *names = fbt_option_find("backend.name"), *precisions = fbt_option_find("backend.precision");
    int n_drivers = 0, n_names = 0;
    (void)state;
    for (const fbt_backend_driver *d; (d = fbt_backend_driver_at(n_drivers)) != NULL; n_drivers++) {
        assert_ptr_equal(fbt_backend_find(d->name), d);
        assert_non_null(d->summary);
        assert_true(d->missing != NULL ? d->open == NULL : d->open != NULL && d->types[0] != NULL);
        for (int i = 0; i < FBT_MAX_TYPES && d->types[i] != NULL; i++) {
            assert_non_null(fbt_types_find(d->types[i]));
        }
    }
    for (; names->choices[n_names] != NULL; n_names++) {
        assert_non_null(fbt_backend_find(names->choices[n_names]));
    }
    assert_int_equal(n_names, n_drivers);
    assert_string_equal(precisions->choices[0], "auto");
    for (int i = 1; precisions->choices[i] != NULL; i++) {
        assert_non_null(fbt_types_find(precisions->choices[i]));
        assert_string_equal(fbt_types_find(precisions->choices[i])->name, precisions->choices[i]);
    }
    assert_null(fbt_types_find("int4"));
    assert_true(fbt_backend_has_types(fbt_backend_find("cpu"), "int8"));
    assert_false(fbt_backend_has_types(fbt_backend_find("cuda"), "int8"));
    assert_null(fbt_backend_find("abacus"));
}

static void unknown_names_are_refused(void **state)
{
    fbt_backend *b;
    fbt_backend_options options = {.name = "abacus", .precision = "auto", .n_local_ranks = 1};
    (void)state;
    assert_int_equal(fbt_backend_open(&options, &b), FBT_ERR_CONFIG);
    assert_string_equal(fbt_error_message(), "backend.name is 'abacus': it must be cpu or cuda");
    fbt_error_clear();
    options = (fbt_backend_options){.name = "cpu", .precision = "fp64", .n_local_ranks = 1};
    assert_int_equal(fbt_backend_open(&options, &b), FBT_ERR_CONFIG);
    assert_string_equal(fbt_error_message(), "backend.precision is 'fp64': it must be auto, fp32, bf16 or int8");
    fbt_error_clear();
    options.precision = "tf32";
    assert_int_equal(fbt_backend_open(&options, &b), FBT_ERR_CONFIG);
    assert_string_equal(fbt_error_message(),
                        "backend.precision is tf32, which backend.name cpu does not have (cuda does): "
                        "set it to auto, fp32, bf16 or int8");
    fbt_error_clear();
    options.n_threads = -1;
    assert_int_equal(fbt_backend_open(&options, &b), FBT_ERR_ARG);
    assert_null(b);
    fbt_error_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(memory_is_checked),
        CASE(foreign_types_are_refused),
        CASE(peaks_are_checked),
        CASE(graphs_hold_operations_alone),
        CASE(what_is_left_out_has_a_default),
        CASE(work_is_counted_once),
        CASE(work_of_decoders_is_counted),
        CASE(profiles_end_in_time),
        cmocka_unit_test(settings_name_the_list),
        cmocka_unit_test(unknown_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
