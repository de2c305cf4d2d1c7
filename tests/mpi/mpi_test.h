/* Shared parts of programs of several ranks: checks that are counted, and a main whose exit status on every rank is the
 * whole job's count. Include in one source file a program. */
#ifndef FBT_TESTS_MPI_TEST_H
#define FBT_TESTS_MPI_TEST_H

#include "comm/comm.h"

#include <stdio.h>

static int64_t n_failures = 0;
static int rank, size;

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            n_failures++;                                                                                              \
            fprintf(stderr, "rank %d of %d, line %d: %s: ", rank, size, __LINE__, #condition);                         \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fputc('\n', stderr);                                                                                       \
        }                                                                                                              \
    } while (0)

/* Calls check on all ranks, with their communicator and one of each rank by itself. Returns main's value. */
static inline int run_checks(int argc, char **argv, void (*check)(fbt_comm *world, fbt_comm *self))
{
    fbt_comm *world, *self;
    if (fbt_comm_start(&argc, &argv, &world) != FBT_OK) {
        return 1;
    }
    rank = fbt_comm_rank(world);
    size = fbt_comm_size(world);
    if (fbt_comm_split(world, rank, &self) != FBT_OK) {
        return 1;
    }
    check(world, self);
    fbt_comm_free(self);
    fbt_comm_sum_int(world, &n_failures, 1);
    fbt_comm_stop(world);
    return n_failures != 0;
}

#endif
