/* An HDF5 file that is replaced as a whole, so that whoever opens it at any instant sees all of the old or all of the
 * new one. */
#ifndef FBT_RECORD_OUTPUT_FILE_H
#define FBT_RECORD_OUTPUT_FILE_H

#include "base/status.h"

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

/* The path as it was given, for messages. */
const char *fbt_output_file_shown(const fbt_output_file *file);

/* Gives up the claim and frees. NULL is fine. */
void fbt_output_file_close(fbt_output_file *file);

#endif
