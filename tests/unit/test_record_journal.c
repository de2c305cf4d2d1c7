/* The rounds that a run file does not have yet: whatever a kill leaves of them is gone on with, or told. */
#include "test_record_fixture.h"

#include "base/status.h"
#include "record/run_reader.h"
#include "record/seal.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 6, N_LONG = 40, N_KILLS = 60, FILE_BYTES = 1 << 20 };

/* The clock, set on at each look, so that run files are written as often as records are appended. */
static double set_on_s, step_s;
double __real_fbt_timer_now_s(void);
double __wrap_fbt_timer_now_s(void);

double __wrap_fbt_timer_now_s(void)
{
    return __real_fbt_timer_now_s() + (set_on_s += step_s);
}

typedef struct contents {
    char bytes[FILE_BYTES];
    size_t n;
} contents;

static const char *run_path(void)
{
    return fixture_path("run.h5");
}

static const char *journal_path(void)
{
    return fixture_path("run.h5.journal");
}

static void read_all(const char *path, contents *c)
{
    FILE *file = fopen(path, "rb");
    c->n = file == NULL ? 0 : fread(c->bytes, 1, sizeof c->bytes, file);
    assert_true(c->n < sizeof c->bytes);
    if (file != NULL) {
        fclose(file);
    }
}

