/* Quotas of control groups, on made-up trees of /proc/self/cgroup and /sys/fs/cgroup. */
#include "kernels/cpu/quota.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* One file of a tree, below sys/fs/cgroup. */
typedef struct file {
    const char *path, *text;
} file;

static void write_file(const char *root, const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0777);
        *slash = '/';
    }
    FILE *out = fopen(full, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

/* The quota where /proc/self/cgroup has this text and /sys/fs/cgroup these files. */
static double quota(const char *cgroup, const file *files, int n_files)
{
    char root[] = "/tmp/fbt_quota_XXXXXX", path[512], command[64];
    assert_non_null(mkdtemp(root));
    write_file(root, "proc/self/cgroup", cgroup);
    for (int i = 0; i < n_files; i++) {
        snprintf(path, sizeof path, "sys/fs/cgroup/%s", files[i].path);
        write_file(root, path, files[i].text);
    }
    const double found = fbt_cpu_quota(root);
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
    return found;
}

#define QUOTA(cgroup, ...)                                                                                             \
    quota(cgroup, (const file[]){__VA_ARGS__}, (int)(sizeof((const file[]){__VA_ARGS__}) / sizeof(file)))

static void version_2(void **state)
{
    (void)state;
    assert_true(QUOTA("0::/\n", {"cpu.max", "50000 100000\n"}) == 0.5);
    assert_true(QUOTA("0::/\n", {"cpu.max", "max 100000\n"}) == INFINITY);
    assert_true(QUOTA("0::/\n", {"cpu.max", "250000 100000"}) == 2.5);
    assert_true(QUOTA("0::/a/b\n", {"a/b/cpu.max", "300000 100000\n"}) == 3);
    /* The smallest of the nested ones, wherever it is. */
    assert_true(QUOTA("0::/a/b\n", {"a/b/cpu.max", "max 100000\n"}, {"a/cpu.max", "200000 100000\n"}) == 2);
    assert_true(QUOTA("0::/a/b\n", {"a/b/cpu.max", "100000 50000\n"}, {"a/cpu.max", "150000 100000\n"}) == 1.5);
    assert_true(QUOTA("0::/a/b\n", {"a/b/cpu.max", "20000 10000\n"}, {"cpu.max", "10000 10000\n"}) == 1);
    /* Another group's does not count; a container's mount begins at its own group. */
    assert_true(QUOTA("0::/a/b\n", {"a/c/cpu.max", "20000 100000\n"}) == INFINITY);
    assert_true(QUOTA("0::/docker/123\n", {"cpu.max", "150000 100000\n"}) == 1.5);
    assert_true(QUOTA("0::/../x\n", {"cpu.max", "150000 100000\n"}) == 1.5);
}

static void version_1(void **state)
{
    (void)state;
    assert_true(QUOTA("3:memory:/\n2:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us", "50000\n"},
                      {"cpu,cpuacct/cpu.cfs_period_us", "100000\n"}) == 0.5);
    assert_true(QUOTA("2:cpu,cpuacct:/j\n", {"cpu,cpuacct/j/cpu.cfs_quota_us", "-1\n"},
                      {"cpu,cpuacct/j/cpu.cfs_period_us", "100000\n"}) == INFINITY);
    assert_true(QUOTA("2:cpuacct,cpu:/j/s\n", {"cpu/j/cpu.cfs_quota_us", "400000\n"},
                      {"cpu/j/cpu.cfs_period_us", "100000\n"}, {"cpu/j/s/cpu.cfs_quota_us", "-1\n"},
                      {"cpu/j/s/cpu.cfs_period_us", "100000\n"}) == 4);
    /* cpuset is another controller. */
    assert_true(QUOTA("2:cpuset:/\n", {"cpuset/cpu.cfs_quota_us", "1000\n"},
                      {"cpuset/cpu.cfs_period_us", "100000\n"}) == INFINITY);
    /* Both versions beside each other. */
    assert_true(QUOTA("4:cpu:/a\n0::/a\n", {"cpu/a/cpu.cfs_quota_us", "300000\n"},
                      {"cpu/a/cpu.cfs_period_us", "100000\n"}, {"unified/a/cgroup.procs", "1\n"}) == 3);
}

static void what_cannot_be_read_sets_no_quota(void **state)
{
    (void)state;
    assert_true(fbt_cpu_quota("/nowhere/at/all") == INFINITY);
    assert_true(QUOTA("", {"x", ""}) == INFINITY);
    assert_true(QUOTA("0::/\n", {"cpu.max", ""}) == INFINITY);
    assert_true(QUOTA("nonsense\n0:\n", {"cpu.max", "50000 100000\n"}) == INFINITY);
    assert_true(QUOTA("0::/\n", {"cpu.max", "0 0\n"}) == INFINITY);
    assert_true(QUOTA("2:cpu:/\n", {"cpu/cpu.cfs_quota_us", "50000\n"}) == INFINITY);
}

static void threads(void **state)
{
    (void)state;
    assert_int_equal(fbt_cpu_quota_threads(2, 0.5, 1), 1);
    assert_int_equal(fbt_cpu_quota_threads(64, 1.9, 1), 1);
    assert_int_equal(fbt_cpu_quota_threads(64, 8, 1), 8);
    assert_int_equal(fbt_cpu_quota_threads(64, 0.3 / 0.1, 1), 3);
    assert_int_equal(fbt_cpu_quota_threads(4, 8, 1), 4);
    assert_int_equal(fbt_cpu_quota_threads(16, 8, 4), 2);
    assert_int_equal(fbt_cpu_quota_threads(16, 2, 4), 1);
    assert_int_equal(fbt_cpu_quota_threads(16, INFINITY, 4), 16);
    assert_int_equal(fbt_cpu_quota_threads(0, INFINITY, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_2),
        cmocka_unit_test(version_1),
        cmocka_unit_test(what_cannot_be_read_sets_no_quota),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
