/* Clients that score the server's own candidates: all the same ones, which each makes for itself from the shared seed.
 * One exchange a generation, I of them a round. round->population are the candidates; clients update their copies of
 * the server's optimiser by what its message says of them. */
#ifndef FBT_FED_SHARED_POPULATION_H
#define FBT_FED_SHARED_POPULATION_H

#include "fed/protocol.h"

/* Fields that every such client fills in for the run file. It fills in, too, where a schema has them, `losses`
 * [lambda], those of the candidates, and `votes` [lambda / 2], 1 where candidate 2 i is no worse than 2 i + 1, else -1.
 */
void fbt_shared_population_record(const fbt_settings *settings, fbt_schema *schema);

#endif
