/* Energy counters: of processors by a made tree of zones, of GPUs by a made library (fake_nvml.c). */
#include "base/nvml.h"
#include "base/rapl.h"
#include "base/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH_BYTES = 300, NEVER_S = 3600, RANGE_UJ = 1000000 };

static char root[] = "/tmp/fedbpt-energy-XXXXXX";

/* Replaces a file as a whole: whoever reads it meanwhile finds the old number or the new one. */
static void write_text(const char *zone, const char *name, const char *text)
{
    char path[PATH_BYTES], draft[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s/%s", root, zone, name);
    snprintf(draft, sizeof draft, "%s/%s/draft", root, zone);
    FILE *file = fopen(draft, "w");
    assert_non_null(file);
    fprintf(file, "%s\n", text);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(draft, path), 0);
}

static void set_counter(const char *zone, int energy_uj)
{
    char text[16];
    snprintf(text, sizeof text, "%d", energy_uj);
    write_text(zone, "energy_uj", text);
}

static void make_zone(const char *zone, const char *name, int energy_uj)
{
    char path[PATH_BYTES], range[16];
    snprintf(path, sizeof path, "%s/%s", root, zone);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(range, sizeof range, "%d", RANGE_UJ);
    write_text(zone, "name", name);
    write_text(zone, "max_energy_range_uj", range);
    set_counter(zone, energy_uj);
}

static int make_root(void **state)
{
    (void)state;
    memcpy(root + strlen(root) - 6, "XXXXXX", 6);
    return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
    char command[PATH_BYTES];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command); /* NOLINT(cert-env33-c): of a folder of its own */
}

static void expect_j(fbt_rapl *rapl, double energy_j)
{
    assert_float_equal(fbt_rapl_read_j(rapl), energy_j, 1e-9);
}

/* Two packages, one of them shown by two drivers, with zones of their parts, memory and the platform. Broken by
 * anything but the packages that is counted, and by a package that is counted twice or not. */
static void packages_are_counted_once(void **state)
{
    (void)state;
    fbt_rapl *rapl;
    make_zone("intel-rapl:0", "package-0", 100);
    make_zone("intel-rapl:0:0", "core", 100);
    make_zone("intel-rapl:0:1", "dram", 100);
    make_zone("intel-rapl:1", "package-1", 200);
    make_zone("intel-rapl:2", "psys", 100);
    make_zone("intel-rapl-mmio:0", "package-0", 100);
    assert_int_equal(fbt_rapl_open(root, NEVER_S, &rapl), FBT_OK);
    expect_j(rapl, 0);
    set_counter("intel-rapl:0:0", 5000);
    set_counter("intel-rapl:0:1", 5000);
    set_counter("intel-rapl:2", 5000);
    expect_j(rapl, 0);
    set_counter("intel-rapl:0", 1100); /* both drivers show the same counter */
    set_counter("intel-rapl-mmio:0", 1100);
    expect_j(rapl, 0.001);
    set_counter("intel-rapl:1", 30200);
    expect_j(rapl, 0.031);
    expect_j(rapl, 0.031);
    fbt_rapl_close(rapl);
}

/* Broken by a wrap that is taken for a step back, or left out. */
static void counters_wrap_around(void **state)
{
    (void)state;
    fbt_rapl *rapl;
    make_zone("intel-rapl:0", "package-0", RANGE_UJ - 400);
    assert_int_equal(fbt_rapl_open(root, NEVER_S, &rapl), FBT_OK);
    set_counter("intel-rapl:0", 600);
    expect_j(rapl, 0.001);
    set_counter("intel-rapl:0", 599);
    expect_j(rapl, 0.001 + 1e-6 * (RANGE_UJ - 1));
    fbt_rapl_close(rapl);
}

/* Three times round between two readings of the caller's. Broken by counters that nobody reads meanwhile. */
static void counters_wrap_around_unseen(void **state)
{
    enum { N_STEPS = 6, STEP_UJ = RANGE_UJ / 2 };
    const struct timespec pause = {.tv_nsec = 200000000};
    (void)state;
    fbt_rapl *rapl;
    make_zone("intel-rapl:0", "package-0", 0);
    assert_int_equal(fbt_rapl_open(root, 0.005, &rapl), FBT_OK);
    for (int i = 1; i <= N_STEPS; i++) {
        set_counter("intel-rapl:0", (int)((int64_t)i * STEP_UJ % RANGE_UJ));
        nanosleep(&pause, NULL);
    }
    expect_j(rapl, 1e-6 * N_STEPS * STEP_UJ);
    fbt_rapl_close(rapl);
}

