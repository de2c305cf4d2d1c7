#include "record/journal.h"

#include "base/memory.h"
#include "record/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "fedbpt-journal 1 behind "

struct fbt_journal {
    char *path;
    char *folder;
    char *run;                 /* the run file's path */
    char *shown;               /* the journal's path, as the user gave the run file's */
    char head[FBT_SEAL_BYTES]; /* with which the file begins */
    int descriptor;            /* -1: not open */
    int64_t n_bytes;           /* of head and whole records; 0: the file is not there, or void */
    int64_t n_records;
};

static fbt_status join(char **text, const char *path, const char *end)
{
    if (asprintf(text, "%s%s", path, end) < 0) {
        *text = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: path of a journal");
    }
    return FBT_OK;
}

fbt_status fbt_journal_new(const char *path, const char *shown, fbt_journal **journal)
{
    fbt_status status = FBT_OK;
    fbt_journal *made = NULL;
    *journal = NULL;
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    made->descriptor = -1;
    FBT_TRY(join(&made->path, path, ".journal"));
    FBT_TRY(join(&made->shown, shown, ".journal"));
    FBT_TRY(fbt_memory_strdup(&made->run, path));
    FBT_TRY(fbt_memory_strdup(&made->folder, path));
    *strrchr(made->folder, '/') = '\0'; /* a resolved path has one */
    *journal = made;
    made = NULL;
done:
    fbt_journal_free(made);
    return status;
}

static void close_file(fbt_journal *journal)
{
    if (journal->descriptor >= 0) {
        close(journal->descriptor);
    }
    journal->descriptor = -1;
    journal->n_bytes = journal->n_records = 0;
}

void fbt_journal_free(fbt_journal *journal)
{
    if (journal == NULL) {
        return;
    }
    close_file(journal);
    free(journal->path);
    free(journal->folder);
    free(journal->run);
    free(journal->shown);
    free(journal);
}

/* The run file's seal is one line. */
static void make_head(const char block[FBT_SEAL_BYTES], char head[FBT_SEAL_BYTES])
{
    memset(head, 0, FBT_SEAL_BYTES);
    snprintf(head, FBT_SEAL_BYTES, MAGIC "%.*s", FBT_SEAL_BYTES - (int)sizeof MAGIC, block);
}

void fbt_journal_remove(fbt_journal *journal)
{
    close_file(journal);
    unlink(journal->path);
}

void fbt_journal_begin(fbt_journal *journal, const char block[FBT_SEAL_BYTES])
{
    fbt_journal_remove(journal);
    make_head(block, journal->head);
}

static fbt_status fail_to(const fbt_journal *journal, const char *what, int error)
{
    return fbt_fail(fbt_status_of_system(error), "%.400s cannot be %s: %s; what was saved before is kept",
                    journal->shown, what, strerror(error));
}

