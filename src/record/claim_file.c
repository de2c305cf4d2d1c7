#include "record/claim_file.h"

#include "base/timer.h"
#include "record/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CONTENT_BYTES = 1024 };
static const int64_t second_ns = 1000000000;

/* ---- This process ---- */

static void read_line(const char *path, char text[FBT_CLAIM_FIELD_BYTES])
{
    FILE *file = fopen(path, "re");
    text[0] = '\0';
    if (file != NULL) {
        if (fgets(text, FBT_CLAIM_FIELD_BYTES, file) != NULL) {
            text[strcspn(text, "\n")] = '\0';
        }
        fclose(file);
    }
}

/* When a process began, in ticks since the boot: tells it from a later one with its number. -1: there is none that
 * lives. */
static long long time_of_birth(long long pid)
{
    char path[48], text[512];
    long long born = -1;
    snprintf(path, sizeof path, "/proc/%lld/stat", pid);
    FILE *file = fopen(path, "re");
    size_t n = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL) {
        fclose(file);
    }
    text[n] = '\0';
    const char *field = strrchr(text, ')'); /* ends the second field, the only one with spaces */
    if (field != NULL && strlen(field) > 2 && strchr("ZX", field[2]) != NULL) {
        return -1; /* killed, and not yet waited for by its parent: it writes nothing any more */
    }
    for (int i = 2; field != NULL && i < 22; i++) {
        field = strchr(field + 1, ' ');
    }
    return field != NULL && sscanf(field, "%lld", &born) == 1 ? born : -1;
}

static void describe_self(fbt_claim_file *c)
{
    const char *job = getenv("SLURM_JOB_ID"), *cluster = getenv("SLURM_CLUSTER_NAME"),
               *start = getenv("SLURM_RESTART_COUNT");
    *c = (fbt_claim_file){.exists = true, .pid = getpid(), .born = time_of_birth(getpid())};
    gethostname(c->host, sizeof c->host - 1);
    read_line("/proc/sys/kernel/random/boot_id", c->boot);
    ssize_t n = readlink("/proc/self/ns/pid", c->pids, sizeof c->pids - 1);
    c->pids[n < 0 ? 0 : n] = '\0';
    if (job != NULL) {
        snprintf(c->job, sizeof c->job, "%.30s%s%.30s", cluster == NULL ? "" : cluster, cluster == NULL ? "" : "/",
                 job);
        snprintf(c->start, sizeof c->start, "%.10s", start == NULL ? "0" : start);
    }
}

void fbt_claim_file_identity(char identity[FBT_CLAIM_IDENTITY_BYTES])
{
    uint64_t bits[2];
    struct timespec now;
    if (getrandom(bits, sizeof bits, 0) != (ssize_t)sizeof bits) {
        /* an old kernel, or an interrupt early after the boot */
        clock_gettime(CLOCK_REALTIME, &now);
        bits[0] = (uint64_t)now.tv_sec * 1000000007U + (uint64_t)now.tv_nsec;
        bits[1] = (uint64_t)getpid() * 1000000007U + (uint64_t)gethostid();
    }
    snprintf(identity, FBT_CLAIM_IDENTITY_BYTES, "%016llx%016llx", (unsigned long long)bits[0],
             (unsigned long long)bits[1]);
}

/* ---- The files ---- */

static bool write_content(int descriptor, const fbt_claim_file *c)
{
    char text[CONTENT_BYTES];
    int n = snprintf(text, sizeof text,
                     "fedbpt lock of a run file\nidentity %s\nhost %s\nboot %s\npids %s\npid %lld\nborn %lld\n"
                     "job %s\nstart %s\nend\n",
                     c->identity, c->host, c->boot, c->pids, c->pid, c->born, c->job, c->start);
    return write(descriptor, text, (size_t)n) == n && fsync(descriptor) == 0;
}

/* Makes a file that names this process. *descriptor is -1 when the file exists. */
fbt_status fbt_claim_file_make(const char *shown, const char *path, const char *identity, int *descriptor)
{
    fbt_claim_file c;
    describe_self(&c); /* before: the less lies between making and writing the better */
    snprintf(c.identity, sizeof c.identity, "%s", identity);
    *descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (*descriptor < 0 && errno == EEXIST) {
        return FBT_OK;
    }
    if (*descriptor >= 0 && write_content(*descriptor, &c)) {
        return FBT_OK;
    }
    int error = errno;
    if (*descriptor >= 0) {
        unlink(path);
        close(*descriptor);
        *descriptor = -1;
    }
    return fbt_fail(fbt_status_of_system(error),
                    "%.400s cannot be written: its lock %.400s: %s; choose a folder that can be written", shown, path,
                    strerror(error));
}

static void parse_content(char *text, fbt_claim_file *c)
{
    char *rest = NULL;
    const struct {
        const char *key;
        char *value;
        size_t n_bytes;
    } fields[] = {{"identity ", c->identity, sizeof c->identity}, {"host ", c->host, FBT_CLAIM_FIELD_BYTES},
                  {"boot ", c->boot, FBT_CLAIM_FIELD_BYTES},      {"pids ", c->pids, FBT_CLAIM_FIELD_BYTES},
                  {"job ", c->job, FBT_CLAIM_FIELD_BYTES},        {"start ", c->start, FBT_CLAIM_FIELD_BYTES}};
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            size_t n = strlen(fields[i].key);
            if (strncmp(line, fields[i].key, n) == 0) {
                snprintf(fields[i].value, fields[i].n_bytes, "%s", line + n);
            }
        }
        sscanf(line, "pid %lld", &c->pid);
        sscanf(line, "born %lld", &c->born);
    }
}

