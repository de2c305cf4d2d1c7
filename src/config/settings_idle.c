/* Settings that change no number of a run because of what others say. */
#include "config/options.h"

#include <stdlib.h>
#include <string.h>

static bool sigma(const fbt_settings *s)
{
    return s->cma.scale_by_sigma;
}

static bool scale_by_sigma(const fbt_settings *s)
{
    return s->cma.sigma == 1;
}

static bool decomposition(const fbt_settings *s)
{
    return s->cma.covariance != FBT_CMA_FULL;
}

static bool active(const fbt_settings *s)
{
    return s->cma.covariance == FBT_CMA_ISOTROPIC;
}

static bool dirichlet_alpha(const fbt_settings *s)
{
    return s->fed.partition != FBT_PARTITION_DIRICHLET || s->fed.clients == 1;
}

static bool partition(const fbt_settings *s)
{
    return s->fed.clients == 1;
}

static bool client_seeds(const fbt_settings *s)
{
#define FBT_OWN_CANDIDATES(value, name, object, own_candidates) [value] = own_candidates,
    static const bool own_candidates[] = {FBT_PROTOCOL_LIST(FBT_OWN_CANDIDATES)};
#undef FBT_OWN_CANDIDATES
    return !own_candidates[s->fed.protocol] || s->fed.clients == 1;
}

static bool perturbation(const fbt_settings *s)
{
    return s->perturb.rate == 0;
}

static bool precision_check(const fbt_settings *s)
{
    return strcmp(s->backend.precision, fbt_precision_names[FBT_PRECISION_FP32]) == 0;
}

static bool precision_guard(const fbt_settings *s)
{
    return precision_check(s) || s->backend.precision_check_every == 0;
}

static bool hidden_std(const fbt_settings *s)
{
    return s->prompt.deep == FBT_DEEP_NONE || s->prompt.projection != FBT_PROJECTION_NORMAL;
}

static const struct {
    const char *key;
    bool (*is_idle)(const fbt_settings *settings);
    const char *reason;
} rules[] = {
    {"cma.sigma", sigma,
     "the projection's scale is divided by it, as in the official code; vary cma.alpha, or set cma.scale_by_sigma to "
     "false"},
    {"cma.scale_by_sigma", scale_by_sigma, "cma.sigma is 1"},
    {"cma.decomposition", decomposition, "cma.covariance is not full"},
    {"cma.active", active, "cma.covariance is isotropic"},
    {"fed.dirichlet_alpha", dirichlet_alpha, "fed.partition is iid, or there is one client"},
    {"fed.partition", partition, "there is one client"},
    {"fed.client_seeds", client_seeds,
     "all clients score the same candidates under this protocol, or there is one client"},
    {"prompt.hidden_std", hidden_std, "prompt.deep is none, or prompt.projection is not normal"},
    {"perturb.scope", perturbation, "perturb.rate is 0"},
    {"perturb.fitness", perturbation, "perturb.rate is 0"},
    {"backend.precision_check_every", precision_check, "backend.precision is fp32, which others are checked against"},
    {"backend.precision_guard", precision_guard, "no precision is checked"},
    {"backend.precision_guard_tau", precision_guard, "no precision is checked"},
};

const char *fbt_settings_idle(const fbt_settings *settings, const char *key)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (strcmp(rules[i].key, key) == 0) {
            return rules[i].is_idle(settings) ? rules[i].reason : NULL;
        }
    }
    return NULL;
}

fbt_status fbt_settings_print_idle(const fbt_settings *settings, FILE *stream)
{
    fbt_status status = FBT_OK;
    char *text = NULL;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const fbt_option *option = fbt_option_find(rules[i].key);
        FBT_TRY(fbt_option_value_text(option, settings, &text));
        if (strcmp(text, option->default_text) != 0 && rules[i].is_idle(settings)) {
            fprintf(stream, "# %s: %s has no effect: %s\n", option->key, text, rules[i].reason);
        }
        free(text);
        text = NULL;
    }
done:
    free(text);
    return status;
}
