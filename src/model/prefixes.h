/* Rows that the sequences of a decoder's batch begin with alike: found on the host, so that they are computed once. */
#ifndef FBT_MODEL_PREFIXES_H
#define FBT_MODEL_PREFIXES_H

#include "base/status.h"
#include "data/batch.h"
#include "model/label_words.h"

#include <stdbool.h>
#include <stdint.h>

/* A batch and what decides its levels. Borrowed. */
typedef struct fbt_level_request {
    const fbt_batch *batch; /* not empty */
    fbt_prompt_mode mode;
    int64_t n_prompt_tokens;       /* P; 0 in mode none                                                   */
    bool shares_prefixes;          /* false: every sequence has all of its rows                           */
    const fbt_label_words *labels; /* scored behind each sequence; NULL: none */
    bool keeps_frozen;             /* frozen tokens of perturbed sequences stay, so that they can be shared */
} fbt_level_request;

/* Sequences of one prompt, and the rows that all of them begin with. */
typedef struct fbt_sharers {
    int64_t n_members;
    int64_t first;  /* a member */
    int64_t n_rows; /* 0: they share none */
    int32_t prefix; /* number of what they share among all prefixes; -1: they share nothing */
} fbt_sharers;

/* Plain struct: zero-initialise, find, clear. */
typedef struct fbt_prefixes {
    fbt_sharers *sharers; /* [n_sharers], those with a prefix in the order of their numbers; without members: none */
    int64_t n_sharers, capacity;
    int64_t n_prefixes;
} fbt_prefixes;

/* Errors: FBT_ERR_MEMORY. */
fbt_status fbt_prefixes_find(fbt_prefixes *prefixes, const fbt_level_request *request);

/* Those that a sequence of the batch belongs to. */
const fbt_sharers *fbt_prefixes_of(const fbt_prefixes *prefixes, const fbt_level_request *request, int64_t sequence);

void fbt_prefixes_clear(fbt_prefixes *prefixes);

#endif
