/* Reading of data set files (HDF5, written by jobs/prepare_data.py; layout in docs/run-file.md). */
#ifndef FBT_RECORD_DATASET_FILE_H
#define FBT_RECORD_DATASET_FILE_H

#include "base/status.h"
#include "data/dataset.h"

/* Reads the whole file and checks it: attributes present, offsets rising, tokens inside the vocabulary, labels inside
 * the label list, readout inside its sample. `dataset` is zero-initialised by the caller; on failure it is empty.
 * Rank-local. Errors: FBT_ERR_IO (cannot be opened, truncated), FBT_ERR_DATA (says which split and sample). */
fbt_status fbt_dataset_file_read(const char *path, fbt_dataset *dataset);

#endif
