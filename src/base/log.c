#include "log.h"

#include "timer.h"

#include <stdarg.h>
#include <stdio.h>

static int log_rank = 0;

void fbt_log_set_rank(int rank)
{
    log_rank = rank;
}

/* One fprintf per line, so that lines of several ranks do not mix. */
static void write_line(const char *level, const char *module, const char *format, va_list arguments)
{
    char text[2048];
    vsnprintf(text, sizeof text, format, arguments);
    fprintf(stderr, "[%d] %8.2f s %s: %s%s\n", log_rank, fbt_timer_since_start_s(), module, level, text);
}

#define FBT_LOG_BODY(level)                                                                                            \
    do {                                                                                                               \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        write_line(level, module, format, arguments);                                                                  \
        va_end(arguments);                                                                                             \
    } while (0)

void fbt_log_info(const char *module, const char *format, ...)
{
    if (log_rank == 0) {
        FBT_LOG_BODY("");
    }
}

void fbt_log_warning(const char *module, const char *format, ...)
{
    FBT_LOG_BODY("warning: ");
}

void fbt_log_error(const char *module, const char *format, ...)
{
    FBT_LOG_BODY("error: ");
}
