/* A recorded run made again, from what its run file holds, and compared with it bit for bit. */
#ifndef FBT_RUN_REPEAT_H
#define FBT_RUN_REPEAT_H

#include "base/digest.h"
#include "base/status.h"
#include "comm/comm.h"
#include "run/observer.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Borrowed during the call. */
typedef struct fbt_repeat_plan {
    const char *run;                /* the run file, which is only read */
    const char *output;             /* the new run file, which is kept; NULL: RUN.rerun.h5, kept if results differ */
    const char *const *assignments; /* [n_assignments]: "section.key=value", of settings that decide no number */
    int n_assignments;
    bool overwrite, resume; /* an existing run file at the output is replaced, or gone on with; at most one of them */
    const fbt_run_observer *observer; /* NULL: silent */
} fbt_repeat_plan;

typedef struct fbt_repeat_result {
    bool interrupted;                   /* stopped as a run is; `resume` goes on. Nothing has been compared */
    int64_t last_round;                 /* as many rounds are made as the file had when it was read */
    char digest[FBT_DIGEST_TEXT_BYTES]; /* of both, on rank 0; "" where interrupted */
} fbt_repeat_result;

/* Collective over comm; any number of ranks. Errors, agreed: FBT_ERR_NUMERIC: the results are not the same, with the
 * first round that differs and what differs in program and machine; FBT_ERR_CONFIG, FBT_ERR_DATA, FBT_ERR_USAGE: the
 * settings, inputs or output do not make a rerun; and a run's own. */
fbt_status fbt_repeat_run(const fbt_repeat_plan *plan, const fbt_comm *comm, fbt_repeat_result *result);

#ifdef __cplusplus
}
#endif

#endif
