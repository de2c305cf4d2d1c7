/* The run file: what it holds, read with HDF5 alone, and what survives failures and kills. */
#include "test_record_fixture.h"

#include "base/build_info.h"
#include "base/status.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static hid_t open_file(const char *path)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

/* The attribute's text; freed by the next call. */
static const char *text_attribute(hid_t file, const char *object, const char *name)
{
    static char *text;
    free(text);
    text = NULL;
    hid_t attribute = H5Aopen_by_name(file, object, name, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0) {
        fail_msg("%s has no attribute %s", object, name);
    }
    hid_t type = H5Aget_type(attribute);
    assert_true(H5Tis_variable_str(type) > 0 && H5Tget_cset(type) == H5T_CSET_UTF8);
    assert_true(H5Aread(attribute, type, &text) >= 0);
    H5Tclose(type);
    H5Aclose(attribute);
    return text;
}

static int64_t int_attribute(hid_t file, const char *object, const char *name)
{
    int64_t value = -1;
    hid_t attribute = H5Aopen_by_name(file, object, name, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0);
    assert_true(H5Aread(attribute, H5T_NATIVE_INT64, &value) >= 0);
    H5Aclose(attribute);
    return value;
}

/* Checks shape (-1 ends it) and attributes, and reads all values. */
static void read_array(hid_t file, const char *path, hid_t type, const int64_t *shape, void *values)
{
    hsize_t dims[4] = {0};
    hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
    if (dataset < 0) {
        fail_msg("no data set %s", path);
    }
    hid_t space = H5Dget_space(dataset), own = H5Dget_type(dataset);
    int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    for (int i = 0; i < rank; i++) {
        assert_true((int64_t)dims[i] == shape[i]);
    }
    assert_true(shape[rank] == -1);
    assert_true(H5Tequal(own, type) > 0);
    assert_true(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    assert_true(strlen(text_attribute(file, path, "long_name")) > 0);
    assert_true(strlen(text_attribute(file, path, "unit")) > 0);
    H5Tclose(own);
    H5Sclose(space);
    H5Dclose(dataset);
}

enum { N = 5 };

static void everything_is_recorded(void **state)
{
    (void)state;
    static fixture f;
    const char *path = fixture_path("run.h5");
    fixture_init(&f);
    fixture_write(&f, path, N, 0);
    hid_t file = open_file(path);
    double reals[N * FIX_K * FIX_D];
    int64_t counts[N * FIX_K];
    float prompt[FIX_P * FIX_H];
    read_array(file, "rounds/index", H5T_NATIVE_INT64, (int64_t[]){N, -1}, counts);
    assert_true(counts[0] == 0 && counts[N - 1] == N - 1);
    read_array(file, "rounds/cost/tokens", H5T_NATIVE_INT64, (int64_t[]){N, -1}, counts);
    assert_int_equal(counts[2], 24690);
    read_array(file, "rounds/cost/bytes_up", H5T_NATIVE_INT64, (int64_t[]){N, -1}, counts);
    assert_int_equal(counts[2], 1002);
    read_array(file, "rounds/client/evaluations", H5T_NATIVE_INT64, (int64_t[]){N, FIX_M, -1}, counts);
    assert_int_equal(counts[4 * FIX_M + 1], 41);
    read_array(file, "rounds/participants", H5T_NATIVE_INT64, (int64_t[]){N, FIX_M, -1}, counts);
    assert_true(counts[0] == -1 && counts[1] == -1 && counts[FIX_M] == 1 && counts[FIX_M + 1] == 2);
    read_array(file, "rounds/test_accuracy", H5T_NATIVE_DOUBLE, (int64_t[]){N, -1}, reals);
    assert_true(reals[0] == 0.625 && isnan(reals[1]));
    read_array(file, "rounds/cost/seconds", H5T_NATIVE_DOUBLE, (int64_t[]){N, FIX_PHASES, -1}, reals);
    assert_string_equal(text_attribute(file, "rounds/cost/seconds", "unit"), "s");
    for (int64_t r = 0; r < N; r++) {
        fixture_round(&f, r, 0);
        read_array(file, "rounds/z", H5T_NATIVE_DOUBLE, (int64_t[]){N, FIX_D, -1}, reals);
        assert_memory_equal(reals + r * FIX_D, f.z, sizeof f.z);
        read_array(file, "rounds/client/mean", H5T_NATIVE_DOUBLE, (int64_t[]){N, FIX_M, FIX_D, -1}, reals);
        assert_memory_equal(reals + r * FIX_M * FIX_D, f.client_mean, sizeof f.client_mean);
        read_array(file, "rounds/client/step_size", H5T_NATIVE_DOUBLE, (int64_t[]){N, FIX_M, FIX_I, -1}, reals);
        assert_memory_equal(reals + r * FIX_M * FIX_I, f.client_step_size, sizeof f.client_step_size);
        read_array(file, "rounds/client/loss_perturbed", H5T_NATIVE_DOUBLE, (int64_t[]){N, FIX_M, -1}, reals);
        assert_memory_equal(reals + r * FIX_M, f.client[2], sizeof f.client[2]);
    }
    read_array(file, "result/best_prompt", H5T_NATIVE_FLOAT, (int64_t[]){FIX_P, FIX_H, -1}, prompt);
    assert_memory_equal(prompt, f.prompt, sizeof prompt);
    read_array(file, "result/last_z", H5T_NATIVE_DOUBLE, (int64_t[]){FIX_D, -1}, reals);
    assert_memory_equal(reals, f.z, sizeof f.z);
    assert_int_equal(int_attribute(file, "result", "best_round"), 3);
    read_array(file, "checkpoint/covariance", H5T_NATIVE_DOUBLE, (int64_t[]){FIX_D * FIX_D, -1}, reals);
    assert_memory_equal(reals, f.covariance, sizeof f.covariance);
    assert_int_equal(int_attribute(file, "checkpoint", "round"), N - 1);
    H5Fclose(file);
}

static void assert_same(const int32_t *found, const int64_t *expected, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(found[i], expected[i]);
    }
}

