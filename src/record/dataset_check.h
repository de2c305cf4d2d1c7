/* Consistency of a data set that was read from a file, for dataset_file.c. */
#ifndef FBT_RECORD_DATASET_CHECK_H
#define FBT_RECORD_DATASET_CHECK_H

#include "base/status.h"
#include "data/dataset.h"

/* CSR offsets: from 0, rising by at least one each, up to n_tokens. `what` names the split, `item` its elements. */
fbt_status fbt_dataset_check_offsets(const char *path, const char *what, const char *item, const int64_t *offsets,
                                     int64_t n, int64_t n_tokens);

/* Everything else: ids, label words, tokens, labels and readouts. Errors: FBT_ERR_DATA naming split and sample. */
fbt_status fbt_dataset_check(const char *path, const fbt_dataset *dataset);

#endif
