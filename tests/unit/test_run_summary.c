/* The line that a sweep tells of a run file. */
#include "test_record_fixture.h"

#include "base/status.h"
#include "record/run_summary.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* Rounds 0 .. 3, of which round r has dev accuracy dev[r] and test accuracy 0.1 (r + 1). */
static const char *write_run(const double dev[4], int64_t best, fbt_run_status run_status)
{
    static fixture f;
    fbt_run_file *file;
    const char *path = fixture_path("run.h5");
    fixture_init(&f);
    assert_int_equal(fbt_run_file_create(path, true, &f.header, &file), FBT_OK);
    for (int64_t r = 0; r < 4; r++) {
        fixture_round(&f, r, 0);
        f.round.dev_accuracy = dev[r];
        f.round.dev_loss = isnan(dev[r]) ? NAN : 1;
        f.round.test_accuracy = 0.1 * (double)(r + 1);
        assert_int_equal(fbt_run_file_add_round(file, &f.round), FBT_OK);
    }
    fixture_set_result(&f, file, best, 4);
    assert_int_equal(fbt_run_file_commit(file, run_status), FBT_OK);
    fbt_run_file_free(file);
    return path;
}

static void the_best_round_on_dev_is_told_with_its_test_score(void **state)
{
    (void)state;
    fbt_run_summary s = {0};
    const double dev[4] = {0.5, 0.625, 0.75, 0.25};
    assert_int_equal(fbt_run_summary_read(write_run(dev, 2, FBT_RUN_INTERRUPTED), &s), FBT_OK);
    assert_true(s.exists);
    assert_int_equal(s.run_status, FBT_RUN_INTERRUPTED);
    assert_int_equal(s.last_round, 3);
    assert_int_equal(s.best_round, 2);
    assert_true(s.dev_accuracy == 0.75 && s.test_accuracy == 0.1 * 3);
    assert_non_null(s.config_resolved);
    fbt_run_summary_clear(&s);
}

static void without_dev_samples_the_last_round_is_told(void **state)
{
    (void)state;
    fbt_run_summary s = {0};
    const double dev[4] = {NAN, NAN, NAN, NAN};
    assert_int_equal(fbt_run_summary_read(write_run(dev, -1, FBT_RUN_FINISHED), &s), FBT_OK);
    assert_int_equal(s.run_status, FBT_RUN_FINISHED);
    assert_int_equal(s.best_round, -1);
    assert_true(isnan(s.dev_accuracy) && s.test_accuracy == 0.1 * 4);
    fbt_run_summary_clear(&s);
}

static void no_file_is_no_failure_and_a_damaged_one_is(void **state)
{
    (void)state;
    fbt_run_summary s = {0};
    assert_int_equal(fbt_run_summary_read(fixture_path("none.h5"), &s), FBT_OK);
    assert_false(s.exists);
    FILE *file = fopen(fixture_path("text.h5"), "w");
    fputs("no HDF5", file);
    fclose(file);
    assert_int_equal(fbt_run_summary_read(fixture_path("text.h5"), &s), FBT_ERR_IO);
    assert_error_has("text.h5");
    fbt_run_summary_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_best_round_on_dev_is_told_with_its_test_score, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(without_dev_samples_the_last_round_is_told, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(no_file_is_no_failure_and_a_damaged_one_is, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
