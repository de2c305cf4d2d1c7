#include "record/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

bool fbt_disk_write(int descriptor, const void *bytes, int64_t n_bytes)
{
    for (const char *next = bytes; n_bytes > 0;) {
        const ssize_t n = write(descriptor, next, (size_t)n_bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        next += n;
        n_bytes -= n;
    }
    return true;
}

void fbt_disk_sync_folder(const char *folder)
{
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor >= 0) {
        fsync(descriptor);
        close(descriptor);
    }
}

void fbt_disk_begin(struct sigaction *before)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGXFSZ, &ignore, before);
}

void fbt_disk_end(const struct sigaction *before)
{
    sigaction(SIGXFSZ, before, NULL);
}
