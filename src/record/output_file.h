/* An HDF5 file that is replaced as a whole, so that whoever opens it at any instant sees all of the old or all of the
 * new one. */
#ifndef FBT_RECORD_OUTPUT_FILE_H
#define FBT_RECORD_OUTPUT_FILE_H

#include "base/status.h"
#include "record/seal.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fbt_output_file fbt_output_file;

/* Claims `path` for this process: finds out whether the folder can be written, whether the file exists (an error unless
 * overwrite, which replaces HDF5 files only), and claims it (claim.h: `.<name>.lock` beside it), so that
 * another process is refused the same path. Temporary files that killed runs left behind are removed. An existing file
 * stays as it is until the first replacement. Errors: FBT_ERR_IO, FBT_ERR_STORAGE with what to do. */
fbt_status fbt_output_file_open(const char *path, bool overwrite, fbt_output_file **file);

/* Writes bytes to a temporary file in the same folder, syncs it, renames it over the path and syncs the folder. On
 * failure (full disk, quota, the claim is lost) what was there before is untouched and the temporary file is gone.
 * Errors: FBT_ERR_IO, FBT_ERR_STORAGE (fbt_status_of_system). */
fbt_status fbt_output_file_replace(fbt_output_file *file, const void *bytes, int64_t n_bytes);

/* Replaces in two steps, for a file that is too large for memory. fbt_output_file_begin makes the temporary file a
 * copy of the file that is there, whose seal it compares on the way, and makes sure of room for n_more_bytes; what
 * the caller then changes is a file with room for a seal, at *temporary (borrowed). fbt_output_file_end seals it as it
 * is then, syncs it and renames it over the path. block: the seal. Failures and fbt_output_file_drop remove the
 * temporary file. Errors: FBT_ERR_IO, FBT_ERR_STORAGE. */
fbt_status fbt_output_file_begin(fbt_output_file *file, int64_t n_more_bytes, const char **temporary);
fbt_status fbt_output_file_end(fbt_output_file *file, char block[FBT_SEAL_BYTES], int64_t *n_bytes);
void fbt_output_file_drop(fbt_output_file *file);

/* Fails where another process has taken the path over (fbt_claim_check). */
fbt_status fbt_output_file_check(const fbt_output_file *file);

/* The path with its symbolic links followed. */
const char *fbt_output_file_path(const fbt_output_file *file);

/* The path as it was given, for messages. */
const char *fbt_output_file_shown(const fbt_output_file *file);

/* Gives up the claim and frees. NULL is fine. */
void fbt_output_file_close(fbt_output_file *file);

#endif
