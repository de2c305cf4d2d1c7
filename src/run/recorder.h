/* What rank 0 writes into the run file as the rounds go by. */
#ifndef FBT_RUN_RECORDER_H
#define FBT_RUN_RECORDER_H

#include "base/status.h"
#include "fed/federation.h"
#include "record/run_file.h"
#include "run/experiment.h"

/* Zero-initialise before fbt_recorder_open. On other ranks than 0 every call succeeds and does nothing. */
typedef struct fbt_recorder {
    fbt_experiment *e;
    bool writes;        /* rank 0 */
    bool committed;     /* a file of ours is on the disk */
    int64_t best_round; /* -1: none */
    double best_accuracy, best_loss;
    float *prompt; /* [P, H]: scratch */
} fbt_recorder;

/* Makes the run file of a new run, in memory, or takes up that of a run that goes on. The model must be open. Not
 * collective. */
fbt_status fbt_recorder_open(fbt_recorder *recorder, fbt_experiment *experiment);

/* A run that goes on: says so in the file on the disk, before its first round. */
fbt_status fbt_recorder_begin(fbt_recorder *recorder, fbt_run_status run_status);

/* Adds the row, the result so far and the checkpoint, and replaces the file on the disk. */
fbt_status fbt_recorder_add(fbt_recorder *recorder, fbt_federation *federation, const fbt_round_row *row,
                            fbt_run_status run_status);

/* Ends the recording; after a failure the file on the disk is marked as failed, with the rounds that it has, or, where
 * a full disk or the like is to blame, as interrupted, if there is room again. */
void fbt_recorder_close(fbt_recorder *recorder, fbt_status status);

#endif
