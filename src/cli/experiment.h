/* One federated run from its settings to its run file. */
#ifndef FBT_CLI_EXPERIMENT_H
#define FBT_CLI_EXPERIMENT_H

#include "comm.h"
#include "inputs.h"
#include "partition.h"
#include "placement.h"
#include "settings.h"
#include "status.h"

#include <stdbool.h>

/* Everything that is known before the first round. Zero-initialise before, close after. */
typedef struct fbt_experiment {
    fbt_settings settings;
    char *config_given;    /* the file's text and the command line's settings */
    char *config_resolved;
    fbt_inputs inputs;
    fbt_partition partition;
    int64_t *work;         /* [K]: tokens of one forward pass over a client's samples */
    fbt_placement placement;
    char *hosts;
    char *devices; /* fbt_device_list */
} fbt_experiment;

/* Reads the settings, the data set and config.json, checks all of it and deals the clients out. Rank-local but for the rank
 * count: every rank comes to the same result. */
fbt_status fbt_experiment_prepare(fbt_experiment *experiment, const char *config_path, const char *const *assignments,
                                  int n_assignments, int n_ranks);

void fbt_experiment_close(fbt_experiment *experiment);

/* Prints what would be run, for `run --dry-run`, on rank 0; opens the backend. Collective over world. */
fbt_status fbt_experiment_describe(fbt_experiment *experiment, const fbt_comm *world);

/* Opens the model, runs all rounds and writes the run file. Collective over world. *interrupted: the time limit
 * ended the run before its last round. */
fbt_status fbt_experiment_run(fbt_experiment *experiment, const fbt_comm *world, bool *interrupted);

#endif
