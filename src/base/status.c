#include "base/status.h"

#undef fbt_fail /* a macro for clang-tidy */

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static _Thread_local char message[1024];

/* Sentences quote names that files hold. A control character among them would end the line or draw on the terminal. */
static void keep_one_line(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            *text = '?';
        }
    }
}

const char *fbt_status_text(fbt_status status)
{
    static const char *const texts[] = {
#define FBT_STATUS_TEXT(name, text) [name] = text,
        FBT_STATUS_LIST(FBT_STATUS_TEXT)
#undef FBT_STATUS_TEXT
    };
    if ((unsigned)status >= sizeof texts / sizeof texts[0]) {
        return "unknown status";
    }
    return texts[status];
}

fbt_status fbt_status_of_system(int error)
{
    static const int of_all[] = {ENOSPC, EDQUOT,    EROFS,     EIO,      ESTALE, ENODEV,
                                 ENXIO,  ETIMEDOUT, EHOSTDOWN, ENOTCONN, EMFILE, ENFILE};
    bool found = false;
    for (size_t i = 0; i < sizeof of_all / sizeof of_all[0]; i++) {
        found = found || error == of_all[i];
    }
    return found ? FBT_ERR_STORAGE : FBT_ERR_IO;
}

fbt_status fbt_fail(fbt_status status, const char *format, ...)
{
    if (message[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message, sizeof message, format, arguments);
        va_end(arguments);
        keep_one_line(message);
    }
    return status;
}

const char *fbt_error_message(void)
{
    return message;
}

void fbt_error_clear(void)
{
    message[0] = '\0';
}