static void what_is_known_before_is_recorded(void **state)
{
    (void)state;
    static fixture f;
    const char *path = fixture_path("run.h5");
    struct tm created;
    fixture_init(&f);
    fixture_write(&f, path, 1, 0);
    hid_t file = open_file(path);
    assert_int_equal(int_attribute(file, "/", "format_version"), 2);
    assert_string_equal(text_attribute(file, "/", "program_version"), fbt_build_version);
    assert_string_equal(text_attribute(file, "/", "git_commit"), fbt_build_commit);
    assert_string_equal(text_attribute(file, "/", "status"), "finished");
    const char *end = strptime(text_attribute(file, "/", "created"), "%Y-%m-%dT%H:%M:%SZ", &created);
    assert_true(end != NULL && *end == '\0');
    assert_true(labs((long)(time(NULL) - timegm(&created))) < 600);
    assert_true(H5Aexists_by_name(file, "/", "wall_time_s", H5P_DEFAULT) > 0);
    assert_string_equal(text_attribute(file, "config", "given"), f.header.config_given);
    assert_string_equal(text_attribute(file, "config", "resolved"), f.header.config_resolved);
    assert_string_equal(text_attribute(file, "config", "decides"), f.header.config_decides);
    assert_string_equal(text_attribute(file, "environment", "hosts"), "nodeA");
    assert_string_equal(text_attribute(file, "inputs", "model"), "m\xc3\xbc");
    int32_t values[FIX_SAMPLES];
    read_array(file, "partition/sample_offsets", H5T_NATIVE_INT32, (int64_t[]){FIX_K + 1, -1}, values);
    assert_same(values, f.offsets, FIX_K + 1);
    read_array(file, "partition/sample_index", H5T_NATIVE_INT32, (int64_t[]){FIX_SAMPLES, -1}, values);
    assert_same(values, f.index, FIX_SAMPLES);
    read_array(file, "partition/dev_index", H5T_NATIVE_INT32, (int64_t[]){FIX_DEV, -1}, values);
    assert_same(values, f.dev, FIX_DEV);
    read_array(file, "partition/class_count", H5T_NATIVE_INT32, (int64_t[]){FIX_K, FIX_LABELS, -1}, values);
    assert_same(values, f.class_count, FIX_K * FIX_LABELS);
    H5Fclose(file);
}

