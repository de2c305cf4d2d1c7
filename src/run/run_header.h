/* Header of a run file: settings, environment, inputs, partition. */
#ifndef FBT_RUN_RUN_HEADER_H
#define FBT_RUN_RUN_HEADER_H

#include "record/run_file.h"
#include "run/experiment_internal.h"

enum { FBT_RUN_TEXTS_MAX = 32, FBT_RUN_NUMBER_BYTES = 24 };

/* A list of entries being made; values are borrowed. */
typedef struct fbt_run_texts {
    fbt_run_text entries[FBT_RUN_TEXTS_MAX]; /* the last stays {NULL, NULL} */
    int n;
} fbt_run_texts;

/* A header and what it points to; stays where it is. Nothing to free: all else belongs to the experiment. */
typedef struct fbt_run_header_text {
    char ranks[FBT_RUN_NUMBER_BYTES], threads[FBT_RUN_NUMBER_BYTES], parameters[FBT_RUN_NUMBER_BYTES];
    fbt_backend_info info;
    char decides[FBT_SETTINGS_DECIDES_BYTES];
    fbt_run_texts environment, inputs;
    fbt_run_header header;
} fbt_run_header_text;

/* Fills *text. The model is open, hosts and devices are known, and of a new run the inputs have their digests. */
void fbt_run_header_make(const fbt_experiment *experiment, fbt_run_header_text *text);

#endif
