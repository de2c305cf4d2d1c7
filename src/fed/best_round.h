/* The best round on dev: largest accuracy, then smallest loss, then earliest. Rounds that were not scored, whose
 * accuracy is NaN, are never chosen, and the test set has no say. */
#ifndef FBT_FED_BEST_ROUND_H
#define FBT_FED_BEST_ROUND_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* Begin with FBT_NO_BEST_ROUND. */
typedef struct fbt_best_round {
    int64_t index;         /* -1: no round was scored on dev */
    double accuracy, loss; /* its scores on dev              */
} fbt_best_round;

#define FBT_NO_BEST_ROUND ((fbt_best_round){.index = -1})

/* Whether the round is better than the best so far, which it then becomes. Rounds come in their order. */
static inline bool fbt_best_round_update(fbt_best_round *best, int64_t index, double accuracy, double loss)
{
    const bool is_better = accuracy > best->accuracy || (accuracy == best->accuracy && loss < best->loss);
    if (isnan(accuracy) || (best->index >= 0 && !is_better)) {
        return false;
    }
    best->index = index;
    best->accuracy = accuracy;
    best->loss = loss;
    return true;
}

#endif
