/* The run file: everything a run was and did, in one HDF5 file that is only ever replaced as a whole.
 *
 * A round is appended to a journal beside it (journal.h), and now and then the run file is made anew with all rounds of
 * the journal, synced and renamed over the old one: whoever opens it with plain h5py, at any instant, live or after a
 * kill, sees a complete file of whole rounds, and what a round costs does not grow with the run. No more than a round
 * is kept in memory. Layout, and the states that a kill can leave: docs/run-file.md. Used by rank 0 alone; nothing here
 * is collective.
 */
#ifndef FBT_RECORD_RUN_FILE_H
#define FBT_RECORD_RUN_FILE_H

#include "base/digest.h"
#include "base/status.h"
#include "base/typed_array.h"
#include "data/dataset.h"
#include "fed/best_round.h"
#include "fed/round_row.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fbt_run_file fbt_run_file;

typedef enum fbt_run_status { FBT_RUN_RUNNING, FBT_RUN_INTERRUPTED, FBT_RUN_FINISHED, FBT_RUN_FAILED } fbt_run_status;

/* One entry of /environment or /inputs; a list ends with name == NULL. Borrowed. */
typedef struct fbt_run_text {
    const char *name;
    const char *value;
} fbt_run_text;

/* Facts known before the first round. Borrowed during fbt_run_file_create and fbt_run_file_continue. */
typedef struct fbt_run_header {
    const char *config_given;        /* the file as given, and the command line's settings as comments at its end */
    const char *config_resolved;     /* all settings                                                             */
    const char *config_decides;      /* fbt_settings_list_decides                                                */
    const fbt_run_text *environment; /* hosts, ranks, threads, MPI, backend, device, libraries, commit, ...  */
    const fbt_run_text *inputs;      /* model and data: paths, SHA-256 of each, of tokenizer and source, task, ... */
    int64_t n_clients;               /* K */
    int64_t n_slots;                 /* m, participants of a round */
    int64_t dimension;               /* d */
    int64_t n_generations;           /* I: step sizes that a client uploads each round */
    int64_t value_bytes;             /* of a number on the wire, in bytes_up and bytes_down */
    int64_t n_labels;
    const char *const *label_words;  /* [n_labels], for /inputs; NULL: not written */
    const fbt_word_list *vocabulary; /* for /inputs, of which its first n_words; 0: not written */
    int64_t n_words;
    int64_t n_prompt_values[2]; /* shape of the soft prompt: P (deep: L P), hidden size */
    bool client_means;          /* keep /rounds/client/mean */
    bool precision_checks;      /* keep /rounds/precision_... */
    bool faults;                /* keep /rounds/reported, dropped, late and simulated_s */
    const char *const *phases;  /* names of the timed phases, which do not overlap: a round's time is their sum */
    int64_t n_phases;
    const int64_t *sample_offsets; /* [K + 1]: the training samples of each client ...      */
    const int64_t *sample_index;   /* [sample_offsets[K]]: ... as rows of the train split   */
    const int64_t *dev_index;      /* [n_dev]: rows of the train split (or of the dev split if the data set has one) */
    int64_t n_dev;
    const int32_t *train_labels; /* of each row of the train split */
} fbt_run_header;

/* /result. Borrowed. Arrays that are NULL stay as they were, or are left out. */
typedef struct fbt_run_result {
    int64_t best_round; /* on dev (best_round.h); -1: no dev set */
    int64_t last_round;
    const double *best_z;     /* [d] */
    const double *last_z;     /* [d] */
    const float *best_prompt; /* [P, H]; deep prompts: [L P, H], the first layer's rows first */
    const float *last_prompt; /* [P, H], likewise */
} fbt_run_result;

/* Finds out now whether a run file could be written at this path: folder there and writable, no other run writing it,
 * no existing file unless overwrite. Errors: FBT_ERR_IO with what to do. */
fbt_status fbt_run_file_check(const char *path, bool overwrite);

