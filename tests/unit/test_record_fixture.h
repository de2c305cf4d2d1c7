/* A small made-up run for the tests of src/record. */
#ifndef TEST_RECORD_FIXTURE_H
#define TEST_RECORD_FIXTURE_H

#include "record/run_file.h"

#include <hdf5.h>
#include <stdint.h>

enum {
    FIX_K = 3,
    FIX_M = 2,
    FIX_D = 7,
    FIX_I = 2,
    FIX_LABELS = 2,
    FIX_P = 2,
    FIX_H = 3,
    FIX_PHASES = 2,
    FIX_SAMPLES = 6,
    FIX_DEV = 4
};

typedef struct fixture {
    fbt_run_header header;
    fbt_round_row round;
    double z[FIX_D], client[3][FIX_M], client_step_size[FIX_M * FIX_I], client_mean[FIX_M * FIX_D], condition[FIX_M];
    double seconds[FIX_PHASES], covariance[FIX_D * FIX_D];
    int64_t participants[FIX_M], evaluations[FIX_M], offsets[FIX_K + 1], index[FIX_SAMPLES], dev[FIX_DEV],
        class_count[FIX_K * FIX_LABELS];
    int32_t labels[FIX_SAMPLES + 1];
    float prompt[FIX_P * FIX_H];
} fixture;

/* Fills header and arrays. `f` must stay where it is. */
void fixture_init(fixture *f);

/* Fills f->round with round r's made-up values: the same for the same r, but for the timings, which `noise` changes. */
void fixture_round(fixture *f, int64_t r, double noise);

/* Adds rounds 0 .. n_rounds - 1 and a checkpoint. */
void fixture_add_rounds(fixture *f, fbt_run_file *file, int64_t n_rounds, double noise);

/* The result of a run whose rounds are 0 .. n_rounds - 1. */
void fixture_set_result(fixture *f, fbt_run_file *file, int64_t best_round, int64_t n_rounds);

/* A finished run file of n_rounds rounds. */
void fixture_write(fixture *f, const char *path, int64_t n_rounds, double noise);

/* Setup and teardown of a test: a new empty folder below /tmp (or TMPDIR), HDF5 without its own messages; the folder
 * goes with all in it. fixture_path joins the folder and a name. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
const char *fixture_path(const char *name);
int fixture_count_files(void);

/* The same without those whose names begin with prefix. */
int fixture_count_files_but(const char *prefix);

/* Seals an HDF5 file as it is now: one that a test has changed, or that was written without a seal. */
void fixture_seal(const char *path);

/* Reads a sealed file with some hundred of its bits flipped, one at a time, by `read`, which must fail each time with a
 * sentence that begins with the path; then truncated and with bytes appended. The file is as it was in the end. */
void fixture_assert_damage_is_told(const char *path, fbt_status (*read)(const char *path));

/* Fails the test unless the kept sentence contains `part`; forgets the sentence. */
void assert_error_has(const char *part);

#endif
