/* Run files: the first byte says which of their readers gets the changed file. */
#include "fuzz.h"
#include "hdf5_changes.h"

#include "record/hdf5_util.h"
#include "record/run_compare.h"
#include "record/run_file.h"
#include "record/run_reader.h"
#include "record/run_summary.h"
#include "test_record_fixture.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_ROUNDS = 4 };

static fixture made;
static volatile double sink; /* so that reading every number is not left out */

static bool changed;

/* The sound file satisfies every reader. */
static bool outcome(fbt_status status)
{
    const bool ok = fuzz_outcome(status);
    FUZZ_REQUIRE(ok || changed);
    return ok;
}

static void read_shown(const char *path)
{
    char *text;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);
    outcome(fbt_run_reader_show(path, stream));
    fclose(stream);
    free(text);
}

static void read_json(const char *path)
{
    char *text;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);
    const bool ok = outcome(fbt_run_reader_show_json(path, stream));
    fclose(stream);
    if (ok) {
        json_t *object = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, NULL);
        FUZZ_REQUIRE(json_is_object(json_object_get(json_array_get(json_object_get(object, "rounds"), 0), "seconds")) ||
                     json_array_size(json_object_get(object, "rounds")) == 0);
        json_decref(object);
    }
    free(text);
}

static void read_digest(const char *path)
{
    char text[FBT_DIGEST_TEXT_BYTES], again[FBT_DIGEST_TEXT_BYTES];
    if (outcome(fbt_run_reader_digest(path, text))) {
        FUZZ_REQUIRE(outcome(fbt_run_reader_digest(path, again)) && strcmp(text, again) == 0);
    }
}

static void read_z(const char *path)
{
    static const char *const which[] = {"best", "last", "0", "3"};
    for (size_t i = 0; i < sizeof which / sizeof which[0]; i++) {
        char *config;
        double *z;
        int64_t dimension, round;
        double sum = 0;
        if (outcome(fbt_run_reader_load_z(path, which[i], &config, &z, &dimension, &round))) {
            FUZZ_REQUIRE(config != NULL && dimension >= 0 && round >= 0);
            for (int64_t k = 0; k < dimension; k++) {
                sum += z[k];
            }
        }
        sink = sum;
        free(config);
        free(z);
    }
}

static void read_restored(const char *path)
{
    fbt_run_restored restored = {0};
    if (outcome(fbt_run_restored_read(path, &restored))) {
        FUZZ_REQUIRE(restored.config_resolved != NULL && strlen(restored.digest) == 64);
        FUZZ_REQUIRE(restored.best.index >= -1 && restored.best.index <= restored.last_round);
    }
    fbt_run_restored_clear(&restored);
}

static void read_summary(const char *path)
{
    fbt_run_summary summary = {0};
    if (outcome(fbt_run_summary_read(path, &summary))) {
        FUZZ_REQUIRE(summary.exists && summary.config_resolved != NULL);
    }
    fbt_run_summary_clear(&summary);
}

/* As rerun and verify do: the number of rows is what both files are known to have. */
static void compare(const char *path)
{
    fbt_run_difference difference;
    for (int64_t n_rows = 0; n_rows <= N_ROUNDS; n_rows += 2) {
        outcome(fbt_run_compare(fuzz_path("base.h5"), path, n_rows, &difference));
        outcome(fbt_run_compare(path, fuzz_path("base.h5"), n_rows, &difference));
    }
}

/* Takes the run up, adds a round and writes it: the changes are made then. */
static void resume(const char *path)
{
    fbt_run_file *file;
    fbt_run_restored restored = {0};
    if (outcome(fbt_run_file_open(path, &file, &restored))) {
        FUZZ_REQUIRE(file != NULL && restored.checkpoint != NULL);
        if (outcome(fbt_run_file_continue(file, &made.header))) {
            fixture_round(&made, restored.last_round + 1, 0);
            if (outcome(fbt_run_file_add_round(file, &made.round))) {
                outcome(fbt_run_file_commit(file, FBT_RUN_RUNNING));
            }
        }
        fbt_run_file_free(file);
    }
    fbt_run_restored_clear(&restored);
}

static void make_base(fuzz_hdf5_base *base)
{
    fixture_init(&made);
    fixture_write(&made, fuzz_path("base.h5"), N_ROUNDS, 0);
    fuzz_hdf5_load(fuzz_path("base.h5"), base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static void (*const readers[])(const char *path) = {read_shown,    read_json,    read_digest, read_z,
                                                        read_restored, read_summary, compare,     resume};
    static fuzz_hdf5_base base;
    fuzz_input input = {data, n_bytes};
    if (base.image == NULL) {
        make_base(&base);
    }
    const size_t which = fuzz_take(&input, 1) % (sizeof readers / sizeof readers[0]);
    changed = input.n_bytes >= 3;
    readers[which](fuzz_hdf5_change(&base, &input, "run.h5"));
    fuzz_hdf5_check_closed();
    return 0;
}
