#include "config/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Settings that decide no number of a run: where things are (what they hold is compared by digest), when to stop, and
 * how the work is cut. backend.precision: auto and its outcome are the same; the outcome is compared. */
static const char *const without_effect[] = {
    "run.output", "run.overwrite", "run.max_seconds", "run.stop_margin_seconds", "model.path",
    "data.path",  "fed.rounds",    "backend.threads", "backend.batch_tokens",    "backend.precision"};

static bool decides_numbers(const fbt_option *option)
{
    for (size_t i = 0; i < sizeof without_effect / sizeof without_effect[0]; i++) {
        if (strcmp(without_effect[i], option->key) == 0) {
            return false;
        }
    }
    return true;
}

fbt_status fbt_settings_find_difference(const fbt_settings *now, const fbt_settings *before,
                                        fbt_settings_difference *difference)
{
    fbt_status status = FBT_OK;
    char *value = NULL, *value_before = NULL;
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    *difference = (fbt_settings_difference){0};
    for (int64_t i = 0; i < n && difference->key == NULL; i++) {
        if (!decides_numbers(&options[i])) {
            continue;
        }
        FBT_TRY(fbt_option_value_text(&options[i], now, &value));
        FBT_TRY(fbt_option_value_text(&options[i], before, &value_before));
        if (strcmp(value, value_before) != 0) {
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

fbt_status fbt_settings_check_same(const fbt_settings *now, const fbt_settings *before, const char *path)
{
    fbt_status status = FBT_OK;
    fbt_settings_difference d;
    FBT_TRY(fbt_settings_find_difference(now, before, &d));
    if (d.key != NULL) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "%s is %s, but %.300s was run with %s; to go on with it set %s to that, to start anew choose another "
                 "run.output",
                 d.key, d.now, path, d.before, d.key);
    }
    if (now->fed.rounds < before->fed.rounds) {
        FBT_FAIL(FBT_ERR_CONFIG, "fed.rounds is %lld, but %.300s was run with %lld; it may grow, not shrink",
                 (long long)now->fed.rounds, path, (long long)before->fed.rounds);
    }
done:
    return status;
}
