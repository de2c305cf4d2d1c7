/* Fitness of candidates. In one dimension the toy model's loss of tokens 0 is 1 + label / 4 + z^2, so that labels set
 * the losses. A perturbation at rate 1 with a vocabulary of one word makes tokens 0 of any. */
#include "fed/client.h"
#include "toy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const int32_t zeros[] = {0, 0}, ones[] = {1, 1};

/* Tokens, and the loss that they would have as zeros at z = 0. */
#define ITEM(words, loss_of_zeros)                                                                                     \
    {                                                                                                                  \
        .sequence = {                                                                                                  \
            .tokens = (words),                                                                                         \
            .n_tokens = 2,                                                                                             \
            .readout = 1,                                                                                              \
            .label = 4 * ((loss_of_zeros)-1),                                                                          \
            .origin = {.client = -1}                                                                                   \
        }                                                                                                              \
    }

static fbt_item plain[] = {ITEM(zeros, 1), ITEM(zeros, 3)};
static fbt_item changing[] = {ITEM(ones, 2), ITEM(ones, 4)};
static fbt_item changing_to_zero[] = {ITEM(ones, 0), ITEM(ones, 4)};
static fbt_item three[] = {ITEM(zeros, 1), ITEM(zeros, 2), ITEM(zeros, 6)};

/* How much larger the loss of tokens 1 is than that of tokens 0. */
static double more(double z)
{
    return toy_loss(&z, 1, ones, 2, 0) - toy_loss(&z, 1, zeros, 2, 0);
}

static fbt_status score(const fbt_population *populations, int64_t n, fbt_fitness_kind kind, int64_t batch_tokens)
{
    fbt_evaluator *evaluator;
    fbt_model *model = toy_model_new(1);
    const fbt_perturbation perturbation = {.seed = 1, .rate = 1, .vocab_size = 1};
    assert_int_equal(fbt_model_set_perturbation(model, &perturbation), FBT_OK);
    assert_int_equal(fbt_evaluator_new(model, (fbt_loss)0, batch_tokens, &evaluator), FBT_OK);
    fbt_scoring scoring = {
        .evaluator = evaluator, .populations = populations, .n_populations = n, .d = 1, .round = 1, .kind = kind};
    const fbt_status status = fbt_scoring_run(&scoring);
    assert_true(batch_tokens > 4 ||
                model->largest.n_rows == 4); /* 2 placeholders and 2 tokens: one sequence at a time */
    fbt_evaluator_free(evaluator);
    toy_model_free(model);
    return status;
}

static fbt_fitness score_one(fbt_item *items, bool perturbed, fbt_fitness_kind kind, double z)
{
    fbt_fitness f;
    const fbt_client client = {.n_samples = 2, .items = items, .perturbed = perturbed};
    assert_int_equal(score(&(fbt_population){&client, &z, 1, &f}, 1, kind, 100), FBT_OK);
    return f;
}

/* Losses are floats. */
static void expect(double got, double expected)
{
    assert_true(isfinite(got));
    assert_true(fabs(got - expected) <= 2e-7 * fabs(expected));
}

/* Broken by a sum in place of the mean, or by a perturbed loss that is recorded where there is none. */
static void without_perturbation(void **state)
{
    (void)state;
    const fbt_fitness f = score_one(plain, false, FBT_FITNESS_RATIO_OF_MEANS, 2);
    expect(f.fitness, 2 + 4);
    expect(f.loss, 2 + 4);
    assert_true(isnan(f.loss_perturbed));
}

/* Losses 2 and 4 of the perturbed copy, and the more of the samples as they are. Broken by the inverse ratio, by a mean
 * of ratios, by a copy that is not perturbed. */
static void ratio_of_means(void **state)
{
    (void)state;
    const fbt_fitness f = score_one(changing, true, FBT_FITNESS_RATIO_OF_MEANS, 0);
    assert_true(more(0) > 0.3);
    expect(f.fitness, (3 + more(0)) / 3);
    expect(f.loss, 3 + more(0));
    expect(f.loss_perturbed, 3);
}

/* Broken by a mean, or by pairing a sample with another's copy. */
static void sum_of_ratios(void **state)
{
    (void)state;
    const fbt_fitness f = score_one(changing, true, FBT_FITNESS_SUM_OF_RATIOS, 0);
    expect(f.fitness, (2 + more(0)) / 2 + (4 + more(0)) / 4);
    expect(f.loss, 3 + more(0));
    expect(f.loss_perturbed, 3);
}

/* An infinite fitness must not reach the ranking silently; the ratio of means of the same samples is fine. */
static void division_by_zero(void **state)
{
    (void)state;
    fbt_fitness f;
    const double z = 0;
    const fbt_client client = {.n_samples = 2, .items = changing_to_zero, .perturbed = true};
    const fbt_population p = {&client, &z, 1, &f};
    assert_int_equal(score(&p, 1, FBT_FITNESS_SUM_OF_RATIOS, 100), FBT_ERR_NUMERIC);
    assert_string_not_equal(fbt_error_message(), "");
    fbt_error_clear();
    expect(score_one(changing_to_zero, true, FBT_FITNESS_RATIO_OF_MEANS, 0).fitness, (2 + more(0)) / 2);
}

/* Two clients of different sizes and numbers of candidates in one pass, in batches of one sequence and of all. Broken
 * by items, candidates or losses that shift against each other. */
static void several_clients(void **state)
{
    (void)state;
    const fbt_client clients[] = {{.id = 0, .n_samples = 2, .items = changing, .perturbed = true},
                                  {.id = 1, .n_samples = 3, .items = three}};
    const double z[] = {1, 0, 2}, w[] = {0, 3};
    for (int64_t batch_tokens = 1; batch_tokens <= 1000; batch_tokens += 37) {
        fbt_fitness f[3], g[2];
        const fbt_population populations[] = {{&clients[0], z, 3, f}, {&clients[1], w, 2, g}};
        assert_int_equal(score(populations, 2, FBT_FITNESS_RATIO_OF_MEANS, batch_tokens), FBT_OK);
        for (int c = 0; c < 3; c++) {
            expect(f[c].loss_perturbed, 3 + z[c] * z[c]);
            expect(f[c].fitness, 1 + more(z[c]) / (3 + z[c] * z[c]));
        }
        expect(g[0].fitness, 3);
        expect(g[1].fitness, 12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_perturbation), cmocka_unit_test(ratio_of_means),
                                       cmocka_unit_test(sum_of_ratios), cmocka_unit_test(division_by_zero),
                                       cmocka_unit_test(several_clients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
