/* A packed batch on the host: what one forward pass is asked to evaluate. */
#ifndef FBT_DATA_BATCH_H
#define FBT_DATA_BATCH_H

#include "base/status.h"
#include "kernels/backend.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sequence to append to a batch. Borrowed. */
typedef struct fbt_sequence {
    const int32_t *tokens; /* [n_tokens]                                                            */
    const uint8_t *frozen; /* [n_tokens]: 1: not a token of the text; NULL: none is. Matters where  */
                           /*   the sequence is perturbed                                           */
    int32_t n_tokens;
    int32_t readout; /* position within tokens that is read                                   */
    int32_t label;
    fbt_origin origin; /* client -1: evaluated as it is; else perturbed by the model, which     */
                       /*   makes other tokens of these. n_placeholders is filled in by append  */
} fbt_sequence;

/* Sequences end to end without padding. In modes cat and input every sequence begins with n_prompt_tokens placeholder
 * rows (token -1) for its prompt, and `readout` counts them. Plain struct: zero-initialise, fbt_batch_reset, append,
 * clear. */
typedef struct fbt_batch {
    int64_t n_sequences;
    int64_t n_rows;        /* tokens and placeholders */
    int64_t max_length;    /* rows of the longest sequence */
    int32_t *tokens;       /* [n_rows] */
    int32_t *offsets;      /* [n_sequences + 1] */
    int32_t *readout;      /* [n_sequences]: row within the whole batch (not within the sequence) that is read */
    int32_t *labels;       /* [n_sequences] */
    int32_t *prompt_index; /* [n_sequences]: which of the prompts last set */
    uint8_t *frozen;       /* [n_rows] */
    fbt_origin *origins;   /* [n_sequences] */
    int64_t n_perturbed;   /* sequences whose origin has a client */
    int64_t capacity_rows; /* room in the arrays */
    int64_t capacity_sequences;
} fbt_batch;

/* Empties the batch, keeping its memory. An empty batch that never held a sequence has no arrays (NULL). */
void fbt_batch_reset(fbt_batch *batch);

/* Appends one sequence of at least one token behind n_placeholders >= 0 prompt rows; what it points to is copied. On
 * failure the batch is as before. Errors: FBT_ERR_MEMORY; FBT_ERR_ARG for sizes out of range, and when the batch would
 * pass 2^31 - 1 rows. */
fbt_status fbt_batch_append(fbt_batch *batch, const fbt_sequence *sequence, int64_t n_placeholders,
                            int32_t prompt_index);

/* Frees the memory. */
void fbt_batch_clear(fbt_batch *batch);

#ifdef __cplusplus
}
#endif

#endif