static void write_all(const char *path, const contents *c, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(c->bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static const char *digest_of(const char *path)
{
    static char text[FBT_DIGEST_TEXT_BYTES];
    assert_int_equal(fbt_run_reader_digest(path, text), FBT_OK);
    return text;
}

static void add_round(fixture *f, fbt_run_file *file, int64_t r)
{
    const fbt_array checkpoint[] = {{.name = "mean", .values = f->z, .n_values = FIX_D},
                                    {.name = "rounds", .type = FBT_ARRAY_INT64, .values = &r, .n_values = 1},
                                    {.name = NULL}};
    fixture_round(f, r, 0.5);
    assert_int_equal(fbt_run_file_add_round(file, &f->round), FBT_OK);
    fixture_set_result(f, file, r < 3 ? r : 3, r + 1);
    assert_int_equal(fbt_run_file_set_checkpoint(file, checkpoint), FBT_OK);
}

/* Rounds first .. last, each committed; the status after the last. */
static void add_rounds(fixture *f, fbt_run_file *file, int64_t first, int64_t last, fbt_run_status run_status)
{
    for (int64_t r = first; r <= last; r++) {
        add_round(f, file, r);
        assert_int_equal(fbt_run_file_commit(file, r == last ? run_status : FBT_RUN_RUNNING), FBT_OK);
    }
}

/* Leaves the files of a run that is killed after round `last`. */
static void leave(fixture *f, int64_t last)
{
    fbt_run_file *file;
    fixture_init(f);
    assert_int_equal(fbt_run_file_create(run_path(), true, &f->header, &file), FBT_OK);
    add_rounds(f, file, 0, last, FBT_RUN_RUNNING);
    fbt_run_file_free(file);
}

/* Digest of a file that ends with each of rounds 0 .. N. */
static void make_digests(fixture *f, const char *digests[N + 1])
{
    fixture_init(f);
    for (int64_t last = 0; last <= N; last++) {
        fbt_run_file *file;
        const char *path = fixture_path("whole.h5");
        assert_int_equal(fbt_run_file_create(path, true, &f->header, &file), FBT_OK);
        add_rounds(f, file, 0, last, FBT_RUN_FINISHED);
        fbt_run_file_free(file);
        assert_int_equal(access(fixture_path("whole.h5.journal"), F_OK), -1);
        static char kept[N + 1][FBT_DIGEST_TEXT_BYTES];
        digests[last] = strcpy(kept[last], digest_of(path));
    }
    unlink(fixture_path("whole.h5"));
}

/* Opens what is there to go on with it, and gives its last round; -1: refused. */
static int64_t open_last(void)
{
    fbt_run_restored restored = {0};
    fbt_run_file *file = NULL;
    int64_t last = -1;
    if (fbt_run_file_open(run_path(), &file, &restored) == FBT_OK) {
        last = restored.last_round;
        assert_int_equal(*(const int64_t *)restored.checkpoint[1].values, last);
    }
    fbt_run_restored_clear(&restored);
    fbt_run_file_free(file);
    return last;
}

/* Whether the table for people tells of n rounds in a journal; n 0: of none. */
static void assert_shows_journal(int n)
{
    char *text, line[64];
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);
    assert_int_equal(fbt_run_reader_show(run_path(), stream), FBT_OK);
    fclose(stream);
    snprintf(line, sizeof line, n > 0 ? "  %d more in " : " more in ", n);
    assert_int_equal(strstr(text, line) != NULL, n > 0);
    free(text);
}

/* The run file itself is whole, but old; opening takes up what it lacks, and the journal goes. */
static void a_killed_run_has_all_its_rounds(void **state)
{
    (void)state;
    static fixture f;
    const char *digests[N + 1];
    make_digests(&f, digests);
    leave(&f, N);
    assert_int_equal(access(journal_path(), F_OK), 0);
    assert_string_not_equal(digest_of(run_path()), digests[N]);
    assert_shows_journal(N);
    assert_int_equal(open_last(), N);
    assert_shows_journal(0);
    assert_string_equal(digest_of(run_path()), digests[N]);
    assert_int_equal(access(journal_path(), F_OK), -1);
    assert_int_equal(fixture_count_files(), 1);
}

/* A kill in the middle of a write leaves a part of a record, of the head too: all whole rounds are there. */
static void cut_anywhere(void **state)
{
    (void)state;
    static fixture f;
    static contents run, journal;
    const char *digests[N + 1];
    int64_t before = 0;
    bool seen[N + 1] = {false};
    make_digests(&f, digests);
    leave(&f, N);
    read_all(run_path(), &run);
    read_all(journal_path(), &journal);
    for (size_t n = 0; n <= journal.n; n += n < journal.n && journal.n - n < 97 ? journal.n - n : 97) {
        write_all(run_path(), &run, run.n);
        write_all(journal_path(), &journal, n);
        const int64_t last = open_last();
        assert_true(last >= before && last <= N);
        assert_string_equal(digest_of(run_path()), digests[last]);
        seen[last] = true;
        before = last;
    }
    for (int64_t r = 0; r <= N; r++) {
        assert_true(seen[r]);
    }
}

/* A flipped bit is told, with the journal's name; one in the length of a record may make it look cut short. */
static void damage_is_told(void **state)
{
    (void)state;
    static fixture f;
    static contents run, journal;
    const char *digests[N + 1];
    unsigned seed = 5;
    int n_told = 0;
    make_digests(&f, digests);
    leave(&f, N);
    read_all(run_path(), &run);
    read_all(journal_path(), &journal);
    for (int i = 0; i < 300; i++) {
        const size_t place = FBT_SEAL_BYTES + (size_t)rand_r(&seed) % (journal.n - FBT_SEAL_BYTES);
        const char bit = (char)(1 << rand_r(&seed) % 8);
        write_all(run_path(), &run, run.n);
        journal.bytes[place] = (char)(journal.bytes[place] ^ bit);
        write_all(journal_path(), &journal, journal.n);
        journal.bytes[place] = (char)(journal.bytes[place] ^ bit);
        const int64_t last = open_last();
        if (last < 0) {
            assert_error_has("run.h5.journal is damaged in record ");
            n_told++;
        } else {
            assert_string_equal(digest_of(run_path()), digests[last]);
        }
    }
    assert_true(n_told > 280);
}

/* A kill after the run file has been replaced, and before the journal is gone: its rounds must not come twice. Whoever
 * opens the run next removes it, also where there is nothing left to run. */
static void a_void_journal_is_passed_over(void **state)
{
    (void)state;
    static fixture f;
    static contents journal;
    const char *digests[N + 1];
    make_digests(&f, digests);
    leave(&f, N);
    read_all(journal_path(), &journal);
    assert_int_equal(open_last(), N);
    write_all(journal_path(), &journal, journal.n);
    assert_int_equal(open_last(), N);
    assert_int_equal(access(journal_path(), F_OK), -1);
    assert_string_equal(digest_of(run_path()), digests[N]);
    leave(&f, 2); /* another run by the same name */
    write_all(journal_path(), &journal, journal.n);
    assert_true(open_last() <= 2);
}

/* Rounds after a resume follow those of the journal, and the end is one file. */
static void going_on(void **state)
{
    (void)state;
    static fixture f;
    const char *digests[N + 1];
    fbt_run_restored restored = {0};
    fbt_run_file *file;
    make_digests(&f, digests);
    leave(&f, 2);
    for (int64_t r = 3; r < N; r++) {
        assert_int_equal(fbt_run_file_open(run_path(), &file, &restored), FBT_OK);
        assert_int_equal(restored.last_round, r - 1);
        assert_int_equal(fbt_run_file_continue(file, &f.header), FBT_OK);
        assert_int_equal(fbt_run_file_commit(file, FBT_RUN_RUNNING), FBT_OK);
        add_rounds(&f, file, r, r, FBT_RUN_RUNNING);
        fbt_run_restored_clear(&restored);
        fbt_run_file_free(file); /* as a kill would leave it */
        assert_int_equal(access(journal_path(), F_OK), 0);
    }
    assert_int_equal(fbt_run_file_open(run_path(), &file, &restored), FBT_OK);
    assert_int_equal(fbt_run_file_continue(file, &f.header), FBT_OK);
    add_rounds(&f, file, N, N, FBT_RUN_FINISHED);
    fbt_run_restored_clear(&restored);
    fbt_run_file_free(file);
    assert_string_equal(digest_of(run_path()), digests[N]);
    assert_int_equal(fixture_count_files(), 1);
}

/* Goes on until round N_LONG, and tells each round that has been committed. Never returns. */
static void run_and_tell(fixture *f, int told)
{
    fbt_run_restored restored = {0};
    fbt_run_file *file;
    int64_t r = 0;
    bool ok = fbt_run_file_open(run_path(), &file, &restored) == FBT_OK;
    if (ok && file != NULL) {
        r = restored.last_round + 1;
        ok = fbt_run_file_continue(file, &f->header) == FBT_OK && fbt_run_file_commit(file, FBT_RUN_RUNNING) == FBT_OK;
    } else if (ok) {
        ok = fbt_run_file_create(run_path(), true, &f->header, &file) == FBT_OK;
    }
    for (; ok && r <= N_LONG; r++) {
        add_round(f, file, r);
        ok = fbt_run_file_commit(file, r == N_LONG ? FBT_RUN_FINISHED : FBT_RUN_RUNNING) == FBT_OK &&
             write(told, &r, sizeof r) == sizeof r;
    }
    _exit(ok ? 0 : 1);
}

/* Kills a child after a while, unless it has ended. The last round that it has told of; -1: none. */
static int64_t run_and_kill(fixture *f, int64_t after_us)
{
    int ends[2], left;
    int64_t last = -1;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        run_and_tell(f, ends[1]);
    }
    close(ends[1]);
    if (after_us >= 0) {
        usleep((useconds_t)after_us);
        kill(child, SIGKILL);
    }
    assert_int_equal(waitpid(child, &left, 0), child);
    assert_true(WIFSIGNALED(left) || WEXITSTATUS(left) == 0);
    while (read(ends[0], &last, sizeof last) == sizeof last) {
    }
    close(ends[0]);
    return last;
}

