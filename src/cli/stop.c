#include "cli/stop.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t first_signal;

/* Only what may be called at any instant. */
static void note_signal(int number)
{
    static const char hint[] = "\nfedbpt: stopping after this round; once more stops at once\n";
    if (number == SIGINT && first_signal == SIGINT) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    if (first_signal == 0) {
        first_signal = number;
        if (number == SIGINT) {
            const int error = errno;
            const ssize_t written = write(STDERR_FILENO, hint, sizeof hint - 1);
            (void)written;
            errno = error;
        }
    }
}

void fbt_stop_watch(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGUSR1};
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        sigaction(numbers[i], &action, NULL);
    }
}

int fbt_stop_signal(void)
{
    return first_signal;
}

double fbt_stop_job_left_s(void)
{
    const char *text = getenv("SLURM_JOB_END_TIME");
    char *end = NULL;
    struct timespec now;
    errno = 0;
    const long long end_s = text == NULL ? 0 : strtoll(text, &end, 10);
    if (text == NULL || errno != 0 || end == text || *end != '\0' || end_s <= 0) {
        return INFINITY;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)end_s - (double)now.tv_sec - 1e-9 * (double)now.tv_nsec;
}
