#include "base/timer.h"

#include <time.h>

static double start_s;

double fbt_timer_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

__attribute__((constructor)) static void remember_start(void)
{
    start_s = fbt_timer_now_s();
}

double fbt_timer_since_start_s(void)
{
    return fbt_timer_now_s() - start_s;
}
