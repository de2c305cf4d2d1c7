/* Output files: what is refused before a run starts, and what a full disk, a limit or a second run do to a file. */
#include "test_record_fixture.h"

#include "base/status.h"
#include "record/output_file.h"
#include "record/run_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void assert_content(const char *path, const char *text)
{
    char content[64] = "";
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    content[fread(content, 1, sizeof content - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(content, text);
}

static void assert_refused(const char *path, bool overwrite, const char *part)
{
    fbt_output_file *file = (fbt_output_file *)1;
    assert_int_equal(fbt_output_file_open(path, overwrite, &file), FBT_ERR_IO);
    assert_null(file);
    assert_error_has(part);
}

static void paths_that_cannot_be_written(void **state)
{
    (void)state;
    char name[400];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_refused(fixture_path("no/such/run.h5"), false, "no/such/: No such file or directory; make the folder first");
    assert_refused(fixture_path(""), false, "is a folder; give the path of a file");
    assert_refused("/tmp", false, "/tmp is a folder");
    assert_refused("/tmp", true, "/tmp is a folder");
    assert_refused(".", true, ". is a folder");
    assert_refused("", true, "is a folder");
    assert_refused("/dev/null", true, "/dev/null is not a regular file");
    assert_refused("/proc/run.h5", false, "/proc/run.h5 cannot be written: ");
    assert_refused(fixture_path(name), false, "File name too long");
    write_file(fixture_path("plain"), "x");
    assert_refused(fixture_path("plain/run.h5"), false, "Not a directory");
    assert_int_equal(fixture_count_files(), 1);
}

/* A name that leaves no room for that of a right to succeed (`.name.lock.IDENTITY`) made a run that could not be gone
 * on with: its dead holder could not be taken over from. */
static void names_leave_room_for_locks(void **state)
{
    (void)state;
    char name[300];
    fbt_output_file *file;
    const long limit = pathconf(fixture_path(""), _PC_NAME_MAX) - 39;
    memset(name, 'x', sizeof name);
    name[limit] = '\0';
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0) {
            _exit(fbt_output_file_open(fixture_path(name), false, &file) == FBT_OK ? 0 : 1); /* and dies */
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_int_equal(how, 0);
    }
    assert_int_equal(fbt_output_file_open(fixture_path(name), false, &file), FBT_OK);
    assert_int_equal(fbt_output_file_replace(file, "x", 1), FBT_OK);
    fbt_output_file_close(file);
    assert_int_equal(fixture_count_files(), 1);
    unlink(fixture_path(name));
    char expected[80];
    snprintf(expected, sizeof expected, "at most %ld leave room for the names of its lock", limit);
    for (long length = limit + 1; length <= limit + 39; length++) {
        name[length - 1] = 'x';
        name[length] = '\0';
        assert_refused(fixture_path(name), false, expected);
    }
    assert_int_equal(fixture_count_files(), 0);
}

static void existing_files_are_kept(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_file *run;
    const char *path = fixture_path("run.h5");
    fixture_init(&f);
    fixture_write(&f, path, 1, 0);
    assert_int_equal(fbt_run_file_create(path, false, &f.header, &run), FBT_ERR_IO);
    assert_null(run);
    assert_error_has("run.h5 exists; choose another path, or add --overwrite");
    write_file(fixture_path("config.yaml"), "fed:\n");
    assert_refused(fixture_path("config.yaml"), false, "exists");
    assert_refused(fixture_path("config.yaml"), true, "is not an HDF5 file, so it is not overwritten");
    assert_content(fixture_path("config.yaml"), "fed:\n");
    assert_int_equal(fixture_count_files(), 2);
    write_file(fixture_path("empty.h5"), "");
    fixture_write(&f, fixture_path("empty.h5"), 1, 0); /* an empty file holds nothing to lose */
}

static void a_link_stays_a_link(void **state)
{
    (void)state;
    static fixture f;
    struct stat info;
    fixture_init(&f);
    fixture_write(&f, fixture_path("target.h5"), 1, 0);
    assert_int_equal(symlink(fixture_path("target.h5"), fixture_path("link.h5")), 0);
    fixture_write(&f, fixture_path("link.h5"), 2, 0);
    assert_int_equal(lstat(fixture_path("link.h5"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    char one[FBT_DIGEST_TEXT_BYTES], other[FBT_DIGEST_TEXT_BYTES];
    assert_int_equal(fbt_run_reader_digest(fixture_path("target.h5"), one), FBT_OK);
    assert_int_equal(fbt_run_reader_digest(fixture_path("link.h5"), other), FBT_OK);
    assert_string_equal(one, other);
}

static void make_link(const char *target, const char *name)
{
    assert_int_equal(symlink(target, fixture_path(name)), 0);
}

/* The target of a link may be yet to be made: it is made there, and the link stays. */
static void links_to_nothing_yet(void **state)
{
    (void)state;
    static fixture f;
    struct stat info;
    const char *const links[] = {"absolute.h5", "relative.h5", "chain.h5", "folders/up.h5"};
    fixture_init(&f);
    assert_int_equal(mkdir(fixture_path("folder"), 0777), 0);
    make_link("folder", "folders");
    make_link(fixture_path("folder/target.h5"), "absolute.h5");
    make_link("folder/target.h5", "relative.h5");
    make_link("./folders/../relative.h5", "chain.h5");
    make_link("../chain.h5", "folder/up.h5");
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        fixture_write(&f, fixture_path(links[i]), 1, 0);
        assert_int_equal(lstat(fixture_path(links[i]), &info), 0);
        assert_true(S_ISLNK(info.st_mode));
        assert_int_equal(lstat(fixture_path("folder/target.h5"), &info), 0);
        assert_true(S_ISREG(info.st_mode));
        assert_int_equal(unlink(fixture_path("folder/target.h5")), 0);
    }
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        assert_int_equal(unlink(fixture_path(links[i])), 0);
    }
    assert_int_equal(rmdir(fixture_path("folder")), 0); /* neither lock nor temporary file is left */
}

static void links_that_lead_nowhere(void **state)
{
    (void)state;
    make_link("missing/target.h5", "to_folder.h5");
    make_link("b.h5", "a.h5");
    make_link("a.h5", "b.h5");
    make_link("self.h5/x", "self.h5");
    make_link(".", "here.h5");
    make_link("nothing/", "slash.h5");
    assert_refused(fixture_path("to_folder.h5"), true, "missing/: No such file or directory; make the folder first");
    assert_refused(fixture_path("a.h5"), true, "a.h5 cannot be written: Too many levels of symbolic links");
    assert_refused(fixture_path("self.h5"), true, "Too many levels of symbolic links");
    assert_refused(fixture_path("here.h5"), true, "here.h5 is a folder");
    assert_refused(fixture_path("slash.h5"), true, "slash.h5 is a folder");
}

/* As assert_refused, in a process of its own: runs are processes. */
static void assert_other_process_refused(const char *path, const char *reason)
{
    int how;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fbt_output_file *file;
        fbt_error_clear();
        _exit(fbt_output_file_open(path, true, &file) == FBT_ERR_IO && strstr(fbt_error_message(), reason) != NULL ? 0
                                                                                                                   : 1);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
}

/* A second run onto the same path is refused while the first lives, and welcome afterwards, however the first ended. */
static void two_runs_do_not_share_a_file(void **state)
{
    (void)state;
    fbt_output_file *first, *second;
    const char *path = fixture_path("run.h5");
    assert_int_equal(fbt_output_file_open(path, false, &first), FBT_OK);
    assert_other_process_refused(path, "is being written by another run (process ");
    assert_int_equal(fbt_output_file_open(fixture_path("other.h5"), false, &second), FBT_OK);
    fbt_output_file_close(second);
    assert_other_process_refused(path, "is being written by another run"); /* the refusal did not break the lock */
    fbt_output_file_close(first);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(fbt_output_file_open(path, false, &first) == FBT_OK ? 0 : 1); /* leaves its lock file behind */
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
    assert_int_equal(fixture_count_files(), 1);
    assert_int_equal(fbt_output_file_open(path, false, &first), FBT_OK);
    fbt_output_file_close(first);
    assert_int_equal(fixture_count_files(), 0);
}

static void stale_files_are_removed(void **state)
{
    (void)state;
    fbt_output_file *file;
    write_file(fixture_path(".run.h5.tmp.node1.77"), "half");
    write_file(fixture_path(".run.h5.tmp.node2.5"), "half");
    write_file(fixture_path(".run.h5.old"), "mine");
    write_file(fixture_path(".other.h5.tmp.node1.77"), "half");
    assert_int_equal(fbt_output_file_open(fixture_path("run.h5"), false, &file), FBT_OK);
    fbt_output_file_close(file);
    assert_int_equal(fixture_count_files(), 2);
    assert_content(fixture_path(".run.h5.old"), "mine");
    assert_content(fixture_path(".other.h5.tmp.node1.77"), "half");
}

/* In a child: writes 4 kB where 1 kB fits. 0: refused as it should be, with the first content kept. */
static int exceed_file_size_limit(void)
{
    static const char block[4096] = "second";
    const char *path = fixture_path("run.h5");
    fbt_output_file *file;
    struct rlimit limit = {1024, 1024};
    setrlimit(RLIMIT_FSIZE, &limit);
    if (fbt_output_file_open(path, false, &file) != FBT_OK || fbt_output_file_replace(file, "first", 5) != FBT_OK) {
        return 1;
    }
    if (fbt_output_file_replace(file, block, sizeof block) != FBT_ERR_IO ||
        strstr(fbt_error_message(), "File too large; what was saved before is kept") == NULL) {
        return 2;
    }
    fbt_output_file_close(file);
    return 0;
}

/* ulimit -f is an error in words, not a signal. */
static void file_size_limit(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(exceed_file_size_limit());
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
    assert_content(fixture_path("run.h5"), "first");
    assert_int_equal(fixture_count_files(), 1);
}

/* A real full file system, where this process may mount one. */
static void full_disk(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_file *run;
    char mounted[512], one[FBT_DIGEST_TEXT_BYTES], other[FBT_DIGEST_TEXT_BYTES];
    snprintf(mounted, sizeof mounted, "%s", fixture_path("disk"));
    assert_int_equal(mkdir(mounted, 0700), 0);
    if (mount("none", mounted, "tmpfs", 0, "size=512k") != 0) {
        print_message("skipped: no right to mount a small file system (%s)\n", strerror(errno));
        skip();
    }
    const char *path = fixture_path("disk/run.h5");
    fixture_init(&f);
    assert_int_equal(fbt_run_file_create(path, false, &f.header, &run), FBT_OK);
    fixture_add_rounds(&f, run, 2, 0);
    fbt_status before = fbt_run_file_commit(run, FBT_RUN_RUNNING);
    fbt_status digested = fbt_run_reader_digest(path, one);
    static double big[50000];
    const fbt_array arrays[] = {{.name = "big", .values = big, .n_values = 50000}, {.name = NULL}};
    fbt_status set = fbt_run_file_set_checkpoint(run, arrays);
    fbt_status full = fbt_run_file_commit(run, FBT_RUN_RUNNING);
    bool told = strstr(fbt_error_message(), "No space left on device; what was saved before is kept") != NULL;
    fbt_error_clear();
    fbt_status again = fbt_run_reader_digest(path, other);
    fbt_run_file_free(run);
    umount2(mounted, MNT_DETACH);
    assert_int_equal(before, FBT_OK);
    assert_int_equal(digested, FBT_OK);
    assert_int_equal(set, FBT_OK);
    assert_int_equal(full, FBT_ERR_STORAGE);
    assert_true(told);
    assert_int_equal(again, FBT_OK);
    assert_string_equal(one, other);
}

/* Scores of samples: readable, never over an existing file unasked. */
static void scores_are_written(void **state)
{
    (void)state;
    const float logits[6] = {1, 2, 3, 4, 5, 6};
    const int32_t predictions[3] = {1, 1, 0}, labels[3] = {0, 1, 1};
    const char *path = fixture_path("scores.h5");
    float got[6];
    int32_t integers[3];
    assert_int_equal(fbt_scores_write(path, false, logits, predictions, labels, 3, 2, "run.h5, round 4"), FBT_OK);
    assert_int_equal(fbt_scores_write(path, false, logits, predictions, labels, 3, 2, ""), FBT_ERR_IO);
    assert_error_has("exists");
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    const char *const names[3] = {"logits", "predictions", "labels"};
    void *const values[3] = {got, integers, integers};
    const void *const expected[3] = {logits, predictions, labels};
    for (int i = 0; i < 3; i++) {
        hid_t dataset = H5Dopen2(file, names[i], H5P_DEFAULT), space = H5Dget_space(dataset);
        assert_int_equal(H5Sget_simple_extent_npoints(space), i == 0 ? 6 : 3);
        assert_true(H5Dread(dataset, i == 0 ? H5T_NATIVE_FLOAT : H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                            values[i]) >= 0);
        assert_memory_equal(values[i], expected[i], i == 0 ? sizeof got : sizeof integers);
        H5Sclose(space);
        H5Dclose(dataset);
    }
    H5Fclose(file);
    assert_int_equal(fbt_scores_write(path, true, logits, predictions, labels, 0, 2, ""), FBT_OK);
    assert_int_equal(fixture_count_files(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(paths_that_cannot_be_written, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(names_leave_room_for_locks, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(existing_files_are_kept, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_link_stays_a_link, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(links_to_nothing_yet, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(links_that_lead_nowhere, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(two_runs_do_not_share_a_file, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(stale_files_are_removed, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(file_size_limit, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(full_disk, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(scores_are_written, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
