#include "record/seal.h"

#include "base/digest.h"
#include "record/disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 65536 };

static const char *const advice =
    "copy or make it again, or, if you have changed it yourself, run 'fedbpt-analysis seal' on it";

static void write_block(const char *digest, int64_t n_bytes, char block[FBT_SEAL_BYTES])
{
    memset(block, 0, FBT_SEAL_BYTES);
    snprintf(block, FBT_SEAL_BYTES, FBT_SEAL_MAGIC "1 sha256 %s %lld\n", digest, (long long)n_bytes);
}

fbt_status fbt_seal_make(const void *rest, int64_t n_bytes, char block[FBT_SEAL_BYTES])
{
    fbt_status status = FBT_OK;
    char text[FBT_DIGEST_TEXT_BYTES];
    FBT_TRY(fbt_digest_bytes(rest, (size_t)n_bytes, text));
    write_block(text, n_bytes, block);
done:
    return status;
}

/* Reads up to n bytes; fewer at the end of the file. *n_read is -1 after an error of the system. */
static void read_piece(int descriptor, char *bytes, size_t n, ssize_t *n_read)
{
    size_t n_there = 0;
    ssize_t got = 1;
    while (n_there < n && got != 0) {
        got = read(descriptor, bytes + n_there, n - n_there);
        if (got < 0 && errno != EINTR) {
            *n_read = -1;
            return;
        }
        n_there += got > 0 ? (size_t)got : 0;
    }
    *n_read = (ssize_t)n_there;
}

/* Where the bytes go that are read. */
typedef struct sink {
    const char *shown;
    int descriptor; /* -1: nowhere */
} sink;

static fbt_status put(const sink *to, const void *bytes, int64_t n_bytes)
{
    if (to->descriptor >= 0 && !fbt_disk_write(to->descriptor, bytes, n_bytes)) {
        return fbt_fail(fbt_status_of_system(errno), "%.400s cannot be written: %s; what was saved before is kept",
                        to->shown, strerror(errno));
    }
    return FBT_OK;
}

/* Digest and number of the bytes that are left, which go to the sink, too. */
static fbt_status digest_rest(const char *path, int descriptor, const sink *to, char text[FBT_DIGEST_TEXT_BYTES],
                              int64_t *n_bytes)
{
    fbt_status status = FBT_OK;
    fbt_digest *digest = NULL;
    char piece[PIECE_BYTES];
    ssize_t n;
    *n_bytes = 0;
    FBT_TRY(fbt_digest_new(&digest));
    do {
        read_piece(descriptor, piece, sizeof piece, &n);
        if (n < 0) {
            FBT_FAIL(fbt_status_of_system(errno), "%.400s cannot be read: %s", path, strerror(errno));
        }
        FBT_TRY(fbt_digest_add(digest, piece, (size_t)n));
        FBT_TRY(put(to, piece, n));
        *n_bytes += n;
    } while (n > 0);
    status = fbt_digest_end(digest, text);
    digest = NULL;
done:
    fbt_digest_free(digest);
    return status;
}

/* In words, how the block that is there differs from the one that the rest asks for. */
static fbt_status explain(const char *path, const char *found, int64_t n_bytes)
{
    char line[FBT_SEAL_BYTES + 1] = "";
    int version = 0;
    long long n_sealed = 0;
    memcpy(line, found, FBT_SEAL_BYTES);
    if (sscanf(line, FBT_SEAL_MAGIC "%d sha256 %*64[0-9a-f] %lld", &version, &n_sealed) == 2 && version == 1 &&
        n_bytes < n_sealed) {
        return fbt_fail(FBT_ERR_IO, "%.400s is truncated or damaged: it has %lld of %lld bytes; copy or make it again",
                        path, (long long)n_bytes + FBT_SEAL_BYTES, n_sealed + FBT_SEAL_BYTES);
    }
    if (version > 1) {
        return fbt_fail(
            FBT_ERR_IO,
            "%.400s has a seal of version %d, this program knows version 1; read it with the program that wrote it",
            path, version);
    }
    return fbt_fail(
        FBT_ERR_IO,
        "%.400s is damaged, or was changed after it was written: its bytes do not have the SHA-256 of its seal; %s",
        path, advice);
}

static fbt_status check(const char *path, int descriptor, const sink *to)
{
    static const char room[FBT_SEAL_BYTES];
    fbt_status status = FBT_OK;
    char found[FBT_SEAL_BYTES] = {0}, expected[FBT_SEAL_BYTES], digest[FBT_DIGEST_TEXT_BYTES];
    ssize_t n;
    int64_t n_bytes;
    read_piece(descriptor, found, sizeof found, &n);
    if (n < 0) {
        FBT_FAIL(fbt_status_of_system(errno), "%.400s cannot be read: %s", path, strerror(errno));
    }
    FBT_TRY(put(to, room, sizeof room));
    if (memcmp(found, FBT_HDF5_SIGNATURE, FBT_HDF5_SIGNATURE_BYTES) == 0) {
        FBT_TRY(put(to, found, n));
        return to->descriptor < 0 ? FBT_OK : digest_rest(path, descriptor, to, digest, &n_bytes);
    }
    if (memcmp(found, FBT_SEAL_MAGIC, strlen(FBT_SEAL_MAGIC)) != 0) {
        FBT_FAIL(FBT_ERR_IO, "%.400s is not an HDF5 file, or its beginning is damaged", path);
    }
    FBT_TRY(digest_rest(path, descriptor, to, digest, &n_bytes));
    write_block(digest, n_bytes, expected);
    if (memcmp(found, expected, sizeof found) != 0) {
        status = explain(path, found, n_bytes);
    }
done:
    return status;
}

fbt_status fbt_seal_check(const char *path, int descriptor)
{
    return check(path, descriptor, &(sink){.descriptor = -1});
}

fbt_status fbt_seal_check_copy(const char *path, int descriptor, int copy)
{
    return check(path, descriptor, &(sink){path, copy});
}

fbt_status fbt_seal_write(const char *path, int descriptor, char block[FBT_SEAL_BYTES], int64_t *n_bytes)
{
    fbt_status status = FBT_OK;
    char digest[FBT_DIGEST_TEXT_BYTES];
    int64_t n_rest;
    if (lseek(descriptor, FBT_SEAL_BYTES, SEEK_SET) < 0) {
        FBT_FAIL(fbt_status_of_system(errno), "%.400s cannot be written: %s", path, strerror(errno));
    }
    FBT_TRY(digest_rest(path, descriptor, &(sink){.descriptor = -1}, digest, &n_rest));
    write_block(digest, n_rest, block);
    *n_bytes = FBT_SEAL_BYTES + n_rest;
    if (lseek(descriptor, 0, SEEK_SET) < 0) {
        FBT_FAIL(fbt_status_of_system(errno), "%.400s cannot be written: %s", path, strerror(errno));
    }
    FBT_TRY(put(&(sink){path, descriptor}, block, FBT_SEAL_BYTES));
done:
    return status;
}
