/* Whether a protocol takes settings. */
#ifndef FBT_TESTS_CHECK_SETTINGS_H
#define FBT_TESTS_CHECK_SETTINGS_H

#include "fed/protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Checks the defaults with `first` (NULL: none) and the assignments, ended by NULL. start NULL: they are taken; else
 * they are refused by a sentence that begins with it and holds `other`, where that is not NULL. */
static inline void check_settings(const char *first, const char *const *assignments, const char *start,
                                  const char *other)
{
    fbt_settings settings = {0};
    assert_int_equal(fbt_settings_defaults(&settings), FBT_OK);
    if (first != NULL) {
        assert_int_equal(fbt_settings_set(&settings, first), FBT_OK);
    }
    for (int a = 0; assignments[a] != NULL; a++) {
        assert_int_equal(fbt_settings_set(&settings, assignments[a]), FBT_OK);
    }
    assert_int_equal(fbt_protocol_check(&settings), start == NULL ? FBT_OK : FBT_ERR_CONFIG);
    if (start != NULL) {
        assert_ptr_equal(strstr(fbt_error_message(), start), fbt_error_message());
        assert_true(other == NULL || strstr(fbt_error_message(), other) != NULL);
    }
    fbt_error_clear();
    fbt_settings_clear(&settings);
}

#endif
