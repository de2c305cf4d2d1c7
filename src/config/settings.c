#include "config/options.h"

#include <stdlib.h>
#include <string.h>

static fbt_status set_text(const fbt_option *option, const char *text, fbt_settings *settings)
{
    const fbt_option_input input = {.where = "defaults: ", .text = text, .n_bytes = strlen(text)};
    return fbt_option_set(option, &input, settings);
}

fbt_status fbt_settings_defaults(fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    for (int64_t i = 0; i < n; i++) {
        if (options[i].default_text != NULL) {
            FBT_TRY(set_text(&options[i], options[i].default_text, settings));
        }
    }
done:
    return status;
}

/* Whether two readings of one text, made from different defaults, differ in an option: the text does not name it. */
static fbt_status is_not_named(const fbt_option *option, const fbt_settings readings[2], bool *not_named)
{
    fbt_status status = FBT_OK;
    char *texts[2] = {NULL, NULL};
    FBT_TRY(fbt_option_value_text(option, &readings[0], &texts[0]));
    FBT_TRY(fbt_option_value_text(option, &readings[1], &texts[1]));
    *not_named = strcmp(texts[0], texts[1]) != 0;
done:
    free(texts[0]);
    free(texts[1]);
    return status;
}

fbt_status fbt_settings_defaults_before(fbt_settings *settings, const char *recorded, const char *name)
{
    fbt_status status = FBT_OK;
    fbt_settings readings[2] = {0};
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    for (int r = 0; r < 2; r++) {
        FBT_TRY(fbt_settings_defaults(&readings[r]));
        for (int64_t i = 0; i < n && r == 1; i++) {
            FBT_TRY(options[i].earlier_text == NULL ? FBT_OK
                                                    : set_text(&options[i], options[i].earlier_text, &readings[r]));
        }
        FBT_TRY(fbt_settings_read_text(&readings[r], recorded, name));
    }
    for (int64_t i = 0; i < n; i++) {
        bool not_named = false;
        if (options[i].earlier_text != NULL) {
            FBT_TRY(is_not_named(&options[i], readings, &not_named));
        }
        if (not_named) {
            FBT_TRY(set_text(&options[i], options[i].earlier_text, settings));
        }
    }
done:
    fbt_settings_clear(&readings[0]);
    fbt_settings_clear(&readings[1]);
    return status;
}

/* Run files that fedbpt-analysis gradients wrote, in this package's own print. */
static fbt_status refuse_gradients(const char *text, const char *name)
{
    if (strstr(text, "\n  protocol: gradients\n") == NULL) {
        return FBT_OK;
    }
    return fbt_fail(
        FBT_ERR_CONFIG,
        "%.300s was tuned by gradients (fed.protocol: gradients), which this program does not compute; show, "
        "export and fedbpt-analysis read it, fedbpt-analysis gradients makes it anew",
        name);
}

fbt_status fbt_settings_read_recorded(fbt_settings *settings, const char *text, const char *name)
{
    fbt_status status = FBT_OK;
    FBT_TRY(refuse_gradients(text, name));
    FBT_TRY(fbt_settings_defaults_before(settings, text, name));
    status = fbt_settings_read_text(settings, text, name);
done:
    return status;
}

void fbt_settings_clear(fbt_settings *settings)
{
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    for (int64_t i = 0; i < n; i++) {
        if (options[i].kind == FBT_OPTION_TEXT || options[i].kind == FBT_OPTION_WORD) {
            free(*(char **)fbt_option_member(&options[i], settings));
        }
    }
    memset(settings, 0, sizeof *settings);
}

