/* Rotary positions (Su et al. 2021, arXiv 2104.09864): what config.json says of them, and the tables of their cosines
 * and sines. */
#ifndef FBT_MODEL_FAMILIES_ROTARY_H
#define FBT_MODEL_FAMILIES_ROTARY_H

#include "base/status.h"
#include "model/json_file.h"
#include "model/model.h"

/* Keys beside rope_scaling and rope_parameters, and what is taken without them. */
typedef struct fbt_rotary_keys {
    const char *theta;
    const char *share; /* of a head that is turned */
    double default_share;
} fbt_rotary_keys;

/* Fills in shape->decoder.rotary; head_dim and n_positions are read before. Errors: FBT_ERR_MODEL, by key and value. */
fbt_status fbt_rotary_read(const fbt_json_file *config, const fbt_rotary_keys *keys, fbt_model_shape *shape);

/* values: [n_positions, n_rotated / 2] */
void fbt_rotary_cosines(const fbt_model_shape *shape, float *values);
void fbt_rotary_sines(const fbt_model_shape *shape, float *values);

#endif
