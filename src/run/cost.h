/* Sequences that a run puts through the model, and their tokens, counted before it is made as its run file counts them
 * (rounds/cost/tokens): all of every sequence, whether some are computed once for several or not. */
#ifndef FBT_RUN_COST_H
#define FBT_RUN_COST_H

#include "base/status.h"
#include "config/settings.h"
#include "data/dataset.h"
#include "data/partition.h"
#include "fed/evaluator.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rows around the tokens of every sample: those of the prompt in front, those of labels behind. */
int64_t fbt_cost_rows_around(const fbt_settings *settings, const fbt_dataset *dataset);

/* Adds one pass over the samples of a client. n_around: fbt_cost_rows_around, the same for all. */
void fbt_cost_add_client(const fbt_dataset *dataset, const fbt_partition *partition, int64_t client, int64_t n_around,
                         fbt_evaluation_size *size);

/* Adds the scores of one round: training, dev and test samples under the server's mean. */
void fbt_cost_add_scores(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                         fbt_evaluation_size *size);

/* Tokens of the search of an average round, and of one scoring of the test samples. */
typedef struct fbt_cost_shares {
    int64_t search, test;
} fbt_cost_shares;

/* work: [K], tokens of one pass over each client's samples. */
fbt_cost_shares fbt_cost_of_shares(const fbt_settings *settings, const fbt_dataset *dataset, const int64_t *work);

/* The least eval.test_every with which test samples take no more tokens than the search. */
int64_t fbt_cost_test_every(const fbt_settings *settings, const fbt_cost_shares *shares);

/* "eval.test_every is 2: scoring the test samples takes 540000 tokens, the search of a round 480000". */
enum { FBT_COST_TEXT_BYTES = 160 };
void fbt_cost_describe_test(const fbt_settings *settings, const fbt_cost_shares *shares,
                            char text[FBT_COST_TEXT_BYTES]);

/* Tokens of a run from round 0 to fed.rounds, and what it simulates. */
typedef struct fbt_cost {
    fbt_cost_shares shares;
    int64_t scores;        /* of one scoring of all samples */
    int64_t largest_round; /* of the largest round, without its scores and its precision check */
    int64_t checks;        /* of all precision checks, unless the run falls back to fp32 */
    int64_t all;           /* of all rounds, with the scores of those that are scored, and the checks */
    int64_t most_for_best; /* that test samples may take besides, where dev samples are best so far */
    int64_t n_reported;    /* clients that report, in all rounds together (fed/reports.h) */
    int64_t n_abandoned;   /* rounds */
    double simulated_s;    /* of all rounds; NaN: nothing takes time */
} fbt_cost;

/* work: [K], tokens of one pass over each client's samples. checks: whether the precision is checked. Errors:
 * FBT_ERR_MEMORY. */
fbt_status fbt_cost_of_run(const fbt_settings *settings, const fbt_dataset *dataset, const fbt_partition *partition,
                           const int64_t *work, bool checks, fbt_cost *cost);

#ifdef __cplusplus
}
#endif

#endif
