/* How far two fitness vectors of one population agree: a search sees ranks, not values. */
#ifndef FBT_FED_RANKING_H
#define FBT_FED_RANKING_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Place of values[i] among values: [n] in rising order, from 0; ties: the lower index, as the optimisers have it. Takes
 * n steps. */
int64_t fbt_ranking_place(const double *values, int64_t n, int64_t i);

/* Kendall's tau-b of a and b: [n], finite (Kendall 1945, "The treatment of ties in ranking problems"):
 * (C - D) / sqrt((n_0 - n_a) (n_0 - n_b)), C and D the concordant and discordant pairs, n_0 all pairs, n_a and n_b
 * those tied in a and in b. 1: the same ranking, exactly; -1: the reverse. Where either is constant that is 0 / 0: 1 if
 * both are, which rank nothing alike, else 0. Takes n^2 steps. */
double fbt_ranking_tau(const double *a, const double *b, int64_t n);

/* Fraction of the n_parents best (smallest; ties: the lower index, as the optimisers have it) of a: [n] that are among
 * those of b, too. 1 <= n_parents <= n. Takes n^2 steps. */
double fbt_ranking_overlap(const double *a, const double *b, int64_t n, int64_t n_parents);

#ifdef __cplusplus
}
#endif

#endif
