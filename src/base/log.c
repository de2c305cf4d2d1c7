#include "base/log.h"

#include "base/timer.h"

#include <stdarg.h>
#include <stdio.h>

static int log_rank = 0;

void fbt_log_set_rank(int rank)
{
    log_rank = rank;
}

/* One fprintf per line, so that lines of several processes do not mix. */
void fbt_log_info(const char *module, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    if (log_rank != 0) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "[%d] %8.2f s %s: %s\n", log_rank, fbt_timer_since_start_s(), module, text);
}
