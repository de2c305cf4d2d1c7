/* Changes of a run file, as bytes: they wait in memory, or in the journal (journal.h), until the run file is
 * written. A list of named arrays; run_draft.h says what each does. */
#ifndef FBT_RECORD_RUN_CHANGES_H
#define FBT_RECORD_RUN_CHANGES_H

#include "base/status.h"

#include <stdint.h>

typedef enum fbt_run_change_type {
    FBT_RUN_CHANGE_REAL,
    FBT_RUN_CHANGE_INTEGER,
    FBT_RUN_CHANGE_BYTE,
    FBT_RUN_CHANGE_FLOAT32
} fbt_run_change_type;

/* Stands before an array's values, which are padded to 8 bytes. In this machine's byte order. */
typedef struct fbt_run_change {
    char path[96];       /* in the run file */
    char long_name[128]; /* of a data set that may be new; "": none */
    int64_t type;        /* fbt_run_change_type */
    int64_t rank;        /* 1 or 2 */
    int64_t dims[2];     /* [rank] */
} fbt_run_change;

/* Zero-initialise; free bytes. */
typedef struct fbt_run_changes {
    char *bytes;
    int64_t n_bytes, capacity;
} fbt_run_changes;

/* Appends a change. long_name may be NULL. Errors: FBT_ERR_MEMORY, FBT_ERR_ARG (a name too long); the list is then as
 * it was. */
fbt_status fbt_run_changes_add(fbt_run_changes *changes, const char *path, const char *long_name,
                               fbt_run_change_type type, int64_t rank, const int64_t *dims, const void *values);

/* The change at *place, which becomes that of the next one; *change is NULL at the end. Borrowed. Errors: FBT_ERR_DATA
 * (bytes that are no list). */
fbt_status fbt_run_changes_next(const char *bytes, int64_t n_bytes, int64_t *place, const fbt_run_change **change,
                                const void **values);

/* Number of a change's values. */
int64_t fbt_run_change_values(const fbt_run_change *change);

#endif
