#include "run/deep.h"

#include "base/memory.h"
#include "config/options.h"
#include "model/prompt.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool fbt_deep_is_on(const fbt_settings *settings)
{
    return settings->prompt.deep != FBT_DEEP_NONE && settings->prompt.mode != FBT_PROMPT_NONE;
}

static bool is_auto(const fbt_settings *settings)
{
    return strcmp(settings->prompt.hidden_std, fbt_option_find("prompt.hidden_std")->auto_text) == 0;
}

bool fbt_deep_needs_stds(const fbt_settings *settings)
{
    return fbt_deep_is_on(settings) && settings->prompt.projection == FBT_PROJECTION_NORMAL && is_auto(settings);
}

/* n positive numbers with commas between. */
static fbt_status read_stds(const char *text, int64_t n, double *stds)
{
    const char *at = text;
    for (int64_t l = 0; l < n; l++) {
        char *end;
        stds[l] = strtod(at, &end);
        if (end == at || !(stds[l] > 0 && isfinite(stds[l])) || *end != (l + 1 < n ? ',' : '\0')) {
            return fbt_fail(FBT_ERR_CONFIG,
                            "prompt.hidden_std must be auto or %" PRId64
                            " positive numbers, one for each layer of the model, with commas between; its part %" PRId64
                            " is '%.40s'",
                            n, l + 1, at);
        }
        at = end + 1;
    }
    return FBT_OK;
}

fbt_status fbt_deep_check(const fbt_settings *settings, const fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    double *stds = NULL;
    const int64_t d = settings->cma.dimension, n_layers = shape->n_layers;
    if (!fbt_deep_is_on(settings)) {
        return FBT_OK;
    }
    if (d % n_layers != 0) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "cma.dimension is %" PRId64 ", which prompt.deep=%s cannot deal out to the model's %" PRId64
                 " layers: make it a multiple of that, such as %" PRId64,
                 d, fbt_settings_choice_name("prompt.deep", settings->prompt.deep), n_layers,
                 (d / n_layers + 1) * n_layers);
    }
    if (fbt_settings_alternates(settings) && settings->prompt.layers != 0 && settings->prompt.layers != n_layers) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "prompt.layers is %" PRId64 ", but the model has %" PRId64
                 " layers: leave it out, and it is found when the run begins",
                 settings->prompt.layers, n_layers);
    }
    if (settings->prompt.projection == FBT_PROJECTION_NORMAL && !is_auto(settings)) {
        FBT_TRY(fbt_memory_alloc(&stds, n_layers, sizeof *stds));
        FBT_TRY(read_stds(settings->prompt.hidden_std, n_layers, stds));
    }
done:
    free(stds);
    return status;
}

void fbt_deep_find_layers(fbt_settings *settings, const fbt_model_shape *shape)
{
    if (fbt_settings_alternates(settings) && settings->prompt.layers == 0) {
        settings->prompt.layers = shape->n_layers;
    }
}

static fbt_status print_stds(const double *stds, int64_t n, char **text)
{
    fbt_status status = FBT_OK;
    size_t used = 0;
    FBT_TRY(fbt_memory_alloc(text, FBT_OPTION_TEXT_BYTES, 1));
    for (int64_t l = 0; l < n; l++) {
        const size_t room = FBT_OPTION_TEXT_BYTES - used;
        const int n_bytes = snprintf(*text + used, room, "%s%.9g", l > 0 ? "," : "", stds[l]);
        if (n_bytes < 0 || (size_t)n_bytes >= room) {
            FBT_FAIL(FBT_ERR_UNSUPPORTED, "prompt.deep: prompt.hidden_std has no room for %" PRId64 " layers", n);
        }
        used += (size_t)n_bytes;
    }
done:
    return status;
}

static fbt_status find_here(fbt_model *model, const fbt_settings *settings, char **text)
{
    fbt_status status = FBT_OK;
    const int64_t n = fbt_model_get_shape(model)->n_layers;
    double *stds = NULL;
    FBT_TRY(fbt_memory_alloc(&stds, n, sizeof *stds));
    FBT_TRY(fbt_model_hidden_stds(model, (uint64_t)settings->run.seed, stds));
    FBT_TRY(print_stds(stds, n, text));
done:
    free(stds);
    return status;
}

fbt_status fbt_deep_find_stds(fbt_model *model, const fbt_settings *settings, const fbt_comm *comm, char **text)
{
    fbt_status status = FBT_OK;
    *text = NULL;
    FBT_TRY(fbt_comm_agree(comm, fbt_comm_rank(comm) == 0 ? find_here(model, settings, text) : FBT_OK));
    FBT_TRY(fbt_comm_broadcast_text(comm, text));
done:
    if (status != FBT_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

/* Standard deviations that the projections of the L prompts follow: [L]. */
static fbt_status list_stds(const fbt_model *model, const fbt_settings *settings, const char *hidden_std, int64_t n,
                            double *stds)
{
    if (fbt_deep_is_on(settings) && settings->prompt.projection == FBT_PROJECTION_NORMAL) {
        return read_stds(hidden_std, n, stds);
    }
    for (int64_t l = 0; l < n; l++) {
        stds[l] = fbt_model_embedding_std(model);
    }
    return FBT_OK;
}

fbt_status fbt_deep_set_projection(fbt_model *model, const fbt_settings *settings, const char *hidden_std)
{
    fbt_status status = FBT_OK;
    const int64_t n = fbt_model_n_prompts(fbt_model_get_shape(model), fbt_model_get_options(model));
    const int64_t d = settings->cma.dimension / n;
    const int64_t n_out = settings->prompt.tokens * fbt_model_get_shape(model)->n_hidden;
    const double divisor = settings->cma.scale_by_sigma ? settings->cma.sigma : 1;
    float *a = NULL;
    double *stds = NULL;
    if (fbt_model_get_options(model)->prompt_mode == FBT_PROMPT_NONE) {
        return FBT_OK;
    }
    FBT_TRY(fbt_memory_alloc(&stds, n, sizeof *stds));
    FBT_TRY(list_stds(model, settings, hidden_std, n, stds));
    FBT_TRY(fbt_memory_alloc(&a, n * n_out * d, sizeof *a));
    for (int64_t l = 0; l < n; l++) {
        const double scale = settings->cma.alpha * stds[l] / (sqrt((double)d) * divisor);
        FBT_TRY(fbt_prompt_projection((fbt_projection_kind)settings->prompt.projection, (uint64_t)settings->run.seed,
                                      scale, l * n_out, n_out, d, a + l * n_out * d));
    }
    FBT_TRY(fbt_model_set_projection(model, a, NULL, n * d));
done:
    free(a);
    free(stds);
    return status;
}
