/* Variables of the environment that a library is to see while it is loaded or begins, and nobody later: a process that
 * this one starts inherits none of it. Not while other threads read the environment. */
#ifndef FBT_BASE_ENVIRONMENT_H
#define FBT_BASE_ENVIRONMENT_H

#include <stdbool.h>

typedef struct fbt_environment {
    const char *name; /* NULL: nothing was changed */
    char *before;     /* NULL: there was no such variable */
} fbt_environment;

/* Sets the variable; one that is there already only where `replaces`. name is borrowed until the end. */
fbt_environment fbt_environment_begin(const char *name, const char *value, bool replaces);

/* Gives the variable back as it was. */
void fbt_environment_end(fbt_environment *change);

#endif
