/* Going on with a run file: what is found in it, what is added, and what is refused. */
#include "test_record_fixture.h"

#include "base/status.h"
#include "record/run_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const fbt_run_text elsewhere[] = {{"hosts", "nodeB,nodeC"}, {"ranks", "7"},       {"backend", "cpu"},
                                         {"precision", "bf16"},    {"device", "Abacus"}, {"instruction_set", "beads"},
                                         {"slurm_job_id", "41"},   {NULL, NULL}};

static const char *digest_of(const char *path)
{
    static char texts[4][FBT_DIGEST_TEXT_BYTES];
    static int next;
    char *text = texts[next++ % 4];
    assert_int_equal(fbt_run_reader_digest(path, text), FBT_OK);
    return text;
}

static int64_t size_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (int64_t)info.st_size;
}

/* Rounds first .. last, the checkpoint and the result of the last, and a commit. */
static void add_rounds(fixture *f, fbt_run_file *file, int64_t first, int64_t last, fbt_run_status run_status)
{
    for (int64_t r = first; r <= last; r++) {
        fixture_round(f, r, 0.25);
        assert_int_equal(fbt_run_file_add_round(file, &f->round), FBT_OK);
    }
    const fbt_array arrays[] = {{.name = "mean", .values = f->z, .n_values = FIX_D}, {.name = NULL}};
    assert_int_equal(fbt_run_file_set_checkpoint(file, arrays), FBT_OK);
    fixture_set_result(f, file, last < 3 ? last : 3, last + 1);
    assert_int_equal(fbt_run_file_commit(file, run_status), FBT_OK);
}

/* A file that was interrupted after round `last`. */
static void begin(fixture *f, const char *path, int64_t last)
{
    fbt_run_file *file;
    assert_int_equal(fbt_run_file_create(path, true, &f->header, &file), FBT_OK);
    add_rounds(f, file, 0, last, FBT_RUN_INTERRUPTED);
    fbt_run_file_free(file);
}

static fbt_run_file *open_restored(const char *path, fbt_run_restored *restored)
{
    fbt_run_file *file;
    *restored = (fbt_run_restored){0};
    if (fbt_run_file_open(path, &file, restored) != FBT_OK) {
        fail_msg("%s", fbt_error_message());
    }
    assert_non_null(file);
    return file;
}

/* Counters keep their type and their last bit; a file of an earlier version, which kept them as doubles, has the digest
 * of one that keeps them as integers, and keeps them so once it is gone on with. */
static void checkpoints_keep_their_types(void **state)
{
    (void)state;
    static fixture f;
    const int64_t integers[] = {3, -7, (INT64_C(1) << 53) + 1}, small[] = {3, -7, 1};
    const double reals[] = {3, -7, 1};
    const fbt_array exact[] = {{.name = "n", .type = FBT_ARRAY_INT64, .values = integers, .n_values = 3}, {0}};
    const fbt_array now[] = {{.name = "n", .type = FBT_ARRAY_INT64, .values = small, .n_values = 3}, {0}};
    const fbt_array before[] = {{.name = "n", .values = reals, .n_values = 3}, {0}};
    const fbt_array *const lists[] = {before, now, exact};
    const char *path = fixture_path("run.h5");
    char digests[3][FBT_DIGEST_TEXT_BYTES];
    fbt_run_restored restored = {0};
    fbt_run_file *file;
    fixture_init(&f);
    begin(&f, path, 2);
    assert_int_equal(fbt_run_file_open(path, &file, &restored), FBT_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fbt_run_file_set_checkpoint(file, lists[i]), FBT_OK);
        assert_int_equal(fbt_run_file_commit(file, FBT_RUN_INTERRUPTED), FBT_OK);
        strcpy(digests[i], digest_of(path));
    }
    fbt_run_file_free(file);
    fbt_run_restored_clear(&restored);
    assert_string_equal(digests[0], digests[1]);
    assert_string_not_equal(digests[1], digests[2]);
    file = open_restored(path, &restored);
    assert_int_equal(restored.checkpoint[0].type, FBT_ARRAY_INT64);
    assert_memory_equal(restored.checkpoint[0].values, integers, sizeof integers);
    fbt_run_restored_clear(&restored);
    fbt_run_file_free(file);
}

