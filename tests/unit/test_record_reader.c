/* Reading run files: the digest, the table, JSON, and z of a chosen round. */
#include "test_record_fixture.h"

#include "base/status.h"
#include "record/run_reader.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 5 };

static const char *digest_of(const char *path)
{
    static char texts[4][FBT_DIGEST_TEXT_BYTES];
    static int next;
    char *text = texts[next++ % 4];
    if (fbt_run_reader_digest(path, text) != FBT_OK) {
        fail_msg("%s", fbt_error_message());
    }
    assert_int_equal(strlen(text), 64);
    return text;
}

static void timings_and_hosts_do_not_count(void **state)
{
    (void)state;
    static fixture f;
    const fbt_run_text elsewhere[] = {{"hosts", "nodeB,nodeC"}, {"ranks", "7"}, {"more", "yes"}, {NULL, NULL}};
    fixture_init(&f);
    fixture_write(&f, fixture_path("a.h5"), N, 0);
    f.header.environment = elsewhere;
    f.header.config_given = "other";
    f.header.config_resolved = "backend:\n  threads: 2\n";
    fixture_write(&f, fixture_path("b.h5"), N, 0.5);
    assert_string_equal(digest_of(fixture_path("a.h5")), digest_of(fixture_path("b.h5")));
}

/* Flips the lowest bit of byte `byte` of a data set. */
static void flip(const char *path, const char *name, hid_t type, size_t byte)
{
    static unsigned char values[100000];
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), dataset = H5Dopen2(file, name, H5P_DEFAULT);
    assert_true(dataset >= 0);
    assert_true(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    values[byte] ^= 1;
    assert_true(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    H5Fclose(file);
    fixture_seal(path);
}

static void one_bit_counts(void **state)
{
    (void)state;
    static fixture f;
    const struct {
        const char *name;
        hid_t type;
        size_t byte;
        bool counts;
    } cases[] = {
        {"rounds/z", H5T_NATIVE_DOUBLE, 8 * (2 * FIX_D + 3), true},
        {"rounds/z", H5T_NATIVE_DOUBLE, 8 * (N * FIX_D - 1) + 7, true},
        {"rounds/index", H5T_NATIVE_INT64, 8, true},
        {"rounds/train_loss", H5T_NATIVE_DOUBLE, 0, true},
        {"rounds/participants", H5T_NATIVE_INT64, 8 * FIX_M, true},
        {"rounds/client/mean", H5T_NATIVE_DOUBLE, 8 * FIX_M * FIX_D + 80, true},
        {"rounds/client/evaluations", H5T_NATIVE_INT64, 40, true},
        {"rounds/cost/tokens", H5T_NATIVE_INT64, 16, true},
        {"partition/sample_index", H5T_NATIVE_INT32, 0, true},
        {"partition/class_count", H5T_NATIVE_INT32, 8, true},
        {"checkpoint/covariance", H5T_NATIVE_DOUBLE, 8 * FIX_D, true},
        {"result/best_prompt", H5T_NATIVE_FLOAT, 4, true},
        {"rounds/cost/seconds", H5T_NATIVE_DOUBLE, 8, false},
        {"rounds/cost/peak_memory", H5T_NATIVE_INT64, 8, false},
        {"rounds/cost/energy_cpu", H5T_NATIVE_DOUBLE, 8, false},
        {"rounds/epsilon", H5T_NATIVE_DOUBLE, 8, false},
    };
    fixture_init(&f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = fixture_path("a.h5");
        fixture_write(&f, path, N, 0);
        const char *before = digest_of(path);
        flip(path, cases[i].name, cases[i].type, cases[i].byte);
        const char *after = digest_of(path);
        if ((strcmp(before, after) != 0) != cases[i].counts) {
            fail_msg("%s byte %zu", cases[i].name, cases[i].byte);
        }
    }
}

/* A NaN is a NaN, whatever its sign and payload; a number is not one. */
static void nans_are_one_value(void **state)
{
    (void)state;
    static fixture f;
    const char *path = fixture_path("a.h5");
    fixture_init(&f);
    fixture_write(&f, path, N, 0);
    const char *before = digest_of(path);
    flip(path, "rounds/test_f1", H5T_NATIVE_DOUBLE, 3);
    assert_string_equal(digest_of(path), before);
}

static void rounds_and_choice_count(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_file *run;
    fixture_init(&f);
    fixture_write(&f, fixture_path("a.h5"), N, 0);
    fixture_write(&f, fixture_path("b.h5"), N - 1, 0);
    assert_string_not_equal(digest_of(fixture_path("a.h5")), digest_of(fixture_path("b.h5")));
    assert_int_equal(fbt_run_file_create(fixture_path("c.h5"), true, &f.header, &run), FBT_OK);
    fixture_add_rounds(&f, run, N, 0);
    fixture_set_result(&f, run, 3, N);
    assert_int_equal(fbt_run_file_commit(run, FBT_RUN_RUNNING), FBT_OK);
    assert_string_equal(digest_of(fixture_path("a.h5")), digest_of(fixture_path("c.h5"))); /* the status does not */
    hid_t file = H5Fopen(fixture_path("c.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t group = H5Gopen2(file, "result", H5P_DEFAULT), attribute = H5Aopen(group, "best_round", H5P_DEFAULT);
    int64_t other = 2;
    fbt_run_file_free(run);
    assert_true(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, &other) >= 0);
    H5Aclose(attribute);
    H5Gclose(group);
    H5Fclose(file);
    fixture_seal(fixture_path("c.h5"));
    assert_string_not_equal(digest_of(fixture_path("a.h5")), digest_of(fixture_path("c.h5")));
}

/* Copies every data set with its values but contiguous, big-endian and without attributes. */
static herr_t copy_plainly(hid_t source, const char *name, const H5O_info_t *info, void *target)
{
    static char values[200000];
    if (info->type != H5O_TYPE_DATASET) {
        return 0;
    }
    hid_t from = H5Dopen2(source, name, H5P_DEFAULT), space = H5Dget_space(from), own = H5Dget_type(from);
    hid_t type = H5Tget_native_type(own, H5T_DIR_ASCEND), stored = H5Tcopy(type), list = H5Pcreate(H5P_LINK_CREATE);
    if (H5Tget_size(type) > 1) {
        H5Tset_order(stored, H5T_ORDER_BE);
    }
    hsize_t dims[4];
    int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    hid_t plain = H5Screate_simple(rank, dims, NULL);
    H5Pset_create_intermediate_group(list, 1);
    hid_t to = H5Dcreate2(*(hid_t *)target, name, stored, plain, list, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = H5Dread(from, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0 &&
              H5Dwrite(to, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    H5Dclose(to);
    H5Sclose(plain);
    H5Pclose(list);
    H5Tclose(stored);
    H5Tclose(type);
    H5Tclose(own);
    H5Sclose(space);
    H5Dclose(from);
    return ok ? 0 : -1;
}

static void storage_does_not_count(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_file *run;
    fixture_init(&f);
    assert_int_equal(fbt_run_file_create(fixture_path("a.h5"), true, &f.header, &run), FBT_OK);
    fixture_add_rounds(&f, run, N, 0);
    assert_int_equal(fbt_run_file_commit(run, FBT_RUN_RUNNING), FBT_OK);
    fbt_run_file_free(run);
    hid_t source = H5Fopen(fixture_path("a.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t target = H5Fcreate(fixture_path("b.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t version = H5Acreate2(target, "format_version", H5T_STD_I8BE, space, H5P_DEFAULT, H5P_DEFAULT);
    int two = 2;
    assert_true(H5Awrite(version, H5T_NATIVE_INT, &two) >= 0);
    H5Aclose(version);
    H5Sclose(space);
    assert_true(H5Ovisit2(source, H5_INDEX_NAME, H5_ITER_DEC, copy_plainly, &target, H5O_INFO_BASIC) >= 0);
    H5Fclose(target);
    H5Fclose(source);
    assert_string_equal(digest_of(fixture_path("a.h5")),
                        digest_of(fixture_path("b.h5"))); /* nor does it that b has no seal */
    fixture_seal(fixture_path("b.h5"));
    assert_string_equal(digest_of(fixture_path("a.h5")), digest_of(fixture_path("b.h5")));
}

static void z_of_a_round(void **state)
{
    (void)state;
    static fixture f;
    const char *path = fixture_path("a.h5");
    const struct {
        const char *which;
        int64_t round;
    } cases[] = {{"best", 3}, {"last", 4}, {"0", 0}, {"2", 2}};
    fixture_init(&f);
    fixture_write(&f, path, N, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *config;
        double *z;
        int64_t dimension, round;
        assert_int_equal(fbt_run_reader_load_z(path, cases[i].which, &config, &z, &dimension, &round), FBT_OK);
        assert_int_equal(round, cases[i].round);
        assert_int_equal(dimension, FIX_D);
        assert_string_equal(config, f.header.config_resolved);
        fixture_round(&f, cases[i].round, 0);
        assert_memory_equal(z, f.z, sizeof f.z);
        free(config);
        free(z);
    }
}

static void assert_no_z(const char *path, const char *which, fbt_status expected, const char *part)
{
    char *config = (char *)1;
    double *z = (double *)1;
    int64_t dimension, round;
    assert_int_equal(fbt_run_reader_load_z(path, which, &config, &z, &dimension, &round), expected);
    assert_null(config);
    assert_null(z);
    assert_error_has(part);
}

static void rounds_that_are_not_there(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_file *run;
    const char *path = fixture_path("a.h5");
    fixture_init(&f);
    assert_int_equal(fbt_run_file_create(path, true, &f.header, &run), FBT_OK);
    assert_int_equal(fbt_run_file_commit(run, FBT_RUN_RUNNING), FBT_OK);
    assert_no_z(path, "last", FBT_ERR_DATA, "has no rounds yet");
    fixture_round(&f, 0, 0);
    f.round.dev_accuracy = NAN;
    assert_int_equal(fbt_run_file_add_round(run, &f.round), FBT_OK);
    assert_int_equal(fbt_run_file_commit(run, FBT_RUN_INTERRUPTED), FBT_OK);
    assert_no_z(path, "best", FBT_ERR_DATA, "no best round, because the run had no dev samples");
    assert_no_z(path, "7", FBT_ERR_DATA, "has no round 7; its last is 0");
    assert_no_z(path, "-1", FBT_ERR_USAGE, "'-1' names no round");
    assert_no_z(path, "1x", FBT_ERR_USAGE, "'1x' names no round");
    assert_no_z(path, "", FBT_ERR_USAGE, "'' names no round");
    fbt_run_file_free(run);
}

/* An unfinished run's best round follows the rule: dev accuracy, then dev loss, then the earlier one. */
static void best_of_an_unfinished_run(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_file *run;
    char *config;
    double *z;
    int64_t dimension, round;
    fixture_init(&f);
    assert_int_equal(fbt_run_file_create(fixture_path("a.h5"), true, &f.header, &run), FBT_OK);
    for (int64_t r = 0; r < N; r++) {
        fixture_round(&f, r, 0);
        f.round.dev_accuracy = r == 0 ? NAN : r == 4 ? 0.5 : 0.75;
        f.round.dev_loss = r == 1 ? 1.5 : 1.25;
        assert_int_equal(fbt_run_file_add_round(run, &f.round), FBT_OK);
    }
    assert_int_equal(fbt_run_file_commit(run, FBT_RUN_INTERRUPTED), FBT_OK);
    fbt_run_file_free(run);
    assert_int_equal(fbt_run_reader_load_z(fixture_path("a.h5"), "best", &config, &z, &dimension, &round), FBT_OK);
    assert_int_equal(round, 2);
    free(config);
    free(z);
}

static char *captured(fbt_status (*show)(const char *, FILE *), const char *path)
{
    char *text;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);
    assert_int_equal(show(path, stream), FBT_OK);
    fclose(stream);
    return text;
}

static void table_for_people(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f);
    fixture_write(&f, fixture_path("a.h5"), N, 0);
    char *text = captured(fbt_run_reader_show, fixture_path("a.h5"));
    const char *const parts[] = {"status                 finished",
                                 "  clients: 3",
                                 "hosts                  nodeA",
                                 "task                   toy",
                                 "train loss",
                                 "1.3000",
                                 " best\n",
                                 " last\n",
                                 "-"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strstr(text, parts[i]) == NULL) {
            fail_msg("no '%s' in\n%s", parts[i], text);
        }
    }
    assert_null(strstr(text, " F1")); /* with a blank: the name of the folder may hold these letters */
    assert_null(strstr(text, " nan"));
    free(text);
}

static void json_for_programs(void **state)
{
    (void)state;
    static fixture f;
    json_error_t error;
    fixture_init(&f);
    fixture_write(&f, fixture_path("a.h5"), N, 0);
    char *text = captured(fbt_run_reader_show_json, fixture_path("a.h5"));
    json_t *run = json_loads(text, 0, &error);
    if (run == NULL) {
        fail_msg("%s in\n%s", error.text, text);
    }
    json_t *rounds = json_object_get(run, "rounds"), *round = json_array_get(rounds, 1);
    assert_int_equal(json_array_size(rounds), N);
    assert_string_equal(json_string_value(json_object_get(run, "status")), "finished");
    assert_int_equal(json_integer_value(json_object_get(run, "best_round")), 3);
    assert_string_equal(json_string_value(json_object_get(json_object_get(run, "environment"), "ranks")), "4");
    assert_string_equal(json_string_value(json_object_get(json_object_get(run, "config"), "given")),
                        f.header.config_given);
    assert_true(json_real_value(json_object_get(round, "train_loss")) == 1.3 - 0.1);
    assert_true(json_is_null(json_object_get(round, "test_accuracy")));
    assert_int_equal(json_integer_value(json_object_get(round, "bytes_down")), 2001);
    assert_true(json_real_value(json_object_get(round, "energy_cpu")) == 41);
    assert_true(json_is_null(json_object_get(round, "energy_gpu")));
    fixture_round(&f, 1, 0);
    assert_true(json_real_value(json_object_get(json_object_get(round, "seconds"), "search")) == f.seconds[1]);
    json_decref(run);
    free(text);
}

static void files_that_are_no_runs(void **state)
{
    (void)state;
    char text[FBT_DIGEST_TEXT_BYTES];
    const char *path = fixture_path("other.h5");
    assert_int_equal(fbt_run_reader_digest(fixture_path("none.h5"), text), FBT_ERR_IO);
    assert_error_has("none.h5 cannot be opened: No such file");
    assert_int_equal(fbt_run_reader_digest("/tmp", text), FBT_ERR_IO);
    assert_error_has("/tmp is not a regular file");
    FILE *file = fopen(path, "wb");
    fputs("not HDF5", file);
    fclose(file);
    assert_int_equal(fbt_run_reader_digest(path, text), FBT_ERR_IO);
    assert_error_has("is not an HDF5 file");
    H5Fclose(H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
    assert_int_equal(fbt_run_reader_digest(path, text), FBT_ERR_DATA);
    assert_error_has("is an HDF5 file, but not a run file");
}

static void truncated_runs_are_told(void **state)
{
    (void)state;
    static fixture f;
    char text[FBT_DIGEST_TEXT_BYTES];
    struct stat info;
    const char *path = fixture_path("a.h5");
    fixture_init(&f);
    fixture_write(&f, path, N, 0);
    assert_int_equal(stat(path, &info), 0);
    for (off_t size = info.st_size - 1; size > 0; size -= 1 + size / 9) {
        assert_int_equal(truncate(path, size), 0);
        assert_int_equal(fbt_run_reader_digest(path, text), FBT_ERR_IO);
        assert_error_has("a.h5");
    }
}

static fbt_status digest_only(const char *path)
{
    char text[FBT_DIGEST_TEXT_BYTES];
    return fbt_run_reader_digest(path, text);
}

/* Broken where HDF5 reads a file before its seal is compared: it crashes on some of these. */
static void any_flipped_bit_is_told(void **state)
{
    (void)state;
    static fixture f;
    fixture_init(&f);
    fixture_write(&f, fixture_path("a.h5"), N, 0);
    fixture_assert_damage_is_told(fixture_path("a.h5"), digest_only);
}

/* A fault inside a run file names the file, too. */
static void damaged_runs_are_named(void **state)
{
    (void)state;
    static fixture f;
    char text[FBT_DIGEST_TEXT_BYTES], *shown = NULL;
    size_t n_bytes;
    const char *path = fixture_path("a.h5");
    static const char *const removed[] = {"rounds/z", "rounds/cost/seconds", "rounds/dev_loss", "config"};
    for (size_t i = 0; i < sizeof removed / sizeof removed[0]; i++) {
        fixture_init(&f);
        fixture_write(&f, path, N, 0);
        hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(H5Ldelete(file, removed[i], H5P_DEFAULT) >= 0);
        H5Fclose(file);
        fixture_seal(path);
        assert_no_z(path, "last", FBT_ERR_IO, "a.h5: ");
        assert_int_equal(fbt_run_reader_digest(path, text), FBT_OK);
        FILE *stream = open_memstream(&shown, &n_bytes);
        fbt_status status = fbt_run_reader_show(path, stream);
        assert_int_equal(status, i == 0 ? FBT_OK : FBT_ERR_IO);
        if (status != FBT_OK) {
            assert_error_has("a.h5: ");
        }
        fclose(stream);
        free(shown);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timings_and_hosts_do_not_count, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(one_bit_counts, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(nans_are_one_value, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(rounds_and_choice_count, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(storage_does_not_count, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(z_of_a_round, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(rounds_that_are_not_there, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(best_of_an_unfinished_run, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(table_for_people, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(json_for_programs, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(files_that_are_no_runs, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(truncated_runs_are_told, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(any_flipped_bit_is_told, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(damaged_runs_are_named, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
