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
    fbt_cost_shares shares;
    bool found_test_every;   /* eval.test_every was 0, of a run that begins */
    fbt_placement placement; /* of all clients, where all take part in every round; else empty */
    char *hosts;
    char *devices;             /* fbt_device_list; NULL: not found yet */
    bool checks;               /* its precision is below fp32 and checked, or was until it fell back; once the backend
                                  is open */
    bool resumed;              /* the file at run.output is gone on with */
    bool finished;             /* that file has all rounds that are asked for */
    fbt_run_restored restored; /* where a resumed run stands; on other ranks than 0 last_round and
                                  fell_back alone */
    fbt_run_file *file;        /* rank 0: of a resumed run, until its recorder takes it */
};

/* The last round that the plan asks for. */
int64_t fbt_experiment_last_round(const fbt_experiment *experiment);

/* Opens the backend if it is not open and fills in `checks`. Collective over comm; errors agreed. */
fbt_status fbt_experiment_need_backend(fbt_experiment *e);

/* Fills in `devices`, once; opens the backend if it is not open. Collective over comm; errors agreed. */
fbt_status fbt_experiment_find_devices(fbt_experiment *e);

/* The plan's label. */
const char *fbt_experiment_label(const fbt_experiment *experiment);

#endif
