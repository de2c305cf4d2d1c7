/* The clients' own CMA-ES searches of a round, all clients of a rank in step. */
#ifndef FBT_FED_LOCAL_SEARCH_H
#define FBT_FED_LOCAL_SEARCH_H

#include "fed/protocol.h"

/* Options of a client's CMA-ES: lambda, floor(lambda / 2) parents, the run's covariance and constants. */
void fbt_local_search_options(const fbt_settings *settings, fbt_cma_options *options);

/* Whether a CMA-ES with this population mirrors, as pycma's does by default. */
bool fbt_local_search_mirrors(const fbt_settings *settings, int64_t population);

/* Every hosted participant searches from the server's mean, covariance and step_size_local for I generations, then
 * scores its final mean; uploads holds the result of all participants on every rank. covariance_sum: NULL, or [d, d]
 * (full) or [d] (separable): receives the sum of the participants' final covariances, added up in their order.
 * Collective over context->world. */
fbt_status fbt_local_search(const fbt_round_context *context, fbt_server *server, fbt_uploads *uploads,
                            double *covariance_sum);

/* Floats that a participant of a protocol with local searches sends (its mean, that mean's fitness, I step sizes) and
 * receives (mean, step size, and the covariance as far as it is not the identity by definition) in a round. */
int64_t fbt_local_search_floats_up(const fbt_settings *settings);
int64_t fbt_local_search_floats_down(const fbt_settings *settings);

/* Floats of the covariance: d (d + 1) / 2, d or none. */
int64_t fbt_local_search_covariance_floats(const fbt_settings *settings);

/* Memory of the uploads of m participants. Zero-initialise before, clear after. */
fbt_status fbt_uploads_init(fbt_uploads *uploads, int64_t n_participants, int64_t dimension, int64_t n_generations);
void fbt_uploads_clear(fbt_uploads *uploads);

#endif
