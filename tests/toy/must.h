/* For helpers of tests that have no test to fail. */
#ifndef FBT_TESTS_MUST_H
#define FBT_TESTS_MUST_H

#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>

/* Ends the process, with the place and the last sentence, unless the condition holds: assert() of every build. */
#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, fbt_error_message());                   \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
