/* Labels that are scored by all of their tokens: what is computed behind each sequence, and which probabilities are
 * read (model.label_scoring sum or mean). */
#ifndef FBT_MODEL_LABEL_WORDS_H
#define FBT_MODEL_LABEL_WORDS_H

#include "base/status.h"
#include "model/model.h"

#include <stdint.h>

/* Sizes that the labels give; all 0 where they are scored by their first tokens. */
typedef struct fbt_label_sizes {
    int64_t n_long;    /* labels of several tokens                                                                 */
    int64_t n_rows;    /* rows behind each sequence: of every label all tokens but the last, which nothing follows */
    int64_t longest;   /* most rows behind a sequence that see each other: the longest label's                      */
    int64_t n_targets; /* probabilities that are read for each sequence: one for each token, rounded up            */
} fbt_label_sizes;

/* multiple: of what n_targets must be one (fbt_backend_info.size_multiple). */
fbt_label_sizes fbt_label_sizes_of(const fbt_model_options *options, int64_t multiple);

/* The labels' tokens and the lists that the last batch took. Plain struct: zero-initialise, copy, clear. */
typedef struct fbt_label_words {
    fbt_label_sizes sizes;
    int64_t n_labels;
    int32_t *tokens; /* CSR with offsets [n_labels + 1] */
    int64_t *offsets;
    int32_t *target_rows, *target_tokens; /* [n_sequences * n_targets]: row among those read, token */
    int64_t capacity;                     /* sequences that the two have room for */
} fbt_label_words;

/* Copies the tokens, where they are scored. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_label_words_copy(const fbt_model_options *options, int64_t multiple, fbt_label_words *words);

/* Fills in the targets of n_sequences. Rows that are read: the last of each sequence, then those of labels, by sequence
 * and label. Targets beyond the labels' tokens repeat one of them. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_label_words_list_targets(fbt_label_words *words, int64_t n_sequences);

/* factors: [n_labels, n_targets]: a label's score is their product with the log-probabilities of a sequence's targets:
 * 1, or 1 by the number of tokens, for its own, 0 for others. */
void fbt_label_words_factors(const fbt_label_words *words, fbt_label_scoring scoring, float *factors);

void fbt_label_words_clear(fbt_label_words *words);

#endif
