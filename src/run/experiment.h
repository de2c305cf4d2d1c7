/* One federated run from its settings to its run file: prepare, run (or describe), close. A process may make any number
 * of them, one after another, on any communicator. */
#ifndef FBT_RUN_EXPERIMENT_H
#define FBT_RUN_EXPERIMENT_H

#include "base/status.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "data/partition.h"
#include "fed/placement.h"
#include "record/run_file.h"
#include "run/inputs.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fbt_experiment;

/* What is to be run. Borrowed until fbt_experiment_close. */
typedef struct fbt_experiment_plan {
    const char *config_path;        /* named in messages; read unless config_text is given */
    const char *config_text;        /* NULL: the file's */
    const char *const *assignments; /* [n_assignments]: "section.key=value", in the order in which they hold */
    int n_assignments;
    bool resume;            /* goes on with the run file at run.output if there is one */
    const char *label;      /* what log lines are headed with; NULL: "run" */
    const char *sweep_name; /* for the run file's environment; NULL outside a sweep */
    const char *sweep_run;
    const char *sweep_axes;
    const char *rerun_of; /* likewise: the run file whose run is made again; NULL: none */
    int64_t
        n_rows; /* the run ends, as if interrupted, when its file has so many rows of /rounds; 0: after fed.rounds */
    /* Called on every rank when the model is open, before the first round; a failure ends the run. NULL: nothing. */
    fbt_status (*opened)(const struct fbt_experiment *experiment, void *user);
    void *user;
} fbt_experiment_plan;

/* Everything that is known before the first round. Zero-initialise before, close after, also after a failure. */
typedef struct fbt_experiment {
    const fbt_experiment_plan *plan;
    const fbt_comm *comm;
    fbt_inputs *inputs; /* borrowed */
    double start_s;     /* when it was prepared, from which run.max_seconds counts */
    fbt_settings settings;
    char *config_given; /* the file's text and the assignments */
    char *config_resolved;
    fbt_partition partition;
    int64_t *work; /* [K]: tokens of one forward pass over a client's samples */
    fbt_placement placement;
    char *hosts;
    char *devices;      /* fbt_device_list */
    bool resumed;       /* the file at run.output is gone on with */
    bool finished;      /* that file has all rounds that are asked for: there is nothing to run */
    fbt_run_past past;  /* where a resumed run stands; the checkpoint on rank 0 alone */
    fbt_run_file *file; /* on rank 0 */
} fbt_experiment;

/* Reads the settings and the data set, checks both and the model's config.json, deals the clients out, and looks at
 * run.output: without `resume` whether a run file could be written there; with it also where the run file that is there
 * stands, and that it was made with the same settings, data and model as far as they decide numbers. Holds the run
 * file's lock from then on if it resumes. inputs: zero, or those of an earlier experiment of this process, of which
 * what fits is kept; outlives the experiment. Collective over comm. Errors: agreed; the sentence is kept on the ranks
 * that failed (fbt_comm_report prints it). */
fbt_status fbt_experiment_prepare(fbt_experiment *experiment, const fbt_experiment_plan *plan, fbt_inputs *inputs,
                                  const fbt_comm *comm);

/* The last round that the plan asks for. */
int64_t fbt_experiment_last_round(const fbt_experiment *experiment);

/* Prints what would be run, for `run --dry-run`, on rank 0; opens the backend. Collective over comm. */
fbt_status fbt_experiment_describe(fbt_experiment *experiment);

/* Opens the model, runs all rounds that are left and writes the run file after each. Says so if there is nothing to do.
 * *interrupted: something of stop.h or run.max_seconds ended the run before the last round that is asked for; the run
 * file says so and the run can be resumed. Collective over comm, with the same errors as above; after a failure the
 * finished rounds are kept. */
fbt_status fbt_experiment_run(fbt_experiment *experiment, bool *interrupted);

void fbt_experiment_close(fbt_experiment *experiment);

#ifdef __cplusplus
}
#endif

#endif
