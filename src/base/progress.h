/* How long a run will take that writes what a round gave after every round. */
#ifndef FBT_BASE_PROGRESS_H
#define FBT_BASE_PROGRESS_H

#include <stdint.h>

/* Zero-initialise. Times are seconds. */
typedef struct fbt_progress {
    int64_t n_rounds;
    double rounds_s; /* all of them, without the writing */
    int64_t n_writes;
    double writes_s; /* all of them */
} fbt_progress;

void fbt_progress_add_round(fbt_progress *progress, double seconds);

void fbt_progress_add_write(fbt_progress *progress, double seconds);

/* Seconds that n_rounds more rounds and n_writes more writes will take, each as long as those before on average. 0
 * before the first round. */
double fbt_progress_left_s(const fbt_progress *progress, int64_t n_rounds, int64_t n_writes);

#endif
