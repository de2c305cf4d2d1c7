/* A run file being put together, in memory or on the disk, before it takes the place of the one that readers see. */
#ifndef FBT_RECORD_RUN_DRAFT_H
#define FBT_RECORD_RUN_DRAFT_H

#include "base/status.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

enum { FBT_RUN_COLUMNS_MAX = 64 };

typedef struct fbt_run_draft {
    hid_t file; /* -1: there is none */
    bool in_memory;
    hid_t columns[FBT_RUN_COLUMNS_MAX]; /* data sets of run_layout.c's table; -1: not kept */
    int64_t n_rows;                     /* in every column */
} fbt_run_draft;

/* None. */
void fbt_run_draft_init(fbt_run_draft *draft);

/* Opens the columns that the file has, and counts their rows. Errors: FBT_ERR_IO. */
fbt_status fbt_run_draft_open_columns(fbt_run_draft *draft);

/* Makes the changes of a list (run_changes.h), by their paths:
 *   rounds/...     another row of the column; a row begins with rounds/index
 *   checkpoint     integers [2]: its round, and how many of the next changes are its arrays; those of another go
 *   result         integers [2]: best and last round
 *   result/...     an array of the result
 *   wall_time_s    the attribute
 * Rows may be incomplete after a failure. Errors: FBT_ERR_IO, FBT_ERR_DATA (a list of another version's). */
fbt_status fbt_run_draft_apply(fbt_run_draft *draft, const char *bytes, int64_t n_bytes);

/* Closes all but what has not reached the disk: then FBT_ERR_IO. There is no draft afterwards. */
fbt_status fbt_run_draft_close(fbt_run_draft *draft);

#endif
