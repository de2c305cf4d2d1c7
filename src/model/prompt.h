/* The fixed random projection from the search space to soft prompts. */
#ifndef FBT_MODEL_PROMPT_H
#define FBT_MODEL_PROMPT_H

#include "base/choices.h"
#include "base/status.h"

#include <stdint.h>

/* A: [n_out, d], row-major, n_out = P * hidden size. Depends on the seed and the sizes only: every rank makes the same.
 * scale: s for NORMAL, ignored for UNIFORM. */
fbt_status fbt_prompt_projection(fbt_projection_kind kind, uint64_t seed, double scale, int64_t n_out, int64_t d,
                                 float *a);

#endif
