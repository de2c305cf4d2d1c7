/* One federated run from its settings to its run file: open, look, run, close. A process may make any number of them,
 * one after another, on any communicator.
 *
 *     fbt_comm_start(&argc, &argv, &world);                                                (comm/comm.h)
 *     fbt_inputs inputs = {0};                                                             (run/inputs.h)
 *     fbt_experiment_plan plan = {.config_path = "study.yaml", .observer = &observer};     (run/observer.h)
 *     status = fbt_experiment_open(&plan, &inputs, world, &experiment);
 *     status = fbt_experiment_run(experiment, &interrupted);
 *     fbt_experiment_close(experiment);
 *     fbt_inputs_close(&inputs);
 *     fbt_comm_stop(world);
 *
 * After a failure fbt_error_message() (base/status.h) has the sentence, on the ranks that failed. To score prompts
 * without a run: run/scoring.h. */
#ifndef FBT_RUN_EXPERIMENT_H
#define FBT_RUN_EXPERIMENT_H

#include "base/status.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "data/partition.h"
#include "fed/placement.h"
#include "kernels/backend.h"
#include "run/cost.h"
#include "run/device.h"
#include "run/inputs.h"
#include "run/observer.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fbt_experiment fbt_experiment;

/* Plan of a run. Borrowed until fbt_experiment_close; members that are 0 or NULL mean what is said first. */
typedef struct fbt_experiment_plan {
    const char *config_path;        /* named in messages; read unless config_text is given */
    const char *config_text;        /* NULL: the file's */
    const char *const *assignments; /* [n_assignments]: "section.key=value", in the order in which they hold */
    int n_assignments;
    bool resume;                      /* goes on with the run file at run.output if there is one */
    const fbt_run_observer *observer; /* NULL: silent, and stopped by nothing but run.max_seconds */
    const char *label;                /* of the observer's events; NULL: "run" */
    const char *sweep_name;           /* for the run file's environment; NULL outside a sweep */
    const char *sweep_run;
    const char *sweep_axes;
    const char *rerun_of; /* likewise: the run file whose run is made again; NULL: none */
    int64_t n_rows;       /* 0: to fed.rounds; else the run ends, as if interrupted, when its file has so many rows */
    /* Called on every rank when the model is open, before the first round, with what computes; a failure ends the run.
     * NULL: nothing. */
    fbt_status (*opened)(const fbt_backend_info *info, void *user);
    void *user;
    const char *powercap; /* folder of the processors' energy counters; NULL: the system's (base/rapl.h) */
    const char *nvml;     /* library that reads those of GPUs; NULL: the driver's (base/nvml.h) */
} fbt_experiment_plan;

/* Reads the settings and the data set, checks both and the model's config.json, deals the clients out, and looks at
 * run.output: without `resume` whether a run file could be written there; with it also where the run file that is there
 * stands, and that it was made with the same settings, data and model as far as they decide numbers. Holds the run
 * file's claim from then on if it resumes. inputs: zero, or those of an earlier experiment of this process, of which
 * what fits is kept; outlives the experiment. Collective over comm. Errors: agreed; *experiment is NULL. */
fbt_status fbt_experiment_open(const fbt_experiment_plan *plan, fbt_inputs *inputs, const fbt_comm *comm,
                               fbt_experiment **experiment);

/* NULL is fine. */
void fbt_experiment_close(fbt_experiment *experiment);

/* Facts known before the first round; borrowed from the experiment and its inputs. Not collective. */
typedef struct fbt_experiment_view {
    const fbt_settings *settings;
    const char *config_resolved; /* the settings in force, as YAML */
    const fbt_dataset *dataset;
    int64_t n_prompts;              /* of a search point: one for each layer, where prompts are deep */
    const fbt_partition *partition; /* samples of each of K clients */
    const fbt_placement *placement; /* ranks of each client, where all take part in every round; else empty */
    const int64_t *work;            /* [K]: tokens of one pass over a client's samples, as run/cost.h counts them */
    bool resumed;                   /* goes on with the file at run.output */
    bool finished;                  /* that file has all rounds that are asked for: there is nothing to run */
    int64_t past_round;             /* the last round in that file; 0 where nothing is resumed */
} fbt_experiment_view;
void fbt_experiment_look(const fbt_experiment *experiment, fbt_experiment_view *view);

/* Tokens that the run will put through the model; those of precision checks where the backend is open, which tells
 * whether there are any. Not collective. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_experiment_count_tokens(const fbt_experiment *experiment, fbt_cost *cost);

/* Memory that the run will take, and whether there is enough: `plan` of this rank, `device` of all ranks of its device.
 * Opens the backend if it is not open; loads no weights. Collective over comm; errors agreed. */
typedef struct fbt_experiment_memory {
    fbt_model_plan plan;
    fbt_device_memory device;
    int64_t n_rows;        /* of the largest batch */
    int n_ranks;           /* that share the device */
    const char *precision; /* "fp32"; lives as long as the program */
    bool checks;           /* the precision is checked: what the model in fp32 takes beside it (`free` apart) */
    fbt_model_plan check_plan;
    fbt_device_memory check_device;
} fbt_experiment_memory;
fbt_status fbt_experiment_plan_memory(fbt_experiment *experiment, fbt_experiment_memory *memory);

/* "rank 0: host NAME (GPU-uuid)", a line for every rank, the last without its newline; borrowed. Opens the backend if
 * it is not open. Collective over comm; errors agreed. */
fbt_status fbt_experiment_list_devices(fbt_experiment *experiment, const char **text);

/* Opens the model, runs all rounds that are left and writes the run file after each. Does nothing, and says so, if all
 * are there. *interrupted: the observer, run.max_seconds or the job's end stopped the run before the last round that is
 * asked for; the run file says so and the run can be resumed. Collective over comm, with the same errors as above;
 * after a failure the finished rounds are kept. */
fbt_status fbt_experiment_run(fbt_experiment *experiment, bool *interrupted);

#ifdef __cplusplus
}
#endif

#endif