static void kills_lose_at_most_the_round_being_written(void **state)
{
    (void)state;
    static fixture f;
    static char digests[N_LONG + 1][FBT_DIGEST_TEXT_BYTES];
    fbt_run_file *file;
    unsigned seed = 3;
    int64_t last = -1, n_kept = 0;
    fixture_init(&f);
    assert_int_equal(fbt_run_file_create(fixture_path("whole.h5"), true, &f.header, &file), FBT_OK);
    for (int64_t r = 0; r <= N_LONG; r++) {
        add_rounds(&f, file, r, r, FBT_RUN_INTERRUPTED);
        strcpy(digests[r], digest_of(fixture_path("whole.h5")));
    }
    fbt_run_file_free(file);
    step_s = 0.1;
    const double begin_s = __real_fbt_timer_now_s();
    assert_int_equal(run_and_kill(&f, -1), N_LONG);
    const int64_t span_us = (int64_t)(1e6 * (__real_fbt_timer_now_s() - begin_s)) + 1; /* of a whole run */
    unlink(run_path());
    for (int i = 0; i < N_KILLS; i++) {
        const int64_t told = run_and_kill(&f, rand_r(&seed) % span_us);
        const int64_t found = access(run_path(), F_OK) == 0 ? open_last() : -1;
        assert_true(found >= last && found >= told);
        if (found >= 0) {
            assert_string_equal(digest_of(run_path()), digests[found]);
        }
        n_kept += found - last;
        last = found;
        if (found == N_LONG) {
            unlink(run_path());
            last = -1;
        }
    }
    step_s = 0;
    assert_true(n_kept > N_KILLS / 4);
}

/* A journal without its run file says nothing: the run begins anew. */
static void a_journal_alone(void **state)
{
    (void)state;
    static fixture f;
    const char *digests[N + 1];
    fbt_run_restored restored = {0};
    fbt_run_file *file = (fbt_run_file *)1;
    make_digests(&f, digests);
    leave(&f, N);
    unlink(run_path());
    assert_int_equal(fbt_run_file_open(run_path(), &file, &restored), FBT_OK);
    assert_null(file);
    assert_int_equal(fbt_run_file_create(run_path(), false, &f.header, &file), FBT_OK);
    add_rounds(&f, file, 0, 1, FBT_RUN_FINISHED);
    fbt_run_file_free(file);
    assert_string_equal(digest_of(run_path()), digests[1]);
    assert_int_equal(fixture_count_files(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_killed_run_has_all_its_rounds, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(cut_anywhere, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(damage_is_told, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_void_journal_is_passed_over, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(going_on, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(kills_lose_at_most_the_round_being_written, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_journal_alone, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
