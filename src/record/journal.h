/* The rounds that a run file does not have yet: `NAME.journal` beside it, to which each round is appended and synced.
 *
 * It begins with 512 bytes that name the run file it follows by that file's seal: as soon as the run file is replaced,
 * by one that has these rounds too, the journal is void. So neither has to change together with the other. Then come
 * records, each a seal (seal.h) and the bytes that it seals. A record that the file's end cuts short was being written
 * when its writer died. For the holder of the claim on the run file; any reader may find and count.
 */
#ifndef FBT_RECORD_JOURNAL_H
#define FBT_RECORD_JOURNAL_H

#include "base/status.h"
#include "record/seal.h"

#include <stdint.h>

typedef struct fbt_journal fbt_journal;

/* The journal of the run file at `path`, which may or may not be there. shown: the path for messages. Free it with
 * fbt_journal_free, which leaves the file alone. */
fbt_status fbt_journal_new(const char *path, const char *shown, fbt_journal **journal);
void fbt_journal_free(fbt_journal *journal);

/* Removes the file, where there is one. */
void fbt_journal_remove(fbt_journal *journal);

/* Begins anew, without records, behind the run file with this seal. An older journal is removed. */
void fbt_journal_begin(fbt_journal *journal, const char block[FBT_SEAL_BYTES]);

/* Appends a record and syncs it. On failure the journal is as it was. Errors: FBT_ERR_IO, FBT_ERR_STORAGE. */
fbt_status fbt_journal_append(fbt_journal *journal, const void *bytes, int64_t n_bytes);

/* Takes up the journal that a killed run left: *n_bytes is the size of its whole records, 0 where there is none that
 * follows the run file as it is now. Errors: FBT_ERR_IO (damaged), FBT_ERR_STORAGE. */
fbt_status fbt_journal_find(fbt_journal *journal, int64_t *n_bytes);

/* Calls visit with each record, the first first. bytes: aligned for any type. Errors: its own, and FBT_ERR_IO
 * (damaged), FBT_ERR_STORAGE. */
typedef fbt_status (*fbt_journal_visit)(void *user, const char *bytes, int64_t n_bytes);
fbt_status fbt_journal_read(const fbt_journal *journal, fbt_journal_visit visit, void *user);

/* Size of the file; 0 where nothing has been appended. And the number of records in it. */
int64_t fbt_journal_bytes(const fbt_journal *journal);
int64_t fbt_journal_records(const fbt_journal *journal);

#endif
