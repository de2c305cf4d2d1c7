#include "run/observer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { TEXT_BYTES = 2048 };

void fbt_observer_tell(const fbt_run_observer *observer, const fbt_run_event *event)
{
    if (observer != NULL && observer->tell != NULL) {
        observer->tell(observer->user, event);
    }
}

void fbt_observer_note(const fbt_run_observer *observer, fbt_run_event_kind kind, const char *label, const char *format,
                       ...)
{
    char text[TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fbt_observer_tell(observer, &(fbt_run_event){.kind = kind, .label = label, .text = text});
}

int fbt_observer_should_stop(const fbt_run_observer *observer)
{
    return observer != NULL && observer->should_stop != NULL ? observer->should_stop(observer->user) : 0;
}

double fbt_observer_seconds_left(const fbt_run_observer *observer)
{
    return observer != NULL && observer->seconds_left != NULL ? observer->seconds_left(observer->user) : INFINITY;
}
