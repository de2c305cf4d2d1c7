#include "record/output_file.h"

#include "base/memory.h"
#include "record/claim.h"
#include "record/claim_file.h"
#include "record/disk.h"
#include "record/real_path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEAL_START_BYTES = sizeof FBT_SEAL_MAGIC - 1 };

struct fbt_output_file {
    char *shown; /* the path as the user gave it, for messages  */
    char *path;  /* resolved: symbolic links followed           */
    char *folder;
    char *partial; /* `.<name>.tmp.<random digits>`               */
    fbt_claim *claim;
};

static fbt_status join(char **text, const char *folder, const char *middle, const char *name, const char *end)
{
    if (asprintf(text, "%s/%s%s%s", folder, middle, name, end) < 0) {
        *text = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: path of an output file");
    }
    return FBT_OK;
}

/* Symbolic links are followed, so that a link stays a link. */
static fbt_status resolve(fbt_output_file *file)
{
    fbt_status status = FBT_OK;
    char identity[FBT_CLAIM_IDENTITY_BYTES], end[FBT_CLAIM_IDENTITY_BYTES + 8];
    FBT_TRY(fbt_real_path(file->shown, &file->folder, &file->path));
    fbt_claim_file_identity(identity);
    snprintf(end, sizeof end, ".tmp.%s", identity);
    FBT_TRY(join(&file->partial, file->folder, ".", strrchr(file->path, '/') + 1, end));
done:
    return status;
}

/* An existing file may be replaced when the user says so and it is one that this program could have written. */
static fbt_status check_existing(const fbt_output_file *file, bool overwrite)
{
    struct stat info;
    char start[SEAL_START_BYTES] = {0};
    if (stat(file->path, &info) != 0) {
        return FBT_OK;
    }
    if (!S_ISREG(info.st_mode)) {
        return fbt_fail(FBT_ERR_IO, "%.400s is %s; give the path of a file", file->shown,
                        S_ISDIR(info.st_mode) ? "a folder" : "not a regular file");
    }
    if (!overwrite) {
        return fbt_fail(FBT_ERR_IO, "%.400s exists; choose another path, or add --overwrite", file->shown);
    }
    int descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
    ssize_t n_read = descriptor < 0 ? -1 : read(descriptor, start, sizeof start);
    if (descriptor >= 0) {
        close(descriptor);
    }
    if (n_read != 0 && memcmp(start, FBT_SEAL_MAGIC, SEAL_START_BYTES) != 0 &&
        memcmp(start, FBT_HDF5_SIGNATURE, FBT_HDF5_SIGNATURE_BYTES) != 0) {
        return fbt_fail(FBT_ERR_IO, "%.400s is not an HDF5 file, so it is not overwritten; choose another path",
                        file->shown);
    }
    return FBT_OK;
}

static fbt_status take_lock(fbt_output_file *file)
{
    fbt_status status = FBT_OK;
    fbt_claim_holder holder;
    FBT_TRY(fbt_claim_take(file->path, &file->claim, &holder));
    if (file->claim == NULL) {
        FBT_FAIL(FBT_ERR_IO, "%.400s is being written by another run (%s); choose another path, or stop that run",
                 file->shown, holder.held);
    }
done:
    return status;
}

