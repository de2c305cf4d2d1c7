/* Rows of version 1, in which every client has a place, from rows of the round's participants.
 *
 * Files of version 1 are gone on with in that form, and digests are taken over it (run_digest.c), so that those of all
 * versions compare. */
#ifndef FBT_RECORD_RUN_WIDE_H
#define FBT_RECORD_RUN_WIDE_H

#include "record/run_layout.h"

#include <hdf5.h>

/* Most clients that a version-1 file could have. */
enum { FBT_RUN_WIDE_CLIENTS_MAX = (1 << 16) - 1 };

/* A round of one column. participants: [n_slots] ids below n_clients, or -1: nobody. n_each: values of a client. */
typedef struct fbt_run_narrow {
    const fbt_run_column *column;
    int64_t n_clients, n_slots, n_each;
    const int64_t *participants;
    const void *values; /* [n_slots, n_each] */
} fbt_run_narrow;

/* Calls take with the round as version 1 holds it, [n_clients, n_each], piece by piece: the values of clients that took
 * part, NaN or 0 for the others; of the participants 1 or 0, a byte each. Errors: FBT_ERR_DATA (participants that do
 * not rise, or that the run does not have), take's. */
typedef fbt_status (*fbt_run_piece)(void *user, const void *bytes, int64_t n_bytes);
fbt_status fbt_run_widen(const fbt_run_narrow *narrow, fbt_run_piece take, void *user);

/* The same in one piece. wide: [n_clients, n_each] of the column's type in version 1. */
fbt_status fbt_run_widen_into(const fbt_run_narrow *narrow, void *wide);

/* A column of participants' values in an open file of version 2, read as version 1 would hold it. Zero-initialise with
 * FBT_RUN_WIDE_READER. */
typedef struct fbt_run_wide_reader {
    hid_t datasets[2]; /* the column, and the participants */
    int64_t n_rows;
    fbt_run_narrow narrow;
    int64_t *participants;
    void *values;
} fbt_run_wide_reader;
#define FBT_RUN_WIDE_READER                                                                                            \
    {                                                                                                                  \
        .datasets = { -1, -1 }                                                                                         \
    }

/* Errors: FBT_ERR_IO, FBT_ERR_DATA (damaged), FBT_ERR_MEMORY. Close it after a failure, too. */
fbt_status fbt_run_wide_open(hid_t file, const fbt_run_column *column, fbt_run_wide_reader *reader);
fbt_status fbt_run_wide_read(fbt_run_wide_reader *reader, int64_t row); /* into narrow */
void fbt_run_wide_close(fbt_run_wide_reader *reader);

/* Clients of an open run file. */
fbt_status fbt_run_wide_clients(hid_t file, int64_t *n_clients);

#endif
