/* How many threads this rank has, and which processor each runs on. */
#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/quota.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Whether the mask is all that the system allows this process: then nobody bound this rank, and the ranks of the node
 * share the mask. A launcher's or the user's binding is a part of it, and this rank's own. */
static int mask_is_shared(const cpu_set_t *mask)
{
    cpu_set_t widest;
    memset(&widest, 0xff, sizeof widest);
    if (sched_setaffinity(0, sizeof widest, &widest) != 0) {
        return 1;
    }
    sched_getaffinity(0, sizeof widest, &widest);
    sched_setaffinity(0, sizeof *mask, mask);
    return CPU_EQUAL(&widest, mask);
}

/* The index-th processor of a mask. */
static int mask_cpu(const cpu_set_t *mask, int index)
{
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, mask) && index-- == 0) {
            return cpu;
        }
    }
    return -1;
}

/* Keeps the threads on processors first .. first + n_cpus - 1 of the mask: each on one of its own where they are as
 * many, else on all of these, so that two programs on one machine do not both crowd the first few. */
static void pin_threads(const cpu_set_t *mask, int first, int n_cpus, int n_threads)
{
#pragma omp parallel num_threads(n_threads)
    {
        const int from = n_cpus == n_threads ? omp_get_thread_num() : 0;
        const int to = n_cpus == n_threads ? from + 1 : n_cpus;
        cpu_set_t own;
        CPU_ZERO(&own);
        for (int i = from; i < to; i++) {
            CPU_SET(mask_cpu(mask, first + i), &own);
        }
        sched_setaffinity(0, sizeof own, &own);
    }
}

static void *wait_for_lock(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

/* Whether a team of n threads can be had: where one is missing (a limit of processes, of address space), OpenMP ends
 * the program with a line of its own. They are all kept until the last one has started. */
static fbt_status try_team(int n)
{
    fbt_status status = FBT_OK;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads = NULL;
    int n_started = 1, error = 0; /* this one runs */
    FBT_TRY(fbt_memory_alloc(&threads, n, sizeof *threads));
    pthread_mutex_lock(&lock);
    while (n_started < n && error == 0) {
        error = pthread_create(&threads[n_started], NULL, wait_for_lock, &lock);
        n_started += error == 0;
    }
    pthread_mutex_unlock(&lock);
    for (int i = 1; i < n_started; i++) {
        pthread_join(threads[i], NULL);
    }
    if (error != 0) {
        FBT_FAIL(
            FBT_ERR_BACKEND,
            "backend.threads: only %d of %d threads can be started: %s; lower it, or raise the limits of processes "
            "(ulimit -u) and address space (ulimit -v)",
            n_started, n, strerror(error));
    }
done:
    free(threads);
    return status;
}

/* The user's number, by backend.threads or OMP_PLACES and the like, else this rank's share. */
static int choose_number(const fbt_backend_options *options, int n_cpus, int n_omp, int is_placed)
{
    if (options->n_threads > 0) {
        return options->n_threads;
    }
    if (is_placed && getenv("OMP_NUM_THREADS") != NULL) {
        return n_omp;
    }
    return fbt_cpu_quota_threads(is_placed ? n_omp : n_cpus, fbt_cpu_quota(""), options->n_local_ranks);
}

fbt_status fbt_cpu_threads_start(fbt_cpu_affinity *affinity, const fbt_backend_options *options, int *n_threads)
{
    fbt_status status = FBT_OK;
    affinity->is_pinned = 0;
    affinity->n_omp_before = omp_get_max_threads();
    if (sched_getaffinity(0, sizeof affinity->before, &affinity->before) != 0) {
        /* More processors than cpu_set_t holds: leave placement to the system. */
        *n_threads = options->n_threads > 0 ? options->n_threads : 1;
        FBT_TRY(try_team(*n_threads));
        omp_set_num_threads(*n_threads);
        return FBT_OK;
    }
    const int n_cpus = CPU_COUNT(&affinity->before);
    const int is_shared = options->n_local_ranks > 1 && mask_is_shared(&affinity->before);
    const int share = is_shared ? n_cpus / options->n_local_ranks : n_cpus;
    const int is_placed = omp_get_proc_bind() != omp_proc_bind_false;
    *n_threads = choose_number(options, share, affinity->n_omp_before, is_placed);
    FBT_TRY(try_team(*n_threads));
    omp_set_num_threads(*n_threads);
    if (!is_placed && *n_threads <= share) {
        pin_threads(&affinity->before, is_shared ? options->local_rank * share : 0, share, *n_threads);
        affinity->is_pinned = 1;
    }
done:
    return status;
}

void fbt_cpu_threads_restore(const fbt_cpu_affinity *affinity, int n_threads)
{
    if (affinity->is_pinned) {
#pragma omp parallel num_threads(n_threads)
        sched_setaffinity(0, sizeof affinity->before, &affinity->before);
    }
    if (affinity->n_omp_before > 0) {
        omp_set_num_threads(affinity->n_omp_before);
    }
}
