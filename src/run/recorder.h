/* Writes a run file as the rounds go by: rows, the best and last result, the checkpoint. Used by rank 0; nothing here
 * is collective. */
#ifndef FBT_RUN_RECORDER_H
#define FBT_RUN_RECORDER_H

#include "base/status.h"
#include "base/typed_array.h"
#include "fed/best_round.h"
#include "fed/round_row.h"
#include "record/run_file.h"

#include <stdbool.h>

/* Zero-initialise; fbt_recorder_create or fbt_recorder_continue; fbt_recorder_close, after a failure too. */
typedef struct fbt_recorder {
    fbt_run_file *file;  /* owned, with its claim */
    bool continues;      /* the run was on the disk before */
    bool touched;        /* a commit was tried, and a file of this run is on the disk */
    fbt_best_round best; /* on dev */
} fbt_recorder;

/* Begins a new run file at `path`, in memory; claims the path. Errors: FBT_ERR_IO (folder, claimed by another process,
 * a file is there and overwrite is false), with what to do. */
fbt_status fbt_recorder_create(fbt_recorder *recorder, const char *path, bool overwrite, const fbt_run_header *header);

/* Goes on with an opened run file, which stands where `restored` says. Takes *file over and sets it to NULL, also on
 * failure. Errors: FBT_ERR_DATA (other shapes or samples than the header's). */
fbt_status fbt_recorder_continue(fbt_recorder *recorder, fbt_run_file **file, const fbt_run_restored *restored,
                                 const fbt_run_header *header);

/* All that is recorded of a round. Borrowed. */
typedef struct fbt_recorder_round {
    const fbt_round_row *row;
    const float *prompt;         /* [P, H]: p = A z + p0 of row->z */
    const fbt_array *checkpoint; /* the server's state after the round */
} fbt_recorder_round;

/* Adds a round in memory, and makes it the best if it is (fed/best_round.h). */
fbt_status fbt_recorder_add(fbt_recorder *recorder, const fbt_recorder_round *round);

/* Saves it (fbt_run_file_commit). */
fbt_status fbt_recorder_commit(fbt_recorder *recorder, fbt_run_status run_status);

/* Ends the recording and gives the claim back; after a failure the file on the disk is marked as failed, with the
 * rounds that it has, or, where a full disk or the like is to blame, as interrupted, if there is room again. */
void fbt_recorder_close(fbt_recorder *recorder, fbt_status status);

#endif