/* Whoever holds the claim knows that no other run lives that could be writing a temporary file. */
static void remove_stale(const fbt_output_file *file)
{
    char prefix[NAME_MAX + 16];
    DIR *folder = opendir(file->folder);
    int n = snprintf(prefix, sizeof prefix, ".%s.tmp.", strrchr(file->path, '/') + 1);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        if (strncmp(entry->d_name, prefix, (size_t)n) == 0) {
            unlinkat(dirfd(folder), entry->d_name, 0);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

fbt_status fbt_output_file_open(const char *path, bool overwrite, fbt_output_file **file)
{
    fbt_status status = FBT_OK;
    fbt_output_file *made = NULL;
    *file = NULL;
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    FBT_TRY(fbt_memory_strdup(&made->shown, path));
    FBT_TRY(resolve(made));
    FBT_TRY(check_existing(made, overwrite));
    FBT_TRY(take_lock(made));
    FBT_TRY(check_existing(made, overwrite)); /* again: a run may have ended while this one waited for nothing */
    remove_stale(made);
    *file = made;
    made = NULL;
done:
    fbt_output_file_close(made);
    return status;
}

/* Network file systems may report a full disk as late as on close. */
static bool write_partial(const fbt_output_file *file, const void *bytes, int64_t n_bytes)
{
    int descriptor = open(file->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) {
        return false;
    }
    bool ok = fbt_disk_write(descriptor, bytes, n_bytes) && fsync(descriptor) == 0;
    int error = errno;
    if (close(descriptor) != 0 && ok) {
        return false;
    }
    errno = error;
    return ok;
}

/* Whether this run still owns the path is looked up as late as can be. *error: of the system, 0 where it is not to
 * blame. */
static fbt_status put_in_place(const fbt_output_file *file, const void *bytes, int64_t n_bytes, int *error)
{
    fbt_status status = FBT_OK;
    *error = 0;
    if (!write_partial(file, bytes, n_bytes)) {
        *error = errno;
        return FBT_ERR_IO;
    }
    FBT_TRY(fbt_claim_check(file->claim));
    if (rename(file->partial, file->path) != 0) {
        *error = errno;
        status = FBT_ERR_IO;
    }
done:
    return status;
}

fbt_status fbt_output_file_replace(fbt_output_file *file, const void *bytes, int64_t n_bytes)
{
    struct sigaction before;
    int error;
    fbt_disk_begin(&before);
    fbt_status status = put_in_place(file, bytes, n_bytes, &error);
    fbt_disk_end(&before);
    if (status == FBT_OK) {
        fbt_disk_sync_folder(file->folder);
        return FBT_OK;
    }
    fbt_output_file_drop(file);
    return error == 0 ? status
                      : fbt_fail(fbt_status_of_system(error),
                                 "%.400s cannot be written (%" PRId64 " bytes): %s; what was saved before is kept",
                                 file->shown, n_bytes, strerror(error));
}

static fbt_status fail_to_write(const fbt_output_file *file, int error)
{
    return fbt_fail(fbt_status_of_system(error), "%.400s cannot be written: %s; what was saved before is kept",
                    file->shown, strerror(error));
}

/* HDF5 does not survive a full disk in good order: the room that it will need is taken beforehand. */
static fbt_status make_copy(fbt_output_file *file, int64_t n_more_bytes, int from, int to)
{
    fbt_status status = FBT_OK;
    struct stat info;
    FBT_TRY(fbt_seal_check_copy(file->shown, from, to));
    if (fstat(to, &info) != 0) {
        FBT_TRY(fail_to_write(file, errno));
    }
    const int error = posix_fallocate(to, info.st_size, n_more_bytes);
    if (error != 0) {
        status = fail_to_write(file, error);
    }
done:
    return status;
}

fbt_status fbt_output_file_begin(fbt_output_file *file, int64_t n_more_bytes, const char **temporary)
{
    fbt_status status = FBT_OK;
    int to = -1;
    const int from = open(file->path, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        return fbt_fail(fbt_status_of_system(errno), "%.400s cannot be opened: %s", file->shown, strerror(errno));
    }
    to = open(file->partial, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (to < 0) {
        FBT_TRY(fail_to_write(file, errno));
    }
    FBT_TRY(make_copy(file, n_more_bytes, from, to));
    *temporary = file->partial;
done:
    if (to >= 0) {
        close(to);
    }
    close(from);
    if (status != FBT_OK) {
        fbt_output_file_drop(file);
    }
    return status;
}

static fbt_status seal_partial(const fbt_output_file *file, char block[FBT_SEAL_BYTES], int64_t *n_bytes)
{
    fbt_status status = FBT_OK;
    const int descriptor = open(file->partial, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) {
        return fail_to_write(file, errno);
    }
    FBT_TRY(fbt_seal_write(file->shown, descriptor, block, n_bytes));
    if (fsync(descriptor) != 0) {
        status = fail_to_write(file, errno);
    }
done:
    if (close(descriptor) != 0 && status == FBT_OK) {
        status = fail_to_write(file, errno);
    }
    return status;
}

fbt_status fbt_output_file_end(fbt_output_file *file, char block[FBT_SEAL_BYTES], int64_t *n_bytes)
{
    fbt_status status = FBT_OK;
    FBT_TRY(seal_partial(file, block, n_bytes));
    FBT_TRY(fbt_claim_check(file->claim));
    if (rename(file->partial, file->path) != 0) {
        FBT_TRY(fail_to_write(file, errno));
    }
    fbt_disk_sync_folder(file->folder);
done:
    if (status != FBT_OK) {
        fbt_output_file_drop(file);
    }
    return status;
}

void fbt_output_file_drop(fbt_output_file *file)
{
    unlink(file->partial);
}

fbt_status fbt_output_file_check(const fbt_output_file *file)
{
    return fbt_claim_check(file->claim);
}

const char *fbt_output_file_path(const fbt_output_file *file)
{
    return file->path;
}

const char *fbt_output_file_shown(const fbt_output_file *file)
{
    return file->shown;
}

void fbt_output_file_close(fbt_output_file *file)
{
    if (file == NULL) {
        return;
    }
    fbt_claim_release(file->claim);
    free(file->partial);
    free(file->folder);
    free(file->path);
    free(file->shown);
    free(file);
}
