/* Run files whose objects are valid HDF5 and wrong: every reader says so in a sentence, and asks for no absurd memory.
 */
#include "test_record_fixture.h"

#include "base/status.h"
#include "record/hdf5_util.h"
#include "record/run_compare.h"
#include "record/run_reader.h"
#include "record/run_summary.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_ROUNDS = 4 };

static char path[300], sound[300]; /* of the file under test, and of one that stays sound */

static int setup(void **state)
{
    fixture_setup(state);
    snprintf(path, sizeof path, "%s", fixture_path("r.h5"));
    snprintf(sound, sizeof sound, "%s", fixture_path("sound.h5"));
    return 0;
}

/* An allocation that fails would be what a user sees, not the sanitizer's report. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* A sound run file whose root lies at the file's beginning, so that plain HDF5 may change it. */
static hid_t open_sound(void)
{
    fixture f;
    hid_t file, copy = -1;
    fixture_init(&f);
    fixture_write(&f, sound, N_ROUNDS, 0);
    assert_int_equal(fbt_hdf5_open(sound, &file), FBT_OK);
    copy = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_int_equal(fbt_hdf5_write_int(copy, "format_version", FBT_RUN_FORMAT_VERSION), FBT_OK);
    const char *const texts[] = {"status", "created", "program_version", "git_commit"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *text;
        assert_int_equal(fbt_hdf5_read_text(file, texts[i], &text), FBT_OK);
        assert_int_equal(fbt_hdf5_write_text(copy, texts[i], text), FBT_OK);
        free(text);
    }
    assert_int_equal(fbt_hdf5_write_real(copy, "wall_time_s", 1), FBT_OK);
    const char *const groups[] = {"config", "environment", "inputs", "partition", "rounds", "result", "checkpoint"};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        assert_true(H5Ocopy(file, groups[i], copy, groups[i], H5P_DEFAULT, H5P_DEFAULT) >= 0);
    }
    H5Fclose(file);
    return copy;
}

