/* Deep prompts of a run: prompt.deep and prompt.hidden_std against the model, and the projection that follows. */
#ifndef FBT_RUN_DEEP_H
#define FBT_RUN_DEEP_H

#include "base/status.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "model/model.h"

#include <stdbool.h>

/* Whether the settings ask for a prompt at every layer. */
bool fbt_deep_is_on(const fbt_settings *settings);

/* Whether prompt.hidden_std is to be found: it is auto, and something is scaled by it. */
bool fbt_deep_needs_stds(const fbt_settings *settings);

/* Whether the settings fit a model of this shape. Errors: FBT_ERR_CONFIG, by the setting. */
fbt_status fbt_deep_check(const fbt_settings *settings, const fbt_model_shape *shape);

/* Makes prompt.layers the model's, where layers are searched in turn and it is not given. */
void fbt_deep_find_layers(fbt_settings *settings, const fbt_model_shape *shape);

/* prompt.hidden_std as rank 0 finds it (fbt_model_hidden_stds), the same text on every rank; free(). Collective; errors
 * agreed. */
fbt_status fbt_deep_find_stds(fbt_model *model, const fbt_settings *settings, const fbt_comm *comm, char **text);

/* Makes the random projection of the settings and hands it to the model; nothing in prompt mode none. hidden_std: what
 * stands for prompt.hidden_std. */
fbt_status fbt_deep_set_projection(fbt_model *model, const fbt_settings *settings, const char *hidden_std);

#endif
