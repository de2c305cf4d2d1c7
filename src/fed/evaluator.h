/* Scores samples under prompts: packs them into batches of bounded size and shares them out over ranks. */
#ifndef FBT_FED_EVALUATOR_H
#define FBT_FED_EVALUATOR_H

#include "comm.h"
#include "dataset.h"
#include "model.h"
#include "status.h"

#include <stdint.h>

/* One sequence to score. Borrowed until the evaluation ends. */
typedef struct fbt_item {
    const int32_t *tokens; /* [n_tokens] */
    int32_t n_tokens;
    int32_t readout; /* position of the mask within tokens                   */
    int32_t label;
    int32_t candidate; /* row of z; items come in order of rising candidate    */
} fbt_item;

/* The item of one sample of a split, for candidate 0; its tokens are the split's. */
fbt_item fbt_item_of(const fbt_split *split, int64_t row);

/* Per item, in the items' order; members that are NULL are not wanted. double, so that slots of several ranks can be
 * summed: every value is a float or a small integer and stays exact. */
typedef struct fbt_scores {
    double *losses;      /* [n_items]           */
    double *predictions; /* [n_items]           */
    double *logits;      /* [n_items, n_labels] */
} fbt_scores;

typedef struct fbt_evaluator fbt_evaluator;

/* `model` is borrowed. batch_tokens: rows of one forward pass at most (a longer sequence goes alone). */
fbt_status fbt_evaluator_new(fbt_model *model, fbt_loss loss, int64_t batch_tokens, fbt_evaluator **evaluator);
void fbt_evaluator_free(fbt_evaluator *evaluator);

/* Scores items under prompts A z: z: [n_candidates, d]. Collective over `share`, whose members pass the same items and
 * get the same scores: each scores a part, cut anywhere. share NULL: this rank does it all. The scores do not depend on
 * the cut. Errors: FBT_ERR_NUMERIC (a loss is not finite), the model's. */
fbt_status fbt_evaluator_run(fbt_evaluator *evaluator, const fbt_item *items, int64_t n_items, const double *z,
                             int64_t n_candidates, int64_t d, const fbt_comm *share, const fbt_scores *scores);

/* Tokens and prompt rows that this rank has put through the model since the evaluator was made. */
int64_t fbt_evaluator_n_tokens(const fbt_evaluator *evaluator);

#endif
