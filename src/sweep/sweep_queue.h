/* Which run a group of ranks makes next. Groups of one job, and several jobs, share a sweep through nothing but the
 * claims on its run files (claim.h): whoever claims a run makes it. Used by the first rank of each group; nothing here
 * is collective. */
#ifndef FBT_SWEEP_QUEUE_H
#define FBT_SWEEP_QUEUE_H

#include "base/status.h"
#include "record/claim.h"
#include "run/inputs.h"
#include "sweep/sweep.h"

#include <stdbool.h>
#include <stdint.h>

/* Puts the runs of `order` [n] (indices) into the order in which they are best begun: longest first, by an estimate of
 * the operations that are left; among equals those that use the same model and data together. Checks on the way what
 * can be checked before anything runs: that model and data fit each run, and that no run file is there of other
 * settings. inputs is used to read data sets. Errors: FBT_ERR_CONFIG, FBT_ERR_DATA, FBT_ERR_MODEL, FBT_ERR_IO, with one
 * sentence. */
fbt_status fbt_sweep_plan(const fbt_sweep *sweep, fbt_inputs *inputs, int64_t *order, int64_t n);

/* A claim of another process that is waited for. */
typedef struct fbt_sweep_watch {
    char identity[40];
    int64_t beat_ns;
} fbt_sweep_watch;

/* Zero-initialise; fbt_sweep_queue_open, fbt_sweep_queue_close. */
typedef struct fbt_sweep_queue {
    const fbt_sweep *sweep;
    const int64_t *order; /* [n], borrowed */
    int64_t n;
    bool *done;             /* [n]: nothing is to be done with it in this call */
    bool *lives;            /* [n]: another process was seen at work on it     */
    fbt_sweep_watch *watch; /* [n] */
} fbt_sweep_queue;

fbt_status fbt_sweep_queue_open(fbt_sweep_queue *queue, const fbt_sweep *sweep, const int64_t *order, int64_t n);
void fbt_sweep_queue_close(fbt_sweep_queue *queue);

/* Claims the next run: *index is its number in the sweep, *claim the caller's to release. *index is -1 when there is
 * none: every run is finished, has failed, or is being made by a process that lives. Other processes' claims of which
 * that is not known are watched until it is, for FBT_CLAIM_STALE_S at most, or until stop(user). */
fbt_status fbt_sweep_queue_next(fbt_sweep_queue *queue, bool (*stop)(void *user), void *user, int64_t *index,
                                fbt_claim **claim);

#endif
