/* Clients that score the server's own candidates: all the same ones, which each makes for itself from the shared seed.
 * One exchange a generation, I of them a round. */
#ifndef FBT_FED_SHARED_POPULATION_H
#define FBT_FED_SHARED_POPULATION_H

#include "fed/protocol.h"

/* fbt_shared_population: its message down is `fitness` [lambda], what the server has made of the participants' losses,
 * with which they update their copies of its optimiser. round->population are the candidates.
 *
 * The participants' message: `losses` [lambda], each candidate's; and what is recorded. */
void fbt_shared_population_up(const fbt_settings *settings, fbt_schema *schema);

#endif
