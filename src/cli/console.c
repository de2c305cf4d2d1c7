#include "cli/console.h"

#include "base/log.h"
#include "cli/stop.h"

#include <stdio.h>
#include <string.h>

static void tell(void *user, const fbt_run_event *event)
{
    (void)user;
    if (event->kind == FBT_RUN_EVENT_FAILURE) {
        fprintf(stderr, "fedbpt: error: %s%s\n", event->text,
                event->ends_sweep ? "; the sweep stops here, and the same command goes on with it" : "");
        fflush(stderr);
        return;
    }
    fbt_log_info(event->label, "%s", event->text);
}

static int should_stop(void *user)
{
    (void)user;
    return fbt_stop_signal();
}

static const char *name_reason(void *user, int reason)
{
    static char name[32];
    (void)user;
    snprintf(name, sizeof name, "SIG%s", sigabbrev_np(reason));
    return name;
}

static double seconds_left(void *user)
{
    (void)user;
    return fbt_stop_job_left_s();
}

const fbt_run_observer fbt_cli_console = {
    .tell = tell, .should_stop = should_stop, .name_reason = name_reason, .seconds_left = seconds_left};
