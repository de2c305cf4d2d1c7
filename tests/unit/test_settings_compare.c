/* Which settings may differ between the sessions of one run. */
#include "base/status.h"
#include "config/options.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void init(fbt_settings *settings)
{
    *settings = (fbt_settings){0};
    assert_int_equal(fbt_settings_defaults(settings), FBT_OK);
    assert_int_equal(fbt_settings_set(settings, "model.path=models/a"), FBT_OK);
    assert_int_equal(fbt_settings_set(settings, "data.path=datasets/a.h5"), FBT_OK);
}

/* "key=value" with another value than the settings have; false: there is only one to choose. */
static bool other_value(const fbt_option *option, const fbt_settings *settings, char *text, size_t n_bytes)
{
    const void *member = (const char *)settings + option->offset;
    const char *const *names;
    char *old = NULL;
    bool has_other = true;
    assert_int_equal(fbt_option_value_text(option, settings, &old), FBT_OK);
    switch (option->kind) {
    case FBT_OPTION_TEXT:
        snprintf(text, n_bytes, "%s=%s.other", option->key, old);
        break;
    case FBT_OPTION_INT:
        snprintf(text, n_bytes, "%s=%lld", option->key, (long long)*(const int64_t *)member + 1);
        break;
    case FBT_OPTION_REAL:
        snprintf(text, n_bytes, "%s=%.17g", option->key,
                 nextafter(*(const double *)member, option->real_max == 1 ? 0.25 : 2e6));
        break;
    case FBT_OPTION_BOOL:
        snprintf(text, n_bytes, "%s=%s", option->key, *(const bool *)member ? "false" : "true");
        break;
    case FBT_OPTION_WORD:
    case FBT_OPTION_CHOICE:
        names = option->choices + option->first_choice;
        has_other = names[1] != NULL;
        snprintf(text, n_bytes, "%s=%s", option->key, names[has_other && strcmp(names[0], old) == 0]);
        break;
    }
    free(old);
    return has_other;
}

/* Every option but these; one that is added decides numbers until it is known not to. The smallest step of a number
 * counts. */
static void whatever_decides_a_number_must_be_equal(void **state)
{
    (void)state;
    static const char free_ones[] =
        " run.output run.overwrite run.max_seconds run.stop_margin_seconds model.path data.path fed.rounds "
        "backend.threads backend.batch_tokens backend.precision ";
    int64_t n, n_free = 0;
    const fbt_option *options = fbt_options(&n);
    for (int64_t i = 0; i < n; i++) {
        fbt_settings now, before;
        char assignment[256], word[128];
        init(&now);
        init(&before);
        assert_int_equal(fbt_settings_check_same(&now, &before, "a.h5"), FBT_OK);
        const bool has_other = other_value(&options[i], &before, assignment, sizeof assignment);
        if (fbt_settings_set(&now, assignment) != FBT_OK) {
            fail_msg("%s", fbt_error_message());
        }
        snprintf(word, sizeof word, " %s ", options[i].key);
        const bool is_free = strstr(free_ones, word) != NULL;
        const fbt_status status = fbt_settings_check_same(&now, &before, "a.h5");
        if (status != (is_free || !has_other ? FBT_OK : FBT_ERR_CONFIG)) {
            fail_msg("%s: %s", assignment, fbt_status_text(status));
        }
        assert_true(
            is_free || !has_other ||
            (strstr(fbt_error_message(), options[i].key) != NULL && strstr(fbt_error_message(), "a.h5") != NULL));
        n_free += is_free;
        fbt_error_clear();
        fbt_settings_clear(&now);
        fbt_settings_clear(&before);
    }
    assert_int_equal(n_free, 10);
}

/* Run files list what settings decide. Broken by an option whose word is not written, and by text that does not fit. */
static void what_settings_decide_is_listed(void **state)
{
    (void)state;
    char text[FBT_SETTINGS_DECIDES_BYTES];
    fbt_settings_list_decides(text);
    assert_string_equal(text, "run.output: nothing\n"
                              "run.overwrite: nothing\n"
                              "run.max_seconds: nothing\n"
                              "run.stop_margin_seconds: nothing\n"
                              "run.client_means: content\n"
                              "model.path: input\n"
                              "data.path: input\n"
                              "fed.rounds: length\n"
                              "eval.test_every: content\n"
                              "eval.train_limit: content\n"
                              "backend.precision: outcome\n"
                              "backend.threads: nothing\n"
                              "backend.batch_tokens: nothing\n");
}

static void rounds_may_grow_alone(void **state)
{
    (void)state;
    fbt_settings now, before;
    init(&now);
    init(&before);
    assert_int_equal(fbt_settings_set(&before, "fed.rounds=201"), FBT_OK);
    assert_int_equal(fbt_settings_check_same(&now, &before, "a.h5"), FBT_ERR_CONFIG);
    assert_non_null(strstr(fbt_error_message(), "200"));
    assert_non_null(strstr(fbt_error_message(), "201"));
    fbt_error_clear();
    assert_int_equal(fbt_settings_check_same(&before, &now, "a.h5"), FBT_OK);
    fbt_settings_clear(&now);
    fbt_settings_clear(&before);
}

/* A run goes on with what was found when it began, where that is not given; two runs compared as they are differ. */
static void what_is_found_need_not_be_given_again(void **state)
{
    (void)state;
    fbt_settings now, before;
    fbt_settings_difference difference;
    init(&now);
    init(&before);
    assert_int_equal(fbt_settings_set(&before, "eval.test_every=3"), FBT_OK);
    assert_int_equal(fbt_settings_check_same(&now, &before, "a.h5"), FBT_OK);
    assert_int_equal(fbt_settings_find_difference(&now, &before, &difference), FBT_OK);
    assert_string_equal(difference.key, "eval.test_every");
    assert_int_equal(fbt_settings_set(&now, "eval.test_every=2"), FBT_OK);
    assert_int_equal(fbt_settings_check_same(&now, &before, "a.h5"), FBT_ERR_CONFIG);
    fbt_error_clear();
    fbt_settings_clear(&now);
    fbt_settings_clear(&before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_decides_a_number_must_be_equal),
        cmocka_unit_test(what_settings_decide_is_listed),
        cmocka_unit_test(rounds_may_grow_alone),
        cmocka_unit_test(what_is_found_need_not_be_given_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
