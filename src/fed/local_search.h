/* The clients' own searches of a round: each participant searches from the server's distribution and step_size_local
 * for I generations, all clients of a rank in step, then scores its final mean. One exchange a round. */
#ifndef FBT_FED_LOCAL_SEARCH_H
#define FBT_FED_LOCAL_SEARCH_H

#include "fed/protocol.h"

/* Options of a client's optimiser: lambda, half of them parents, the run's covariance and constants. */
void fbt_local_search_options(const fbt_settings *settings, fbt_optimiser_options *options);

/* The same, for rules whose server holds the clients' distribution, or is told populations of its own: `server_options`
 * that do not depend on the number of participants. */
void fbt_local_search_server_options(const fbt_settings *settings, int64_t n_participants,
                                     fbt_optimiser_options *options);

/* Whether a CMA-ES with this population mirrors, as pycma's does by default. */
bool fbt_local_search_mirrors(const fbt_settings *settings, int64_t population);

/* For rules that rank participants: the message (mean, each generation's step size, and by what they are ranked), and
 * the values [m] that rank them, smaller is better: the fitness of their means, or with fed.ranking improvement its
 * symmetric relative change (b - a) / (|a| + |b|) in [-1, 1] since a, that of the mean that they began from. For
 * fitness above 0 that ranks as b / a does, and stays finite where a is 0. */
void fbt_local_search_add_ranking(const fbt_settings *settings, fbt_schema *schema); /* of it, the last alone */
void fbt_local_search_up_ranked(const fbt_settings *settings, fbt_schema *schema);
const double *fbt_local_search_ranked_by(const fbt_messages *up);

/* Fields that every local search fills in for the run file. It fills in, too, where a schema has them: mean, fitness,
 * improvement, step_size (each generation's; must be there), step_size_end, and shape: sent where the mean follows from
 * it (optim/optimiser.h), else summed. */
void fbt_local_search_record(fbt_schema *schema);

#endif
