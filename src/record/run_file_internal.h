/* The run file's writer, for the files that make it up: run_file.c, run_partition.c, run_session.c,
 * run_resume.c, run_restored.c. */
#ifndef FBT_RECORD_RUN_FILE_INTERNAL_H
#define FBT_RECORD_RUN_FILE_INTERNAL_H

#include "record/hdf5_util.h"
#include "record/journal.h"
#include "record/output_file.h"
#include "record/run_changes.h"
#include "record/run_draft.h"
#include "record/run_file.h"
#include "record/run_layout.h"

#include <hdf5.h>

struct fbt_run_file {
    fbt_output_file *output;
    fbt_journal *journal;
    fbt_run_draft draft;     /* of a new run until its first commit, in memory; of one that goes on, on the disk */
    fbt_run_changes pending; /* not committed yet */
    int64_t last_index;      /* index of the last row */
    int64_t row_dims[FBT_RUN_COLUMNS_MAX][2]; /* of a row of each column, 1 where there are fewer; 0: not kept */
    int64_t version;                          /* FBT_RUN_FORMAT_... */
    int64_t dimension, n_clients, n_slots, n_prompt_values[2];
    int64_t value_bytes[2]; /* of a number in the rounds to come, in the file (run_ledger.h) */
    fbt_run_status run_status;
    bool has_status; /* the status attribute has been written  */
    bool incomplete; /* a failed change could not be undone    */
    double start_s;
    double wall_time_before_s; /* of the sessions before this one */
    int64_t n_rows;            /* of the run file as it was written last, and since */
    int64_t n_added;
    int64_t n_bytes;  /* of the run file as it was written last ... */
    double written_s; /* ... when that was done ...                 */
    double write_s;   /* ... and how long it took                   */
};

/* A writer that holds the lock of `path` and no HDF5 file yet. Free it with fbt_run_file_free, after a failure too. */
fbt_status fbt_run_file_new(const char *path, bool overwrite, fbt_run_file **file);

/* Sets what both beginnings share: sizes from the header, whose n_slots is that of the file's version, and the clock.
 */
void fbt_run_file_set_header(fbt_run_file *file, const fbt_run_header *header);

/* Makes the draft a copy of the run file on the disk, with all that its journal has, and room for n_more_bytes of
 * changes besides. packs: without the holes that rewriting has left. */
fbt_status fbt_run_file_begin_draft(fbt_run_file *file, int64_t n_more_bytes, bool packs);

/* The draft takes the run file's place, and the journal is void. After a failure a draft on the disk is gone. */
fbt_status fbt_run_file_end_draft(fbt_run_file *file);

/* Opens the group `name` of `parent`, making it when it is not there. */
fbt_status fbt_run_file_group(hid_t parent, const char *name, hid_t *group);

/* Makes the data set of a column of the present version, without rows, in the group /rounds. */
fbt_status fbt_run_file_make_column(hid_t rounds, const fbt_run_column *column, const fbt_run_header *header,
                                    hid_t *dataset);

/* Bytes by which a column of n_rows rows grows with n_added more. row_dims: as in fbt_run_file. */
int64_t fbt_run_file_growth(const fbt_run_column *column, const int64_t row_dims[2], int64_t n_rows, int64_t n_added);

/* On disk, and in memory. */
hid_t fbt_run_file_type(fbt_run_type type);

/* "2030-01-31T12:00:00Z" */
enum { FBT_RUN_TIME_BYTES = 32 };
void fbt_run_file_utc_now(char text[FBT_RUN_TIME_BYTES]);

/* run_partition.c: the group /partition, written, or compared with the header's. Errors: FBT_ERR_DATA (others). */
fbt_status fbt_run_file_write_partition(hid_t file, const fbt_run_header *header);
fbt_status fbt_run_file_check_partition(hid_t file, const fbt_run_header *header);

/* run_resume.c: fails unless an existing data set has the shape and type that a writer of this program would make. */
fbt_status fbt_run_file_check_dataset(hid_t dataset, const char *path, hid_t type, int rank, const hsize_t *dims);

/* run_restored.c: all of *restored but the checkpoint. */
fbt_status fbt_run_restored_of(hid_t file, fbt_run_restored *restored);

/* run_session.c: writes the settings in force and the environment of the program that goes on from here, and adds it to
 * the list of sessions. first_round: the first that it will add. */
fbt_status fbt_run_file_begin_session(fbt_run_file *file, const fbt_run_header *header, int64_t first_round);

#endif
