#include "fed/placement.h"

#include "base/memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A product of two 64-bit numbers: fractions are compared exactly. */
typedef __int128 wide;

static fbt_status check(int64_t n_clients, const int64_t *work, int n_ranks)
{
    int64_t total = 0;
    if (n_clients < 0 || n_ranks < 1) {
        return fbt_fail(FBT_ERR_ARG, "%lld clients cannot be placed on %d ranks", (long long)n_clients, n_ranks);
    }
    for (int64_t k = 0; k < n_clients; k++) {
        if (work[k] < 0 || __builtin_add_overflow(total, work[k], &total)) {
            return fbt_fail(FBT_ERR_ARG, "the work of client %lld (%lld) is out of range", (long long)k,
                            (long long)work[k]);
        }
    }
    return FBT_OK;
}

typedef struct job {
    int64_t client;
    int64_t work;
} job;

static int compare_jobs(const void *left, const void *right)
{
    const job *a = left;
    const job *b = right;
    if (a->work != b->work) {
        return a->work > b->work ? -1 : 1;
    }
    return a->client < b->client ? -1 : 1;
}

/* A rank on the heap of ranks. */
typedef struct rank_load {
    int64_t work, count;
    int rank;
} rank_load;

/* Whether a client goes to `a` rather than to `b`: less work, then fewer clients, then the lower rank. */
static bool comes_first(const rank_load *a, const rank_load *b)
{
    if (a->work != b->work) {
        return a->work < b->work;
    }
    return a->count != b->count ? a->count < b->count : a->rank < b->rank;
}

