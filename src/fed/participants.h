/* Who is chosen for a round. */
#ifndef FBT_FED_PARTICIPANTS_H
#define FBT_FED_PARTICIPANTS_H

#include "config/settings.h"

#include <stdint.h>

/* Draws the clients that are chosen for a round, or takes the only one (fed.only_client): they follow from the seed,
 * the round, K and their number alone. participants: [fbt_settings_chosen], rising; without faults (fed/reports.h) all
 * of them take part. Takes time in proportion to K (ten milliseconds for a million clients) and no memory. */
void fbt_participants_draw(const fbt_settings *settings, uint32_t round, int64_t *participants);

#endif
