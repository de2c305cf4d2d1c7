/* Free memory of this machine, and what the limits on this process leave of it: control groups (Linux, both versions;
 * what Slurm and containers set) and the address space (ulimit -v). A limit that cannot be read is none. */
#include "kernels/cpu/cpu.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* One version's files, relative to the group's folder. */
typedef struct group_files {
    const char *mount, *limit, *usage;
    const char *cached[2]; /* lines of memory.stat: file pages, which the system takes back when memory runs short */
} group_files;

static const group_files version_1 = {"/sys/fs/cgroup/memory",
                                      "memory.limit_in_bytes",
                                      "memory.usage_in_bytes",
                                      {"total_inactive_file", "total_active_file"}};
static const group_files version_2 = {
    "/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file", "active_file"}};

/* A file's one number; 0: not there, or a word such as "max". */
static int read_number(const char *folder, const char *name, int64_t *value)
{
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    const int found = file != NULL && fscanf(file, "%" SCNd64, value) == 1;
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

/* Sum of the wanted lines "key value" or "key: value kB"; a key that is not there counts nothing. */
static int64_t read_lines(const char *path, const char *const keys[2])
{
    char line[256], key[128];
    int64_t value, sum = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%127s %" SCNd64, key, &value) == 2 &&
            (strcmp(key, keys[0]) == 0 || strcmp(key, keys[1]) == 0)) {
            sum += value;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return sum;
}

static void tighten(fbt_backend_memory *memory, int64_t total, int64_t free_bytes)
{
    memory->total = total < memory->total ? total : memory->total;
    memory->free = free_bytes < memory->free ? free_bytes : memory->free;
}

/* The group of this process and those around it: the tightest counts. */
static void apply_group(const group_files *files, const char *group, fbt_backend_memory *memory)
{
    char folder[PATH_MAX], stat[PATH_MAX + 16];
    int64_t limit, usage;
    snprintf(folder, sizeof folder, "%s%s", files->mount, group);
    for (;;) {
        if (read_number(folder, files->limit, &limit) && read_number(folder, files->usage, &usage)) {
            snprintf(stat, sizeof stat, "%s/memory.stat", folder);
            tighten(memory, limit, limit - usage + read_lines(stat, files->cached));
        }
        char *last = strrchr(folder, '/');
        if (last == NULL || (size_t)(last - folder) < strlen(files->mount)) {
            return;
        }
        *last = '\0';
    }
}

static void apply_groups(fbt_backend_memory *memory)
{
    char line[PATH_MAX];
    FILE *file = fopen("/proc/self/cgroup", "r"); /* "0::/group", version 2, or "4:memory:/group" */
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL) {
            continue;
        }
        *group++ = '\0';
        if (controllers[1] == '\0' || strcmp(controllers + 1, "memory") == 0) {
            apply_group(controllers[1] == '\0' ? &version_2 : &version_1, group, memory);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void apply_address_space(fbt_backend_memory *memory)
{
    struct rlimit limit;
    int64_t n_pages;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur < INT64_MAX &&
        read_number("/proc/self", "statm", &n_pages)) {
        tighten(memory, (int64_t)limit.rlim_cur, (int64_t)limit.rlim_cur - n_pages * sysconf(_SC_PAGESIZE));
    }
}

fbt_status fbt_cpu_memory(fbt_backend *b, fbt_backend_memory *memory)
{
    static const char *const available[2] = {"MemAvailable:", ""};
    const int64_t page_bytes = sysconf(_SC_PAGESIZE);
    (void)b;
    memory->total = sysconf(_SC_PHYS_PAGES) * page_bytes;
    memory->free = 1024 * read_lines("/proc/meminfo", available);
    if (memory->free <= 0) {
        memory->free = sysconf(_SC_AVPHYS_PAGES) * page_bytes;
    }
    apply_groups(memory);
    apply_address_space(memory);
    memory->free = memory->free > 0 ? memory->free : 0;
    return FBT_OK;
}