/* Restores the heap whose first entry has grown. heap: [n], the rank that comes first in front. */
static void sink_first(rank_load *heap, int n)
{
    const rank_load moved = heap[0];
    int at = 0;
    for (int child = 1; child < n; child = 2 * at + 1) {
        child += child + 1 < n && comes_first(&heap[child + 1], &heap[child]);
        if (!comes_first(&heap[child], &moved)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* Longest processing time first: owner[k] of every client. Ties go to the rank with fewer clients: an idle rank is
 * taken before any other, so with enough clients none stays idle, even if they have no work. */
static fbt_status deal_clients(int64_t n_clients, const int64_t *work, int n_ranks, int *owner)
{
    fbt_status status = FBT_OK;
    job *jobs = NULL;
    rank_load *heap = NULL;
    FBT_TRY(fbt_memory_alloc(&jobs, n_clients, sizeof *jobs));
    FBT_TRY(fbt_memory_alloc(&heap, n_ranks, sizeof *heap));
    for (int64_t k = 0; k < n_clients; k++) {
        jobs[k] = (job){.client = k, .work = work[k]};
    }
    for (int r = 0; r < n_ranks; r++) {
        heap[r].rank = r;
    }
    qsort(jobs, (size_t)n_clients, sizeof *jobs, compare_jobs);
    for (int64_t i = 0; i < n_clients; i++) {
        owner[jobs[i].client] = heap[0].rank;
        heap[0].work += jobs[i].work;
        heap[0].count++;
        sink_first(heap, n_ranks);
    }
done:
    free(jobs);
    free(heap);
    return status;
}

/* Ranks per client. Giving each further rank to the largest work per rank minimises the largest of them. size: zeroed.
 */
static void size_groups(int64_t n_clients, const int64_t *work, int n_ranks, int *size)
{
    for (int64_t k = 0; k < n_clients; k++) {
        size[k] = 1;
    }
    for (int64_t given = n_clients; n_clients > 0 && given < n_ranks; given++) {
        int64_t best = 0;
        for (int64_t k = 1; k < n_clients; k++) {
            wide more = (wide)work[k] * size[best] - (wide)work[best] * size[k];
            if (more > 0 || (more == 0 && size[k] < size[best])) {
                best = k;
            }
        }
        size[best]++;
    }
}

static fbt_status place_clients(const int64_t *work, fbt_placement *p)
{
    fbt_status status = FBT_OK;
    int64_t *next = NULL;
    FBT_TRY(fbt_memory_alloc(&next, p->n_ranks, sizeof *next));
    FBT_TRY(deal_clients(p->n_clients, work, p->n_ranks, p->owner));
    for (int64_t k = 0; k < p->n_clients; k++) {
        p->client_offsets[p->owner[k] + 1]++;
    }
    for (int r = 0; r < p->n_ranks; r++) {
        p->client_offsets[r + 1] += p->client_offsets[r];
        next[r] = p->client_offsets[r];
        p->group[r] = r;
        p->group_size[r] = 1;
    }
    for (int64_t k = 0; k < p->n_clients; k++) {
        p->client_index[next[p->owner[k]]++] = k;
    }
done:
    free(next);
    return status;
}

static fbt_status place_groups(const int64_t *work, fbt_placement *p)
{
    fbt_status status = FBT_OK;
    int *size = NULL;
    FBT_TRY(fbt_memory_alloc(&size, p->n_clients, sizeof *size));
    size_groups(p->n_clients, work, p->n_ranks, size);
    int rank = 0;
    for (int64_t k = 0; k < p->n_clients; k++) {
        p->owner[k] = rank;
        for (int m = 0; m < size[k]; m++, rank++) {
            p->group[rank] = (int)k;
            p->group_size[rank] = size[k];
            p->member[rank] = m;
            p->client_index[rank] = k;
            p->client_offsets[rank + 1] = rank + 1;
        }
    }
done:
    free(size);
    return status;
}

fbt_status fbt_placement_make(int64_t n_clients, const int64_t *work, int n_ranks, fbt_placement *placement)
{
    fbt_status status = FBT_OK;
    fbt_placement *p = placement;
    memset(p, 0, sizeof *p);
    FBT_TRY(check(n_clients, work, n_ranks));
    const int64_t n_entries = n_clients > n_ranks ? n_clients : n_ranks;
    p->n_clients = n_clients;
    p->n_ranks = n_ranks;
    FBT_TRY(fbt_memory_alloc(&p->client_offsets, (int64_t)n_ranks + 1, sizeof *p->client_offsets));
    FBT_TRY(fbt_memory_alloc(&p->client_index, n_entries, sizeof *p->client_index));
    FBT_TRY(fbt_memory_alloc(&p->group, n_ranks, sizeof *p->group));
    FBT_TRY(fbt_memory_alloc(&p->group_size, n_ranks, sizeof *p->group_size));
    FBT_TRY(fbt_memory_alloc(&p->member, n_ranks, sizeof *p->member));
    FBT_TRY(fbt_memory_alloc(&p->owner, n_clients, sizeof *p->owner));
    FBT_TRY(n_ranks <= n_clients ? place_clients(work, p) : place_groups(work, p));
done:
    if (status != FBT_OK) {
        fbt_placement_clear(p);
    }
    return status;
}

void fbt_placement_clear(fbt_placement *placement)
{
    free(placement->client_offsets);
    free(placement->client_index);
    free(placement->group);
    free(placement->group_size);
    free(placement->member);
    free(placement->owner);
    memset(placement, 0, sizeof *placement);
}

/* Items whose middle lies before cut `index` of `size`: the first item behind the cut. */
static int64_t find_cut(int64_t n_items, const int64_t *weight, int64_t total, int size, int index)
{
    int64_t before = 0;
    if (index == 0) {
        return 0;
    }
    for (int64_t i = 0; i < n_items && index < size; i++) {
        int64_t w = total == 0 ? 1 : weight[i];
        if ((wide)(2 * before + w) * size >= (wide)2 * index * (total == 0 ? n_items : total)) {
            return i;
        }
        before += w;
    }
    return n_items;
}

void fbt_placement_share(int64_t n_items, const int64_t *weight, int size, int index, int64_t *first, int64_t *last)
{
    int64_t total = 0; /* 0: all equal */
    for (int64_t i = 0; weight != NULL && i < n_items; i++) {
        total += weight[i];
    }
    *first = find_cut(n_items, weight, total, size, index);
    *last = find_cut(n_items, weight, total, size, index + 1);
}