/* Broken by the energy of one package in place of that of both, and by a number that comes back. */
static void a_lost_counter_is_no_number(void **state)
{
    (void)state;
    fbt_rapl *rapl;
    make_zone("intel-rapl:0", "package-0", 0);
    make_zone("intel-rapl:1", "package-1", 0);
    assert_int_equal(fbt_rapl_open(root, NEVER_S, &rapl), FBT_OK);
    set_counter("intel-rapl:0", 1000);
    write_text("intel-rapl:1", "energy_uj", "");
    assert_true(isnan(fbt_rapl_read_j(rapl)));
    set_counter("intel-rapl:1", 1000);
    assert_true(isnan(fbt_rapl_read_j(rapl)));
    fbt_rapl_close(rapl);
}

static void expect_refusal(fbt_status status, const char *word)
{
    fbt_rapl *rapl;
    assert_int_equal(fbt_rapl_open(root, NEVER_S, &rapl), status);
    assert_null(rapl);
    if (strstr(fbt_error_message(), word) == NULL) {
        fail_msg("%s: %s", word, fbt_error_message());
    }
    fbt_error_clear();
}

/* Broken by a tree without packages, or with one that cannot be read or is damaged, that is taken for 0 J. */
static void what_cannot_be_read_is_told(void **state)
{
    (void)state;
    expect_refusal(FBT_ERR_UNSUPPORTED, "virtual machines");
    make_zone("intel-rapl:0", "psys", 1);
    expect_refusal(FBT_ERR_UNSUPPORTED, "virtual machines");
    make_zone("intel-rapl:1", "package-0", 1);
    write_text("intel-rapl:1", "energy_uj", "12x");
    expect_refusal(FBT_ERR_IO, "intel-rapl:1/energy_uj cannot be read");
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/intel-rapl:1/energy_uj", root);
    assert_int_equal(unlink(path), 0);
    expect_refusal(FBT_ERR_IO, "No such file");
    set_counter("intel-rapl:1", 5);
    if (geteuid() != 0) { /* root reads everything */
        assert_int_equal(chmod(path, 0), 0);
        expect_refusal(FBT_ERR_IO, "Permission denied");
    }
}

/* Broken by millijoules taken for joules, and by energy from before it was opened. */
static void a_gpu_tells_its_energy(void **state)
{
    (void)state;
    fbt_nvml *nvml;
    assert_int_equal(fbt_nvml_open(FAKE_NVML, "GPU-fake", &nvml), FBT_OK);
    assert_float_equal(fbt_nvml_read_j(nvml), 1.5, 1e-9); /* 1,500 mJ a call */
    assert_float_equal(fbt_nvml_read_j(nvml), 3, 1e-9);
    fbt_nvml_close(nvml);
}

/* Broken by a GPU whose energy is 0 J for want of a counter, and by a library that stays open. */
static void a_gpu_that_has_no_counter_is_told(void **state)
{
    static const struct {
        const char *library, *id, *word;
    } cases[] = {{"/none/libnvidia-ml.so.1", "GPU-fake", "libnvidia-ml.so.1 cannot be loaded"},
                 {"libm.so.6", "GPU-fake", "nvmlInit_v2"},
                 {FAKE_NVML, "GPU-other", "does not know it (Not Found)"},
                 {FAKE_NVML, "GPU-old", "does not tell its energy (Not Supported)"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fbt_nvml *nvml;
        assert_int_equal(fbt_nvml_open(cases[i].library, cases[i].id, &nvml), FBT_ERR_UNSUPPORTED);
        assert_null(nvml);
        if (strstr(fbt_error_message(), cases[i].word) == NULL) {
            fail_msg("%s: %s", cases[i].word, fbt_error_message());
        }
        fbt_error_clear();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(packages_are_counted_once, make_root, remove_root),
        cmocka_unit_test_setup_teardown(counters_wrap_around, make_root, remove_root),
        cmocka_unit_test_setup_teardown(counters_wrap_around_unseen, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_lost_counter_is_no_number, make_root, remove_root),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_told, make_root, remove_root),
        cmocka_unit_test(a_gpu_tells_its_energy),
        cmocka_unit_test(a_gpu_that_has_no_counter_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
