/* The guard of a low precision during a run: the same model in the reference precision, fp32, by which rounds are
 * checked (fed/precision_check.h), and what is done when the two rank candidates otherwise.
 *
 * The reference is opened before the first round of a session that has checks, so that too little memory is told before
 * any work, and stays open until the session ends or falls back: closing it between checks would not lower the peak,
 * and would load the weights again each time. Ranks of one device share its weights as they share the model's. */
#ifndef FBT_RUN_GUARD_H
#define FBT_RUN_GUARD_H

#include "run/experiment_internal.h"

/* Zero-initialise; fbt_guard_close. */
typedef struct fbt_guard {
    fbt_inputs reference; /* its model is NULL where no check is due */
    bool fell_back;       /* the rounds to come are computed in fp32 ... */
    bool must_switch;     /*   ... which the open model does not yet     */
    int64_t n_low;        /* checks of this session below backend.precision_guard_tau */
} fbt_guard;

/* The settings with which the rounds to come are computed, and those of the reference, for which the model's backend is
 * open. Shallow copies: not to be cleared, and valid no longer than the experiment's. */
fbt_settings fbt_guard_settings(const fbt_experiment *e, bool fell_back);
fbt_settings fbt_guard_reference_settings(const fbt_experiment *e);

/* Whether a low precision is checked in a round that is left. The backend is open. */
bool fbt_guard_needs_reference(const fbt_experiment *e);

/* Opens the reference if it is needed. The model is open. Collective over the experiment's comm; errors agreed. */
fbt_status fbt_guard_open(fbt_guard *guard, fbt_experiment *e);

/* Looks at a round's check and fills in the row's precision_fell_back. The same on every rank. Not collective. */
void fbt_guard_judge(fbt_guard *guard, const fbt_settings *settings, fbt_round_row *row);

/* Whether the round's check is below backend.precision_guard_tau. */
bool fbt_guard_is_low(const fbt_settings *settings, const fbt_round_row *row);

/* Tells a low check: a sentence for the first and for each tenth behind it, and for a fallback. told: NULL is fine. */
void fbt_guard_tell(const fbt_guard *guard, const fbt_experiment *e, const fbt_run_observer *told,
                    const fbt_round_row *row);

/* Where the guard has fallen back: closes the reference and opens the experiment's inputs anew, in fp32, just as a run
 * that goes on from here would. Collective over the experiment's comm; errors agreed. */
fbt_status fbt_guard_switch(fbt_guard *guard, fbt_experiment *e);

/* Collective over the comm of fbt_guard_open. */
void fbt_guard_close(fbt_guard *guard);

#endif
