#include "config/options.h"

#include <stdlib.h>
#include <string.h>

fbt_status fbt_settings_defaults(fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    for (int64_t i = 0; i < n; i++) {
        if (options[i].default_text != NULL) {
            fbt_option_input input = {.where = "defaults: ", .text = options[i].default_text};
            input.n_bytes = strlen(input.text);
            FBT_TRY(fbt_option_set(&options[i], &input, settings));
        }
    }
done:
    return status;
}

void fbt_settings_clear(fbt_settings *settings)
{
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    for (int64_t i = 0; i < n; i++) {
        if (options[i].kind == FBT_OPTION_TEXT || options[i].kind == FBT_OPTION_WORD) {
            free(*(char **)fbt_option_member(&options[i], settings));
        }
    }
    memset(settings, 0, sizeof *settings);
}

fbt_status fbt_settings_set(fbt_settings *settings, const char *assignment)
{
    char key[FBT_OPTION_QUOTE_BYTES], quote[FBT_OPTION_QUOTE_BYTES];
    const char *equals = strchr(assignment, '=');
    size_t n_key = equals == NULL ? 0 : (size_t)(equals - assignment);
    if (n_key == 0) {
        return fbt_fail(FBT_ERR_CONFIG, "--set %s: expected section.key=value, as in --set fed.rounds=24",
                        fbt_option_quote(assignment, strlen(assignment), quote));
    }
    snprintf(key, sizeof key, "%.*s", (int)(n_key < sizeof key ? n_key : sizeof key - 1), assignment);
    const fbt_option *option = n_key < sizeof key ? fbt_option_find(key) : NULL;
    if (option == NULL) {
        return fbt_option_unknown("--set: ", key);
    }
    fbt_option_input input = {.where = "--set: ", .text = equals + 1, .n_bytes = strlen(equals + 1)};
    return fbt_option_set(option, &input, settings);
}

const char *fbt_settings_choice_name(const char *key, int value)
{
    const fbt_option *option = fbt_option_find(key);
    if (option == NULL || option->kind != FBT_OPTION_CHOICE) {
        return NULL;
    }
    return value < option->first_choice ? NULL : fbt_choice_name(option->choices, value);
}

int64_t fbt_settings_participants(const fbt_settings *settings)
{
    return (int64_t)(settings->fed.participation * (double)settings->fed.clients + 0.5);
}
