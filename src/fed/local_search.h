/* The clients' own searches of a round: each participant searches from the server's distribution and step_size_local
 * for I generations, all clients of a rank in step, then scores its final mean. One exchange a round. */
#ifndef FBT_FED_LOCAL_SEARCH_H
#define FBT_FED_LOCAL_SEARCH_H

#include "fed/protocol.h"

extern const fbt_client_work fbt_local_search;

/* Options of a client's optimiser: lambda, half of them parents, the run's covariance and constants. */
void fbt_local_search_options(const fbt_settings *settings, fbt_optimiser_options *options);

/* Whether a CMA-ES with this population mirrors, as pycma's does by default. */
bool fbt_local_search_mirrors(const fbt_settings *settings, int64_t population);

/* For protocols that rank participants by the fitness of their means: the message (mean, each generation's step size,
 * fitness of the mean), and that there are two to rank. */
void fbt_local_search_up_ranked(const fbt_settings *settings, fbt_schema *schema);
fbt_status fbt_local_search_check_ranking(const fbt_settings *settings);

/* Fields that every local search fills in for the run file. It fills in, too, where a schema has them: mean, fitness,
 * step_size (each generation's; must be there), step_size_end, and shape, which is summed. */
void fbt_local_search_record(fbt_schema *schema);

#endif
