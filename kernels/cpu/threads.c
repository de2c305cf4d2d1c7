/* How many threads this rank has, and which processor each runs on. */
#include "cpu/cpu.h"

#include <omp.h>
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

fbt_status fbt_cpu_threads_start(fbt_cpu_affinity *affinity, const fbt_backend_options *options, int *n_threads)
{
    affinity->is_pinned = 0;
    affinity->n_omp_before = omp_get_max_threads();
    if (sched_getaffinity(0, sizeof affinity->before, &affinity->before) != 0) {
        /* More processors than cpu_set_t holds: leave placement to the system. */
        *n_threads = options->n_threads > 0 ? options->n_threads : 1;
        omp_set_num_threads(*n_threads);
        return FBT_OK;
    }
    const int n_cpus = CPU_COUNT(&affinity->before);
    const int is_shared = options->n_local_ranks > 1 && mask_is_shared(&affinity->before);
    const int share = is_shared ? n_cpus / options->n_local_ranks : n_cpus;
    const int is_placed = omp_get_proc_bind() != omp_proc_bind_false; /* by OMP_PROC_BIND: the user's word */
    *n_threads = options->n_threads;
    if (*n_threads == 0) {
        *n_threads = is_placed ? affinity->n_omp_before : share > 1 ? share : 1;
    }
    omp_set_num_threads(*n_threads);
    if (!is_placed && *n_threads <= share) {
        pin_threads(&affinity->before, is_shared ? options->local_rank * share : 0, share, *n_threads);
        affinity->is_pinned = 1;
    }
    return FBT_OK;
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
