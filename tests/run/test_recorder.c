/* The recorder by itself, on made-up rounds: it claims, refuses, chooses the best round, goes on, and says how it
 * ended. */
#include "test_record_fixture.h"

#include "base/status.h"
#include "run/recorder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const double none[] = {0};
static const fbt_array checkpoint[] = {{.name = "mean", .type = FBT_ARRAY_FLOAT64, .values = none, .n_values = 1},
                                       {.name = NULL}};

/* Adds round r with these dev scores. */
static void add(fbt_recorder *r, fixture *f, int64_t index, double accuracy, double loss)
{
    fixture_round(f, index, 0);
    f->round.dev_accuracy = accuracy;
    f->round.dev_loss = loss;
    const fbt_recorder_round round = {.row = &f->round, .prompt = f->prompt, .checkpoint = checkpoint};
    if (fbt_recorder_add(r, &round) != FBT_OK) {
        fail_msg("%s", fbt_error_message());
    }
}

static fbt_run_restored restored_of(const char *path)
{
    fbt_run_restored restored = {0};
    if (fbt_run_restored_read(path, &restored) != FBT_OK) {
        fail_msg("%s", fbt_error_message());
    }
    return restored;
}

/* A run file of three rounds, of which round 1 is the best. */
static void make_run(fixture *f, const char *path, fbt_status end)
{
    fbt_recorder r = {0};
    assert_int_equal(fbt_recorder_create(&r, path, false, &f->header), FBT_OK);
    add(&r, f, 0, 0.5, 1.0);
    add(&r, f, 1, 0.75, 0.9);
    add(&r, f, 2, 0.75, 0.95);
    assert_int_equal(r.best.index, 1);
    assert_int_equal(fbt_recorder_commit(&r, FBT_RUN_RUNNING), FBT_OK);
    fbt_recorder_close(&r, end);
}

/* The same, opened to be gone on with. */
static void make_and_open(fixture *f, const char *path, fbt_run_file **file, fbt_run_restored *restored)
{
    *file = NULL;
    *restored = (fbt_run_restored){0};
    fixture_init(f);
    make_run(f, path, FBT_OK);
    assert_int_equal(fbt_run_file_open(path, file, restored), FBT_OK);
}

/* Broken by an order that is not accuracy, then loss, then time; by rounds without a dev score that count. */
static void the_best_round_is_the_first_of_the_most_accurate_with_the_least_loss(void **state)
{
    (void)state;
    static const struct {
        double accuracy, loss;
        int64_t best;
    } rounds[] = {{NAN, NAN, -1}, {0.5, 2, 1}, {0.5, 2, 1}, {0.5, 1.5, 3}, {0.25, 0.1, 3}, {NAN, NAN, 3}, {0.75, 9, 6}};
    fixture f;
    fbt_recorder r = {0};
    fixture_init(&f);
    assert_int_equal(fbt_recorder_create(&r, fixture_path("r.h5"), false, &f.header), FBT_OK);
    assert_int_equal(r.best.index, -1);
    for (int64_t i = 0; i < (int64_t)(sizeof rounds / sizeof rounds[0]); i++) {
        add(&r, &f, i, rounds[i].accuracy, rounds[i].loss);
        assert_int_equal(r.best.index, rounds[i].best);
    }
    assert_int_equal(fbt_recorder_commit(&r, FBT_RUN_FINISHED), FBT_OK);
    fbt_recorder_close(&r, FBT_OK);
    fbt_run_restored restored = restored_of(fixture_path("r.h5"));
    assert_int_equal(restored.best.index, 6);
    assert_true(restored.run_status == FBT_RUN_FINISHED && restored.last_round == 6);
    fbt_run_restored_clear(&restored);
}

