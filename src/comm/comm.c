#include "comm/comm.h"

#include "base/environment.h"
#include "base/memory.h"
#include "comm/leaks.h"

#include <inttypes.h>
#include <math.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fbt_comm {
    MPI_Comm mpi;
    int rank, size;
    int local_rank, local_size;
    bool is_adopted; /* MPI is the caller's, the communicator a copy of the caller's */
};

enum {
    PIECE_BYTES = 1 << 24, /* MPI counts in int: longer arrays go in pieces */
    N_SINGLETON_VARIABLES = 2,
    START_BYTES = 128 << 20 /* address space that MPI, HDF5 and oneDNN take; with less they crash */
};

/* Rank and size among the ranks that share this node's memory. */
static void find_neighbours(fbt_comm *comm)
{
    MPI_Comm node;
    MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &comm->local_rank);
    MPI_Comm_size(node, &comm->local_size);
    MPI_Comm_free(&node);
}

/* Open MPI without mpirun starts a daemon for spawning, which this program does not do. Without that all such processes
 * of a node share one folder for files that none of them needs, which one may remove while another makes it. Other
 * libraries ignore these variables. */
static void begin_singleton(fbt_environment changes[N_SINGLETON_VARIABLES])
{
    static const char *const launchers[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_NAMESPACE", "PMI_RANK"};
    changes[0] = fbt_environment_begin("OMPI_MCA_ess_singleton_isolated", "1", false);
    changes[1] = (fbt_environment){.name = NULL};
    for (size_t i = 0; i < sizeof launchers / sizeof launchers[0]; i++) {
        if (getenv(launchers[i]) != NULL) {
            return;
        }
    }
    changes[1] = fbt_environment_begin("OMPI_MCA_orte_create_session_dirs", "0", false);
}

/* MPI_Init as a singleton where nobody launched this process; what the leak checker and the environment are told of it
 * ends with it. */
static void start_library(int *argc, char ***argv, int *provided)
{
    fbt_environment changes[N_SINGLETON_VARIABLES];
    begin_singleton(changes);
    fbt_leaks_pause();
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, provided);
    fbt_leaks_resume();
    for (int i = 0; i < N_SINGLETON_VARIABLES; i++) {
        fbt_environment_end(&changes[i]);
    }
}

static bool is_running(void)
{
    int is_initialized = 0, is_finalized = 0;
    MPI_Initialized(&is_initialized);
    MPI_Finalized(&is_finalized);
    return is_initialized && !is_finalized;
}

/* The communicator's own ranks, and those of the node. */
static void find_ranks(fbt_comm *comm)
{
    MPI_Comm_rank(comm->mpi, &comm->rank);
    MPI_Comm_size(comm->mpi, &comm->size);
    find_neighbours(comm);
}

static fbt_status fail_without_threads(void)
{
    return fbt_fail(FBT_ERR_UNSUPPORTED,
                    "the MPI library (%s) does not allow threads; use one built with thread support, and ask "
                    "MPI_Init_thread for MPI_THREAD_FUNNELED",
                    fbt_comm_library());
}

fbt_status fbt_comm_start(int *argc, char ***argv, fbt_comm **world)
{
    fbt_status status = FBT_OK;
    int provided = 0;
    fbt_comm *comm = NULL;
    *world = NULL;
    char limit[64];
    if (is_running()) {
        FBT_FAIL(FBT_ERR_ARG,
                 "MPI runs already, and can be started once only; give its communicator to fbt_comm_adopt");
    }
    if (!fbt_memory_has_room(START_BYTES, true)) {
        FBT_FAIL(FBT_ERR_MEMORY,
                 "%d MB of address space are needed to begin with, more than %s leaves; raise the limit",
                 START_BYTES >> 20, fbt_memory_limit_text(limit));
    }
    FBT_TRY(fbt_memory_alloc(&comm, 1, sizeof *comm));
    start_library(argc, argv, &provided);
    if (provided < MPI_THREAD_FUNNELED) {
        MPI_Finalize();
        status = fail_without_threads();
        goto done;
    }
    comm->mpi = MPI_COMM_WORLD;
    find_ranks(comm);
    *world = comm;
    comm = NULL;
done:
    free(comm);
    return status;
}

