/* Calls of the system that the writers of files share. */
#ifndef FBT_RECORD_DISK_H
#define FBT_RECORD_DISK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Writes all bytes at the descriptor's place. false: errno tells why; some may have been written. */
bool fbt_disk_write(int descriptor, const void *bytes, int64_t n_bytes);

/* Syncs a folder, so that the names in it last. Best effort: some file systems cannot. */
void fbt_disk_sync_folder(const char *folder);

/* Between the two a file size limit (ulimit -f) is an error of the call that meets it, not the end of the process. */
void fbt_disk_begin(struct sigaction *before);
void fbt_disk_end(const struct sigaction *before);

#endif
