/* Starts of predictions (fed/prediction.h): a finished run, or a shape whose batches are timed here. */
#ifndef FBT_RUN_SCALE_H
#define FBT_RUN_SCALE_H

#include "base/status.h"
#include "comm/comm.h"
#include "fed/prediction.h"
#include "run/inputs.h"
#include "run/timing.h"

#include <stdbool.h>

/* Plan of predictions. Borrowed. */
typedef struct fbt_scale_plan {
    const char *run;               /* the run file; NULL: batches as `timing` says are timed instead */
    const fbt_timing_plan *timing; /* of one client: its samples, their tokens                     */
    int64_t spread;                /* with it: standard deviation of a sample's tokens             */
    int64_t tokens_per_s;          /* with it: how fast a rank is, known from elsewhere; 0: timed  */
    int64_t test_samples;          /* with it: scored every round beside the training samples      */
    double latency_s, bytes_per_s; /* 0: measured by a ping between the first rank and the last    */
    int ranks_per_node;
} fbt_scale_plan;

/* Zero-initialise; fbt_scale_close, after a failure too. */
typedef struct fbt_scale {
    fbt_settings settings;
    fbt_inputs inputs;
    fbt_partition partition;
    int64_t *work; /* [n_clients] */
    bool pinged;   /* the network was measured */
    int n_ranks;   /* of the run; 0: a shape   */
    char *source;  /* "runs/mine.h5 (4 ranks)", "roberta-large bf16" */
    fbt_prediction_case c;
} fbt_scale;

/* Rank 0 reads or times, all take part in the ping and get the case. Collective. Errors, agreed: FBT_ERR_UNSUPPORTED
 * for what cannot be predicted, by its name; FBT_ERR_USAGE where no network is given and there is nobody to ping; and
 * those of run files, inputs and timings. */
fbt_status fbt_scale_open(const fbt_scale_plan *plan, const fbt_comm *world, fbt_scale *scale);
void fbt_scale_close(fbt_scale *scale);

#endif
