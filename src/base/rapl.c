#include "base/rapl.h"

#include "base/memory.h"
#include "base/ticker.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64, PATH_BYTES = 512 };

typedef struct package {
    char name[NAME_BYTES];
    char counter[PATH_BYTES]; /* its energy_uj */
    uint64_t last_uj;
    uint64_t range_uj; /* largest value, behind which the counter begins at 0 again */
} package;

struct fbt_rapl {
    package *packages;
    int64_t n_packages;
    double sum_j;
    fbt_ticker reader; /* its lock is that of the sum and the counters */
};

/* First line of a file, without its end. Returns errno, 0 for success. */
static int read_line(const char *path, char *line, int n_bytes)
{
    errno = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return errno;
    }
    const bool found = fgets(line, n_bytes, file) != NULL;
    const int error = errno != 0 ? errno : ENODATA;
    fclose(file);
    if (!found) {
        return error;
    }
    line[strcspn(line, "\n")] = '\0';
    return 0;
}

/* Returns errno, 0 for success. */
static int read_count(const char *path, uint64_t *count)
{
    char line[NAME_BYTES], *end;
    const int error = read_line(path, line, sizeof line);
    if (error != 0) {
        return error;
    }
    errno = 0;
    *count = strtoull(line, &end, 10);
    return end == line || *end != '\0' || errno != 0 ? EINVAL : 0;
}

static bool is_known(const fbt_rapl *rapl, const char *name)
{
    for (int64_t i = 0; i < rapl->n_packages; i++) {
        if (strcmp(rapl->packages[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Adds a zone if it is a package that is not there yet. */
static fbt_status add_zone(fbt_rapl *rapl, const char *folder)
{
    fbt_status status = FBT_OK;
    package *p = &rapl->packages[rapl->n_packages];
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/name", folder);
    int error = read_line(path, p->name, sizeof p->name);
    if (error != 0 || strncmp(p->name, "package-", strlen("package-")) != 0 || is_known(rapl, p->name)) {
        goto done;
    }
    snprintf(p->counter, sizeof p->counter, "%s/energy_uj", folder);
    snprintf(path, sizeof path, "%s/max_energy_range_uj", folder);
    error = read_count(p->counter, &p->last_uj);
    error = error == 0 ? read_count(path, &p->range_uj) : error;
    if (error != 0) {
        FBT_FAIL(FBT_ERR_IO,
                 "%s cannot be read (%s); where joules are wanted, have an administrator permit it (chmod a+r)",
                 p->counter, strerror(error));
    }
    rapl->n_packages++;
done:
    return status;
}

static fbt_status find_packages(fbt_rapl *rapl, const char *root)
{
    fbt_status status = FBT_OK;
    char pattern[PATH_BYTES];
    glob_t zones = {0};
    snprintf(pattern, sizeof pattern, "%s/*:*", root);
    const int found = glob(pattern, 0, NULL, &zones);
    FBT_TRY(fbt_memory_alloc(&rapl->packages, found == 0 ? (int64_t)zones.gl_pathc : 0, sizeof *rapl->packages));
    for (size_t i = 0; found == 0 && i < zones.gl_pathc; i++) {
        FBT_TRY(add_zone(rapl, zones.gl_pathv[i]));
    }
    if (rapl->n_packages == 0) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED,
                 "%s has no counter of a processor package, as in most virtual machines and containers; where joules "
                 "are wanted, run on the machine itself",
                 root);
    }
done:
    globfree(&zones);
    return status;
}

/* Adds what the counters have gone on by since they were last read; the lock is held. */
static void add_up(void *user)
{
    fbt_rapl *rapl = user;
    for (int64_t i = 0; i < rapl->n_packages; i++) {
        package *p = &rapl->packages[i];
        uint64_t now_uj;
        if (read_count(p->counter, &now_uj) != 0 || now_uj > p->range_uj) {
            rapl->sum_j = NAN;
            return;
        }
        rapl->sum_j += 1e-6 * (double)(now_uj >= p->last_uj ? now_uj - p->last_uj : p->range_uj - p->last_uj + now_uj);
        p->last_uj = now_uj;
    }
}

fbt_status fbt_rapl_open(const char *root, double every_s, fbt_rapl **rapl)
{
    fbt_status status = FBT_OK;
    fbt_rapl *made = NULL;
    *rapl = NULL;
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    FBT_TRY(find_packages(made, root));
    if (fbt_ticker_start(&made->reader, every_s, add_up, made) != 0) {
        FBT_FAIL(FBT_ERR_IO, "no thread can be started to read the counters; where joules are wanted, raise the limits "
                             "of threads and address space (ulimit -u, ulimit -v)");
    }
    *rapl = made;
    made = NULL;
done:
    fbt_rapl_close(made);
    return status;
}

double fbt_rapl_read_j(fbt_rapl *rapl)
{
    pthread_mutex_lock(&rapl->reader.lock);
    add_up(rapl);
    const double sum_j = rapl->sum_j;
    pthread_mutex_unlock(&rapl->reader.lock);
    return sum_j;
}

void fbt_rapl_close(fbt_rapl *rapl)
{
    if (rapl == NULL) {
        return;
    }
    fbt_ticker_stop(&rapl->reader);
    free(rapl->packages);
    free(rapl);
}
