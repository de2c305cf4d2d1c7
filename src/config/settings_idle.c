/* Settings that change no number of a run because of what others say. */
#include "config/options.h"

#include <stdlib.h>
#include <string.h>

/* Its entries are scaled by nothing but the dimension. */
static bool uniform(const fbt_settings *s)
{
    return s->prompt.projection == FBT_PROJECTION_UNIFORM;
}

static bool has_lengths_of_z(const fbt_settings *s)
{
    return s->cma.norm_bound > 0 || s->privacy.clip > 0 || s->fed.secure_aggregation;
}

static bool sigma(const fbt_settings *s)
{
    return s->cma.scale_by_sigma && !uniform(s) && !has_lengths_of_z(s);
}

static bool scale_by_sigma(const fbt_settings *s)
{
    return s->cma.sigma == 1 || uniform(s);
}

static bool decomposition(const fbt_settings *s)
{
    return s->cma.covariance != FBT_CMA_FULL;
}

static bool active(const fbt_settings *s)
{
    return s->cma.covariance == FBT_CMA_ISOTROPIC;
}

static bool no_covariance(const fbt_settings *s)
{
    return (fbt_optimiser_reads[s->fed.optimiser] & FBT_READS_COVARIANCE) == 0;
}

static bool no_rate(const fbt_settings *s)
{
    return !(fbt_optimiser_rates[s->fed.optimiser] > 0);
}

static bool no_momentum(const fbt_settings *s)
{
    return (fbt_optimiser_reads[s->fed.optimiser] & FBT_READS_MOMENTUM) == 0;
}

static bool no_elite(const fbt_settings *s)
{
    return (fbt_optimiser_reads[s->fed.optimiser] & FBT_READS_ELITE) == 0;
}

static bool no_seeds(const fbt_settings *s)
{
    return (fbt_optimiser_reads[s->fed.optimiser] & FBT_READS_SEEDS) == 0;
}

static bool dirichlet_alpha(const fbt_settings *s)
{
    return s->fed.partition != FBT_PARTITION_DIRICHLET || s->fed.clients == 1;
}

static bool one_client(const fbt_settings *s)
{
    return s->fed.clients == 1;
}

static bool size_alpha(const fbt_settings *s)
{
    return s->fed.sizes != FBT_SIZES_DIRICHLET || s->fed.clients == 1;
}

static bool size_sigma(const fbt_settings *s)
{
    return s->fed.sizes != FBT_SIZES_LOGNORMAL || s->fed.clients == 1;
}

static bool client_seeds(const fbt_settings *s)
{
#define FBT_OWN_CANDIDATES(value, name, object, own_candidates) [value] = own_candidates,
    static const bool own_candidates[] = {FBT_CLIENT_WORK_LIST(FBT_OWN_CANDIDATES)};
#undef FBT_OWN_CANDIDATES
    return !own_candidates[fbt_settings_client_work(s)] || s->fed.clients == 1;
}

static bool error_feedback(const fbt_settings *s)
{
    return s->fed.quantise_bits == 0;
}

static bool secure_range(const fbt_settings *s)
{
    return !s->fed.secure_aggregation;
}

