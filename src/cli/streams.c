#include "cli/streams.h"

#include "cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Ends the process by SIGPIPE, which whoever started it may have had it ignore. */
static void end_by_broken_pipe(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(SIGPIPE);
}

/* Runs last. A buffer that could not be written is written once more, to learn why; an earlier failure has left its
 * mark, but may have left no cause. */
static void check_output(int code, void *unused)
{
    (void)unused;
    const int failed_before = ferror(stdout);
    errno = 0;
    const int failed = fflush(stdout);
    const int error = failed != 0 ? errno : 0;
    if (!failed_before && failed == 0) {
        return;
    }
    if (error == EPIPE) {
        end_by_broken_pipe();
    }
    if (code == FBT_EXIT_OK || code == FBT_EXIT_INTERRUPTED) { /* else a failure has had its sentence */
        fprintf(stderr,
                "fedbpt: error: the output is incomplete: it cannot be written%s%s; choose another place for it\n",
                error == 0 ? "" : ": ", error == 0 ? "" : strerror(error));
    }
    _exit(FBT_EXIT_FAILURE);
}

void fbt_cli_watch_streams(void)
{
    for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; descriptor++) {
        if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) {
            open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
    on_exit(check_output, NULL);
}
