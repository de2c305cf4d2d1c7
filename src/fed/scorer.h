/* Scores of the server's mean on the training, dev and test samples, shared out over all ranks. */
#ifndef FBT_FED_SCORER_H
#define FBT_FED_SCORER_H

#include "config/settings.h"
#include "data/partition.h"
#include "fed/evaluator.h"
#include "fed/metrics.h"

typedef struct fbt_scorer fbt_scorer;

typedef struct fbt_split_scores {
    fbt_metrics train, dev, test;
} fbt_split_scores;

/* The data set and the partition are borrowed. Of training and test samples as many are scored as the settings say. */
fbt_status fbt_scorer_new(const fbt_dataset *dataset, const fbt_partition *partition, const fbt_settings *settings,
                          fbt_scorer **scorer);
void fbt_scorer_free(fbt_scorer *scorer);

typedef enum fbt_scored_part { FBT_SCORE_ALL, FBT_SCORE_TRAIN_AND_DEV, FBT_SCORE_TEST } fbt_scored_part;

/* z: [d]. Fills in what is scored, and leaves the other members of *scores alone. Collective over world. */
fbt_status fbt_scorer_run(fbt_scorer *scorer, fbt_evaluator *evaluator, const double *z, int64_t d,
                          fbt_scored_part what, const fbt_comm *world, fbt_split_scores *scores);

#endif
