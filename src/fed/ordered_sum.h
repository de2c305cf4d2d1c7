/* Sums of one row of each participant, added in the participants' order, so that they do not depend on the ranks. */
#ifndef FBT_FED_ORDERED_SUM_H
#define FBT_FED_ORDERED_SUM_H

#include "base/status.h"
#include "comm/comm.h"

#include <stdint.h>

/* Fills in the row [count] of a participant that this rank speaks for. */
typedef fbt_status (*fbt_ordered_row)(void *user, int64_t slot, double *row);

/* Slots that ranks exchange at a time. */
int64_t fbt_ordered_sum_block(int n_ranks);

/* sum: [count], the same on every rank: the rows of slots 0 .. n_slots - 1, added to 0 one after the other. owner:
 * [n_slots], the rank that makes each row, the same on every rank. Ranks divide the columns among themselves: each gets
 * its part of all rows, a block of slots at a time, adds it up, and gives the sum to all. What a rank sends and
 * receives does not grow with the number of ranks. Collective; errors, those of `make` among them, agreed. */
fbt_status fbt_ordered_sum(const fbt_comm *comm, int64_t n_slots, const int *owner, int64_t count, fbt_ordered_row make,
                           void *user, double *sum);

#endif
