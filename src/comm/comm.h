/* All of the program's communication. Nothing else calls MPI.
 *
 * A failed MPI call aborts the job (MPI_ERRORS_ARE_FATAL); every other failure is agreed on and unwinds on all ranks.
 */
#ifndef FBT_COMM_COMM_H
#define FBT_COMM_COMM_H

#include "base/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fbt_comm fbt_comm;

/* Starts MPI (funneled: threads may exist, the main one calls) and makes the world communicator. Without a launcher the
 * job is this process alone. Collective over the job. Release *world with fbt_comm_stop. Errors: FBT_ERR_MEMORY;
 * FBT_ERR_UNSUPPORTED (the library allows no threads), FBT_ERR_ARG (MPI runs already), the same on all ranks. */
fbt_status fbt_comm_start(int *argc, char ***argv, fbt_comm **world);

/* For programs that run MPI themselves: takes the ranks of a communicator for the whole job. handle: what MPI_Comm_c2f
 * makes of it (in Python: py2f()). The communicator is copied; it must be of one group of processes, in a program that
 * has asked MPI_Init_thread for MPI_THREAD_FUNNELED at least. Collective over it. Release *world with fbt_comm_stop
 * before MPI_Finalize. Errors: FBT_ERR_ARG (MPI does not run), FBT_ERR_UNSUPPORTED (it allows no threads),
 * FBT_ERR_MEMORY, agreed. */
fbt_status fbt_comm_adopt(int handle, fbt_comm **world);

/* Frees, and ends MPI if fbt_comm_start has started it. Collective over world. NULL is fine. */
void fbt_comm_stop(fbt_comm *world);

int fbt_comm_rank(const fbt_comm *comm);
int fbt_comm_size(const fbt_comm *comm);

/* This rank's number on its node, and how many ranks the node has: of the whole job, whichever the communicator. */
int fbt_comm_local_rank(const fbt_comm *comm);
int fbt_comm_local_size(const fbt_comm *comm);

/* Name and version of the MPI library; valid for the program's life. */
const char *fbt_comm_library(void);

/* Hosts of the job in rank order, each once, comma-separated. The same on every rank. Collective. Release *hosts
 * with free(). Errors: FBT_ERR_MEMORY, agreed. */
fbt_status fbt_comm_hosts(const fbt_comm *comm, char **hosts);

/* One line of text from every rank, each ended by a newline, in rank order. The same on every rank. Collective. Release
 * *lines with free(). Errors: FBT_ERR_MEMORY, agreed. */
fbt_status fbt_comm_lines(const fbt_comm *comm, const char *line, char **lines);

/* The ranks of comm that share this rank's node; ranks keep their order. Collective. Release and errors as
 * fbt_comm_split. */
fbt_status fbt_comm_split_node(const fbt_comm *comm, fbt_comm **node);

/* Splits comm by colour (at least 0); ranks keep their order. Collective. Release *part with fbt_comm_free (collective
 * over the part) before fbt_comm_stop. Errors: FBT_ERR_ARG, FBT_ERR_MEMORY, agreed. */
fbt_status fbt_comm_split(const fbt_comm *comm, int colour, fbt_comm **part);
void fbt_comm_free(fbt_comm *part);

/* Collective over comm. All ranks return FBT_OK, or all return an error: their own, else FBT_ERR_PEER. Call after every
 * rank-local section that can fail, before the next collective. Cost: one MPI_Allreduce of one int. */
fbt_status fbt_comm_agree(const fbt_comm *comm, fbt_status local);

/* clang-tidy looks into one source at a time: this tells it that agreement includes the caller's own success. */
#ifdef __clang_analyzer__
#define fbt_comm_agree(comm, local) ((void)(comm), (local))
#endif

/* Collective over comm, at the program's end: the sentence of the lowest rank that failed for a reason of its own is
 * printed once, on standard error, with its rank unless all ranks failed for reasons of their own; nothing when all
 * succeeded. Returns the status to exit with, the same on every rank: of the rank that spoke; FBT_ERR_PEER where all
 * only know of another's failure, told as such. */
fbt_status fbt_comm_report(const fbt_comm *comm, fbt_status local);

/* values[i] summed over the ranks, in place, the result on all. Exact where at most one rank contributes a non-zero
 * value; the caller sees to that. Infinities and NaNs pass through a slot of one contributor. -0.0 comes out as +0.0
 * for any number of ranks, also 1: a sum with zeros could not keep it, and results must not tell how many ranks there
 * were. Integers wrap round. Collective, with the same n on all ranks; n may exceed 2^31 - 1. */
void fbt_comm_sum(const fbt_comm *comm, double *values, int64_t n);
void fbt_comm_sum_int(const fbt_comm *comm, int64_t *values, int64_t n);

/* Sends sent_counts[r] values from sent_starts[r] on to rank r, and receives as many as it sends from it. counts and
 * starts: [size]. Collective. */
void fbt_comm_all_to_all(const fbt_comm *comm, const double *sent, const int *sent_counts, const int *sent_starts,
                         double *received, const int *received_counts, const int *received_starts);

/* The parts of an array, of which rank r has counts[r] values from starts[r] on, on every rank, in place. Collective.
 */
void fbt_comm_gather_all(const fbt_comm *comm, double *values, const int *counts, const int *starts);

/* Largest over the ranks, in place, the result on all; unspecified where a rank has a NaN. Collective. */
void fbt_comm_max(const fbt_comm *comm, double *values, int64_t n);

/* Waits until all ranks are here, without keeping a processor busy meanwhile. Collective. */
void fbt_comm_wait(const fbt_comm *comm);

/* Times a message between the first and the last rank: half of a small one's way there and back, and the rate of a
 * large one, the best of several. The same on every rank. Collective, of at least 2 ranks. Errors: FBT_ERR_ARG (1
 * rank), FBT_ERR_MEMORY, agreed. */
typedef struct fbt_comm_speed {
    double latency_s, bytes_per_s;
} fbt_comm_speed;
fbt_status fbt_comm_ping(const fbt_comm *comm, fbt_comm_speed *speed);

/* Rank 0's bytes to all. Collective. */
void fbt_comm_broadcast(const fbt_comm *comm, void *bytes, int64_t n_bytes);

/* Rank 0's text, or NULL, takes the place of the others' *text, which is freed. Collective. Release with free().
 * Errors: FBT_ERR_MEMORY, agreed; every *text is as it was then. */
fbt_status fbt_comm_broadcast_text(const fbt_comm *comm, char **text);

#ifdef __cplusplus
}
#endif

#endif