fbt_status fbt_comm_adopt(int handle, fbt_comm **world)
{
    fbt_status status = FBT_OK;
    int provided = 0;
    fbt_comm *comm = NULL;
    *world = NULL;
    if (!is_running()) {
        FBT_FAIL(FBT_ERR_ARG, "MPI does not run; call MPI_Init_thread before, or fbt_comm_start instead");
    }
    MPI_Query_thread(&provided);
    if (provided < MPI_THREAD_FUNNELED) {
        status = fail_without_threads();
        goto done;
    }
    const fbt_comm theirs = {.mpi = MPI_Comm_f2c(handle)};
    FBT_TRY(fbt_comm_agree(&theirs, fbt_memory_alloc(&comm, 1, sizeof *comm)));
    comm->is_adopted = true;
    MPI_Comm_dup(theirs.mpi, &comm->mpi);
    MPI_Comm_set_errhandler(comm->mpi, MPI_ERRORS_ARE_FATAL);
    find_ranks(comm);
    *world = comm;
    comm = NULL;
done:
    free(comm);
    return status;
}

void fbt_comm_stop(fbt_comm *world)
{
    if (world == NULL) {
        return;
    }
    if (world->is_adopted) {
        MPI_Comm_free(&world->mpi);
    } else {
        fbt_leaks_pause();
        MPI_Finalize();
        fbt_leaks_resume();
    }
    free(world);
}

int fbt_comm_rank(const fbt_comm *comm)
{
    return comm->rank;
}

int fbt_comm_size(const fbt_comm *comm)
{
    return comm->size;
}

int fbt_comm_local_rank(const fbt_comm *comm)
{
    return comm->local_rank;
}

int fbt_comm_local_size(const fbt_comm *comm)
{
    return comm->local_size;
}

const char *fbt_comm_library(void)
{
    static char library[MPI_MAX_LIBRARY_VERSION_STRING];
    if (library[0] == '\0') {
        int length = 0;
        MPI_Get_library_version(library, &length);
        library[strcspn(library, ",\n")] = '\0'; /* the rest says how it was packaged */
        for (char *tab = strchr(library, '\t'); tab != NULL; tab = strchr(tab, '\t')) {
            *tab = ' ';
        }
    }
    return library;
}

/* names: [n_names, MPI_MAX_PROCESSOR_NAME]; whether the last is among the others. */
static int seen_before(const char *names, int n_names)
{
    const char *last = names + (int64_t)(n_names - 1) * MPI_MAX_PROCESSOR_NAME;
    for (const char *name = names; name < last; name += MPI_MAX_PROCESSOR_NAME) {
        if (strcmp(name, last) == 0) {
            return 1;
        }
    }
    return 0;
}

fbt_status fbt_comm_hosts(const fbt_comm *comm, char **hosts)
{
    fbt_status status = FBT_OK;
    char own[MPI_MAX_PROCESSOR_NAME] = {0};
    char *names = NULL;
    char *joined = NULL;
    int length = 0;
    *hosts = NULL;
    status = fbt_memory_alloc(&names, comm->size, MPI_MAX_PROCESSOR_NAME);
    if (status == FBT_OK) {
        status = fbt_memory_alloc(&joined, comm->size, MPI_MAX_PROCESSOR_NAME + 1);
    }
    FBT_TRY(fbt_comm_agree(comm, status));

    MPI_Get_processor_name(own, &length);
    MPI_Allgather(own, MPI_MAX_PROCESSOR_NAME, MPI_CHAR, names, MPI_MAX_PROCESSOR_NAME, MPI_CHAR, comm->mpi);
    char *end = joined;
    for (int rank = 0; rank < comm->size; rank++) {
        if (!seen_before(names, rank + 1)) {
            end = stpcpy(end, end == joined ? "" : ",");
            end = stpcpy(end, names + (int64_t)rank * MPI_MAX_PROCESSOR_NAME);
        }
    }
    *hosts = joined;
    joined = NULL;
done:
    free(names);
    free(joined);
    return status;
}

fbt_status fbt_comm_lines(const fbt_comm *comm, const char *line, char **lines)
{
    fbt_status status = FBT_OK;
    const size_t length = strlen(line);
    int *counts = NULL, *starts = NULL;
    char *own = NULL;
    int64_t n_bytes = 0;
    *lines = NULL;
    status = fbt_memory_alloc(&counts, comm->size, sizeof *counts);
    status = status != FBT_OK ? status : fbt_memory_alloc(&starts, comm->size, sizeof *starts);
    status = status != FBT_OK ? status : fbt_memory_alloc(&own, (int64_t)length + 2, 1);
    FBT_TRY(fbt_comm_agree(comm, status));
    memcpy(own, line, length); /* NOLINT(bugprone-not-null-terminated-result): lines */
    own[length] = '\n';
    counts[comm->rank] = (int)length + 1;
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, counts, 1, MPI_INT, comm->mpi);
    for (int rank = 0; rank < comm->size; rank++) {
        starts[rank] = (int)n_bytes;
        n_bytes += counts[rank];
    }
    status = n_bytes > INT32_MAX ? fbt_fail(FBT_ERR_MEMORY, "%" PRId64 " bytes of text are too many", n_bytes)
                                 : fbt_memory_alloc(lines, n_bytes + 1, 1);
    FBT_TRY(fbt_comm_agree(comm, status));
    MPI_Allgatherv(own, counts[comm->rank], MPI_CHAR, *lines, counts, starts, MPI_CHAR, comm->mpi);
