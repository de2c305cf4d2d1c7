#include "base/progress.h"

void fbt_progress_add_round(fbt_progress *progress, double seconds)
{
    progress->n_rounds++;
    progress->rounds_s += seconds;
}

void fbt_progress_add_write(fbt_progress *progress, double seconds, int64_t n_bytes)
{
    if (progress->n_writes == 0) {
        progress->first_bytes = n_bytes;
    }
    progress->n_writes++;
    progress->writes_s += seconds;
    progress->bytes += (double)n_bytes;
    progress->last_bytes = n_bytes;
}

double fbt_progress_left_s(const fbt_progress *p, int64_t n_rounds, int64_t n_writes)
{
    if (p->n_rounds == 0) {
        return 0;
    }
    const double n = (double)n_writes, last = (double)p->last_bytes;
    const double growth = p->n_writes > 1 ? (last - (double)p->first_bytes) / (double)(p->n_writes - 1) : 0;
    const double bytes = n * last + growth * n * (n + 1) / 2;
    const double write_s = p->bytes > 0 ? bytes * p->writes_s / p->bytes : 0;
    return (double)n_rounds * p->rounds_s / (double)p->n_rounds + write_s;
}
