/* Rows of a sequence under a prompt mode, for a soft prompt of n_tokens (P) vectors. */
#ifndef FBT_BASE_PROMPT_MODE_H
#define FBT_BASE_PROMPT_MODE_H

#include "base/choices.h"

#include <stdint.h>

/* Rows of a sequence that the prompt is in: added to, or instead of a token's. */
static inline int64_t fbt_prompt_rows(fbt_prompt_mode mode, int64_t n_tokens)
{
    return mode == FBT_PROMPT_NONE ? 0 : n_tokens;
}

/* Rows that the prompt puts in front of the text: they hold no tokens. */
static inline int64_t fbt_prompt_rows_in_front(fbt_prompt_mode mode, int64_t n_tokens)
{
    return mode == FBT_PROMPT_CAT || mode == FBT_PROMPT_INPUT ? n_tokens : 0;
}

/* Rows in front that take none of the model's positions. */
static inline int64_t fbt_prompt_rows_without_position(fbt_prompt_mode mode, int64_t n_tokens)
{
    return mode == FBT_PROMPT_CAT ? n_tokens : 0;
}

#endif
