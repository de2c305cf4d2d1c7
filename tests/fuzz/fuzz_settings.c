/* A settings file. */
#include "settings_checks.h"

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fbt_settings settings = {0};
    char *text = NULL;
    const char *path = fuzz_write("settings.yaml", data, n_bytes);
    FUZZ_REQUIRE(fuzz_outcome(fbt_settings_defaults(&settings)));
    if (fuzz_outcome(fbt_settings_read_file(&settings, path, &text))) {
        FUZZ_REQUIRE(strlen(text) <= n_bytes);
        fuzz_check_settings(&settings);
    } else {
        FUZZ_REQUIRE(text == NULL);
    }
    free(text);
    fbt_settings_clear(&settings);
    return 0;
}
