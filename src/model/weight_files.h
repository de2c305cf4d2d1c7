/* Which files of a model folder hold its weights: model.safetensors, or the shards that model.safetensors.index.json
 * names. transformers takes the former where both are there and ignores the rest, so that a stale file goes unnoticed;
 * here a folder whose files contradict each other is refused. What says by its name that it is something else
 * (model.fp16.safetensors, pytorch_model.bin) contradicts nothing. */
#ifndef FBT_MODEL_WEIGHT_FILES_H
#define FBT_MODEL_WEIGHT_FILES_H

#include "base/status.h"
#include "model/json_file.h"

#include <stdint.h>

typedef struct fbt_weight_files {
    char *path;          /* where the tensors are listed, for error messages: the single file or the index */
    fbt_json_file index; /* closed: a single file                                                           */
    json_t *map;         /* the index's weight_map, name of tensor -> name of file; NULL: a single file     */
    const char **names;  /* [n_files], each once, in the folder itself                                      */
    int64_t n_files;
} fbt_weight_files;

/* Zero-initialise; clear after a failure too. The files are there, but are not opened. Errors: FBT_ERR_IO (none, one
 * is missing, the folder cannot be read), FBT_ERR_MODEL (contradictions, an index that is not one), FBT_ERR_MEMORY. */
fbt_status fbt_weight_files_find(const char *folder, fbt_weight_files *files);
void fbt_weight_files_clear(fbt_weight_files *files);

#endif
