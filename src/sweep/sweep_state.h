/* Where the runs of a sweep stand, as their files tell. */
#ifndef FBT_SWEEP_STATE_H
#define FBT_SWEEP_STATE_H

#include "base/status.h"
#include "record/claim.h"
#include "sweep/sweep.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum fbt_sweep_state {
    FBT_SWEEP_TO_DO,
    FBT_SWEEP_RUNNING,     /* a living process has claimed it */
    FBT_SWEEP_INTERRUPTED, /* stopped or killed: can go on    */
    FBT_SWEEP_FINISHED,
    FBT_SWEEP_FAILED, /* is tried again only when asked  */
    FBT_SWEEP_OTHER,  /* the file there is of other settings: the sweep was changed since */
    FBT_SWEEP_N_STATES
} fbt_sweep_state;
extern const char *const fbt_sweep_state_names[FBT_SWEEP_N_STATES];

/* Zero-initialise, then fbt_sweep_look; free with fbt_sweep_standing_clear, after a failure too. */
typedef struct fbt_sweep_standing {
    fbt_sweep_state state;
    int64_t n_rounds;                   /* asked for                                  */
    int64_t last_round;                 /* -1: no run file                            */
    int64_t best_round;                 /* on dev; -1: none                           */
    double dev_accuracy, test_accuracy; /* as fbt_run_summary's       */
    char *reason;                       /* one sentence, of FAILED and OTHER; or NULL */
    fbt_claim_holder holder;
} fbt_sweep_standing;

/* Reads the run's file, its claim (with_claim; without, nobody is seen running it) and the note of its failure. Changes
 * nothing. A run file that cannot be read counts as failed. Errors: FBT_ERR_MEMORY, FBT_ERR_CONFIG. */
fbt_status fbt_sweep_look(const fbt_sweep *sweep, const fbt_sweep_run *run, bool with_claim,
                          fbt_sweep_standing *standing);
void fbt_sweep_standing_clear(fbt_sweep_standing *standing);

/* A failed run has a file `name.failed` beside its run file, with the sentence: without it the run may be tried again.
 * The first fails silently: the sentence has been told. */
void fbt_sweep_note_failure(const fbt_sweep_run *run, const char *sentence);
fbt_status fbt_sweep_forget_failure(const fbt_sweep_run *run);

#endif
