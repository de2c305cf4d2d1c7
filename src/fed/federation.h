/* The federation: all clients of a run dealt out over the ranks, the server that every rank keeps a copy of, and the
 * round.
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
#include "fed/placement.h"
#include "fed/round_row.h"
#include "model/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fbt_federation fbt_federation;

/* What a federation works on; borrowed, outlives it. */
typedef struct fbt_federation_parts {
    const fbt_settings *settings;
    const fbt_dataset *dataset;
    const fbt_partition *partition;
    const fbt_placement *placement;
    const fbt_comm *world;
    fbt_model *model; /* with its projection set */
} fbt_federation_parts;

/* On failure *federation is what was made so far, or NULL: free it all the same. */
fbt_status fbt_federation_new(const fbt_federation_parts *parts, fbt_federation **federation);
void fbt_federation_free(fbt_federation *federation);

/* Scores the start (round 0: the server's mean before any search), or makes round `round` >= 1 and scores it if
 * `scored`. Fills *row, whose arrays belong to the federation and stay valid until the next call. */
fbt_status fbt_federation_start(fbt_federation *federation, fbt_round_row *row);
fbt_status fbt_federation_round(fbt_federation *federation, uint32_t round, bool scored, fbt_round_row *row);

/* Time of something outside the round that belongs to a phase; it goes into the next row. Not collective. */
void fbt_federation_add_phase(fbt_federation *federation, fbt_phase phase, double seconds);

/* The server's state for the checkpoint, as arrays that stay valid until the next call here or of a round; the list
 * ends with name == NULL. Not collective. */
fbt_status fbt_federation_checkpoint(fbt_federation *federation, const fbt_array **arrays);

/* Takes fbt_federation_start's place in a run that goes on: the server becomes what it was when the arrays were made,
 * on however many ranks that was. checkpoint: on rank 0, as fbt_federation_checkpoint gave them; ignored elsewhere.
 * Errors: FBT_ERR_DATA (an array is missing or damaged, or was made with other settings), FBT_ERR_NUMERIC,
 * FBT_ERR_MEMORY. */
fbt_status fbt_federation_restore(fbt_federation *federation, const fbt_array *checkpoint);

#ifdef __cplusplus
}
#endif

#endif
