#include "base/status.h"

#undef fbt_fail /* a macro for clang-tidy */

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 1024 };
static _Thread_local char message[MESSAGE_BYTES], taken[MESSAGE_BYTES];

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

fbt_status fbt_refail(fbt_status status, const char *format, ...)
{
    char sentence[MESSAGE_BYTES]; /* the arguments may point into the message */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    memcpy(message, sentence, sizeof message);
    keep_one_line(message);
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

const char *fbt_error_take(void)
{
    memcpy(taken, message, sizeof taken);
    fbt_error_clear();
    return taken;
}
