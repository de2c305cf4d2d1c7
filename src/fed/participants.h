/* Who takes part in a round. */
#ifndef FBT_FED_PARTICIPANTS_H
#define FBT_FED_PARTICIPANTS_H

#include "config/settings.h"

#include <gsl/gsl_rng.h>
#include <stdint.h>

/* Draws the clients that take part in a round: they follow from the seed and the round alone. all: [K], 0 .. K - 1;
 * participants: [fbt_settings_participants], rising. rng: any, whose place is lost. */
void fbt_participants_draw(const fbt_settings *settings, uint32_t round, gsl_rng *rng, int64_t *all,
                           int64_t *participants);

#endif