done:
    if (status != FBT_OK) {
        free(*lines);
        *lines = NULL;
    }
    free(counts);
    free(starts);
    free(own);
    return status;
}

/* Fills in the part's own facts, and its parent's, for split and split_node. */
static void describe_part(const fbt_comm *comm, fbt_comm *part)
{
    MPI_Comm_rank(part->mpi, &part->rank);
    MPI_Comm_size(part->mpi, &part->size);
    part->local_rank = comm->local_rank;
    part->local_size = comm->local_size;
}

fbt_status fbt_comm_split_node(const fbt_comm *comm, fbt_comm **node)
{
    fbt_status status = FBT_OK;
    fbt_comm *made = NULL;
    *node = NULL;
    FBT_TRY(fbt_comm_agree(comm, fbt_memory_alloc(&made, 1, sizeof *made)));
    MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &made->mpi);
    describe_part(comm, made);
    *node = made;
    made = NULL;
done:
    free(made);
    return status;
}

fbt_status fbt_comm_split(const fbt_comm *comm, int colour, fbt_comm **part)
{
    fbt_status status = FBT_OK;
    fbt_comm *made = NULL;
    *part = NULL;
    status = colour < 0 ? fbt_fail(FBT_ERR_ARG, "a communicator cannot be split by colour %d", colour)
                        : fbt_memory_alloc(&made, 1, sizeof *made);
    FBT_TRY(fbt_comm_agree(comm, status));
    MPI_Comm_split(comm->mpi, colour, comm->rank, &made->mpi);
    describe_part(comm, made);
    *part = made;
    made = NULL;
done:
    free(made);
    return status;
}

void fbt_comm_free(fbt_comm *part)
{
    if (part != NULL) {
        MPI_Comm_free(&part->mpi);
        free(part);
    }
}

fbt_status(fbt_comm_agree)(const fbt_comm *comm, fbt_status local)
{
    int failed = local != FBT_OK;
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, comm->mpi);
    return failed && local == FBT_OK ? FBT_ERR_PEER : local;
}

/* The rank is named where it tells something: when some ranks have no failure of their own. */
static void print_sentence(const fbt_comm *comm, fbt_status local, int n_causes)
{
    const char *sentence = fbt_error_message();
    sentence = sentence[0] == '\0' ? fbt_status_text(local) : sentence;
    if (n_causes == comm->size) {
        fprintf(stderr, "fedbpt: error: %s\n", sentence);
    } else {
        fprintf(stderr, "fedbpt: error: %s (rank %d)\n", sentence, comm->rank);
    }
    fflush(stderr);
}

fbt_status fbt_comm_report(const fbt_comm *comm, fbt_status local)
{
    /* The lowest rank with a cause of its own; behind all of those, the lowest that only heard of one. */
    int speaker = local == FBT_OK ? 2 * comm->size : local == FBT_ERR_PEER ? comm->size + comm->rank : comm->rank;
    int n_causes = local != FBT_OK && local != FBT_ERR_PEER;
    MPI_Allreduce(MPI_IN_PLACE, &speaker, 1, MPI_INT, MPI_MIN, comm->mpi);
    MPI_Allreduce(MPI_IN_PLACE, &n_causes, 1, MPI_INT, MPI_SUM, comm->mpi);
    if (speaker == 2 * comm->size) {
        return FBT_OK;
    }
    speaker %= comm->size;
    int result = local;
    MPI_Bcast(&result, 1, MPI_INT, speaker, comm->mpi);
    if (speaker == comm->rank) {
        print_sentence(comm, local, n_causes);
    }
    return (fbt_status)result;
}

/* In-place Allreduce of values of value_bytes each. */
static void allreduce(const fbt_comm *comm, void *values, int64_t n, int64_t value_bytes, MPI_Datatype type, MPI_Op op)
{
    const int64_t piece = PIECE_BYTES / value_bytes;
    for (int64_t first = 0; first < n; first += piece) {
        int count = (int)(n - first < piece ? n - first : piece);
        MPI_Allreduce(MPI_IN_PLACE, (char *)values + first * value_bytes, count, type, op, comm->mpi);
    }
}

void fbt_comm_sum(const fbt_comm *comm, double *values, int64_t n)
{
    allreduce(comm, values, n, sizeof *values, MPI_DOUBLE, MPI_SUM);
    for (int64_t i = 0; i < n; i++) {
        values[i] += 0.0; /* -0.0 becomes 0.0, as the zeros of other ranks make it */
    }
}