/* Puts a data set in the place of another; values NULL: none are written. Keeps the attribute `phases`. */
static void replace(hid_t file, const char *where, hid_t type, int rank, const hsize_t *dims, const void *values)
{
    hsize_t chunk[3];
    for (int i = 0; i < rank; i++) {
        chunk[i] = dims[i] < 16 ? dims[i] : 16;
    }
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(rank, dims, NULL);
    H5Pset_chunk(list, rank, chunk);
    assert_true(H5Ldelete(file, where, H5P_DEFAULT) >= 0);
    hid_t made = H5Dcreate2(file, where, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(made >= 0);
    assert_true(values == NULL || H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(made);
    H5Sclose(space);
    H5Pclose(list);
}

typedef fbt_status (*reader)(void);

static fbt_status show(void)
{
    FILE *stream = fopen("/dev/null", "w");
    const fbt_status status = fbt_run_reader_show(path, stream);
    fclose(stream);
    return status;
}

static fbt_status digest(void)
{
    char text[FBT_DIGEST_TEXT_BYTES];
    return fbt_run_reader_digest(path, text);
}

static fbt_status load_z(void)
{
    char *config;
    double *z;
    int64_t dimension, round;
    const fbt_status status = fbt_run_reader_load_z(path, "last", &config, &z, &dimension, &round);
    free(config);
    free(z);
    return status;
}

static fbt_status compare(void)
{
    fbt_run_difference difference;
    return fbt_run_compare(sound, path, N_ROUNDS, &difference);
}

static fbt_status resume(void)
{
    fbt_run_file *file;
    fbt_run_restored restored = {0};
    const fbt_status status = fbt_run_file_open(path, &file, &restored);
    fbt_run_file_free(file);
    fbt_run_restored_clear(&restored);
    return status;
}

static void a_sound_file_satisfies_all(void **state)
{
    (void)state;
    const reader readers[] = {show, digest, load_z, compare, resume};
    H5Fclose(open_sound());
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++) {
        assert_int_equal(readers[i](), FBT_OK);
    }
}

/* Breaks if a reader allocates, loops or multiplies by what a header claims before it has asked whether the file has
 * it. */
static void absurd_sizes_are_refused(void **state)
{
    (void)state;
    const hsize_t many = (hsize_t)1 << 50, wrapped = ((hsize_t)1 << 61) + 1;
    const struct {
        const char *where;
        int rank;
        hsize_t dims[3];
        reader read;
        const char *sentence;
    } cases[] = {
        {"rounds/index", 1, {many}, show, "rounds/index claims 1125899906842624 values"},
        {"rounds/train_loss", 1, {many}, load_z, "rounds/train_loss claims 1125899906842624 values"},
        {"rounds/cost/seconds", 2, {N_ROUNDS, many}, show, "attribute phases is missing"},
        {"rounds/z", 2, {N_ROUNDS, many}, load_z, "rounds/z claims 4503599627370496 values"},
        {"rounds/z", 2, {N_ROUNDS, wrapped}, load_z, "rounds/z claims more values than any file can hold"},
        {"rounds/z",
         2,
         {1, wrapped},
         digest,
         "rounds/z claims 2305843009213693953 values"}, /* a row of 8 bytes, modulo 2^64 */
        {"rounds/z", 2, {many, 1}, digest, "rounds/z claims 1125899906842624 values"},
        {"rounds/z", 2, {N_ROUNDS, wrapped}, compare, "rounds/z claims more values than any file can hold"},
        {"rounds/client/mean", 3, {N_ROUNDS, many, many}, compare, "rounds/client/mean claims more values"},
        {"rounds/client/mean", 3, {N_ROUNDS, many, many}, digest, "rounds/client/mean claims more values"},
        {"rounds/participants", 2, {N_ROUNDS, many}, digest, "rounds/participants claims 4503599627370496 values"},
        {"partition/sample_offsets", 1, {many}, digest, "partition/sample_offsets claims 1125899906842624 values"},
        {"result/best_z", 1, {many}, digest, "best_z claims 1125899906842624 values"},
        {"result/best_prompt", 2, {many, 3}, digest, "best_prompt claims 3377699720527872 values"},
        {"checkpoint/mean", 1, {many}, resume, "mean claims 1125899906842624 values"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hid_t file = open_sound();
        replace(file, cases[i].where, H5T_IEEE_F64LE, cases[i].rank, cases[i].dims, NULL);
        H5Fclose(file);
        const fbt_status status = cases[i].read();
        if (status == FBT_OK) {
            fail_msg("%s: no error", cases[i].sentence);
        }
        assert_error_has(cases[i].sentence);
    }
}

/* Breaks if numbers of rounds are converted to integers unseen, or a round is found by an index that occurs twice. */
static void rounds_that_do_not_rise_are_refused(void **state)
{
    (void)state;
    const struct {
        double index[N_ROUNDS];
        const char *sentence;
    } cases[] = {
        {{0, 1, 2, NAN}, "rounds/index: row 3 has the value nan, which is no count"},
        {{0, 1, 2, 1e300}, "rounds/index: row 3 has the value 1e+300, which is no count"},
        {{0, 0.5, 2, 3}, "rounds/index: row 1 has the value 0.5, which is no count"},
        {{0, 2, 2, 3}, "rounds/index: row 2 has round 2: rounds do not rise"},
        {{-1, 0, 1, 2}, "rounds/index: row 0 has round -1: rounds do not rise"},
        {{0, 1, 3, 2}, "rounds/index: row 3 has round 2: rounds do not rise"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hid_t file = open_sound();
        replace(file, "rounds/index", H5T_IEEE_F64LE, 1, &(hsize_t){N_ROUNDS}, cases[i].index);
        H5Fclose(file);
        const reader readers[] = {show, load_z, resume};
        for (size_t k = 0; k < sizeof readers / sizeof readers[0]; k++) {
            assert_int_equal(readers[k](), FBT_ERR_DATA);
            assert_error_has(cases[i].sentence);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sound_file_satisfies_all, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(absurd_sizes_are_refused, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(rounds_that_do_not_rise_are_refused, setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
