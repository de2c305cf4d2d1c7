/* The fixed random projection from the search space to soft prompts. */
#ifndef FBT_MODEL_PROMPT_H
#define FBT_MODEL_PROMPT_H

#include "base/choices.h"
#include "base/status.h"

#include <stdint.h>

/* Rows first .. first + n_out - 1 of A: [n_out, d], row-major; P * hidden size rows make one prompt. Depends on the
 * seed, the rows' numbers and d only: every rank makes the same. scale: s for NORMAL, ignored for UNIFORM. */
fbt_status fbt_prompt_projection(fbt_projection_kind kind, uint64_t seed, double scale, int64_t first, int64_t n_out,
                                 int64_t d, float *a);

#endif
