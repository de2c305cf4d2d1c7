/* The library in a program that runs MPI itself: it works on the communicator it is given, and leaves MPI running. With
 * the argument "single" MPI is started without threads, which the library needs. */
#include "comm/comm.h"
#include "comm/leaks.h"

#include "mpi/mpi_test.h"

#include <mpi.h>
#include <stdbool.h>
#include <string.h>

/* Broken by a start that hides or ends what the program has started, and by one before MPI runs. */
static void check_refusals(int argc, char **argv, const char *how)
{
    fbt_comm *world;
    fbt_error_clear();
    CHECK(fbt_comm_start(&argc, &argv, &world) == FBT_ERR_ARG && world == NULL, "%s: MPI was started again", how);
    CHECK(strstr(fbt_error_message(), "fbt_comm_adopt") != NULL, "%s: %s", how, fbt_error_message());
    fbt_error_clear();
}

/* Broken by ranks of MPI_COMM_WORLD in place of those of the communicator, by an end of MPI, and by a second use that
 * finds the first one's remains. */
static void check_part(MPI_Comm part, int colour)
{
    fbt_comm *world, *node;
    int part_rank, part_size, is_finalized;
    double sum = 1;
    MPI_Comm_rank(part, &part_rank);
    MPI_Comm_size(part, &part_size);
    CHECK(fbt_comm_adopt(MPI_Comm_c2f(part), &world) == FBT_OK, "%s", fbt_error_message());
    CHECK(fbt_comm_rank(world) == part_rank && fbt_comm_size(world) == part_size, "rank %d of %d, not %d of %d",
          fbt_comm_rank(world), fbt_comm_size(world), part_rank, part_size);
    CHECK(fbt_comm_local_size(world) == part_size, "%d ranks on the node", fbt_comm_local_size(world));
    fbt_comm_sum(world, &sum, 1);
    CHECK(sum == part_size, "part %d: the sum of ones is %g", colour, sum);
    CHECK(fbt_comm_split_node(world, &node) == FBT_OK && fbt_comm_size(node) == part_size, "%s", fbt_error_message());
    fbt_comm_free(node);
    fbt_comm_stop(world);
    MPI_Finalized(&is_finalized);
    CHECK(!is_finalized, "the program's MPI was ended");
}

static void check_single(void)
{
    fbt_comm *world;
    CHECK(fbt_comm_adopt(MPI_Comm_c2f(MPI_COMM_WORLD), &world) == FBT_ERR_UNSUPPORTED && world == NULL, "adopted");
    CHECK(strstr(fbt_error_message(), "MPI_Init_thread") != NULL, "%s", fbt_error_message());
}

int main(int argc, char **argv)
{
    const bool is_single = argc > 1 && strcmp(argv[1], "single") == 0;
    int provided;
    MPI_Comm part;
    fbt_comm *world;
    CHECK(fbt_comm_adopt(0, &world) == FBT_ERR_ARG && world == NULL, "before MPI runs");
    fbt_leaks_pause(); /* around what MPI itself keeps */
    MPI_Init_thread(&argc, &argv, is_single ? MPI_THREAD_SINGLE : MPI_THREAD_FUNNELED, &provided);
    fbt_leaks_resume();
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (is_single && provided == MPI_THREAD_SINGLE) {
        check_single();
    } else {
        check_refusals(argc, argv, "before");
        MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &part);
        check_part(part, rank % 2);
        check_part(part, rank % 2);
        check_refusals(argc, argv, "behind");
        MPI_Comm_free(&part);
    }
    MPI_Allreduce(MPI_IN_PLACE, &n_failures, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    fbt_leaks_pause();
    MPI_Finalize();
    fbt_leaks_resume();
    return n_failures != 0;
}
