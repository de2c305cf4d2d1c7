/* Communication, on any number of ranks. Failures are counted, and the job's count is every rank's exit status: no rank
 * may leave early, or the others would wait for it. */
#include "base/memory.h"
#include "comm/comm.h"

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int n_failures = 0;
static int rank, size;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            n_failures++;                                                                                              \
            fprintf(stderr, "rank %d of %d, %s:%d: %s\n", rank, size, __FILE__, __LINE__, #condition);                 \
        }                                                                                                              \
    } while (0)

static int64_t sum_over_ranks(int64_t value)
{
    MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    return value;
}

static void test_identity(const fbt_comm *world)
{
    int mpi_rank, mpi_size;
    MPI_Comm_rank(MPI_COMM_WORLD, &mpi_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &mpi_size);
    CHECK(rank == mpi_rank && size == mpi_size);
    CHECK(fbt_comm_local_rank(world) == rank && fbt_comm_local_size(world) == size); /* the tests run on one node */
    CHECK(fbt_comm_library()[0] != '\0' && strchr(fbt_comm_library(), '\n') == NULL);
    CHECK(fbt_comm_library() == fbt_comm_library());
}

/* Each combination of failing ranks, for own failures and for those heard of elsewhere. */
static void test_agree(const fbt_comm *world)
{
    for (int failing = 0; failing < 1 << size; failing++) {
        const int mine = failing >> rank & 1;
        fbt_status status = fbt_comm_agree(world, mine ? FBT_ERR_DATA : FBT_OK);
        CHECK(status == (failing == 0 ? FBT_OK : mine ? FBT_ERR_DATA : FBT_ERR_PEER));
        status = fbt_comm_agree(world, mine ? FBT_ERR_PEER : FBT_OK);
        CHECK(status == (failing == 0 ? FBT_OK : FBT_ERR_PEER));
    }
    CHECK(fbt_error_message()[0] == '\0');
}

