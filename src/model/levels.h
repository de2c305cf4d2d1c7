/* How a batch of a decoder becomes levels (model/forward.h), on the host: lists of rows, and where sequences lie in
 * them. */
#ifndef FBT_MODEL_LEVELS_H
#define FBT_MODEL_LEVELS_H

#include "base/status.h"
#include "data/batch.h"
#include "model/prefixes.h"

#include <stdint.h>

/* Levels in the order of their rows. Each sees the one before it, as far as that is there. */
typedef enum fbt_level_kind {
    FBT_LEVEL_PREFIXES,  /* what sequences of one prompt begin with */
    FBT_LEVEL_SEQUENCES, /* the rest of each, up to the row that is read: nobody sees those behind it */
    FBT_LEVEL_LABELS,    /* words of labels behind each of them, all tokens but the last */
    FBT_N_LEVEL_KINDS
} fbt_level_kind;

typedef struct fbt_level_list {
    int32_t *offsets;    /* [n_sequences + 1]: count rows of all levels */
    int32_t *index;      /* [n_sequences]: which sequence of the level before is seen in front; -1: none */
    int64_t n_sequences; /* 0: there is no such level */
    int64_t max_length;
} fbt_level_list;

/* Plain struct: zero-initialise, build, clear. */
typedef struct fbt_level_lists {
    fbt_level_list level[FBT_N_LEVEL_KINDS];
    int64_t n_rows;          /* of all levels */
    int32_t *tokens;         /* [n_rows]; -1: the prompt's row stands in its place */
    int32_t *positions;      /* [n_rows] */
    int32_t *prompt_rows;    /* [n_rows]: prompt_index * P + row; -1: none */
    uint8_t *frozen;         /* [n_rows] */
    int64_t n_read;          /* rows that are read: one of each sequence, then all rows of labels */
    int32_t *readout;        /* [n_read]: row of all levels */
    int32_t *read_positions; /* [n_read]: its position */
    int32_t *label_reads;    /* [sequences of the level of labels + 1]: its offsets, counting rows that are read */
    fbt_origin *origins; /* [sequences]: with fewer placeholders by the rows in front, so that the same tokens change */
    int64_t capacity_rows, capacity_sequences; /* room in the arrays */
    fbt_prefixes prefixes;
} fbt_level_lists;

/* Fills in the lists; what they held is gone. Errors: FBT_ERR_MEMORY; FBT_ERR_ARG where the rows would pass 2^31 - 1.
 */
fbt_status fbt_level_lists_build(fbt_level_lists *lists, const fbt_level_request *request);

void fbt_level_lists_clear(fbt_level_lists *lists);

#endif
