/* Inside the model: its object, and what its files share. */
#ifndef FBT_MODEL_INTERNAL_H
#define FBT_MODEL_INTERNAL_H

#include "model/encoder.h"
#include "model/model.h"
#include "model/workspace.h"

/* What is under way on one lane of the backend. */
typedef struct fbt_model_lane {
    fbt_workspace workspace;
    int64_t n_prompts; /* of the last set_prompts */
} fbt_model_lane;

struct fbt_model {
    fbt_encoder encoder;
    fbt_model_options options; /* label_... are NULL: they were borrowed during open                     */
    fbt_matrix *projection;    /* NULL: not set                                                          */
    int64_t n_search;          /* d; 0 before the projection                                             */
    int64_t n_perturbations;   /* how often the perturbation was set: passes made before are of another  */
    float *z;                  /* [z_capacity]: search points as floats, until they are written          */
    int64_t z_capacity;
    fbt_model_lane *lanes; /* [n_lanes] */
    int n_lanes;
    fbt_model_lane *lane; /* the current one */
};

/* Elements of one soft prompt. */
static inline int64_t fbt_model_prompt_items(const fbt_model *model)
{
    return model->options.n_prompt_tokens * model->encoder.shape.n_hidden;
}

/* Checks what no backend could make sense of. Errors: FBT_ERR_ARG. */
fbt_status fbt_model_check_batch(const fbt_model *model, const fbt_batch *batch, fbt_prompt_mode mode);
fbt_status fbt_model_check_labels(const fbt_model *model, const fbt_batch *batch);

/* fbt_model_reserve for the current lane. */
fbt_status fbt_model_reserve_lane(fbt_model *model, const fbt_model_limits *limits);

#endif
