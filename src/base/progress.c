#include "base/progress.h"

void fbt_progress_add_round(fbt_progress *progress, double seconds)
{
    progress->n_rounds++;
    progress->rounds_s += seconds;
}

void fbt_progress_add_write(fbt_progress *progress, double seconds)
{
    progress->n_writes++;
    progress->writes_s += seconds;
}

double fbt_progress_left_s(const fbt_progress *p, int64_t n_rounds, int64_t n_writes)
{
    if (p->n_rounds == 0) {
        return 0;
    }
    const double write_s = p->n_writes > 0 ? p->writes_s / (double)p->n_writes : 0;
    return (double)n_rounds * p->rounds_s / (double)p->n_rounds + (double)n_writes * write_s;
}