static fbt_status create(fbt_journal *journal)
{
    journal->descriptor = open(journal->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (journal->descriptor < 0 || !fbt_disk_write(journal->descriptor, journal->head, FBT_SEAL_BYTES)) {
        return fail_to(journal, "written", errno);
    }
    fbt_disk_sync_folder(journal->folder);
    journal->n_bytes = FBT_SEAL_BYTES;
    return FBT_OK;
}

static fbt_status append(fbt_journal *journal, const char block[FBT_SEAL_BYTES], const void *bytes, int64_t n_bytes)
{
    if (lseek(journal->descriptor, journal->n_bytes, SEEK_SET) < 0 ||
        !fbt_disk_write(journal->descriptor, block, FBT_SEAL_BYTES) ||
        !fbt_disk_write(journal->descriptor, bytes, n_bytes) || fsync(journal->descriptor) != 0) {
        return fail_to(journal, "written", errno);
    }
    journal->n_bytes += FBT_SEAL_BYTES + n_bytes;
    journal->n_records++;
    return FBT_OK;
}

/* Takes back a part of a record. Where that fails, the next one is written over it. */
static void cut(const fbt_journal *journal)
{
    if (journal->descriptor >= 0 && ftruncate(journal->descriptor, journal->n_bytes) != 0) {
        fsync(journal->descriptor);
    }
}

fbt_status fbt_journal_append(fbt_journal *journal, const void *bytes, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    char block[FBT_SEAL_BYTES];
    FBT_TRY(fbt_seal_make(bytes, n_bytes, block));
    if (journal->n_bytes == 0) {
        FBT_TRY(create(journal));
    }
    FBT_TRY(append(journal, block, bytes, n_bytes));
done:
    if (status != FBT_OK) {
        cut(journal);
        if (journal->n_records == 0) {
            fbt_journal_remove(journal);
        }
    }
    return status;
}

/* Reads n bytes at a place. *whole: they were there. */
static fbt_status read_at(const fbt_journal *journal, int64_t place, void *bytes, int64_t n, bool *whole)
{
    int64_t n_there = 0;
    ssize_t got = 1;
    while (n_there < n && got != 0) {
        got = pread(journal->descriptor, (char *)bytes + n_there, (size_t)(n - n_there), place + n_there);
        if (got < 0 && errno != EINTR) {
            return fail_to(journal, "read", errno);
        }
        n_there += got > 0 ? got : 0;
    }
    *whole = n_there == n;
    return FBT_OK;
}

static fbt_status fail_damaged(const fbt_journal *journal, int64_t record)
{
    return fbt_fail(FBT_ERR_IO,
                    "%.300s is damaged in record %" PRId64
                    ": its bytes do not have the SHA-256 of their seal; copy it again, or remove it to go on from the "
                    "last round of the run file",
                    journal->shown, record);
}

/* Where reading is. */
typedef struct cursor {
    int64_t place;
    int64_t record; /* number of the record there */
} cursor;

/* Reads the record at the cursor and goes on. *bytes: to be freed; NULL: the file ends before the record does. */
static fbt_status read_record(const fbt_journal *journal, cursor *at, char **bytes, int64_t *n)
{
    fbt_status status = FBT_OK;
    char found[FBT_SEAL_BYTES + 1] = "", expected[FBT_SEAL_BYTES];
    struct stat info;
    bool whole = false;
    long long n_sealed = -1;
    *bytes = NULL;
    FBT_TRY(read_at(journal, at->place, found, FBT_SEAL_BYTES, &whole));
    if (!whole) {
        return FBT_OK;
    }
    if (sscanf(found, FBT_SEAL_MAGIC "1 sha256 %*64[0-9a-f] %lld", &n_sealed) != 1 || n_sealed < 0) {
        FBT_TRY(fail_damaged(journal, at->record));
    }
    if (fstat(journal->descriptor, &info) != 0) {
        FBT_TRY(fail_to(journal, "read", errno));
    }
    if (n_sealed > (int64_t)info.st_size - at->place - FBT_SEAL_BYTES) {
        return FBT_OK; /* a record that was being written, or one that claims anything */
    }
    FBT_TRY(fbt_memory_alloc(bytes, n_sealed, 1));
    FBT_TRY(read_at(journal, at->place + FBT_SEAL_BYTES, *bytes, n_sealed, &whole));
    FBT_TRY(fbt_seal_make(*bytes, n_sealed, expected));
    if (!whole || memcmp(found, expected, FBT_SEAL_BYTES) != 0) {
        FBT_TRY(fail_damaged(journal, at->record));
    }
    *n = n_sealed;
    at->place += FBT_SEAL_BYTES + n_sealed;
    at->record++;
done:
    if (status != FBT_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

fbt_status fbt_journal_read(const fbt_journal *journal, fbt_journal_visit visit, void *user)
{
    fbt_status status = FBT_OK;
    char *bytes = NULL;
    int64_t n = 0;
    for (cursor at = {.place = FBT_SEAL_BYTES}; at.record < journal->n_records;) {
        FBT_TRY(read_record(journal, &at, &bytes, &n));
        if (bytes == NULL) {
            FBT_TRY(fail_damaged(journal, at.record));
        }
        FBT_TRY(visit(user, bytes, n));
        free(bytes);
        bytes = NULL;
    }
done:
    free(bytes);
    return status;
}

/* Whether the open file begins as the journal of the run file does that is there now. */
static fbt_status follows(fbt_journal *journal, bool *does)
{
    fbt_status status = FBT_OK;
    char block[FBT_SEAL_BYTES] = "", found[FBT_SEAL_BYTES];
    *does = false;
    const int run = open(journal->run, O_RDONLY | O_CLOEXEC);
    if (run < 0 || pread(run, block, sizeof block, 0) != sizeof block ||
        memcmp(block, FBT_SEAL_MAGIC, strlen(FBT_SEAL_MAGIC)) != 0) {
        goto done; /* whoever reads the run file itself tells */
    }
    make_head(block, journal->head);
    FBT_TRY(read_at(journal, 0, found, sizeof found, does));
    *does = *does && memcmp(found, journal->head, sizeof found) == 0;
done:
    if (run >= 0) {
        close(run);
    }
    return status;
}

/* Checks and counts the whole records. */
static fbt_status count(fbt_journal *journal)
{
    fbt_status status = FBT_OK;
    char *bytes;
    int64_t n = 0;
    cursor at = {.place = FBT_SEAL_BYTES};
    for (bool more = true; more;) {
        FBT_TRY(read_record(journal, &at, &bytes, &n));
        more = bytes != NULL;
        free(bytes);
    }
    journal->n_bytes = at.place;
    journal->n_records = at.record;
done:
    return status;
}

fbt_status fbt_journal_find(fbt_journal *journal, int64_t *n_bytes)
{
    fbt_status status = FBT_OK;
    bool does = false;
    close_file(journal);
    journal->descriptor = open(journal->path, O_RDONLY | O_CLOEXEC);
    if (journal->descriptor < 0 && errno == ENOENT) {
        goto done;
    }
    if (journal->descriptor < 0) {
        FBT_TRY(fail_to(journal, "opened", errno));
    }
    FBT_TRY(follows(journal, &does));
    if (does) {
        FBT_TRY(count(journal));
    }
done:
    if (status != FBT_OK || journal->n_records == 0) {
        close_file(journal);
    }
    *n_bytes = journal->n_bytes;
    return status;
}

int64_t fbt_journal_bytes(const fbt_journal *journal)
{
    return journal->n_bytes;
}

int64_t fbt_journal_records(const fbt_journal *journal)
{
    return journal->n_records;
}
