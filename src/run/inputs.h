/* Inputs of a run or an evaluation: data set, backend and model, checked to fit each other. */
#ifndef FBT_RUN_INPUTS_H
#define FBT_RUN_INPUTS_H

#include "base/status.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "data/dataset.h"
#include "data/partition.h"
#include "model/model.h"
#include "record/run_file.h"
#include "run/observer.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Identity of a file when it was read: a path that leads to another file later is read again. */
typedef struct fbt_inputs_file {
    char *path;
    int64_t device, inode, n_bytes, modified_ns;
} fbt_inputs_file;

/* Choices that backend and model were opened with. */
typedef struct fbt_inputs_key {
    char *model_path;
    bool of_dataset; /* with the labels of the data set that is open */
    char *backend;
    char *precision;
    int64_t n_threads;
    int local_rank, n_local_ranks;
    int prompt_mode;
    int64_t n_prompt_tokens;
    bool is_deep;
    int64_t n_words;
    double embedding_scale;
    int label_scoring;
} fbt_inputs_key;

/* Zero-initialise before, close after. What is open serves any number of runs, one after another, on communicators of
 * the same ranks: each opens what it needs, and what is open already and fits is kept. */
typedef struct fbt_inputs {
    fbt_dataset dataset;
    bool borrows_dataset;         /* fbt_inputs_borrow */
    fbt_inputs_file dataset_file; /* path NULL: none is open */
    fbt_model_shape shape;        /* of the model that was checked last (fbt_inputs_check) */
    fbt_backend *backend;
    fbt_comm *device; /* the ranks that compute on the backend's device; NULL: not open */
    fbt_model *model; /* with its projection set */
    fbt_inputs_key key;
    char *hidden_std;     /* what prompt.hidden_std=auto has come to; NULL: it is given, or not needed */
    char *digested_model; /* the folder that model_sha256 is of   */
    char model_sha256[FBT_DIGEST_TEXT_BYTES]; /* as fbt_inputs_digest found           */
    char data_sha256[FBT_DIGEST_TEXT_BYTES];  /* ""; not yet                          */
} fbt_inputs;

/* Begins inputs with the data set of others, which stay open longer, for a second model of the same settings but for
 * its backend's. */
void fbt_inputs_borrow(fbt_inputs *inputs, const fbt_inputs *lender);

/* Reads the data set that the settings name. Rank-local. */
fbt_status fbt_inputs_open_dataset(fbt_inputs *inputs, const fbt_settings *settings);

/* SHA-256 of what the settings' numbers rest on, for the run file. Of the data set: of the file's bytes. Of the model:
 * of what `sha256sum config.json *.safetensors` prints in its folder, in the C locale's order; and, where a sentence
 * encoder's folder asks for it, of a line "pooling cls". Reads all of it. Rank-local; rank 0 is enough. */
fbt_status fbt_inputs_digest(fbt_inputs *inputs, const fbt_settings *settings);

/* Takes the digests and checks that they are those of the run in the file `run`. what_to_do ends the sentence. Errors:
 * FBT_ERR_DATA. */
fbt_status fbt_inputs_check_same(fbt_inputs *inputs, const fbt_settings *settings, const fbt_run_restored *restored,
                                 const char *run, const char *what_to_do);

/* Checks the data set against the settings and the model folder's config.json, without opening the model. What follows
 * is for settings that were checked last. Rank-local. */
fbt_status fbt_inputs_check(fbt_inputs *inputs, const fbt_settings *settings);

/* Chooses the training and dev samples and deals them out to the clients. Rank-local; the same on every rank. */
fbt_status fbt_inputs_partition(const fbt_inputs *inputs, const fbt_settings *settings, fbt_partition *partition);

/* Opens the backend for this rank's place on its node, unless it is open. Collective over comm; errors agreed. */
fbt_status fbt_inputs_open_backend(fbt_inputs *inputs, const fbt_settings *settings, const fbt_comm *comm);

/* Memory that the model will take of the open backend for batches within `limits`. Rank-local. */
fbt_status fbt_inputs_plan_memory(const fbt_inputs *inputs, const fbt_settings *settings,
                                  const fbt_model_limits *limits, fbt_model_plan *plan);

/* Opens the backend and the model, makes the projection and takes the memory for batches within `limits`; ranks of one
 * device share the weights where it can, which the observer (NULL is fine) is told. Backend and weights stay as they
 * are where they fit already. Collective over comm. Errors: agreed; FBT_ERR_MEMORY before anything is loaded where a
 * device has too little. */
fbt_status fbt_inputs_open_model(fbt_inputs *inputs, const fbt_settings *settings, const fbt_model_limits *limits,
                                 const fbt_run_observer *observer, const fbt_comm *comm);

/* Collective over the comm of open_model, if that was called. */
void fbt_inputs_close(fbt_inputs *inputs);

#ifdef __cplusplus
}
#endif

#endif
