/* Who takes part in a round. */
#include "fed/participants.h"

#include "base/memory.h"
#include "base/rng.h"

#include <gsl/gsl_randist.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* The draw by GSL. */
static void draw_by_gsl(const fbt_settings *settings, uint32_t round, int64_t *participants)
{
    const int64_t k = settings->fed.clients;
    int64_t *all = NULL;
    gsl_rng *rng;
    assert_int_equal(fbt_rng_new(&rng), FBT_OK);
    assert_int_equal(fbt_memory_alloc(&all, k, sizeof *all), FBT_OK);
    for (int64_t i = 0; i < k; i++) {
        all[i] = i;
    }
    fbt_rng_seek(
        rng, &(fbt_rng_stream){.seed = (uint64_t)settings->run.seed, .purpose = FBT_RNG_PARTICIPATION, .round = round});
    gsl_ran_choose(rng, participants, (size_t)fbt_settings_participants(settings), all, (size_t)k, sizeof *all);
    free(all);
    gsl_rng_free(rng);
}

/* Broken by numbers that are taken in another order than GSL takes them, by comparing them otherwise, by an end that is
 * passed. */
static void the_draw_is_gsls(void **state)
{
    (void)state;
    static const int64_t cases[][2] = {{1, 1}, {2, 1}, {7, 7}, {10, 3}, {1000, 999}, {65535, 20}, {1000000, 1000}};
    static int64_t found[1000], expected[1000];
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        for (uint32_t round = 1; round < 6; round++) {
            fbt_settings settings = {.run.seed = 11 + (int64_t)c,
                                     .fed = {.only_client = -1, .clients = cases[c][0], .participation = 1}};
            settings.fed.participants = cases[c][1];
            fbt_participants_draw(&settings, round, found);
            draw_by_gsl(&settings, round, expected);
            assert_memory_equal(found, expected, (size_t)cases[c][1] * sizeof *found);
        }
    }
}

/* A number chooses whom the fraction that comes to it does. */
static void a_number_is_a_fraction(void **state)
{
    (void)state;
    int64_t by_number[30], by_fraction[30];
    for (int64_t m = 1; m <= 30; m++) {
        const fbt_settings number = {.run.seed = 5,
                                     .fed = {.only_client = -1, .clients = 30, .participation = 1, .participants = m}};
        const fbt_settings fraction = {.run.seed = 5,
                                       .fed = {.only_client = -1, .clients = 30, .participation = (double)m / 30}};
        assert_int_equal(fbt_settings_participants(&number), m);
        assert_int_equal(fbt_settings_participants(&fraction), m);
        fbt_participants_draw(&number, 4, by_number);
        fbt_participants_draw(&fraction, 4, by_fraction);
        assert_memory_equal(by_number, by_fraction, (size_t)m * sizeof *by_number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_draw_is_gsls),
        cmocka_unit_test(a_number_is_a_fraction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