/* Starts a run file. Writes no run file before the first fbt_run_file_commit, but finds out now whether it could:
 * folder missing or read-only, file exists and overwrite is false (with overwrite, only an HDF5 file is replaced).
 * Until fbt_run_file_free it is claimed (claim.h), so that another process is refused the same path. Temporary files
 * that killed runs of that name left behind are removed. Errors: FBT_ERR_IO with what to do. */
fbt_status fbt_run_file_create(const char *path, bool overwrite, const fbt_run_header *header, fbt_run_file **file);

/* Maker of the rounds from first_round on: one start of the program. "" where the file does not tell. */
typedef struct fbt_run_maker {
    int64_t first_round;
    char *program_version, *git_commit, *compiler;
    char *backend, *device, *instruction_set, *libraries;
} fbt_run_maker;

/* Where the run of a run file stands. Zero-initialise; free with fbt_run_restored_clear. */
typedef struct fbt_run_restored {
    fbt_run_status run_status; /* running: it was killed, or is under way */
    int64_t last_round;
    bool fell_back;      /* later rounds are computed in the reference precision (round_row.h) */
    fbt_best_round best; /* on dev */
    char *config_resolved;
    char *model_sha256, *data_sha256;           /* of /inputs                       */
    char *precision, *device, *instruction_set; /* of /environment: the last session's */
    fbt_run_maker *makers;                      /* [n_makers], the first first */
    int64_t n_makers;
    fbt_array *checkpoint;              /* as it was set last; of fbt_run_file_open alone */
    char digest[FBT_DIGEST_TEXT_BYTES]; /* fbt_run_reader_digest; of fbt_run_restored_read alone */
} fbt_run_restored;
void fbt_run_restored_clear(fbt_run_restored *restored);

/* Reads it and leaves the file alone. Errors: FBT_ERR_IO (not readable, truncated), FBT_ERR_DATA (not a run file, or
 * one that lacks something). */
fbt_status fbt_run_restored_read(const char *path, fbt_run_restored *restored);

/* Opens the run file at `path` to go on with it: claims it, as fbt_run_file_create does, and tells where it stands. The
 * file on the disk stays as it is until the first commit, unless there is a journal, whose rounds it then takes up. No
 * file at `path`: FBT_OK with *file NULL. Errors: FBT_ERR_IO (not readable, truncated, folder not writable, another run
 * writes it, the journal is damaged), FBT_ERR_DATA (not a run file, or one that lacks something), FBT_ERR_STORAGE. */
fbt_status fbt_run_file_open(const char *path, fbt_run_file **file, fbt_run_restored *restored);

/* Takes up an opened file: checks that its arrays have the header's shapes and its partition the header's samples, and
 * records the header's settings and environment as those of another session, which begins after the last round. inputs
 * are not written again. Errors: FBT_ERR_DATA. */
fbt_status fbt_run_file_continue(fbt_run_file *file, const fbt_run_header *header);

/* Appends a round, in memory: rounds come in rising order of index; client_mean may be NULL only when the header's
 * client_means is false. On failure the rounds before are as they were. */
fbt_status fbt_run_file_add_round(fbt_run_file *file, const fbt_round_row *round);

/* Replaces the checkpoint / the result, in memory. The checkpoint belongs to the last round added (attribute `round`).
 */
fbt_status fbt_run_file_set_checkpoint(fbt_run_file *file, const fbt_array *arrays);
fbt_status fbt_run_file_set_result(fbt_run_file *file, const fbt_run_result *result);

/* Saves what was added: with status running in the journal, or, from time to time, in the run file; with any other
 * status always in the run file, and the journal is gone. Synced. On failure (full disk, quota) what was committed
 * before is untouched, temporary files are removed, and what was not is kept for the next commit. FBT_ERR_IO,
 * FBT_ERR_STORAGE. */
fbt_status fbt_run_file_commit(fbt_run_file *file, fbt_run_status run_status);

/* Size of the run file as it was written last; 0 before. */
int64_t fbt_run_file_bytes(const fbt_run_file *file);

/* Frees; does not write. NULL is fine. */
void fbt_run_file_free(fbt_run_file *file);

#ifdef __cplusplus
}
#endif

#endif
