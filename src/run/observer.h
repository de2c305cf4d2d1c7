/* News of a run for whoever started it, and its questions between two rounds. The engine prints nothing and looks at no
 * signal: a program that wants either gives callbacks. */
#ifndef FBT_RUN_OBSERVER_H
#define FBT_RUN_OBSERVER_H

#include "fed/round_row.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fbt_run_event_kind {
    FBT_RUN_EVENT_NOTE,    /* something worth knowing: devices shared, settings without effect */
    FBT_RUN_EVENT_BEGIN,   /* the model is open, the first round comes */
    FBT_RUN_EVENT_ROUND,   /* a round is made; it is not yet in the run file */
    FBT_RUN_EVENT_END,     /* the last round of this call is in the run file */
    FBT_RUN_EVENT_FAILURE, /* one run of a sweep has failed; the sweep goes on, or stops if `ends_sweep` */
} fbt_run_event_kind;

/* Borrowed during the call. */
typedef struct fbt_run_event {
    fbt_run_event_kind kind;
    const char *label;        /* of the plan: "run", a sweep's run */
    const char *text;         /* one line of English without a newline, never NULL */
    const fbt_round_row *row; /* of ROUND; else NULL */
    int64_t n_rounds;         /* of ROUND: the last round that is asked for */
    double seconds;           /* of ROUND: that it took, without the writing */
    bool ends_sweep;          /* of FAILURE */
} fbt_run_event;

/* Members that are NULL are not called. Zero-initialised, it is deaf and mute. */
typedef struct fbt_run_observer {
    /* Called as things happen, on the first rank of the run's communicator alone (FAILURE: on the rank that has the
     * cause). */
    void (*tell)(void *user, const fbt_run_event *event);

    /* Whether the run should end after this round, as if interrupted: 0 to go on, else a positive reason of the
     * caller's. Asked on every rank between two rounds; the largest answer counts for all. */
    int (*should_stop)(void *user);

    /* Words for such a reason ("SIGTERM"), for the END event. */
    const char *(*name_reason)(void *user, int reason);

    /* Seconds until the job as a whole ends; INFINITY: no limit. Asked on the first rank; a round that would not end
     * before it, less run.stop_margin_seconds, is not begun. */
    double (*seconds_left)(void *user);

    void *user;
} fbt_run_observer;

/* The observer's answers; what they are where it, or the callback, is NULL: nothing said, 0, INFINITY. */
void fbt_observer_tell(const fbt_run_observer *observer, const fbt_run_event *event);
void fbt_observer_note(const fbt_run_observer *observer, fbt_run_event_kind kind, const char *label, const char *format,
                       ...) __attribute__((format(printf, 4, 5)));
int fbt_observer_should_stop(const fbt_run_observer *observer);
double fbt_observer_seconds_left(const fbt_run_observer *observer);

#ifdef __cplusplus
}
#endif

#endif