static bool privacy_delta(const fbt_settings *s)
{
    return s->privacy.noise_multiplier == 0;
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

static const char no_projection[] = "prompt.projection is words, which have no scale";
static const char other_searcher[] = "the search of fed.optimiser has no such setting";

static bool dropout_kind(const fbt_settings *s)
{
    return s->faults.dropout == 0 || s->faults.dropout == 1;
}

static bool compute_sigma(const fbt_settings *s)
{
    return s->pace.compute_seconds == 0;
}

static bool bandwidth_sigma(const fbt_settings *s)
{
    return s->pace.bytes_per_second == 0;
}

static bool hidden_std(const fbt_settings *s)
{
    return s->prompt.deep == FBT_DEEP_NONE || s->prompt.projection != FBT_PROJECTION_NORMAL;
}

static bool words(const fbt_settings *s)
{
    return s->prompt.projection == FBT_PROJECTION_WORDS;
}

static bool no_words(const fbt_settings *s)
{
    return !words(s);
}

static bool layers(const fbt_settings *s)
{
    return !fbt_settings_alternates(s);
}

static bool norm_bound(const fbt_settings *s)
{
    return s->cma.norm_bound == 0;
}

static bool norm_max(const fbt_settings *s)
{
    return norm_bound(s) || s->cma.norm_growth == 0;
}

/* A setting may have several rules: the first that holds tells the reason. */
static const struct {
    const char *key;
    bool (*is_idle)(const fbt_settings *settings);
    const char *reason;
} rules[] = {
    {"cma.sigma", words, no_projection},
    {"cma.scale_by_sigma", words, no_projection},
    {"cma.alpha", words, no_projection},
    {"prompt.vocabulary", no_words, "prompt.projection is not words"},
    {"cma.sigma", sigma,
     "the projection's scale is divided by it, as in the official code; vary cma.alpha, or set cma.scale_by_sigma to "
     "false"},
    {"cma.scale_by_sigma", scale_by_sigma, "cma.sigma is 1, or prompt.projection is uniform"},
    {"cma.alpha", uniform, "prompt.projection is uniform"},
    {"cma.decomposition", decomposition, "cma.covariance is not full"},
    {"cma.active", active, "cma.covariance is isotropic"},
    {"fed.dirichlet_alpha", dirichlet_alpha, "fed.partition is not dirichlet, or there is one client"},
    {"fed.partition", one_client, "there is one client"},
    {"fed.sizes", one_client, "there is one client"},
    {"fed.size_alpha", size_alpha, "fed.sizes is not dirichlet, or there is one client"},
    {"fed.size_sigma", size_sigma, "fed.sizes is not lognormal, or there is one client"},
    {"fed.client_seeds", client_seeds, "all clients score the same candidates, or there is one client"},
    {"fed.error_feedback", error_feedback, "fed.quantise_bits is 0"},
    {"fed.secure_range", secure_range, "fed.secure_aggregation is false"},
    {"privacy.delta", privacy_delta, "privacy.noise_multiplier is 0"},
    {"cma.norm_growth", norm_bound, "cma.norm_bound is 0"},
    {"cma.norm_max", norm_max, "cma.norm_bound or cma.norm_growth is 0"},
    {"prompt.hidden_std", hidden_std, "prompt.deep is none, or prompt.projection is not normal"},
    {"prompt.layers", layers, "prompt.deep is not alternate, or there is no prompt"},
    {"perturb.scope", perturbation, "perturb.rate is 0"},
    {"perturb.fitness", perturbation, "perturb.rate is 0"},
    {"backend.precision_check_every", precision_check, "backend.precision is fp32, which others are checked against"},
    {"backend.precision_guard", precision_guard, "no precision is checked"},
    {"backend.precision_guard_tau", precision_guard, "no precision is checked"},
    {"cma.covariance", no_covariance, other_searcher},
    {"cma.decomposition", no_covariance, other_searcher},
    {"cma.active", no_covariance, other_searcher},
    {"cma.constants", no_covariance, other_searcher},
    {"es.learning_rate", no_rate, other_searcher},
    {"es.momentum", no_momentum, other_searcher},
    {"es.weight_decay", no_momentum, other_searcher},
    {"es.elite", no_elite, other_searcher},
    {"es.smoothing", no_elite, other_searcher},
    {"es.deviation_smoothing", no_elite, other_searcher},
    {"es.seeds", no_seeds, other_searcher},
    {"faults.dropout_kind", dropout_kind, "faults.dropout is 0 or 1"},
    {"pace.compute_sigma", compute_sigma, "pace.compute_seconds is 0"},
    {"pace.bandwidth_sigma", bandwidth_sigma, "pace.bytes_per_second is 0"},
};

const char *fbt_settings_idle(const fbt_settings *settings, const char *key)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (strcmp(rules[i].key, key) == 0 && rules[i].is_idle(settings)) {
            return rules[i].reason;
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
        if (strcmp(text, option->default_text) != 0 && fbt_settings_idle(settings, option->key) == rules[i].reason) {
            fprintf(stream, "# %s: %s has no effect: %s\n", option->key, text, rules[i].reason);
        }
        free(text);
        text = NULL;
    }
done:
    free(text);
    return status;
}
