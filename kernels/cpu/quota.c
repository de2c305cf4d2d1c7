#include "kernels/cpu/quota.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file's first line, without its end. */
static int read_line(const char *path, char *line, size_t n_bytes)
{
    FILE *file = fopen(path, "re");
    const int found = file != NULL && fgets(line, (int)n_bytes, file) != NULL;
    if (file != NULL) {
        fclose(file);
    }
    if (found) {
        line[strcspn(line, "\n")] = '\0';
    }
    return found;
}

static double ratio(double quota_us, double period_us)
{
    return quota_us > 0 && period_us > 0 ? quota_us / period_us : INFINITY;
}

/* Of one group: cpu.max ("50000 100000", "max 100000") of version 2, else cpu.cfs_quota_us (-1: none) of version 1. */
static double quota_of_group(const char *folder)
{
    char path[PATH_MAX], line[128], period[128];
    double quota_us, period_us;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (read_line(path, line, sizeof line)) {
        return sscanf(line, "%lf %lf", &quota_us, &period_us) == 2 ? ratio(quota_us, period_us) : INFINITY;
    }
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (!read_line(path, line, sizeof line)) {
        return INFINITY;
    }
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    return read_line(path, period, sizeof period) ? ratio(atof(line), atof(period)) : INFINITY;
}

/* The smallest of the group's quota and those of all above it, up to where the file system is mounted. In a container
 * the mount may begin at the container's own group, of which the path then is no part: folders that are not there count
 * for nothing. */
static double quota_of_path(const char *mount, const char *group)
{
    char folder[PATH_MAX];
    double least = quota_of_group(mount);
    if (strstr(group, "..") != NULL || snprintf(folder, sizeof folder, "%s%s", mount, group) >= (int)sizeof folder) {
        return least; /* a group outside the mount */
    }
    for (char *slash = folder + strlen(folder); slash > folder + strlen(mount); slash = strrchr(folder, '/')) {
        *slash = '\0';
        least = fmin(least, quota_of_group(folder));
    }
    return least;
}

/* Whether a comma-separated list of controllers has `cpu`. */
static int has_cpu(const char *list)
{
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, "cpu", 3) == 0 && (at[3] == ',' || at[3] == '\0')) {
            return 1;
        }
    }
    return 0;
}

/* One line of /proc/self/cgroup: `number:controllers:path`; version 2 has number 0 and no controllers. */
static double quota_of_line(const char *root, char *line)
{
    static const char *const unified[] = {"", "/unified"};
    char mount[PATH_MAX];
    double least = INFINITY;
    char *list = strchr(line, ':'), *group = list == NULL ? NULL : strchr(list + 1, ':');
    if (group == NULL) {
        return INFINITY;
    }
    *group++ = '\0';
    list++;
    group[strcspn(group, "\n")] = '\0';
    if (*list == '\0') {
        for (int i = 0; i < 2; i++) {
            snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s", root, unified[i]);
            least = fmin(least, quota_of_path(mount, group));
        }
    } else if (has_cpu(list)) {
        const char *const names[] = {list, "cpu", "cpu,cpuacct", "cpuacct,cpu"};
        for (int i = 0; i < 4; i++) { /* some are links to another */
            snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/%s", root, names[i]);
            least = fmin(least, quota_of_path(mount, group));
        }
    }
    return least;
}

double fbt_cpu_quota(const char *root)
{
    char path[PATH_MAX], *line = NULL;
    size_t n_bytes = 0;
    double least = INFINITY;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file != NULL && getline(&line, &n_bytes, file) > 0) {
        least = fmin(least, quota_of_line(root, line));
    }
    free(line);
    if (file != NULL) {
        fclose(file);
    }
    return least;
}

int fbt_cpu_quota_threads(int n_cpus, double quota, int n_local_ranks)
{
    const double share = floor(quota / (n_local_ranks > 1 ? n_local_ranks : 1) + 1e-9);
    const int n = share < n_cpus ? (int)share : n_cpus;
    return n > 1 ? n : 1;
}
