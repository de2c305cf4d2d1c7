/* The other peak of `fedbpt bench`: a copy from memory to memory, all threads. */
#include "base/timer.h"
#include "kernels/cpu/cpu.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

static double copy_once(const fbt_cpu *cpu, char *to, const char *from, int64_t n_bytes)
{
    const double begin_s = fbt_timer_now_s();
#pragma omp parallel num_threads(cpu->n_threads)
    {
        const int64_t n_threads = omp_get_num_threads(), t = omp_get_thread_num();
        const int64_t first = n_bytes * t / n_threads, end = n_bytes * (t + 1) / n_threads;
        memcpy(to + first, from + first, (size_t)(end - first));
    }
    return fbt_timer_now_s() - begin_s;
}

fbt_status fbt_cpu_library_copy(fbt_backend *b, int64_t n_bytes, int n_repeats, double *best_s)
{
    fbt_status status = FBT_OK;
    const fbt_cpu *cpu = fbt_cpu_of(b);
    void *from = NULL, *to = NULL;
    FBT_TRY(fbt_cpu_block_new(n_bytes, &from));
    FBT_TRY(fbt_cpu_block_new(n_bytes, &to));
    memset(from, 1, (size_t)n_bytes); /* pages that nothing was written to are all one page of zeros */
    *best_s = copy_once(cpu, to, from, n_bytes);
    for (int i = 0; i < n_repeats; i++) {
        const double seconds = copy_once(cpu, to, from, n_bytes);
        *best_s = i == 0 || seconds < *best_s ? seconds : *best_s;
    }
done:
    free(from);
    free(to);
    return status;
}
