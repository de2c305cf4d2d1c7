/* Reading of run files, for show and evaluate. */
#ifndef FBT_RECORD_RUN_READER_H
#define FBT_RECORD_RUN_READER_H

#include "base/digest.h"
#include "base/status.h"
#include "data/dataset.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* SHA-256 over all result data sets: everything that promise 1 says is equal however the work is cut, i.e. all of
 * /rounds, /partition, /result and /checkpoint but timings and memory. Names, types, shapes and values, in alphabetical
 * order, as a file of version 1 has them (run_digest.c). */
fbt_status fbt_run_reader_digest(const char *path, char text[FBT_DIGEST_TEXT_BYTES]);

/* Settings, environment and the table of rounds for people. */
fbt_status fbt_run_reader_show(const char *path, FILE *stream);

/* The same as one JSON object. */
fbt_status fbt_run_reader_show_json(const char *path, FILE *stream);

/* Reads the resolved settings (free()), and z [*dimension] (free()) of a round. `which` is "best",
 * "last" or a round number. *round is the round's index. */
fbt_status fbt_run_reader_load_z(const char *path, const char *which, char **config_resolved, double **z,
                                 int64_t *dimension, int64_t *round);

/* Reads the words that a run's prompts are made of; empty: none are. The caller clears the vocabulary, after an error
 * too. */
fbt_status fbt_run_reader_load_vocabulary(const char *path, fbt_word_list *vocabulary);

/* Writes `logits` float [n, n_labels] and `predictions`, `labels` int32 [n] to an HDF5 file (temporary file, then
 * renamed). */
fbt_status fbt_scores_write(const char *path, bool overwrite, const float *logits, const int32_t *predictions,
                            const int32_t *labels, int64_t n, int64_t n_labels, const char *source);

#endif
