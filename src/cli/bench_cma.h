/* Timing of CMA-ES itself, for `fedbpt bench --cma-es`. */
#ifndef FBT_CLI_BENCH_CMA_H
#define FBT_CLI_BENCH_CMA_H

#include "base/choices.h"
#include "base/status.h"

#include <jansson.h>
#include <stdint.h>

typedef struct fbt_bench_search {
    fbt_optimiser_kind kind;
    int64_t dimension; /* 0: 500 */
} fbt_bench_search;

/* Times ask and tell of a search on a quadratic function, on the calling thread, for each of the populations: CMA-ES
 * with either decomposition (separable above 2,000 dimensions), or another search with its usual settings; and pycma
 * beside it, full, or above 2,000 dimensions separable and VkD, where the Python that FEDBPT_PYTHON names, or else
 * python3, has it. Prints a table, or, where `results` is an array, appends to that. populations: [n]. Errors: those of
 * the search, FBT_ERR_MEMORY. */
fbt_status fbt_bench_cma(const fbt_bench_search *plan, int64_t n, const int64_t *populations, json_t *results);

#endif
