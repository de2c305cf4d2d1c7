/* Who takes part in a round. */
#ifndef FBT_FED_PARTICIPANTS_H
#define FBT_FED_PARTICIPANTS_H

#include "config/settings.h"

#include <stdint.h>

/* Draws the clients that take part in a round, or takes the only one (fed.only_client): they follow from the seed, the
 * round, K and m alone. participants: [m = fbt_settings_participants], rising. Takes time in proportion to K (ten
 * milliseconds for a million clients) and no memory. */
void fbt_participants_draw(const fbt_settings *settings, uint32_t round, int64_t *participants);

#endif