/* Since 1970; what a file system may claim beyond what fits (before it, or from 2262 on) counts as the nearest. */
static int64_t nanoseconds(struct timespec time)
{
    int64_t ns;
    if (time.tv_sec < 0) {
        return 0;
    }
    return __builtin_mul_overflow((int64_t)time.tv_sec, second_ns, &ns) || __builtin_add_overflow(ns, time.tv_nsec, &ns)
               ? INT64_MAX
               : ns;
}

/* Identities become parts of paths, so that nothing but what fbt_claim_file_identity makes is taken for one. */
static bool is_identity(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789abcdef")] == '\0';
}

/* Opening a file makes NFS ask the server, so that this is not what the client remembers. */
fbt_status fbt_claim_file_read(const char *shown, const char *path, fbt_claim_file *c)
{
    fbt_status status = FBT_OK;
    char text[CONTENT_BYTES] = "";
    struct stat info;
    *c = (fbt_claim_file){.pid = -1, .born = -1};
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 && (errno == ENOENT || errno == ESTALE)) {
        return FBT_OK;
    }
    ssize_t n = descriptor < 0 ? -1 : read(descriptor, text, sizeof text - 1);
    if (n < 0 || fstat(descriptor, &info) != 0) {
        status = errno == ESTALE ? FBT_OK
                                 : fbt_fail(fbt_status_of_system(errno), "%.400s: its lock %.400s cannot be read: %s",
                                            shown, path, strerror(errno));
        goto done;
    }
    c->exists = true;
    c->beat_ns = nanoseconds(info.st_mtim);
    if (n >= 4 && strcmp(text + n - 4, "end\n") == 0) {
        parse_content(text, c);
    } /* else it is not written yet, or never, as its maker was killed */
    if (!is_identity(c->identity)) {
        snprintf(c->identity, sizeof c->identity, "%llx", (unsigned long long)info.st_ino);
    }
done:
    if (descriptor >= 0) {
        close(descriptor);
    }
    return status;
}

/* ---- Life and death ---- */

/* The file system's time, from a file made now, whose name is as long as that of a right to succeed; this host's where
 * none can be made. */
static int64_t time_now_ns(const char *lock)
{
    char identity[FBT_CLAIM_IDENTITY_BYTES];
    char *path = NULL;
    struct stat info;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    fbt_claim_file_identity(identity);
    int descriptor = lock == NULL || asprintf(&path, "%s.%s", lock, identity) < 0
                         ? -1
                         : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor >= 0) {
        if (write(descriptor, "\n", 1) == 1 && fsync(descriptor) == 0 && fstat(descriptor, &info) == 0) {
            now = info.st_mtim;
        }
        unlink(path);
        close(descriptor);
    }
    free(path);
    return (int64_t)now.tv_sec * second_ns + now.tv_nsec;
}

/* Observations of a claim by this process. */
typedef struct sighting {
    char identity[FBT_CLAIM_IDENTITY_BYTES];
    int64_t beat_ns;
    double since_s; /* by the monotonic clock: since then beat_ns is what it is */
    struct sighting *next;
} sighting;

static sighting *sightings; /* for the process's life */

/* Seconds for which the claim has been seen with its present sign of life. */
static double silent_s(const fbt_claim_file *c)
{
    sighting *seen = sightings;
    while (seen != NULL && strcmp(seen->identity, c->identity) != 0) {
        seen = seen->next;
    }
    if (seen == NULL) {
        seen = calloc(1, sizeof *seen);
        if (seen == NULL) {
            return 0;
        }
        snprintf(seen->identity, sizeof seen->identity, "%s", c->identity);
        seen->next = sightings;
        sightings = seen;
    } else if (seen->beat_ns == c->beat_ns) {
        return fbt_timer_now_s() - seen->since_s;
    }
    seen->beat_ns = c->beat_ns;
    seen->since_s = fbt_timer_now_s();
    return 0;
}

fbt_claim_life fbt_claim_file_life(const fbt_claim_file *c, const char *lock)
{
    fbt_claim_file self;
    describe_self(&self);
    bool same_host = c->boot[0] != '\0' && strcmp(c->boot, self.boot) == 0 && strcmp(c->pids, self.pids) == 0 &&
                     strcmp(c->host, self.host) == 0 && self.born >= 0 && c->born >= 0;
    bool earlier_start = self.job[0] != '\0' && strcmp(self.job, c->job) == 0 && strcmp(self.start, c->start) != 0;
    if (same_host) {
        return (fbt_claim_life){.alive = time_of_birth(c->pid) == c->born, .certain = true};
    }
    if (earlier_start) {
        return (fbt_claim_life){.certain = true}; /* a batch system starts a job again when it has ended */
    }
    /* without a process it is a file that was made and not written, the work of an instant */
    fbt_claim_life life = {.limit_s = c->pid < 0 ? FBT_CLAIM_BEAT_S : FBT_CLAIM_STALE_S, .silent_s = silent_s(c)};
    life.age_s = 1e-9 * (double)(time_now_ns(lock) - c->beat_ns);
    life.alive = life.age_s < life.limit_s && life.silent_s < life.limit_s;
    return life;
}
