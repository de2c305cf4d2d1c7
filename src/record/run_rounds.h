/* Rounds of a run file, in memory, for the readers of this folder. */
#ifndef FBT_RECORD_RUN_ROUNDS_H
#define FBT_RECORD_RUN_ROUNDS_H

#include "base/digest.h"
#include "base/status.h"
#include "record/run_layout.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

/* Zero-initialise, then fbt_run_rounds_read; free with fbt_run_rounds_clear, after a failure too. */
typedef struct fbt_run_rounds {
    int64_t n_rounds;
    double **scalars; /* one [n_rounds] for each column of run_layout.h; NULL for columns that are no scalars, or not
                         there */
    int64_t n_columns;
    char **phases; /* names of the timed phases */
    int64_t n_phases;
    double *seconds;    /* [n_rounds, n_phases] */
    int64_t best_round; /* index: as recorded, or for an unfinished run by the same rule; -1: no dev samples */
    int64_t last_round; /* index; -1: no rounds */
} fbt_run_rounds;

fbt_status fbt_run_rounds_read(hid_t file, fbt_run_rounds *rounds);
void fbt_run_rounds_clear(fbt_run_rounds *rounds);

/* The values of the scalar column `name` of `group` ("" or "cost"); NULL when there is none. */
const double *fbt_run_rounds_scalar(const fbt_run_rounds *rounds, const char *group, const char *name);

/* fbt_run_reader_digest of an open file, and whether it leaves out the data set at `path` ("rounds/cost/seconds"). */
fbt_status fbt_run_digest_of(hid_t file, char text[FBT_DIGEST_TEXT_BYTES]);
bool fbt_run_digest_excludes(const char *path);

/* Opens a run file and checks that it is one of this format. Errors: FBT_ERR_IO, FBT_ERR_DATA. */
fbt_status fbt_run_rounds_open(const char *path, hid_t *file);

/* Calls visit with each text attribute of the group, in alphabetical order; other attributes are left out. An attribute
 * is one text or a list. */
typedef fbt_status (*fbt_run_visit)(void *user, const char *name, const char *const *texts, int64_t n_texts);
fbt_status fbt_run_rounds_visit_texts(hid_t file, const char *group, fbt_run_visit visit, void *user);

/* Calls visit with each session, the first first: the program's starts that wrote the file's rounds. group: its texts,
 * as above, "environment/sessions/0001". */
typedef struct fbt_run_session {
    const char *group;
    int64_t first_round;
} fbt_run_session;
typedef fbt_status (*fbt_run_session_visit)(void *user, const fbt_run_session *session);
fbt_status fbt_run_rounds_visit_sessions(hid_t file, fbt_run_session_visit visit, void *user);

#endif
