/* Where each member of fbt_round_row lives in the run file: one table, which the writer and the readers follow. */
#ifndef FBT_RECORD_RUN_LAYOUT_H
#define FBT_RECORD_RUN_LAYOUT_H

#include "record/run_file.h"

#include <stddef.h>
#include <stdint.h>

/* Version 1 had a place for every client in each round (run_wide.h); files of it are read, and gone on with as they
 * are. */
enum { FBT_RUN_FORMAT_WIDE = 1, FBT_RUN_FORMAT_VERSION = 2 };

/* Shape of one round's row. */
typedef enum fbt_run_shape {
    FBT_RUN_SCALAR,            /* [R]       */
    FBT_RUN_DIMENSION,         /* [R, d]    */
    FBT_RUN_SLOTS,             /* [R, m]; here and below, in version 1, [R, K] */
    FBT_RUN_SLOTS_GENERATIONS, /* [R, m, I] */
    FBT_RUN_SLOTS_DIMENSION,   /* [R, m, d] */
    FBT_RUN_PHASES,            /* [R, number of phases] */
} fbt_run_shape;

/* Files that have a column. */
typedef enum fbt_run_presence {
    FBT_RUN_ALWAYS,
    FBT_RUN_LATER,       /* those of earlier versions lack it */
    FBT_RUN_WITH_MEANS,  /* of runs that keep the clients' means */
    FBT_RUN_WITH_CHECKS, /* of runs whose precision is checked   */
    FBT_RUN_WITH_FAULTS, /* of runs that simulate who reports    */
} fbt_run_presence;

typedef enum fbt_run_type { FBT_RUN_REAL, FBT_RUN_INTEGER, FBT_RUN_BYTE } fbt_run_type;

typedef struct fbt_run_column {
    const char *group; /* below /rounds: "", "client" or "cost" */
    const char *name;
    fbt_run_type type;
    fbt_run_shape shape;
    size_t offset; /* in fbt_round_row: of the value (scalars) or of a pointer to the values */
    bool deflate;
    const char *long_name;
    const char *unit;
    fbt_run_presence presence;
} fbt_run_column;

/* The table; *n is its length. */
const fbt_run_column *fbt_run_columns(int64_t *n);

/* Where a column is in the file: "rounds/client/loss". */
enum { FBT_RUN_COLUMN_PATH_BYTES = 128 };
void fbt_run_column_path(const fbt_run_column *column, char path[FBT_RUN_COLUMN_PATH_BYTES]);

/* Number of the column with this path in the table; -1: there is none. */
int64_t fbt_run_column_find(const char *path);

/* Whether the column has values of each participant of a round. */
bool fbt_run_column_is_of_participants(const fbt_run_column *column);

/* Whether the column says who took part. */
bool fbt_run_column_is_participants(const fbt_run_column *column);

/* Type of a column in files of a version: in version 1 participants were flags. */
fbt_run_type fbt_run_column_type(const fbt_run_column *column, int64_t version);

/* Whether the run's file keeps the column. */
bool fbt_run_column_is_kept(const fbt_run_column *column, const fbt_run_header *header);

/* Members of a round's shape. dims: [2]; returns how many are used (0 for a scalar). */
int fbt_run_shape_dims(fbt_run_shape shape, const fbt_run_header *header, int64_t dims[2]);

/* "running", "interrupted", "finished" or "failed"; and back: false for any other text. */
const char *fbt_run_status_name(fbt_run_status run_status);
bool fbt_run_status_of_name(const char *name, fbt_run_status *run_status);

#endif