/* Broken by a file that is replaced unasked, and by a path that two processes may write. */
static void a_path_that_is_taken_is_refused(void **state)
{
    (void)state;
    fixture f;
    fbt_recorder first = {0}, second = {0};
    int code;
    fixture_init(&f);
    make_run(&f, fixture_path("taken.h5"), FBT_OK);
    assert_int_equal(fbt_recorder_create(&second, fixture_path("taken.h5"), false, &f.header), FBT_ERR_IO);
    assert_error_has("exists");
    fbt_recorder_close(&second, FBT_ERR_IO);
    fbt_run_restored restored = restored_of(fixture_path("taken.h5"));
    assert_true(restored.run_status == FBT_RUN_RUNNING && restored.last_round == 2); /* as it was */
    fbt_run_restored_clear(&restored);

    assert_int_equal(fbt_recorder_create(&first, fixture_path("claimed.h5"), false, &f.header), FBT_OK);
    const pid_t child = fork();
    if (child == 0) {
        _exit(fbt_recorder_create(&second, fixture_path("claimed.h5"), true, &f.header) == FBT_ERR_IO ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    fbt_recorder_close(&first, FBT_OK);
    assert_int_not_equal(access(fixture_path("claimed.h5"), F_OK), 0); /* nothing was committed */
    assert_int_equal(fbt_recorder_create(&second, fixture_path("claimed.h5"), false, &f.header), FBT_OK);
    fbt_recorder_close(&second, FBT_OK);
}

/* Broken by a best round that is forgotten, and by a file that has two owners. */
static void a_run_goes_on_with_what_was_best(void **state)
{
    (void)state;
    fixture f;
    fbt_recorder r = {0};
    fbt_run_file *file;
    fbt_run_restored restored;
    const char *path = fixture_path("r.h5");
    make_and_open(&f, path, &file, &restored);
    if (fbt_recorder_continue(&r, &file, &restored, &f.header) != FBT_OK) {
        fail_msg("%s", fbt_error_message());
    }
    assert_null(file);
    fbt_run_restored_clear(&restored);
    add(&r, &f, 3, 0.75, 0.925); /* as accurate, not better */
    assert_int_equal(r.best.index, 1);
    add(&r, &f, 4, 0.75, 0.875);
    assert_int_equal(r.best.index, 4);
    assert_int_equal(fbt_recorder_commit(&r, FBT_RUN_INTERRUPTED), FBT_OK);
    fbt_recorder_close(&r, FBT_OK);
    restored = restored_of(path);
    assert_true(restored.best.index == 4 && restored.last_round == 4 && restored.run_status == FBT_RUN_INTERRUPTED);
    fbt_run_restored_clear(&restored);
}

/* Broken by a file that is taken over although it is of another study, or is kept claimed then. */
static void another_study_does_not_go_on(void **state)
{
    (void)state;
    fixture f;
    fbt_recorder r = {0};
    fbt_run_file *file;
    fbt_run_restored restored;
    const char *path = fixture_path("r.h5");
    make_and_open(&f, path, &file, &restored);
    f.header.dimension = FIX_D + 1;
    assert_int_equal(fbt_recorder_continue(&r, &file, &restored, &f.header), FBT_ERR_DATA);
    assert_null(file);
    fbt_recorder_close(&r, FBT_ERR_DATA);
    fbt_error_clear();
    fbt_run_restored_clear(&restored);
    restored = restored_of(path);
    assert_int_equal(restored.run_status, FBT_RUN_RUNNING); /* as it was */
    fbt_run_restored_clear(&restored);
}

/* Broken by an end that is not written, or takes a full disk for a fault of the run. */
static void the_file_says_how_it_ended(void **state)
{
    (void)state;
    static const struct {
        fbt_status end;
        fbt_run_status recorded;
    } ends[] = {{FBT_OK, FBT_RUN_RUNNING}, {FBT_ERR_NUMERIC, FBT_RUN_FAILED}, {FBT_ERR_STORAGE, FBT_RUN_INTERRUPTED}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        fixture f;
        char name[] = "0.h5";
        name[0] = (char)('0' + i);
        fixture_init(&f);
        make_run(&f, fixture_path(name), ends[i].end);
        fbt_run_restored restored = restored_of(fixture_path(name));
        assert_int_equal(restored.run_status, ends[i].recorded);
        assert_int_equal(restored.last_round, 2);
        fbt_run_restored_clear(&restored);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_best_round_is_the_first_of_the_most_accurate_with_the_least_loss,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_path_that_is_taken_is_refused, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_run_goes_on_with_what_was_best, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(another_study_does_not_go_on, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(the_file_says_how_it_ended, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