/* Catches in `text` what fbt_comm_report prints on this rank's standard error. */
static fbt_status captured_report(const fbt_comm *world, fbt_status local, char text[1024])
{
    FILE *file = tmpfile();
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    CHECK(file != NULL && saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    fbt_status status = fbt_comm_report(world, local);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    text[fread(text, 1, 1023, file)] = '\0';
    fclose(file);
    return status;
}

static fbt_status own_status(int of_rank)
{
    return of_rank % 2 ? FBT_ERR_CONFIG : FBT_ERR_DATA;
}

/* For every combination of ranks that failed themselves, the others having heard of it: one sentence, the lowest one's,
 * and one status, the lowest one's. The rank is named unless all failed themselves. */
static void test_report(const fbt_comm *world)
{
    for (int failing = 0; failing < 1 << size; failing++) {
        char text[1024], expected[1024];
        const int mine = failing >> rank & 1;
        const int lowest = failing == 0 ? -1 : __builtin_ctz((unsigned)failing);
        fbt_error_clear();
        fbt_status local = mine ? fbt_fail(own_status(rank), "rank %d has lost its key", rank) : FBT_OK;
        local = fbt_comm_agree(world, local);
        fbt_status status = captured_report(world, local, text);
        CHECK(status == (failing == 0 ? FBT_OK : own_status(lowest)));
        snprintf(expected, sizeof expected, "fedbpt: error: rank %d has lost its key", rank);
        if (failing != (1 << size) - 1) {
            snprintf(expected + strlen(expected), sizeof expected - strlen(expected), " (rank %d)", rank);
        }
        strcat(expected, "\n");
        CHECK(strcmp(text, rank == lowest ? expected : "") == 0);
    }
    fbt_error_clear();
}

/* A status without a sentence, and a job in which all only heard of a failure: still one line and a failure. */
static void test_report_without_sentence(const fbt_comm *world)
{
    char text[1024];
    fbt_status status = captured_report(world, rank == size - 1 ? FBT_ERR_NUMERIC : FBT_OK, text);
    CHECK(status == FBT_ERR_NUMERIC);
    CHECK((strstr(text, fbt_status_text(FBT_ERR_NUMERIC)) != NULL) == (rank == size - 1));
    status = captured_report(world, FBT_ERR_PEER, text);
    CHECK(status == FBT_ERR_PEER);
    CHECK((text[0] != '\0') == (rank == 0));
}

static uint64_t bits(double value)
{
    uint64_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

/* The number that slot i carries: any size and sign, awkward fractions, and some that addition could spoil. */
static double slot_value(int64_t i)
{
    const double special[] = {0.0, -0.0, INFINITY, -INFINITY, 5e-324, -1.7976931348623157e308, 0.1, 1.0 / 3};
    return i % 16 < 8 ? special[i % 8]
                      : ldexp(1 + (double)(i * 7919 % 1000003) / 1000003, (int)(i % 2000 - 1000)) * (i % 2 ? 1 : -1);
}

/* One contributor per slot: the bits come through, but for the sign of zero. Long enough for several pieces. */
static void test_sum(const fbt_comm *world)
{
    const int64_t n = 2 * ((int64_t)1 << 21) + 13;
    double *values = NULL;
    CHECK(fbt_memory_alloc(&values, n, sizeof *values) == FBT_OK);
    for (int64_t i = 0; i < n; i++) {
        values[i] = (int)(i % size) == rank ? slot_value(i) : 0;
    }
    fbt_comm_sum(world, values, n);
    int64_t n_wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        double expected = slot_value(i);
        n_wrong += bits(values[i]) != bits(expected == 0 ? 0.0 : expected);
    }
    CHECK(n_wrong == 0);

    values[0] = rank == size - 1 ? NAN : 0;
    values[1] = 7;
    fbt_comm_sum(world, values, 1);
    CHECK(isnan(values[0]) && values[1] == 7);
    fbt_comm_sum(world, values + 1, 0);
    CHECK(values[1] == 7);
    free(values);
}

static void test_sum_int_and_max(const fbt_comm *world)
{
    int64_t counts[] = {rank, INT64_MAX / 8, -1};
    fbt_comm_sum_int(world, counts, 3);
    CHECK(counts[0] == size * (size - 1) / 2 && counts[1] == INT64_MAX / 8 * size && counts[2] == -size);
    double values[] = {-rank - 1.5, rank, rank == size / 2 ? INFINITY : 0};
    fbt_comm_max(world, values, 3);
    CHECK(values[0] == -1.5 && values[1] == size - 1 && values[2] == INFINITY);
}

static void test_broadcast(const fbt_comm *world)
{
    const int64_t sizes[] = {0, 1, 1000, ((int64_t)1 << 24) + 5};
    for (int s = 0; s < 4; s++) {
        unsigned char *bytes = NULL;
        int64_t n_wrong = 0;
        CHECK(fbt_memory_alloc(&bytes, sizes[s] + 1, 1) == FBT_OK);
        for (int64_t i = 0; i < sizes[s]; i++) {
            bytes[i] = rank == 0 ? (unsigned char)(i * 31 + i / 251) : 0xee;
        }
        bytes[sizes[s]] = 0xaa;
        fbt_comm_broadcast(world, bytes, sizes[s]);
        for (int64_t i = 0; i < sizes[s]; i++) {
            n_wrong += bytes[i] != (unsigned char)(i * 31 + i / 251);
        }
        CHECK(n_wrong == 0 && bytes[sizes[s]] == 0xaa);
        free(bytes);
    }
}

/* Broken by a text that others keep, lose a byte of, or see where rank 0 has none. */
static void test_broadcast_text(const fbt_comm *world)
{
    char *text = NULL;
    CHECK(fbt_memory_strdup(&text, rank == 0 ? "of rank 0" : "something longer of another rank") == FBT_OK);
    CHECK(fbt_comm_broadcast_text(world, &text) == FBT_OK && strcmp(text, "of rank 0") == 0);
    if (rank == 0) {
        free(text);
        text = NULL;
    }
    CHECK(fbt_comm_broadcast_text(world, &text) == FBT_OK && text == NULL);
}

/* Parts keep the order, know their own size, keep the node's numbers, and work as communicators. */
static void test_split(const fbt_comm *world)
{
    for (int n_parts = 1; n_parts <= size; n_parts++) {
        fbt_comm *part = NULL;
        int64_t sum = rank;
        CHECK(fbt_comm_split(world, rank % n_parts, &part) == FBT_OK);
        CHECK(fbt_comm_rank(part) == rank / n_parts);
        CHECK(fbt_comm_size(part) == (size - rank % n_parts + n_parts - 1) / n_parts);
        CHECK(fbt_comm_local_rank(part) == rank && fbt_comm_local_size(part) == size);
        fbt_comm_sum_int(part, &sum, 1);
        int64_t expected = 0;
        for (int r = rank % n_parts; r < size; r += n_parts) {
            expected += r;
        }
        CHECK(sum == expected);
        fbt_comm_free(part);
    }
    fbt_comm *part = (fbt_comm *)1;
    fbt_status status = fbt_comm_split(world, rank == size - 1 ? -1 : 0, &part);
    CHECK(status == (rank == size - 1 ? FBT_ERR_ARG : FBT_ERR_PEER));
    CHECK(part == NULL);
    fbt_error_clear();
    fbt_comm_free(NULL);
}

/* Broken by a node that is taken for the job, or by ranks that lose their order. */
static void test_split_node(const fbt_comm *world)
{
    fbt_comm *half = NULL, *node = NULL;
    CHECK(fbt_comm_split(world, rank % 2, &half) == FBT_OK);
    CHECK(fbt_comm_split_node(half, &node) == FBT_OK); /* the tests run on one node */
    CHECK(fbt_comm_size(node) == fbt_comm_size(half) && fbt_comm_rank(node) == rank / 2);
    int64_t one = 1;
    fbt_comm_sum_int(node, &one, 1);
    CHECK(one == fbt_comm_size(half));
    fbt_comm_free(node);
    fbt_comm_free(half);
}

/* Lines of different lengths, an empty one among them. */
static void test_lines(const fbt_comm *world)
{
    char line[64] = "", expected[1024] = "";
    char *lines = NULL;
    for (int r = 0; r < size; r++) {
        const size_t used = strlen(expected);
        snprintf(expected + used, sizeof expected - used, r == 1 ? "\n" : "rank %d%.*s\n", r, 3 * r, "............");
    }
    if (rank != 1) {
        snprintf(line, sizeof line, "rank %d%.*s", rank, 3 * rank, "............");
    }
    CHECK(fbt_comm_lines(world, line, &lines) == FBT_OK);
    CHECK(lines != NULL && strcmp(lines, expected) == 0);
    free(lines);
}

static void test_hosts(const fbt_comm *world)
{
    char name[MPI_MAX_PROCESSOR_NAME];
    char *hosts = NULL;
    int length;
    MPI_Get_processor_name(name, &length);
    CHECK(fbt_comm_hosts(world, &hosts) == FBT_OK);
    CHECK(hosts != NULL && strcmp(hosts, name) == 0); /* one node: named once */
    free(hosts);
}

/* Nobody leaves before the last has come, and who waits leaves the processor to others. */
static void test_wait(const fbt_comm *world)
{
    struct timespec start, end, used[2];
    clock_gettime(CLOCK_MONOTONIC, &start);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used[0]);
    if (rank == size - 1) {
        usleep(400000);
    }
    fbt_comm_wait(world);
    clock_gettime(CLOCK_MONOTONIC, &end);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used[1]);
    CHECK((double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec) > 0.2);
    CHECK((double)(used[1].tv_sec - used[0].tv_sec) + 1e-9 * (double)(used[1].tv_nsec - used[0].tv_nsec) < 0.1);
}

