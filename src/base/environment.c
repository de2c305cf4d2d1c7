#include "base/environment.h"

#include <stdlib.h>
#include <string.h>

fbt_environment fbt_environment_begin(const char *name, const char *value, bool replaces)
{
    const char *before = getenv(name);
    fbt_environment change = {.name = NULL, .before = NULL};
    if (before != NULL && !replaces) {
        return change;
    }
    if (before != NULL && (change.before = strdup(before)) == NULL) { /* cannot be given back: stays as it is */
        return change;
    }
    change.name = setenv(name, value, 1) == 0 ? name : NULL;
    return change;
}

void fbt_environment_end(fbt_environment *change)
{
    if (change->name != NULL && change->before != NULL) {
        setenv(change->name, change->before, 1);
    } else if (change->name != NULL) {
        unsetenv(change->name);
    }
    free(change->before);
    *change = (fbt_environment){.name = NULL, .before = NULL};
}
