/* Monotonic wall-clock time in seconds. */
#ifndef FBT_BASE_TIMER_H
#define FBT_BASE_TIMER_H

/* Seconds on a monotonic clock with an arbitrary origin; differences are durations. */
double fbt_timer_now_s(void);

/* Seconds since the program was loaded. */
double fbt_timer_since_start_s(void);

#endif
