/* `fedbpt info --model`: the check of a model folder that a run makes, before anything is prepared for it. */
#ifndef FBT_CLI_INFO_MODEL_H
#define FBT_CLI_INFO_MODEL_H

#include "base/status.h"

#include <stdbool.h>

/* readout: the one that must be supported, "mask", "embedding" or "last"; NULL: any. */
typedef struct fbt_info_model_request {
    const char *folder, *readout;
    bool config_only; /* leaves the weights out */
    bool json;
} fbt_info_model_request;

/* Prints what the folder holds, or nothing where it cannot be run. Errors: those of fbt_model_describe and of the
 * readout. */
fbt_status fbt_info_model(const fbt_info_model_request *request);

#endif
