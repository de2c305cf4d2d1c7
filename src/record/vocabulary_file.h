/* The vocabulary of prompts of words in an HDF5 file: a group `vocabulary` of the same form in data set files and,
 * below /inputs, in run files: data set `tokens`, attribute `words`. */
#ifndef FBT_RECORD_VOCABULARY_FILE_H
#define FBT_RECORD_VOCABULARY_FILE_H

#include "base/status.h"
#include "data/dataset.h"

#include <hdf5.h>

/* Reads the group below `parent`; where there is none the vocabulary stays empty. Errors: FBT_ERR_DATA, without the
 * file's name. */
fbt_status fbt_vocabulary_read(hid_t parent, fbt_word_list *vocabulary);

/* Writes a group of the first n_words words. */
fbt_status fbt_vocabulary_write(hid_t parent, const fbt_word_list *vocabulary, int64_t n_words);

#endif
