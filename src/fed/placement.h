/* Which rank works for which client, of those that take part in a round. A pure function of its inputs: every rank
 * computes the same, and no result of a run depends on it.
 *
 * As many clients as ranks, or more: whole clients are dealt out, the largest first, each to the rank with the least
 * work so far (longest processing time first; Graham 1969). Fewer clients than ranks: every rank belongs to the group
 * of exactly one client, whose batches the group shares (fbt_placement_share).
 */
#ifndef FBT_FED_PLACEMENT_H
#define FBT_FED_PLACEMENT_H

#include "base/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Owned by the caller: zero-initialise, fbt_placement_clear. */
typedef struct fbt_placement {
    int64_t n_clients;
    int n_ranks;
    int64_t *client_offsets; /* [n_ranks + 1]; every rank has at least one client, unless there are none      */
    int64_t *client_index;   /* [client_offsets[n_ranks]]: clients by rank, rising within a rank; a group's   */
                             /*   client is listed at each of its ranks                                       */
    int *group;      /* [n_ranks]: the rank's group (a communicator's colour); ranks of a group are contiguous */
    int *group_size; /* [n_ranks]: ranks in that group                                                */
    int *member;     /* [n_ranks]: the rank's number within its group                                 */
    int *owner;      /* [n_clients]: the one rank (member 0) that fills the client's upload slot      */
} fbt_placement;

/* work: [n_clients], at least 0, in any unit (tokens of a generation). With n_ranks <= n_clients ties go to the lower
 * client and rank, and every group is one rank. Else every client gets one rank, and each rank left goes to the client
 * with the most work per rank so far (ties: the smaller group, then the lower client). n_clients 0: no rank has one,
 * and there are no groups. Errors: FBT_ERR_ARG (n_clients < 0, n_ranks < 1, negative work, a sum past 2^63 -
 * 1), FBT_ERR_MEMORY; on failure *placement is empty. */
fbt_status fbt_placement_make(int64_t n_clients, const int64_t *work, int n_ranks, fbt_placement *placement);

void fbt_placement_clear(fbt_placement *placement);

/* Part `index` of `size` of n_items work items kept in order: items *first .. *last - 1. The parts cover all items,
 * each once; an item belongs to the part in which the middle of its weight falls, so that no part exceeds the mean by
 * more than the largest weight. weight: [n_items], at least 0, with a sum below 2^62; NULL (or all 0): all equal. A
 * part may be empty. */
void fbt_placement_share(int64_t n_items, const int64_t *weight, int size, int index, int64_t *first, int64_t *last);

#ifdef __cplusplus
}
#endif

#endif