/* Half of a message's way there and back: the latency is less than what a thousand of them take, and more bytes take
 * longer. Broken by a time that is not the same on all ranks, and by a rank alone that waits for another. */
static void test_ping(const fbt_comm *world)
{
    fbt_comm_speed speed = {0, 0};
    const fbt_status status = fbt_comm_ping(world, &speed);
    if (size == 1) {
        CHECK(status == FBT_ERR_ARG);
        fbt_error_clear();
        return;
    }
    double found[2] = {speed.latency_s, speed.bytes_per_s};
    fbt_comm_max(world, found, 2);
    CHECK(status == FBT_OK);
    CHECK(speed.latency_s > 1e-8 && speed.latency_s < 0.1);
    CHECK(speed.bytes_per_s > 1e6 && speed.bytes_per_s < 1e12);
    CHECK(found[0] == speed.latency_s && found[1] == speed.bytes_per_s);
}

int main(int argc, char **argv)
{
    fbt_comm *world = NULL;
    if (fbt_comm_start(&argc, &argv, &world) != FBT_OK) {
        fprintf(stderr, "%s\n", fbt_error_message());
        return 1;
    }
    rank = fbt_comm_rank(world);
    size = fbt_comm_size(world);
    test_identity(world);
    test_agree(world);
    test_report(world);
    test_report_without_sentence(world);
    test_sum(world);
    test_sum_int_and_max(world);
    test_broadcast(world);
    test_broadcast_text(world);
    test_split(world);
    test_split_node(world);
    test_lines(world);
    test_hosts(world);
    test_ping(world);
    fbt_comm_sum(world, &(double){0}, 1); /* together from here */
    test_wait(world);
    int64_t n = sum_over_ranks(n_failures);
    fbt_comm_stop(world);
    fbt_comm_stop(NULL);
    return n > 0;
}
