/* Checks of settings that were read, from wherever. */
#ifndef FBT_FUZZ_SETTINGS_CHECKS_H
#define FBT_FUZZ_SETTINGS_CHECKS_H

#include "config/settings.h"

/* They print to text that reads back to the same values, and in the same words; nothing differs from itself. */
void fuzz_check_settings(const fbt_settings *settings);

#endif
