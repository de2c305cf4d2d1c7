/* A file that is replaced as a whole, so that whoever opens it at any instant sees all of the old or all of the new one. */
#ifndef FBT_RECORD_OUTPUT_FILE_H
#define FBT_RECORD_OUTPUT_FILE_H

#include "status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct fbt_output_file fbt_output_file;

/* Claims `path` for this process: finds out whether the folder can be written, whether the file exists (an error unless
 * overwrite, which replaces HDF5 files only), and takes a lock on `.<name>.lock` beside it, so that a second run onto the
 * same path is refused where the file system has locks; elsewhere the last replacement wins, still whole. Temporary files
 * that killed runs left behind are removed. An existing file stays as it is until the first replacement.
 * Errors: FBT_ERR_IO with what to do. */
fbt_status fbt_output_file_open(const char *path, bool overwrite, fbt_output_file **file);

/* Writes bytes to a temporary file in the same folder, syncs it, renames it over the path and syncs the folder. On failure
 * (full disk, quota) what was there before is untouched and the temporary file is gone. Errors: FBT_ERR_IO. */
fbt_status fbt_output_file_replace(fbt_output_file *file, const void *bytes, int64_t n_bytes);

/* Gives up the lock and frees. NULL is fine. */
void fbt_output_file_close(fbt_output_file *file);

#endif
