#include "fed/ordered_sum.h"

#include "base/memory.h"
#include "base/smaller.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Slots of a block, and columns that are exchanged at a time: counts of MPI are int. */
enum { MAX_BLOCK = 256, MAX_COLUMNS = 1 << 22 };

typedef struct ordered_sum {
    const fbt_comm *comm;
    const int *owner;
    int rank, n_ranks;
    int64_t count;
    double *rows;     /* [n_own, count]: this rank's of a block, n_own the most of any block */
    double *sent;     /* [n_own, columns]: rank by rank                                      */
    double *received; /* [block, part of columns]: rank by rank                              */
    int *counts;      /* [4, n_ranks]: what is sent and received, and where it starts        */
    int64_t *at;      /* [n_ranks]: where the next row of a rank starts in `received`        */
} ordered_sum;

int64_t fbt_ordered_sum_block(int n_ranks)
{
    return fbt_smaller(n_ranks, MAX_BLOCK);
}

static int64_t n_owned(const ordered_sum *s, int rank, int64_t first, int64_t end)
{
    int64_t n = 0;
    for (int64_t slot = first; slot < end; slot++) {
        n += s->owner[slot] == rank;
    }
    return n;
}

/* The first of n columns that rank r adds up. */
static int64_t cut(const ordered_sum *s, int64_t n, int r)
{
    return n * r / s->n_ranks;
}

static fbt_status reserve(ordered_sum *s, int64_t n_slots, int64_t block)
{
    fbt_status status = FBT_OK;
    const int64_t columns = fbt_smaller(s->count, MAX_COLUMNS);
    int64_t n_own = 0;
    for (int64_t first = 0; first < n_slots; first += block) {
        const int64_t n = n_owned(s, s->rank, first, fbt_smaller(first + block, n_slots));
        n_own = n > n_own ? n : n_own;
    }
    FBT_TRY(fbt_memory_alloc(&s->rows, n_own * s->count, sizeof *s->rows));
    FBT_TRY(fbt_memory_alloc(&s->sent, n_own * columns, sizeof *s->sent));
    FBT_TRY(fbt_memory_alloc(&s->received, block * (columns / s->n_ranks + 1), sizeof *s->received));
    FBT_TRY(fbt_memory_alloc(&s->counts, 4 * (int64_t)s->n_ranks, sizeof *s->counts));
    FBT_TRY(fbt_memory_alloc(&s->at, s->n_ranks, sizeof *s->at));
done:
    return status;
}

/* Packs n columns of this rank's rows, from `from` on, by the rank that adds them up. */
static void pack(ordered_sum *s, int64_t n_own, int64_t from, int64_t n)
{
    int64_t end = 0;
    for (int r = 0; r < s->n_ranks; r++) {
        const int64_t first = cut(s, n, r), width = cut(s, n, r + 1) - first;
        s->counts[r] = (int)(n_own * width);
        s->counts[s->n_ranks + r] = (int)end;
        for (int64_t i = 0; i < n_own; i++, end += width) {
            memcpy(s->sent + end, s->rows + i * s->count + from + first, (size_t)width * sizeof *s->sent);
        }
    }
}

/* Counts what comes from each rank: its rows of the block, of this rank's `width` columns. */
static void expect(ordered_sum *s, int64_t first, int64_t end, int64_t width)
{
    int64_t start = 0;
    for (int r = 0; r < s->n_ranks; r++) {
        s->at[r] = 0;
    }
    for (int64_t slot = first; slot < end; slot++) {
        s->at[s->owner[slot]] += width;
    }
    for (int r = 0; r < s->n_ranks; r++) {
        s->counts[2 * s->n_ranks + r] = (int)s->at[r];
        s->counts[3 * s->n_ranks + r] = (int)start;
        start += s->at[r];
        s->at[r] = s->counts[3 * s->n_ranks + r];
    }
}

/* Adds up this rank's part of n columns of a block. Collective. */
static void add_columns(ordered_sum *s, int64_t first, int64_t end, int64_t from, int64_t n, double *sum)
{
    const int64_t start = cut(s, n, s->rank), width = cut(s, n, s->rank + 1) - start;
    const int *counts = s->counts;
    pack(s, n_owned(s, s->rank, first, end), from, n);
    expect(s, first, end, width);
    fbt_comm_all_to_all(s->comm, s->sent, counts, counts + s->n_ranks, s->received, counts + (ptrdiff_t)2 * s->n_ranks,
                        counts + (ptrdiff_t)3 * s->n_ranks);
    for (int64_t slot = first; slot < end; slot++) {
        const double *row = s->received + s->at[s->owner[slot]];
        for (int64_t i = 0; i < width; i++) {
            sum[from + start + i] += row[i];
        }
        s->at[s->owner[slot]] += width;
    }
}

static fbt_status make_rows(ordered_sum *s, int64_t first, int64_t end, fbt_ordered_row make, void *user)
{
    fbt_status status = FBT_OK;
    double *row = s->rows;
    for (int64_t slot = first; slot < end; slot++) {
        if (s->owner[slot] == s->rank) {
            FBT_TRY(make(user, slot, row));
            row += s->count;
        }
    }
done:
    return status;
}

/* Everybody's part of the sum to all. */
static void gather(const ordered_sum *s, double *sum)
{
    for (int64_t from = 0; from < s->count; from += MAX_COLUMNS) {
        const int64_t n = fbt_smaller(s->count - from, MAX_COLUMNS);
        for (int r = 0; r < s->n_ranks; r++) {
            s->counts[r] = (int)(cut(s, n, r + 1) - cut(s, n, r));
            s->counts[s->n_ranks + r] = (int)cut(s, n, r);
        }
        fbt_comm_gather_all(s->comm, sum + from, s->counts, s->counts + s->n_ranks);
    }
}

fbt_status fbt_ordered_sum(const fbt_comm *comm, int64_t n_slots, const int *owner, int64_t count, fbt_ordered_row make,
                           void *user, double *sum)
{
    fbt_status status = FBT_OK, made = FBT_OK;
    ordered_sum s = {
        .comm = comm, .owner = owner, .rank = fbt_comm_rank(comm), .n_ranks = fbt_comm_size(comm), .count = count};
    const int64_t block = fbt_ordered_sum_block(s.n_ranks);
    memset(sum, 0, (size_t)count * sizeof *sum);
    FBT_TRY(fbt_comm_agree(comm, reserve(&s, n_slots, block)));
    for (int64_t first = 0; first < n_slots; first += block) {
        const int64_t end = fbt_smaller(first + block, n_slots);
        made = made == FBT_OK ? make_rows(&s, first, end, make, user) : made; /* others go on until all agree */
        for (int64_t from = 0; from < count; from += MAX_COLUMNS) {
            add_columns(&s, first, end, from, fbt_smaller(count - from, MAX_COLUMNS), sum);
        }
    }
    gather(&s, sum);
    FBT_TRY(fbt_comm_agree(comm, made));
done:
    free(s.rows);
    free(s.sent);
    free(s.received);
    free(s.counts);
    free(s.at);
    return status;
}