void fbt_comm_sum_int(const fbt_comm *comm, int64_t *values, int64_t n)
{
    allreduce(comm, values, n, sizeof *values, MPI_INT64_T, MPI_SUM);
}

void fbt_comm_all_to_all(const fbt_comm *comm, const double *sent, const int *sent_counts, const int *sent_starts,
                         double *received, const int *received_counts, const int *received_starts)
{
    MPI_Alltoallv(sent, sent_counts, sent_starts, MPI_DOUBLE, received, received_counts, received_starts, MPI_DOUBLE,
                  comm->mpi);
}

void fbt_comm_gather_all(const fbt_comm *comm, double *values, const int *counts, const int *starts)
{
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, counts, starts, MPI_DOUBLE, comm->mpi);
}

void fbt_comm_max(const fbt_comm *comm, double *values, int64_t n)
{
    allreduce(comm, values, n, sizeof *values, MPI_DOUBLE, MPI_MAX);
}

void fbt_comm_wait(const fbt_comm *comm)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    MPI_Request request;
    int here = 0;
    MPI_Ibarrier(comm->mpi, &request);
    for (MPI_Test(&request, &here, MPI_STATUS_IGNORE); !here; MPI_Test(&request, &here, MPI_STATUS_IGNORE)) {
        nanosleep(&pause, NULL);
    }
}

/* Half of the time of n_bytes from the first rank to the last and back, the mean of n_times. Others go on. */
static double time_message(const fbt_comm *comm, char *bytes, int n_bytes, int n_times)
{
    const int last = comm->size - 1;
    const double start_s = MPI_Wtime();
    for (int i = 0; i < n_times && comm->rank == 0; i++) {
        MPI_Send(bytes, n_bytes, MPI_BYTE, last, 0, comm->mpi);
        MPI_Recv(bytes, n_bytes, MPI_BYTE, last, 0, comm->mpi, MPI_STATUS_IGNORE);
    }
    for (int i = 0; i < n_times && comm->rank == last; i++) {
        MPI_Recv(bytes, n_bytes, MPI_BYTE, 0, 0, comm->mpi, MPI_STATUS_IGNORE);
        MPI_Send(bytes, n_bytes, MPI_BYTE, 0, 0, comm->mpi);
    }
    return (MPI_Wtime() - start_s) / (2.0 * n_times);
}

fbt_status fbt_comm_ping(const fbt_comm *comm, fbt_comm_speed *speed)
{
    enum { SMALL_BYTES = 8, LARGE_BYTES = 1 << 22, N_SMALL = 100, N_LARGE = 4, N_REPEATS = 10 };
    fbt_status status = FBT_OK;
    double best_s[2] = {INFINITY, INFINITY};
    char *bytes = NULL;
    status =
        comm->size < 2 ? fbt_fail(FBT_ERR_ARG, "a ping takes two ranks") : fbt_memory_alloc(&bytes, LARGE_BYTES, 1);
    FBT_TRY(fbt_comm_agree(comm, status));
    for (int i = 0; i < N_REPEATS; i++) {
        best_s[0] = fmin(best_s[0], time_message(comm, bytes, SMALL_BYTES, N_SMALL));
        best_s[1] = fmin(best_s[1], time_message(comm, bytes, LARGE_BYTES, N_LARGE));
    }
    fbt_comm_broadcast(comm, best_s, sizeof best_s);
    *speed = (fbt_comm_speed){.latency_s = best_s[0], .bytes_per_s = LARGE_BYTES / best_s[1]};
done:
    free(bytes);
    return status;
}

void fbt_comm_broadcast(const fbt_comm *comm, void *bytes, int64_t n_bytes)
{
    for (int64_t first = 0; first < n_bytes; first += PIECE_BYTES) {
        int count = (int)(n_bytes - first < PIECE_BYTES ? n_bytes - first : PIECE_BYTES);
        MPI_Bcast((char *)bytes + first, count, MPI_BYTE, 0, comm->mpi);
    }
}

fbt_status fbt_comm_broadcast_text(const fbt_comm *comm, char **text)
{
    fbt_status status = FBT_OK;
    char *received = NULL;
    int64_t n_bytes = *text == NULL ? 0 : (int64_t)strlen(*text) + 1;
    fbt_comm_broadcast(comm, &n_bytes, sizeof n_bytes);
    if (comm->rank != 0 && n_bytes > 0) {
        status = fbt_memory_alloc(&received, n_bytes, 1);
    }
    FBT_TRY(fbt_comm_agree(comm, status));
    fbt_comm_broadcast(comm, comm->rank == 0 ? *text : received, n_bytes);
    if (comm->rank != 0) {
        free(*text);
        *text = received;
        received = NULL;
    }
done:
    free(received);
    return status;
}
