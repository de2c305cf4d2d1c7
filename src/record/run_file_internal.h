/* The run file's writer, for the files that make it up: run_file.c, run_session.c, run_resume.c,
 * run_restored.c. */
#ifndef FBT_RECORD_RUN_FILE_INTERNAL_H
#define FBT_RECORD_RUN_FILE_INTERNAL_H

#include "record/hdf5_util.h"
#include "record/output_file.h"
#include "record/run_file.h"
#include "record/run_layout.h"

#include <hdf5.h>

enum { FBT_RUN_COLUMNS_MAX = 64 };

struct fbt_run_file {
    fbt_output_file *output;
    hid_t file;
    hid_t columns[FBT_RUN_COLUMNS_MAX]; /* data sets of run_layout.c's table; -1: not kept */
    int64_t n_rounds;                   /* rows in every column                            */
    int64_t last_index;                 /* index of the last row                           */
    int64_t dimension, n_prompt_values[2];
    int64_t value_bytes[2]; /* of a number in the rounds to come, in the file (run_ledger.h) */
    fbt_run_status run_status;
    bool has_status;      /* the status attribute has been written           */
    bool incomplete;      /* a failed change could not be undone             */
    fbt_hdf5_bytes image; /* of the last commit; its memory is used again    */
    double start_s;
    double wall_time_before_s; /* of the sessions before this one */
};

/* A writer that holds the lock of `path` and no HDF5 file yet. Free it with fbt_run_file_free, after a failure too. */
fbt_status fbt_run_file_new(const char *path, bool overwrite, fbt_run_file **file);

/* What both beginnings have in common: sizes from the header, and the clock. */
void fbt_run_file_set_header(fbt_run_file *file, const fbt_run_header *header);

/* Opens the group `name` of `parent`, making it when it is not there. */
fbt_status fbt_run_file_group(hid_t parent, const char *name, hid_t *group);

/* Makes the data set of a column, without rows, in the group /rounds. */
fbt_status fbt_run_file_make_column(hid_t rounds, const fbt_run_column *column, const fbt_run_header *header,
                                    hid_t *dataset);

/* On disk, and in memory. */
hid_t fbt_run_file_type(fbt_run_type type);

/* "2030-01-31T12:00:00Z" */
enum { FBT_RUN_TIME_BYTES = 32 };
void fbt_run_file_utc_now(char text[FBT_RUN_TIME_BYTES]);

/* The four arrays of /partition. dims: [rank]; `rank` is 1 or 2. values: NULL where there are none. */
enum { FBT_RUN_PARTITION_ARRAYS = 4 };
typedef struct fbt_run_partition_array {
    const char *name;
    const char *long_name;
    int rank;
    hsize_t dims[2];
    const int64_t *values;
} fbt_run_partition_array;
void fbt_run_file_partition(const fbt_run_header *header, fbt_run_partition_array arrays[FBT_RUN_PARTITION_ARRAYS]);

/* run_restored.c: all of *restored but the checkpoint. */
fbt_status fbt_run_restored_of(hid_t file, fbt_run_restored *restored);

/* run_session.c: writes the settings in force and the environment of the program that goes on from here, and adds it to
 * the list of sessions. first_round: the first that it will add. */
fbt_status fbt_run_file_begin_session(fbt_run_file *file, const fbt_run_header *header, int64_t first_round);

#endif