static void what_a_file_tells(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_restored restored;
    const char *path = fixture_path("run.h5");
    fixture_init(&f);
    begin(&f, path, 4);
    fbt_run_file *file = open_restored(path, &restored);
    assert_int_equal(restored.run_status, FBT_RUN_INTERRUPTED);
    assert_true(restored.last_round == 4 && restored.best.index == 3);
    fixture_round(&f, 3, 0);
    assert_true(restored.best.accuracy == f.round.dev_accuracy && restored.best.loss == f.round.dev_loss);
    assert_string_equal(restored.config_resolved, f.header.config_resolved);
    assert_string_equal(restored.model_sha256, "aa11");
    assert_string_equal(restored.data_sha256, "bb22");
    assert_string_equal(restored.precision, "bf16");
    assert_string_equal(restored.device, "Abacus");
    assert_string_equal(restored.instruction_set, "beads");
    fixture_round(&f, 4, 0);
    assert_string_equal(restored.checkpoint[0].name, "mean");
    assert_int_equal(restored.checkpoint[0].n_values, FIX_D);
    assert_memory_equal(restored.checkpoint[0].values, f.z, sizeof f.z);
    assert_null(restored.checkpoint[1].name);
    fbt_run_restored_clear(&restored);
    fbt_run_file_free(file);
    assert_int_equal(fixture_count_files(), 1);
}

/* However often it was stopped, the file is that of a run that was not: same digest, no more holes. */
static void stopping_leaves_no_trace_in_the_results(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_restored restored;
    const char *whole = fixture_path("whole.h5"), *path = fixture_path("run.h5");
    fixture_init(&f);
    begin(&f, whole, 40);
    begin(&f, path, 0);
    f.header.environment = elsewhere;
    for (int64_t r = 1; r <= 40; r++) {
        fbt_run_file *file = open_restored(path, &restored);
        assert_true(restored.last_round == r - 1);
        assert_int_equal(fbt_run_file_continue(file, &f.header), FBT_OK);
        add_rounds(&f, file, r, r, FBT_RUN_INTERRUPTED);
        fbt_run_restored_clear(&restored);
        fbt_run_file_free(file);
    }
    assert_string_equal(digest_of(whole), digest_of(path));
    assert_true(size_of(path) < size_of(whole) + 40 * 4096); /* its sessions */
}

static void every_session_is_listed(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_restored restored;
    char *shown = NULL;
    size_t n_bytes;
    const char *path = fixture_path("run.h5");
    fixture_init(&f);
    begin(&f, path, 2);
    fbt_run_file *file = open_restored(path, &restored);
    f.header.environment = elsewhere;
    f.header.config_resolved = "fed:\n  rounds: 9\n";
    assert_int_equal(fbt_run_file_continue(file, &f.header), FBT_OK);
    assert_int_equal(fbt_run_file_commit(file, FBT_RUN_RUNNING), FBT_OK);
    fbt_run_restored_clear(&restored);
    fbt_run_file_free(file);
    FILE *stream = open_memstream(&shown, &n_bytes);
    assert_int_equal(fbt_run_reader_show(path, stream), FBT_OK);
    fclose(stream);
    assert_non_null(strstr(shown, "from round 0"));
    assert_non_null(strstr(shown, "ranks 4 on nodeA"));
    assert_non_null(strstr(shown, "from round 3"));
    assert_non_null(strstr(shown, "ranks 7 on nodeB,nodeC"));
    assert_non_null(strstr(shown, "slurm_job_id"));
    assert_non_null(strstr(shown, "rounds: 9"));
    free(shown);
    hid_t opened = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(H5Aexists_by_name(opened, "environment/sessions/0001", "slurm_job_id", H5P_DEFAULT) == 0);
    assert_true(H5Aexists_by_name(opened, "environment/sessions/0002", "slurm_job_id", H5P_DEFAULT) > 0);
    H5Fclose(opened);
}

