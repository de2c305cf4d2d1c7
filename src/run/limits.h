/* The largest batch that a run or an evaluation puts through the model on one rank, for planning its memory. */
#ifndef FBT_RUN_LIMITS_H
#define FBT_RUN_LIMITS_H

#include "config/settings.h"
#include "data/dataset.h"
#include "data/partition.h"
#include "fed/evaluator.h"
#include "fed/placement.h"
#include "model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Limits of the batches of rank `rank` of n_ranks: those that its clients search with, and its part of the scores.
 * placement: of all clients; empty where some take part in a round, any of whom may come to any rank. */
void fbt_limits_of_run(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                       const fbt_placement *placement, int n_ranks, int rank, fbt_model_limits *limits);

/* Limits of precision checks: one population of any client. */
void fbt_limits_of_checks(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                          fbt_model_limits *limits);

/* Scores of n items under n_candidates prompts. */
void fbt_limits_of_items(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_item *items, int64_t n,
                         int64_t n_candidates, fbt_model_limits *limits);

#ifdef __cplusplus
}
#endif

#endif
