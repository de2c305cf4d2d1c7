/* Times what the optimisers of a run take without any model, for predictions (fed/prediction.h). */
#ifndef FBT_RUN_OPTIMISER_SPEED_H
#define FBT_RUN_OPTIMISER_SPEED_H

#include "base/status.h"
#include "comm/comm.h"
#include "config/settings.h"

typedef struct fbt_optimiser_speed {
    double client_s;             /* one participant's ask and tell of a round; 0: its protocol has none        */
    double server_s;             /* the server's update with its messages ...                                  */
    double server_participant_s; /* ... and what each participant adds                                         */
    double participant_bytes;    /* heap of a participant's search while it is hosted                          */
} fbt_optimiser_speed;

/* Searches random losses with the run's optimiser and makes the run's server update from random messages, each a few
 * times, of which the fastest counts. Takes about a second. self: this rank alone. Not collective. */
fbt_status fbt_optimiser_speed_measure(const fbt_settings *settings, const fbt_comm *self, fbt_optimiser_speed *speed);

#endif
