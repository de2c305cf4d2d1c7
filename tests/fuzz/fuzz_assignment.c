/* Arguments of --set, one a line. */
#include "settings_checks.h"

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fuzz_input input = {data, n_bytes};
    fbt_settings settings = {0};
    int64_t n_assigned = 0;
    char *rest = NULL, *text = fuzz_take_text(&input, n_bytes);
    FUZZ_REQUIRE(fuzz_outcome(fbt_settings_defaults(&settings)));
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        n_assigned += fuzz_outcome(fbt_settings_set(&settings, line));
    }
    if (n_assigned > 0) {
        fuzz_check_settings(
            &settings); /* one that fails changes nothing, so that what the others made of them is sound */
    }
    free(text);
    fbt_settings_clear(&settings);
    return 0;
}
