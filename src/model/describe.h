/* One look at a model folder without opening the model: what it is, and whether this program runs it. */
#ifndef FBT_MODEL_DESCRIBE_H
#define FBT_MODEL_DESCRIBE_H

#include "base/status.h"
#include "model/model.h"

#include <stdbool.h>
#include <stdint.h>

enum { FBT_DESCRIBE_NAME_BYTES = 80, FBT_DESCRIBE_SENTENCE_BYTES = 1024, FBT_DESCRIBE_READOUTS = 3 };

/* Names are as config.json has them, "" where it has none. */
typedef struct fbt_model_description {
    fbt_model_shape shape; /* pooling: as the embedding readout takes it */
    char model_type[FBT_DESCRIBE_NAME_BYTES];
    char architecture[FBT_DESCRIBE_NAME_BYTES]; /* the first, e.g. "BertModel" */
    char activation[FBT_DESCRIBE_NAME_BYTES];
    char dtype[FBT_DESCRIBE_NAME_BYTES]; /* of the word embeddings' tensor, e.g. "F32" */
    bool has_weights;                    /* false: they were not looked at, and the next four are empty */
    char **files;                        /* [n_files]: names of the weight files */
    int64_t n_files, n_tensors, n_bytes; /* n_bytes: of all tensors */
    /* By fbt_readout: "": supported; else the sentence that a run would end with. Without weights nothing is known of
     * the head that label words are read with. */
    char refusals[FBT_DESCRIBE_READOUTS][FBT_DESCRIBE_SENTENCE_BYTES];
} fbt_model_description;

/* Reads FOLDER's files; of the weights names, shapes and types alone. Clear it after a failure too. Errors: those of
 * fbt_model_open that concern every readout. */
fbt_status fbt_model_describe(const char *folder, bool with_weights, fbt_model_description *about);
void fbt_model_description_clear(fbt_model_description *about);

/* Fails with the sentence of a readout that is not supported; readout NULL: where none is. Names: "mask", "embedding",
 * "last". Errors: FBT_ERR_MODEL, FBT_ERR_UNSUPPORTED, FBT_ERR_ARG (another name). */
fbt_status fbt_model_description_require(const fbt_model_description *about, const char *readout);

#endif
