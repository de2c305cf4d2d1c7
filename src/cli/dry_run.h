/* Output of `fedbpt run --dry-run`. */
#ifndef FBT_CLI_DRY_RUN_H
#define FBT_CLI_DRY_RUN_H

#include "run/experiment.h"

/* Prints what would be run, on rank 0; opens the backend. Collective over comm, which is the experiment's. */
fbt_status fbt_cli_describe(fbt_experiment *experiment, const fbt_comm *comm);

#endif
