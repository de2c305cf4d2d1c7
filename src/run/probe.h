/* A look at a promise that a backend can test but not prove: a sequence's result has the same bits alone and in any
 * batch. A run's numbers would depend on the number of ranks and on backend.batch_tokens otherwise. */
#ifndef FBT_RUN_PROBE_H
#define FBT_RUN_PROBE_H

#include "comm/comm.h"
#include "config/settings.h"
#include "data/partition.h"
#include "run/inputs.h"

/* Scores training and development samples together, in batches about as large as the run's where there are enough, and
 * some of them alone, on every rank's device. Does nothing on a backend whose bits follow from its own code
 * (fbt_backend_info.tries_batches). The model is open. Collective; errors are agreed: FBT_ERR_BACKEND where bits
 * differ. */
fbt_status fbt_probe_batches(const fbt_inputs *inputs, const fbt_settings *settings, const fbt_partition *partition,
                             const fbt_comm *comm);

#endif