/* The file on the disk changes with the first commit, not before. */
static void opening_changes_nothing(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_restored restored;
    static unsigned char before[400000], after[400000];
    const char *path = fixture_path("run.h5");
    fixture_init(&f);
    begin(&f, path, 2);
    for (int i = 0; i < 2; i++) {
        FILE *stream = fopen(path, "rb");
        const size_t n = fread(i == 0 ? before : after, 1, sizeof before, stream);
        assert_true(n > 0 && n < sizeof before);
        fclose(stream);
        fbt_run_file *file = open_restored(path, &restored);
        assert_int_equal(fbt_run_file_continue(file, &f.header), FBT_OK);
        fixture_round(&f, 3, 0);
        assert_int_equal(fbt_run_file_add_round(file, &f.round), FBT_OK);
        fbt_run_restored_clear(&restored);
        fbt_run_file_free(file);
    }
    assert_memory_equal(before, after, sizeof before);
}

static void nothing_to_go_on_with(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_restored restored = {0};
    fbt_run_file *file = NULL;
    const char *path = fixture_path("run.h5");
    assert_int_equal(fbt_run_file_open(path, &file, &restored), FBT_OK);
    assert_null(file);
    fixture_init(&f);
    assert_int_equal(fbt_run_file_create(path, false, &f.header, &file), FBT_OK);
    assert_int_equal(fbt_run_file_commit(file, FBT_RUN_RUNNING), FBT_OK); /* without a round */
    fbt_run_file_free(file);
    assert_int_equal(fbt_run_file_open(path, &file, &restored), FBT_ERR_DATA);
    assert_error_has("no round");
    assert_null(file);
    assert_null(restored.config_resolved);
    assert_int_equal(fixture_count_files(), 1);
}

/* Opens, changes the header by `spoil`, and expects a refusal that names `part`. */
static void refuse(const char *path, fixture *f, void (*spoil)(fixture *f), const char *part)
{
    fbt_run_restored restored;
    fbt_run_file *file = open_restored(path, &restored);
    fixture_init(f);
    spoil(f);
    assert_int_equal(fbt_run_file_continue(file, &f->header), FBT_ERR_DATA);
    assert_error_has(part);
    fbt_run_restored_clear(&restored);
    fbt_run_file_free(file);
}

static void other_client(fixture *f)
{
    f->index[4]++;
}

static void other_dev(fixture *f)
{
    f->dev[0]++;
}

static void fewer_dev(fixture *f)
{
    f->header.n_dev--;
}

static void more_generations(fixture *f)
{
    f->header.n_generations++;
}

static void more_dimensions(fixture *f)
{
    f->header.dimension++;
}

static void other_phases(fixture *f)
{
    static const char *const phases[FIX_PHASES] = {"forward", "backward"};
    f->header.phases = phases;
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    static fixture f;
    const char *path = fixture_path("run.h5");
    fixture_init(&f);
    begin(&f, path, 2);
    refuse(path, &f, other_client, "partition/sample_index");
    refuse(path, &f, other_dev, "partition/dev_index");
    refuse(path, &f, fewer_dev, "partition/dev_index");
    refuse(path, &f, more_generations, "rounds/client/step_size");
    refuse(path, &f, more_dimensions, "rounds/z");
    refuse(path, &f, other_phases, "phases");
}

/* Without client means in the header there are none to be written, and none to be looked for. */
static void client_means_are_optional(void **state)
{
    (void)state;
    static fixture f;
    fbt_run_restored restored;
    const char *path = fixture_path("run.h5");
    fixture_init(&f);
    f.header.client_means = false;
    begin(&f, path, 1);
    fbt_run_file *file = open_restored(path, &restored);
    assert_int_equal(fbt_run_file_continue(file, &f.header), FBT_OK);
    add_rounds(&f, file, 2, 2, FBT_RUN_FINISHED);
    fbt_run_restored_clear(&restored);
    fbt_run_file_free(file);
    file = open_restored(path, &restored);
    assert_int_equal(restored.run_status, FBT_RUN_FINISHED);
    f.header.client_means = true;
    assert_int_equal(fbt_run_file_continue(file, &f.header), FBT_ERR_IO);
    assert_error_has("rounds/client/mean");
    fbt_run_restored_clear(&restored);
    fbt_run_file_free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(checkpoints_keep_their_types, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_a_file_tells, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(stopping_leaves_no_trace_in_the_results, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(every_session_is_listed, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(opening_changes_nothing, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(nothing_to_go_on_with, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(client_means_are_optional, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
