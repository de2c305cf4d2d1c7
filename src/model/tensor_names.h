/* The tensors of a table in a folder's files: by which names they are there, and whether they are as they should be. */
#ifndef FBT_MODEL_TENSOR_NAMES_H
#define FBT_MODEL_TENSOR_NAMES_H

#include "base/status.h"
#include "model/safetensors.h"
#include "model/tensor_table.h"

/* Where tensors are looked for. */
typedef struct fbt_tensor_source {
    const fbt_safetensors *files;
    const char *prefix; /* what stands in front of the model's names: the table's prefix or "" */
} fbt_tensor_source;

/* Finds out the prefix. Errors: FBT_ERR_MODEL (the word embeddings are missing, or are there twice). */
fbt_status fbt_tensor_source_open(const fbt_safetensors *files, const fbt_model_shape *shape,
                                  fbt_tensor_source *source);

/* The word embeddings, by either name; NULL: they are missing. */
const fbt_tensor *fbt_tensor_word_embeddings(const fbt_safetensors *files, const fbt_model_shape *shape);

/* The two tensors of rule number i of a step, NULL for what it does not have: a table, and what the shape gives no
 * bias, has the first alone. Errors: FBT_ERR_MODEL (missing, of another shape or type, there under two names). */
fbt_status fbt_tensor_source_find(const fbt_tensor_source *source, const fbt_tensor_walk *walk, int64_t i,
                                  const fbt_tensor **first, const fbt_tensor **second);

#endif
