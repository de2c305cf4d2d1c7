/* Timing of CMA-ES itself, for `fedbpt bench --cma-es`. */
#ifndef FBT_CLI_BENCH_CMA_H
#define FBT_CLI_BENCH_CMA_H

#include "base/status.h"

#include <jansson.h>
#include <stdint.h>

/* Times ask and tell of full CMA-ES on a quadratic function, on the calling thread, for each of the populations, and
 * pycma beside it where the Python that FEDBPT_PYTHON names, or else python3, has it. Prints a table, or, where
 * `results` is an array, appends to that. populations: [n]. Errors: those of CMA-ES, FBT_ERR_MEMORY. */
fbt_status fbt_bench_cma(int64_t n, const int64_t *populations, json_t *results);

#endif
