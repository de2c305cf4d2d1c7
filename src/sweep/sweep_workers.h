/* The runs of a sweep made by the ranks of this job, split into groups. */
#ifndef FBT_SWEEP_WORKERS_H
#define FBT_SWEEP_WORKERS_H

#include "base/status.h"
#include "comm/comm.h"
#include "run/observer.h"
#include "sweep/sweep.h"

#include <stdbool.h>
#include <stdint.h>

/* How a sweep is to be worked through. */
typedef struct fbt_sweep_job {
    const fbt_sweep *sweep;
    int64_t *indices; /* [n] runs that are to be made: put in order */
    int64_t n;
    int ranks_per_run;
    bool retry_failed;
    const fbt_run_observer *observer; /* of all runs; asked before each run, too. NULL: silent */
} fbt_sweep_job;

/* Makes runs until none is left that this job could make, or the time is up, or the observer asks to stop. Groups
 * of ranks_per_run ranks take runs by themselves; one that fails is noted beside its run file, told as a FAILURE event,
 * and does not stop the others. Collective over world; the size of world is a multiple of ranks_per_run. Errors,
 * agreed: what concerns the sweep as a whole. */
fbt_status fbt_sweep_make_runs(const fbt_sweep_job *job, const fbt_comm *world);

#endif