fbt_status fbt_settings_set(fbt_settings *settings, const char *assignment)
{
    char key[FBT_OPTION_QUOTE_BYTES], quote[FBT_OPTION_QUOTE_BYTES];
    const char *equals = strchr(assignment, '=');
    size_t n_key = equals == NULL ? 0 : (size_t)(equals - assignment);
    if (n_key == 0) {
        return fbt_fail(FBT_ERR_CONFIG, "--set %s: expected section.key=value, as in --set fed.rounds=24",
                        fbt_option_quote(assignment, strlen(assignment), quote));
    }
    snprintf(key, sizeof key, "%.*s", (int)(n_key < sizeof key ? n_key : sizeof key - 1), assignment);
    const fbt_option *option = n_key < sizeof key ? fbt_option_find(key) : NULL;
    if (option == NULL) {
        return fbt_option_unknown("--set: ", key);
    }
    fbt_option_input input = {.where = "--set: ", .text = equals + 1, .n_bytes = strlen(equals + 1)};
    return fbt_option_set(option, &input, settings);
}

const char *fbt_settings_choice_name(const char *key, int value)
{
    const fbt_option *option = fbt_option_find(key);
    if (option == NULL || option->kind != FBT_OPTION_CHOICE) {
        return NULL;
    }
    return value < option->first_choice ? NULL : fbt_choice_name(option->choices, value);
}

int64_t fbt_settings_participants(const fbt_settings *settings)
{
    if (settings->fed.only_client >= 0) {
        return 1;
    }
    if (settings->fed.participants > 0) {
        return settings->fed.participants;
    }
    return (int64_t)(settings->fed.participation * (double)settings->fed.clients + 0.5);
}

bool fbt_settings_alternates(const fbt_settings *settings)
{
    return settings->prompt.deep == FBT_DEEP_ALTERNATE && settings->prompt.mode != FBT_PROMPT_NONE;
}

int64_t fbt_settings_n_blocks(const fbt_settings *settings)
{
    return fbt_settings_alternates(settings) && settings->prompt.layers > 0 ? settings->prompt.layers : 1;
}

int64_t fbt_settings_searched(const fbt_settings *settings)
{
    return settings->cma.dimension / fbt_settings_n_blocks(settings);
}

double fbt_settings_learning_rate(const fbt_settings *settings)
{
    return settings->es.learning_rate > 0 ? settings->es.learning_rate : fbt_optimiser_rates[settings->fed.optimiser];
}

int64_t fbt_settings_chosen(const fbt_settings *settings)
{
    return (int64_t)(settings->fed.over_selection * (double)fbt_settings_participants(settings) + 0.5);
}

bool fbt_settings_have_pace(const fbt_settings *settings)
{
    return settings->pace.compute_seconds > 0 || settings->pace.bytes_per_second > 0 ||
           settings->pace.latency_seconds > 0;
}

bool fbt_settings_have_faults(const fbt_settings *settings)
{
    return fbt_settings_have_pace(settings) || !fbt_settings_all_report(settings);
}

bool fbt_settings_all_report(const fbt_settings *settings)
{
    return settings->faults.dropout == 0 && settings->pace.deadline_seconds == 0 &&
           fbt_settings_chosen(settings) == fbt_settings_participants(settings);
}

bool fbt_settings_all_take_part(const fbt_settings *settings)
{
    return fbt_settings_all_report(settings) && fbt_settings_participants(settings) == settings->fed.clients;
}

bool fbt_settings_checks_round(const fbt_settings *settings, int64_t round)
{
    const int64_t every = settings->backend.precision_check_every;
    return every > 0 && round >= 1 && (round - 1) % every == 0;
}

bool fbt_settings_scores_round(const fbt_settings *settings, int64_t round)
{
    return round % settings->eval.every == 0 || round == settings->fed.rounds;
}

int64_t fbt_settings_scored_train(const fbt_settings *settings, int64_t n)
{
    const int64_t limit = settings->eval.train_limit;
    return limit > 0 && limit < n ? limit : n;
}

bool fbt_settings_scores_test(const fbt_settings *settings, int64_t round)
{
    const int64_t n = settings->eval.test_every > 0 ? settings->eval.test_every : 1;
    return round % (n * settings->eval.every) == 0 || round == settings->fed.rounds;
}
