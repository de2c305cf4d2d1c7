/* The federation: the server that every rank keeps a copy of, and the round, whose participants are dealt out over the
 * ranks.
 *
 * Collective unless said otherwise: all ranks of `world` call in the same order, and get the same status class (their
 * own error or FBT_ERR_PEER). Source of the algorithm: Sun et al. 2023, arXiv 2310.01467; ARCHITECTURE.md, "Protocols".
 */
#ifndef FBT_FED_FEDERATION_H
#define FBT_FED_FEDERATION_H

#include "base/status.h"
#include "base/typed_array.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "data/dataset.h"
#include "data/partition.h"
#include "fed/best_round.h"
#include "fed/round_row.h"
#include "model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fbt_federation fbt_federation;

/* Parts that a federation works on; borrowed, outlive it. */
typedef struct fbt_federation_parts {
    const fbt_settings *settings;
    const fbt_dataset *dataset;
    const fbt_partition *partition;
    const int64_t *work; /* [K], tokens of a client's samples: participants are dealt out over the ranks by it */
    const fbt_comm *world;
    fbt_model *model;     /* with its projection set */
    fbt_model *reference; /* the same in the reference precision: rounds are checked by it; NULL: none is */
} fbt_federation_parts;

/* On failure *federation is what was made so far, or NULL: free it all the same. */
fbt_status fbt_federation_new(const fbt_federation_parts *parts, fbt_federation **federation);
void fbt_federation_free(fbt_federation *federation);

/* Scores the start (round 0: the server's mean before any search), or makes round `round` >= 1 and scores it if
 * `scored`: test samples where fbt_settings_scores_test says so, and where dev samples are best so far. Fills *row,
 * whose arrays belong to the federation and stay valid until the next call. */
fbt_status fbt_federation_start(fbt_federation *federation, fbt_round_row *row);
fbt_status fbt_federation_round(fbt_federation *federation, uint32_t round, bool scored, fbt_round_row *row);

/* Goes on with another model, the same in another precision, in the place of the first, and without a reference; both
 * may be closed already. Not collective. */
fbt_status fbt_federation_use_model(fbt_federation *federation, fbt_model *model);

/* Time of something outside the round that belongs to a phase; it goes into the next row. Not collective. */
void fbt_federation_add_phase(fbt_federation *federation, fbt_phase phase, double seconds);

/* The server's state for the checkpoint, as arrays that stay valid until the next call here or of a round; the list
 * ends with name == NULL. Not collective. */
fbt_status fbt_federation_checkpoint(fbt_federation *federation, const fbt_array **arrays);

/* Takes fbt_federation_start's place in a run that goes on: the server becomes what it was when the arrays were made,
 * on however many ranks that was. checkpoint: as fbt_federation_checkpoint gave them; best: of the rounds up to there.
 * Both on rank 0, ignored elsewhere.
 * Errors: FBT_ERR_DATA (an array is missing or damaged, or was made with other settings), FBT_ERR_NUMERIC,
 * FBT_ERR_MEMORY. */
fbt_status fbt_federation_restore(fbt_federation *federation, const fbt_array *checkpoint, const fbt_best_round *best);

#ifdef __cplusplus
}
#endif

#endif
