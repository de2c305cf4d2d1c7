/* A bound on the length of search points: what is longer is scaled down to it before it is scored and told. It widens
 * from round to round, as in an earlier tree of the official code (RyanAIResearch/FED_BBT: 15, 1 more each round, 22 at
 * most). */
#ifndef FBT_FED_NORM_BOUND_H
#define FBT_FED_NORM_BOUND_H

#include "base/status.h"
#include "config/settings.h"
#include "optim/optimiser.h"

#include <stdint.h>

/* The bound in a round >= 1: cma.norm_bound + (round - 1) cma.norm_growth, at most cma.norm_max; INFINITY: none. */
double fbt_norm_bound(const fbt_settings *settings, uint32_t round);

/* Scales those of n points z: [n, d] that are longer than the bound. */
void fbt_norm_bound_apply(double bound, int64_t n, int64_t d, double *z);

/* The same for a search's mean: recombined points lie within the bound, but a gradient's step may leave it. Errors:
 * FBT_ERR_MEMORY. */
fbt_status fbt_norm_bound_mean(double bound, fbt_optimiser *optimiser);

#endif
