/* Scores samples under prompts: packs them into batches of bounded size and shares them out over ranks. */
#ifndef FBT_FED_EVALUATOR_H
#define FBT_FED_EVALUATOR_H

#include "base/status.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "model/model.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One sequence to score. What it points to is borrowed until the evaluation ends. */
typedef struct fbt_item {
    fbt_sequence sequence;
    int32_t candidate; /* row of z; items come in order of rising candidate    */
} fbt_item;

/* The item of one sample of a split, as it is, for candidate 0; tokens and frozen flags are the split's. */
fbt_item fbt_item_of(const fbt_split *split, int64_t row);

/* Per item, in the items' order; members that are NULL are not wanted. double, so that slots of several ranks can be
 * summed: every value is a float or a small integer and stays exact. */
typedef struct fbt_scores {
    double *losses;      /* [n_items]           */
    double *predictions; /* [n_items]           */
    double *logits;      /* [n_items, n_labels] */
} fbt_scores;

/* Items to be scored under prompts A z: z: [n_candidates, d]. All that it points to is borrowed until finish, z until
 * start returns. share: members pass the same items and get the same scores; each scores a part, cut anywhere. NULL:
 * this rank does it all. */
typedef struct fbt_evaluation {
    const fbt_item *items;
    int64_t n_items;
    const double *z;
    int64_t n_candidates, d;
    const fbt_comm *share;
    fbt_scores scores;
} fbt_evaluation;

typedef struct fbt_evaluator fbt_evaluator;

/* backend.batch_tokens, or what suits the backend where it is 0. */
int64_t fbt_batch_tokens(const fbt_settings *settings);

/* `model` is borrowed. batch_tokens: rows of one forward pass at most, shared ones once and those of labels with them
 * (a sequence that has more goes alone). */
fbt_status fbt_evaluator_new(fbt_model *model, fbt_loss loss, int64_t batch_tokens, fbt_evaluator **evaluator);
void fbt_evaluator_free(fbt_evaluator *evaluator);

/* Evaluations on different streams run side by side. */
int fbt_evaluator_n_streams(const fbt_evaluator *evaluator);

/* Queues an evaluation on a stream on which none is under way. Not collective; what fails here, finish tells. */
void fbt_evaluator_start(fbt_evaluator *evaluator, int stream, const fbt_evaluation *evaluation);

/* Waits for the stream's evaluation and fills in its scores, which do not depend on the cut. Collective over its
 * `share`. Errors: FBT_ERR_NUMERIC (a loss is not finite), FBT_ERR_ARG (an item's candidate), the model's. */
fbt_status fbt_evaluator_finish(fbt_evaluator *evaluator, int stream);

/* Waits for the stream's evaluation, if there is one, and forgets it. Not collective. */
void fbt_evaluator_abandon(fbt_evaluator *evaluator, int stream);

/* Start and finish, on stream 0. */
fbt_status fbt_evaluator_run(fbt_evaluator *evaluator, const fbt_evaluation *evaluation);

/* Sequences of an evaluation, rows with those of prompts in front and of labels behind each. Zero-initialise. */
typedef struct fbt_evaluation_size {
    int64_t n_rows, n_sequences, n_candidates;
    int64_t shortest, longest; /* rows of a sequence */
    int64_t n_shared;          /* of these, rows that sequences of one candidate share (fbt_model_shared_rows) */
} fbt_evaluation_size;

/* Adds one more sequence of n_rows. */
void fbt_evaluation_size_add(fbt_evaluation_size *size, int64_t n_rows);

/* Widens limits to the largest batch that an evaluation of this size may be cut into. */
void fbt_evaluation_limits(const fbt_evaluation_size *size, int64_t batch_tokens, fbt_model_limits *limits);

/* Rows of tokens, prompts and labels that this rank has put through the model since the evaluator was made: those of
 * every sequence, whether shared or not, so that no cut changes the number. */
int64_t fbt_evaluator_n_tokens(const fbt_evaluator *evaluator);

#ifdef __cplusplus
}
#endif

#endif
