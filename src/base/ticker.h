/* A thread that sleeps and does one thing now and then. */
#ifndef FBT_BASE_TICKER_H
#define FBT_BASE_TICKER_H

#include <pthread.h>
#include <stdbool.h>

/* Zero-initialise; at a fixed place from its start to its stop. */
typedef struct fbt_ticker {
    double every_s;
    void (*tick)(void *user);
    void *user;
    bool runs;
    pthread_t thread;
    pthread_mutex_t lock; /* held by each tick; also for whoever reads or changes what ticks do */
    pthread_cond_t ended;
    bool ends;
} fbt_ticker;

/* Calls tick every `every_s` seconds from a thread of its own, which takes no signals: they are for the program's
 * other threads. Returns errno, 0 for success; on failure the ticker is as it was. */
int fbt_ticker_start(fbt_ticker *ticker, double every_s, void (*tick)(void *user), void *user);

/* Lets it tick once more, at once, and ends the thread. Does nothing if it was not started. */
void fbt_ticker_stop(fbt_ticker *ticker);

#endif
