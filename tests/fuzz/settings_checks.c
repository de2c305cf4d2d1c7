#include "settings_checks.h"

#include "config/options.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

/* Every value by itself is one that the table allows, and reads back from its own text. */
static void check_values(const fbt_settings *settings)
{
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    for (int64_t i = 0; i < n; i++) {
        fbt_settings scratch = {0};
        char *text, *again;
        FUZZ_REQUIRE(fuzz_outcome(fbt_option_value_text(&options[i], settings, &text)));
        fbt_option_input input = {.where = "again: ", .text = text, .n_bytes = strlen(text), .quoted = false};
        input.quoted = options[i].kind == FBT_OPTION_TEXT; /* `null` would be no value */
        if (text[0] != '\0') {
            FUZZ_REQUIRE(fuzz_outcome(fbt_option_set(&options[i], &input, &scratch)));
            FUZZ_REQUIRE(fuzz_outcome(fbt_option_value_text(&options[i], &scratch, &again)));
            FUZZ_REQUIRE(strcmp(text, again) == 0);
            free(again);
        }
        free(text);
        fbt_settings_clear(&scratch);
    }
}

void fuzz_check_settings(const fbt_settings *settings)
{
    fbt_settings again = {0};
    fbt_settings_difference difference = {.key = ""};
    char *text, *text_again;
    check_values(settings);
    FUZZ_REQUIRE(fuzz_outcome(fbt_settings_print(settings, &text)));
    FUZZ_REQUIRE(fuzz_outcome(fbt_settings_defaults(&again)));
    FUZZ_REQUIRE(fuzz_outcome(fbt_settings_read_text(&again, text, "again.yaml")));
    FUZZ_REQUIRE(fuzz_outcome(fbt_settings_print(&again, &text_again)));
    FUZZ_REQUIRE(strcmp(text, text_again) == 0);
    FUZZ_REQUIRE(fuzz_outcome(fbt_settings_find_difference(settings, &again, &difference)));
    FUZZ_REQUIRE(difference.key == NULL);
    if (fuzz_outcome(fbt_settings_check(settings))) {
        const int64_t n = fbt_settings_participants(settings);
        FUZZ_REQUIRE(n >= 1 && n <= settings->fed.clients);
        FUZZ_REQUIRE(fuzz_outcome(fbt_settings_check_same(&again, settings, "run.h5")));
    }
    free(text);
    free(text_again);
    fbt_settings_clear(&again);
}
