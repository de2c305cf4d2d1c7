/* A sweep file, beside a base configuration that is sound. */
#include "fuzz.h"

#include "sweep/sweep.h"

#include <string.h>

enum { RUNS_LOOKED_AT = 50 };

/* Runs whose making takes seconds teach nothing: a sweep that says `repeats: 99999` is left to the unit tests. */
static bool is_large(const uint8_t *data, size_t n_bytes)
{
    size_t n_digits = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        n_digits = data[i] >= '0' && data[i] <= '9' ? n_digits + 1 : 0;
        if (n_digits == 4 && n_bytes - i < 4096) {
            return memmem(data, n_bytes, "repeats", 7) != NULL || memmem(data, n_bytes, "draws", 5) != NULL;
        }
    }
    return false;
}

static bool is_file_name(const char *name)
{
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '/' || (unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f) {
            return false;
        }
    }
    return name[0] != '\0' && strlen(name) < FBT_SWEEP_NAME_BYTES;
}

static void check_sweep(const fbt_sweep *sweep)
{
    FUZZ_REQUIRE(sweep->n_runs >= 1 && sweep->n_runs <= FBT_SWEEP_RUNS_MAX && sweep->n_axes >= 1);
    for (int64_t i = 0; i < sweep->n_runs && i < RUNS_LOOKED_AT; i++) {
        const fbt_sweep_run *run = &sweep->runs[i];
        fbt_settings settings = {0};
        FUZZ_REQUIRE(is_file_name(run->name));
        for (int64_t j = 0; j < i; j++) {
            FUZZ_REQUIRE(strcmp(run->name, sweep->runs[j].name) != 0 &&
                         strcmp(run->output, sweep->runs[j].output) != 0);
        }
        FUZZ_REQUIRE(fuzz_outcome(fbt_sweep_settings(sweep, run, &settings)));
        FUZZ_REQUIRE(fuzz_outcome(fbt_settings_check(&settings)));
        FUZZ_REQUIRE(strcmp(settings.run.output, run->output) == 0 && !settings.run.overwrite);
        fbt_settings_clear(&settings);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char base[] = "model:\n  path: m\ndata:\n  path: d.h5\nfed:\n  rounds: 3\n";
    static const char *const assignments[] = {"fed.rounds=4", "data.shots=8"};
    fbt_sweep sweep = {0};
    if (is_large(data, n_bytes)) {
        return -1; /* keeps it out of the corpus */
    }
    fuzz_write("base.yaml", base, sizeof base - 1);
    const char *path = fuzz_write("sweep.yaml", data, n_bytes);
    if (fuzz_outcome(fbt_sweep_read(path, assignments, n_bytes % 2 == 0 ? 0 : 2, &sweep))) {
        check_sweep(&sweep);
    } else {
        FUZZ_REQUIRE(sweep.runs == NULL && sweep.name == NULL);
    }
    fbt_sweep_clear(&sweep);
    return 0;
}
