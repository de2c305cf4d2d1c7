/* Costs of the rounds of a run file, for predictions: the times of its phases, as means of a round, and its memory. */
#ifndef FBT_RECORD_RUN_COSTS_H
#define FBT_RECORD_RUN_COSTS_H

#include "base/status.h"
#include "fed/round_row.h"

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialise; free with fbt_run_costs_clear, after a failure too. */
typedef struct fbt_run_costs {
    char *config_resolved, *precision;
    int n_ranks;                  /* the same in all sessions                                 */
    int64_t n_rounds;             /* rows but for the state before tuning: what follows is of them */
    int64_t *rounds;              /* [n_rounds]: their numbers                                */
    double phase_s[FBT_N_PHASES]; /* mean of a round; 0 where the file has no such phase      */
    int64_t n_scored, n_tested;   /* rounds with scores, and with those of test samples       */
    int64_t peak_memory_bytes;    /* largest resident memory of a rank                        */
} fbt_run_costs;

/* Errors: FBT_ERR_IO, FBT_ERR_DATA; FBT_ERR_UNSUPPORTED for a file from which nothing can be predicted: it has no round
 * behind the state before tuning, its sessions had different numbers of ranks, or it fell back to fp32. */
fbt_status fbt_run_costs_read(const char *path, fbt_run_costs *costs);
void fbt_run_costs_clear(fbt_run_costs *costs);

#endif
