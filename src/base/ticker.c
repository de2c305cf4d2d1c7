#include "base/ticker.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <time.h>

static struct timespec after(struct timespec at, double seconds)
{
    const double end_s = (double)at.tv_sec + 1e-9 * (double)at.tv_nsec + seconds;
    return (struct timespec){.tv_sec = (time_t)end_s, .tv_nsec = (long)(1e9 * (end_s - floor(end_s)))};
}

static void *run(void *user)
{
    fbt_ticker *t = user;
    struct timespec next;
    pthread_mutex_lock(&t->lock);
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (!t->ends) {
        next = after(next, t->every_s);
        while (!t->ends && pthread_cond_timedwait(&t->ended, &t->lock, &next) != ETIMEDOUT) {
        }
        t->tick(t->user);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void init_waiting(fbt_ticker *ticker)
{
    pthread_condattr_t attributes;
    pthread_mutex_init(&ticker->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&ticker->ended, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void clear(fbt_ticker *ticker)
{
    pthread_cond_destroy(&ticker->ended);
    pthread_mutex_destroy(&ticker->lock);
    memset(ticker, 0, sizeof *ticker);
}

int fbt_ticker_start(fbt_ticker *ticker, double every_s, void (*tick)(void *user), void *user)
{
    sigset_t all, before;
    *ticker = (fbt_ticker){.every_s = every_s, .tick = tick, .user = user};
    init_waiting(ticker);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&ticker->thread, NULL, run, ticker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ticker->runs = error == 0;
    if (error != 0) {
        clear(ticker);
    }
    return error;
}

void fbt_ticker_stop(fbt_ticker *ticker)
{
    if (!ticker->runs) {
        return;
    }
    pthread_mutex_lock(&ticker->lock);
    ticker->ends = true;
    pthread_cond_signal(&ticker->ended);
    pthread_mutex_unlock(&ticker->lock);
    pthread_join(ticker->thread, NULL);
    clear(ticker);
}
