/* Where two run files begin to differ. */
#ifndef FBT_RECORD_RUN_COMPARE_H
#define FBT_RECORD_RUN_COMPARE_H

#include "base/status.h"
#include "record/run_layout.h"

#include <stdbool.h>
#include <stdint.h>

/* The first number that differs, in the order of rounds and then of run_layout.h's columns. */
typedef struct fbt_run_difference {
    bool found;
    int64_t round;                          /* index                                                  */
    char column[FBT_RUN_COLUMN_PATH_BYTES]; /* "rounds/train_loss"                                    */
    int64_t position;                       /* in the round's row of that column; -1: a row is a number */
    double values[2];                       /* in the first file and in the second                    */
} fbt_run_difference;

/* Compares the results in the first n_rows rows of /rounds, bit for bit (all NaNs are one value): the columns that the
 * digest covers. Both files have as many rows, or more. Errors: FBT_ERR_IO, FBT_ERR_DATA (a column that one of them
 * lacks or that has another shape). */
fbt_status fbt_run_compare(const char *path, const char *other, int64_t n_rows, fbt_run_difference *difference);

#endif
