/* A run between opening and closing; for the files of this folder. */
#ifndef FBT_RUN_EXPERIMENT_INTERNAL_H
#define FBT_RUN_EXPERIMENT_INTERNAL_H

#include "record/run_file.h"
#include "run/experiment.h"

struct fbt_experiment {
    const fbt_experiment_plan *plan;
    const fbt_comm *comm;
    fbt_inputs *inputs; /* borrowed */
    double start_s;     /* when it was opened, from which run.max_seconds counts */
    fbt_settings settings;
    char *config_given; /* the file's text and the assignments */
    char *config_resolved;
    fbt_partition partition;
    int64_t *work; /* [K] */
    fbt_placement placement;
    char *hosts;
    char *devices;             /* fbt_device_list; NULL: not asked yet */
    bool resumed;              /* the file at run.output is gone on with */
    bool finished;             /* that file has all rounds that are asked for */
    fbt_run_restored restored; /* where a resumed run stands; on other ranks than 0 last_round alone */
    fbt_run_file *file;        /* rank 0: of a resumed run, until its recorder takes it */
};

/* The last round that the plan asks for. */
int64_t fbt_experiment_last_round(const fbt_experiment *experiment);

/* The plan's label. */
const char *fbt_experiment_label(const fbt_experiment *experiment);

#endif
