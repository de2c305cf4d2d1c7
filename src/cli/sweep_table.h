/* Tables of a sweep's runs on standard output. */
#ifndef FBT_CLI_SWEEP_TABLE_H
#define FBT_CLI_SWEEP_TABLE_H

#include "base/status.h"
#include "sweep/sweep.h"
#include "sweep/sweep_state.h"

#include <stdint.h>

/* Index, values on the axes, evaluations and name of every run. */
fbt_status fbt_sweep_print_list(const fbt_sweep *sweep);

/* Logs the axes whose values change nothing in some runs, because of the runs' other settings. */
void fbt_sweep_warn(const fbt_sweep *sweep);

/* Where the runs of `indices` [n] stand, and how many in each state; counts: [FBT_SWEEP_N_STATES]. Prints nothing after
 * a failure. */
fbt_status fbt_sweep_print_status(const fbt_sweep *sweep, const int64_t *indices, int64_t n, int64_t *counts);

#endif
