/* Summary of a run file in a line: how far the run is and how good it has become. */
#ifndef FBT_RECORD_RUN_SUMMARY_H
#define FBT_RECORD_RUN_SUMMARY_H

#include "base/status.h"
#include "record/run_file.h"

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialise, then fbt_run_summary_read; free with fbt_run_summary_clear, after a failure too. */
typedef struct fbt_run_summary {
    bool exists;
    fbt_run_status run_status; /* as it was written last: `running` also when the run was killed                */
    char *config_resolved;
    int64_t last_round;
    int64_t best_round;   /* on dev; -1: no dev samples                                                    */
    double dev_accuracy;  /* of the best round; NaN: none                                                  */
    double test_accuracy; /* of the best round, or of the last where there is no best; NaN: not scored     */
} fbt_run_summary;

/* No file at `path`: FBT_OK with exists false. Errors: FBT_ERR_IO, FBT_ERR_DATA. */
fbt_status fbt_run_summary_read(const char *path, fbt_run_summary *summary);
void fbt_run_summary_clear(fbt_run_summary *summary);

#endif