/* A settings text longer than the 64 KiB that HDF5 allows for attributes kept in place. */
static void long_settings_and_no_dev(void **state)
{
    (void)state;
    static fixture f;
    static char given[200001];
    const char *path = fixture_path("run.h5");
    int32_t none[1];
    fixture_init(&f);
    memset(given, '#', sizeof given - 1);
    f.header.config_given = given;
    f.header.client_means = false;
    f.header.n_dev = 0;
    f.header.dev_index = NULL;
    fixture_write(&f, path, 2, 0);
    hid_t file = open_file(path);
    assert_string_equal(text_attribute(file, "config", "given"), given);
    assert_true(H5Lexists(file, "rounds/client/mean", H5P_DEFAULT) == 0);
    read_array(file, "partition/dev_index", H5T_NATIVE_INT32, (int64_t[]){0, -1}, none);
    H5Fclose(file);
}

/* Nothing appears before the first commit; each commit shows the rounds so far and the status. */
static void commits_are_what_readers_see(void **state)
{
    (void)state;
    static fixture f;
    const char *path = fixture_path("run.h5");
    fbt_run_file *run;
    int64_t index[3];
    fixture_init(&f);
    assert_int_equal(fbt_run_file_create(path, false, &f.header, &run), FBT_OK);
    assert_int_not_equal(access(path, F_OK), 0);
    fixture_round(&f, 0, 0);
    assert_int_equal(fbt_run_file_add_round(run, &f.round), FBT_OK);
    assert_int_equal(fbt_run_file_commit(run, FBT_RUN_RUNNING), FBT_OK);
    hid_t first = open_file(path); /* kept open across the replacement, as a reader would */
    fixture_round(&f, 1, 0);
    assert_int_equal(fbt_run_file_add_round(run, &f.round), FBT_OK);
    read_array(first, "rounds/index", H5T_NATIVE_INT64, (int64_t[]){1, -1}, index);
    assert_int_equal(fbt_run_file_commit(run, FBT_RUN_INTERRUPTED), FBT_OK);
    read_array(first, "rounds/index", H5T_NATIVE_INT64, (int64_t[]){1, -1}, index);
    assert_string_equal(text_attribute(first, "/", "status"), "running");
    H5Fclose(first);
    hid_t second = open_file(path);
    read_array(second, "rounds/index", H5T_NATIVE_INT64, (int64_t[]){2, -1}, index);
    assert_string_equal(text_attribute(second, "/", "status"), "interrupted");
    H5Fclose(second);
    fbt_run_file_free(run);
    assert_int_equal(fixture_count_files(), 1);
}

/* A round that cannot be added leaves no trace; the run may still end with its status. */
static void failed_rounds_leave_no_trace(void **state)
{
    (void)state;
    static fixture f;
    const char *path = fixture_path("run.h5");
    fbt_run_file *run;
    int64_t index[3];
    double z[2 * FIX_D];
    fixture_init(&f);
    assert_int_equal(fbt_run_file_create(path, false, &f.header, &run), FBT_OK);
    fixture_add_rounds(&f, run, 1, 0);
    fixture_round(&f, 1, 0);
    f.round.client_condition = NULL;
    assert_int_equal(fbt_run_file_add_round(run, &f.round), FBT_ERR_ARG);
    assert_error_has("rounds/client/condition");
    fixture_round(&f, 0, 0);
    assert_int_equal(fbt_run_file_add_round(run, &f.round), FBT_ERR_ARG);
    assert_error_has("round 0 cannot follow round 0");
    fixture_round(&f, 4, 0);
    assert_int_equal(fbt_run_file_add_round(run, &f.round), FBT_OK);
    assert_int_equal(fbt_run_file_commit(run, FBT_RUN_FAILED), FBT_OK);
    hid_t file = open_file(path);
    read_array(file, "rounds/index", H5T_NATIVE_INT64, (int64_t[]){2, -1}, index);
    assert_true(index[0] == 0 && index[1] == 4);
    read_array(file, "rounds/z", H5T_NATIVE_DOUBLE, (int64_t[]){2, FIX_D, -1}, z);
    assert_memory_equal(z + FIX_D, f.z, sizeof f.z);
    H5Fclose(file);
    fbt_run_file_free(run);
}

