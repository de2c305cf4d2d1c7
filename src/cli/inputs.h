/* What a run or an evaluation works on: data set, backend and model, checked to fit each other. */
#ifndef FBT_CLI_INPUTS_H
#define FBT_CLI_INPUTS_H

#include "comm.h"
#include "dataset.h"
#include "model.h"
#include "partition.h"
#include "settings.h"
#include "status.h"

/* Zero-initialise before, close after. */
typedef struct fbt_inputs {
    fbt_dataset dataset;
    fbt_backend *backend;
    fbt_model *model; /* with its projection set */
} fbt_inputs;

/* Reads the data set that the settings name. Rank-local. */
fbt_status fbt_inputs_open_dataset(fbt_inputs *inputs, const fbt_settings *settings);

/* Checks the data set against the settings and the model folder's config.json, without opening the model. Rank-local. */
fbt_status fbt_inputs_check(const fbt_inputs *inputs, const fbt_settings *settings);

/* Chooses the training and dev samples and deals them out to the clients. Rank-local; the same on every rank. */
fbt_status fbt_inputs_partition(const fbt_inputs *inputs, const fbt_settings *settings, fbt_partition *partition);

/* Opens the backend for this rank's place on its node, and the model, and makes the projection. Rank-local. */
fbt_status fbt_inputs_open_model(fbt_inputs *inputs, const fbt_settings *settings, int local_rank, int n_local_ranks);

void fbt_inputs_close(fbt_inputs *inputs);

#endif
