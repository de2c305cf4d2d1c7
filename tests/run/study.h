/* A small study on the disk, for programs of one or several ranks: a data set of random tokens for the model
 * tests/golden/data/hf_roberta_mlm, and a configuration that runs in a blink. */
#ifndef FBT_TESTS_STUDY_H
#define FBT_TESTS_STUDY_H

#include "comm/comm.h"

enum { STUDY_PATH_BYTES = 200, STUDY_ROUNDS = 3, STUDY_CLIENTS = 5, STUDY_DIMENSION = 12, STUDY_DEV = 12 };

/* A new folder below /tmp with data.h5 and base.yaml, the same on all ranks; rank 0 makes it. Collective over world.
 * Aborts on failure. */
void study_make(const fbt_comm *world, char folder[STUDY_PATH_BYTES]);

/* Removes the folder and all in it. Collective over world. */
void study_remove(const fbt_comm *world, const char *folder);

/* Joins folder and name. */
const char *study_path(const char *folder, const char *name, char path[STUDY_PATH_BYTES]);

#endif
