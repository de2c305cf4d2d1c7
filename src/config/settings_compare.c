#include "config/options.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether a run goes on with the same value only. What an input holds, and what came of an outcome, others compare:
 * they are in the run file. */
static bool must_be_equal(const fbt_option *option)
{
    return option->decides == FBT_DECIDES_NUMBERS || option->decides == FBT_DECIDES_CONTENT;
}

/* goes_on: what is found when a run begins need not be given again when it goes on. */
static fbt_status find_difference(const fbt_settings *now, const fbt_settings *before, bool goes_on,
                                  fbt_settings_difference *difference)
{
    fbt_status status = FBT_OK;
    char *value = NULL, *value_before = NULL;
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    *difference = (fbt_settings_difference){0};
    for (int64_t i = 0; i < n && difference->key == NULL; i++) {
        if (!must_be_equal(&options[i])) {
            continue;
        }
        FBT_TRY(fbt_option_value_text(&options[i], now, &value));
        FBT_TRY(fbt_option_value_text(&options[i], before, &value_before));
        const bool is_auto = goes_on && options[i].auto_text != NULL && strcmp(value, options[i].auto_text) == 0;
        if (!is_auto && strcmp(value, value_before) != 0) {
            difference->key = options[i].key;
            snprintf(difference->now, sizeof difference->now, "%s", value);
            snprintf(difference->before, sizeof difference->before, "%s", value_before);
        }
        free(value);
        free(value_before);
        value = value_before = NULL;
    }
done:
    free(value);
    free(value_before);
    return status;
}

fbt_status fbt_settings_find_difference(const fbt_settings *now, const fbt_settings *before,
                                        fbt_settings_difference *difference)
{
    return find_difference(now, before, false, difference);
}

fbt_status fbt_settings_check_same(const fbt_settings *now, const fbt_settings *before, const char *path)
{
    fbt_status status = FBT_OK;
    fbt_settings_difference d;
    FBT_TRY(find_difference(now, before, true, &d));
    if (d.key != NULL) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "%s is %s, but %.300s was run with %s; to go on with it set %s to that, to start anew choose another "
                 "run.output",
                 d.key, d.now, path, d.before, d.key);
    }
    if (now->fed.rounds < before->fed.rounds) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.rounds is %" PRId64 ", but %.300s was run with %" PRId64 "; it may grow, not shrink",
                 now->fed.rounds, path, before->fed.rounds);
    }
done:
    return status;
}
