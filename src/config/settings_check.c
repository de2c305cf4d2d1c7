#include "config/options.h"

#include <inttypes.h>
#include <string.h>

enum { FULL_DIMENSION_MAX = 16384 }; /* C alone takes 2 GiB there */

/* Options without a default must have been given. */
static fbt_status check_given(const fbt_settings *settings)
{
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    for (int64_t i = 0; i < n; i++) {
        const char *const *text = (const void *)((const char *)settings + options[i].offset);
        if (options[i].default_text == NULL && *text == NULL) {
            return fbt_fail(FBT_ERR_CONFIG, "%s is not set (%s); give it in the settings file or by --set %s=...",
                            options[i].key, options[i].meaning, options[i].key);
        }
    }
    return FBT_OK;
}

static fbt_status check_clients(const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    double share = settings->fed.participation * (double)settings->fed.clients;
    if (settings->fed.participants > 0 && settings->fed.participation != 1) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.participants: %" PRId64 " clients a round are given, and fed.participation: %g of them too; give "
                 "one of the two",
                 settings->fed.participants, settings->fed.participation);
    }
    if (settings->fed.participants > settings->fed.clients) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.participants: %" PRId64 " clients a round, but fed.clients are %" PRId64
                 "; lower the former or raise the latter",
                 settings->fed.participants, settings->fed.clients);
    }
    if (settings->fed.only_client >= settings->fed.clients) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.only_client: there is no client %" PRId64 ", as fed.clients are %" PRId64
                 ", numbered from 0; lower it",
                 settings->fed.only_client, settings->fed.clients);
    }
    if (settings->fed.only_client >= 0 &&
        (settings->fed.participants > 0 || settings->fed.participation != 1 || settings->fed.over_selection != 1)) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.only_client: client %" PRId64 " takes part alone, but %s draws the participants; leave one out",
                 settings->fed.only_client,
                 settings->fed.participants > 0      ? "fed.participants"
                 : settings->fed.over_selection != 1 ? "fed.over_selection"
                                                     : "fed.participation");
    }
    if (share < 1 - 1e-9) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.participation: %g of %" PRId64 " clients is less than one client; raise it to %g or more",
                 settings->fed.participation, settings->fed.clients, 1 / (double)settings->fed.clients);
    }
    if (fbt_settings_chosen(settings) > settings->fed.clients) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.over_selection: %g times %" PRId64 " participants are %" PRId64
                 " clients, but fed.clients are %" PRId64 "; lower it, fed.participants or fed.participation",
                 settings->fed.over_selection, fbt_settings_participants(settings), fbt_settings_chosen(settings),
                 settings->fed.clients);
    }
    if (settings->pace.deadline_seconds > 0 && !fbt_settings_have_pace(settings)) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "pace.deadline_seconds: %g, but nothing takes time; give pace.compute_seconds, pace.bytes_per_second "
                 "or pace.latency_seconds, or set it to 0",
                 settings->pace.deadline_seconds);
    }
done:
    return status;
}

/* Clients of unequal sizes. Fitnesses of clients are compared with each other, or averaged: a sum over samples would
 * compare their sizes. */
static fbt_status check_sizes(const fbt_settings *settings)
{
    const bool natural = settings->fed.partition == FBT_PARTITION_NATURAL;
    const bool drawn = settings->fed.sizes != FBT_SIZES_EQUAL;
    const char *sizes = fbt_sizes_names[settings->fed.sizes];
    if (natural && drawn) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "fed.sizes: with fed.partition natural clients have the samples that the data set gives them, "
                        "not %s sizes; leave it out",
                        sizes);
    }
    if (natural && settings->data.shots != 0) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "data.shots: %" PRId64 " samples per class over all clients would leave clients of "
                        "fed.partition natural without any; set it to 0, so that they have all of their samples",
                        settings->data.shots);
    }
    if ((natural || drawn) && settings->perturb.rate > 0 && settings->perturb.fitness == FBT_FITNESS_SUM_OF_RATIOS) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "perturb.fitness: sum_of_ratios grows with a client's samples, of which %s %s gives some "
                        "clients more than others; use ratio_of_means",
                        natural ? "fed.partition" : "fed.sizes", natural ? "natural" : sizes);
    }
    return FBT_OK;
}

/* Words are chosen by a search for numbers of words, and by no other. */
static fbt_status check_search_of_words(const fbt_settings *settings)
{
    const bool has_words = settings->prompt.projection == FBT_PROJECTION_WORDS;
    const bool finds_words = (fbt_optimiser_reads[settings->fed.optimiser] & FBT_READS_VOCABULARY) != 0;
    if (has_words == finds_words) {
        return FBT_OK;
    }
    return fbt_fail(FBT_ERR_CONFIG,
                    has_words ? "prompt.projection: words, whose numbers fed.optimiser %s does not search; use "
                                "fed.optimiser bdpl"
                              : "fed.optimiser: %s searches numbers of words; set prompt.projection to words",
                    fbt_optimiser_names[settings->fed.optimiser]);
}

/* Refuses what has no meaning for numbers of words, of which the prompt has one for each of its places. */
static fbt_status check_words(const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_search_of_words(settings));
    if (settings->prompt.projection != FBT_PROJECTION_WORDS) {
        goto done;
    }
    if (settings->prompt.mode != FBT_PROMPT_INPUT) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "prompt.mode: %s, but prompt.projection words puts words in front of the text; use input",
                 fbt_prompt_mode_names[settings->prompt.mode]);
    }
    if (settings->prompt.deep != FBT_DEEP_NONE) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "prompt.deep: %s, but with prompt.projection words the input alone holds words; use none",
                 fbt_deep_names[settings->prompt.deep]);
    }
    if (settings->cma.dimension != settings->prompt.tokens) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "cma.dimension: %" PRId64 ", but with prompt.projection words it is that of prompt.tokens, %" PRId64,
                 settings->cma.dimension, settings->prompt.tokens);
    }
    if (settings->fed.average_means != 1) {
        FBT_FAIL(FBT_ERR_CONFIG, "fed.average_means: numbers of words (prompt.projection words) have no mean; set it "
                                 "to 1");
    }
done:
    return status;
}

fbt_status fbt_settings_check(const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_given(settings));
    FBT_TRY(check_clients(settings));
    FBT_TRY(check_sizes(settings));
    FBT_TRY(check_words(settings));
    if (settings->cma.covariance == FBT_CMA_FULL && settings->cma.dimension > FULL_DIMENSION_MAX &&
        fbt_settings_idle(settings, "cma.covariance") == NULL) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "cma.dimension: a full covariance matrix is limited to %d dimensions, not %" PRId64
                 "; use cma.covariance separable or isotropic, or a fed.optimiser without one",
                 FULL_DIMENSION_MAX, settings->cma.dimension);
    }
    if (settings->cma.norm_max > 0 && settings->cma.norm_max < settings->cma.norm_bound) {
        FBT_FAIL(FBT_ERR_CONFIG, "cma.norm_max: %g is less than cma.norm_bound, %g, from which it is to grow; raise it",
                 settings->cma.norm_max, settings->cma.norm_bound);
    }
    if (settings->perturb.rate > 0 && settings->objective.loss == FBT_LOSS_ACCURACY) {
        FBT_FAIL(FBT_ERR_CONFIG, "perturb.rate: a ratio of accuracies is no objective to minimise; use objective.loss "
                                 "ce or hinge, or perturb.rate 0");
    }
done:
    return status;
}