/* A checkpoint replaces the one before, whatever arrays either had. */
static void checkpoints_replace_each_other(void **state)
{
    (void)state;
    static fixture f;
    const char *path = fixture_path("run.h5");
    fbt_run_file *run;
    const double a[3] = {1, 2, 3};
    double got[3];
    const fbt_array arrays[] = {
        {.name = "mean", .values = a, .n_values = 3}, {.name = "empty", .values = a, .n_values = 0}, {.name = NULL}};
    fixture_init(&f);
    assert_int_equal(fbt_run_file_create(path, false, &f.header, &run), FBT_OK);
    fixture_add_rounds(&f, run, 1, 0);
    assert_int_equal(fbt_run_file_set_checkpoint(run, arrays), FBT_OK);
    assert_int_equal(fbt_run_file_set_checkpoint(run, arrays), FBT_OK);
    assert_int_equal(fbt_run_file_commit(run, FBT_RUN_RUNNING), FBT_OK);
    hid_t file = open_file(path);
    read_array(file, "checkpoint/mean", H5T_NATIVE_DOUBLE, (int64_t[]){3, -1}, got);
    assert_memory_equal(got, a, sizeof a);
    read_array(file, "checkpoint/empty", H5T_NATIVE_DOUBLE, (int64_t[]){0, -1}, got);
    assert_true(H5Lexists(file, "checkpoint/covariance", H5P_DEFAULT) == 0);
    H5Fclose(file);
    fbt_run_file_free(run);
}

/* Commits rounds without end until it is killed. */
static void commit_for_ever(const char *path)
{
    static fixture f;
    fbt_run_file *run;
    fixture_init(&f);
    if (fbt_run_file_create(path, true, &f.header, &run) != FBT_OK) {
        _exit(3);
    }
    for (int64_t r = 0;; r++) {
        fixture_round(&f, r, 0);
        if (fbt_run_file_add_round(run, &f.round) != FBT_OK || fbt_run_file_commit(run, FBT_RUN_RUNNING) != FBT_OK) {
            _exit(4);
        }
    }
}

/* kill -9 at arbitrary instants: the file always opens and holds whole rounds, and a new run can take its place. */
static void killed_runs_leave_whole_files(void **state)
{
    (void)state;
    const char *path = fixture_path("run.h5");
    int n_seen = 0;
    for (int trial = 0; trial < 15; trial++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            commit_for_ever(path);
        }
        usleep(30000 + 7001 * (useconds_t)trial);
        assert_int_equal(kill(child, SIGKILL), 0);
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how));
        if (access(path, F_OK) == 0) {
            static int64_t index[100000];
            hid_t file = open_file(path);
            hid_t dataset = H5Dopen2(file, "rounds/index", H5P_DEFAULT), space = H5Dget_space(dataset);
            int64_t n = H5Sget_simple_extent_npoints(space);
            assert_true(n > 0 && n < 100000);
            read_array(file, "rounds/index", H5T_NATIVE_INT64, (int64_t[]){n, -1}, index);
            assert_true(index[n - 1] == n - 1);
            read_array(file, "rounds/cost/bytes_up", H5T_NATIVE_INT64, (int64_t[]){n, -1}, index);
            assert_true(index[n - 1] == 999 + n);
            H5Sclose(space);
            H5Dclose(dataset);
            H5Fclose(file);
            n_seen++;
        }
    }
    assert_true(n_seen > 0);
    static fixture f;
    fixture_init(&f);
    fixture_write(&f, path, 4, 0); /* also removes what the killed ones left */
    /* A kill in the middle of taking a lock over may leave the small file that gave the right to it. */
    assert_int_equal(fixture_count_files_but(".run.h5.lock."), 1);
}

/* A header of impossible sizes is a caller's mistake, not a crash. */
static void impossible_headers_are_refused(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_file *run;
    fixture_init(&f);
    f.offsets[1] = 5;
    assert_int_equal(fbt_run_file_create(fixture_path("run.h5"), false, &f.header, &run), FBT_ERR_ARG);
    assert_error_has("impossible");
    f.offsets[1] = 1;
    f.header.n_clients = 0;
    assert_int_equal(fbt_run_file_create(fixture_path("run.h5"), false, &f.header, &run), FBT_ERR_ARG);
    assert_error_has("impossible");
    fbt_run_file_free(run);
    assert_int_equal(fixture_count_files(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_is_recorded, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_is_known_before_is_recorded, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(long_settings_and_no_dev, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(commits_are_what_readers_see, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(failed_rounds_leave_no_trace, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(checkpoints_replace_each_other, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(killed_runs_leave_whole_files, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(impossible_headers_are_refused, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
