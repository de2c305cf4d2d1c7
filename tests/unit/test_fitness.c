/* Fitness of candidates. In one dimension and with tokens 0 the toy model's loss is 1 + label / 4 + z^2, so that labels
 * set the losses. */
#include "client.h"
#include "toy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const int32_t tokens[] = {0, 0};

#define ITEM(loss_at_0)                                                                                                \
    {                                                                                                                  \
        .tokens = tokens, .n_tokens = 2, .readout = 1, .label = 4 * ((loss_at_0)-1)                                    \
    }

static fbt_item plain[] = {ITEM(1), ITEM(3)};
static fbt_item changed[] = {ITEM(2), ITEM(4)};
static fbt_item changed_to_zero[] = {ITEM(0), ITEM(4)};
static fbt_item three[] = {ITEM(1), ITEM(2), ITEM(6)};

static fbt_status score(const fbt_population *populations, int64_t n, fbt_fitness_kind kind, int64_t batch_tokens)
{
    fbt_evaluator *evaluator;
    fbt_model *model = toy_model_new(1);
    assert_int_equal(fbt_evaluator_new(model, (fbt_loss)0, batch_tokens, &evaluator), FBT_OK);
    const fbt_status status = fbt_client_score(evaluator, populations, n, 1, kind, NULL);
    assert_true(batch_tokens > 4 ||
                model->largest_batch == 4); /* 2 placeholders and 2 tokens: one sequence at a time */
    fbt_evaluator_free(evaluator);
    toy_model_free(model);
    return status;
}

static fbt_fitness score_one(fbt_item *perturbed, fbt_fitness_kind kind, double z)
{
    fbt_fitness f;
    const fbt_client client = {.n_samples = 2, .items = plain, .perturbed = perturbed};
    assert_int_equal(score(&(fbt_population){&client, &z, 1, &f}, 1, kind, 100), FBT_OK);
    return f;
}

static void expect(double got, double expected)
{
    assert_true(isfinite(got));
    assert_true(fabs(got - expected) <= 1e-15 * fabs(expected));
}

/* Broken by a sum in place of the mean, or by a perturbed loss that is recorded where there is none. */
static void without_perturbation(void **state)
{
    (void)state;
    const fbt_fitness f = score_one(NULL, FBT_FITNESS_RATIO_OF_MEANS, 2);
    expect(f.fitness, 2 + 4);
    expect(f.loss, 2 + 4);
    assert_true(isnan(f.loss_perturbed));
}

/* Means 2 and 3; the mean of ratios would be 0.625. Broken by the inverse ratio, too. */
static void ratio_of_means(void **state)
{
    (void)state;
    const fbt_fitness f = score_one(changed, FBT_FITNESS_RATIO_OF_MEANS, 0);
    expect(f.fitness, 2.0 / 3);
    expect(f.loss, 2);
    expect(f.loss_perturbed, 3);
}

/* 1/2 + 3/4. Broken by a mean, or by pairing a sample with another's copy. */
static void sum_of_ratios(void **state)
{
    (void)state;
    const fbt_fitness f = score_one(changed, FBT_FITNESS_SUM_OF_RATIOS, 0);
    expect(f.fitness, 1.25);
    expect(f.loss, 2);
    expect(f.loss_perturbed, 3);
}

/* An infinite fitness must not reach the ranking silently; the ratio of means of the same samples is fine. */
static void division_by_zero(void **state)
{
    (void)state;
    fbt_fitness f;
    const double z = 0;
    const fbt_client client = {.n_samples = 2, .items = plain, .perturbed = changed_to_zero};
    const fbt_population p = {&client, &z, 1, &f};
    assert_int_equal(score(&p, 1, FBT_FITNESS_SUM_OF_RATIOS, 100), FBT_ERR_NUMERIC);
    assert_string_not_equal(fbt_error_message(), "");
    fbt_error_clear();
    expect(score_one(changed_to_zero, FBT_FITNESS_RATIO_OF_MEANS, 0).fitness, 1);
}

/* Two clients of different sizes and numbers of candidates in one pass, in batches of one sequence and of all. Broken
 * by items, candidates or losses that shift against each other. */
static void several_clients(void **state)
{
    (void)state;
    const fbt_client clients[] = {{.id = 0, .n_samples = 2, .items = plain, .perturbed = changed},
                                  {.id = 1, .n_samples = 3, .items = three}};
    const double z[] = {1, 0, 2}, w[] = {0, 3};
    for (int64_t batch_tokens = 1; batch_tokens <= 1000; batch_tokens += 37) {
        fbt_fitness f[3], g[2];
        const fbt_population populations[] = {{&clients[0], z, 3, f}, {&clients[1], w, 2, g}};
        assert_int_equal(score(populations, 2, FBT_FITNESS_RATIO_OF_MEANS, batch_tokens), FBT_OK);
        expect(f[0].fitness, 3.0 / 4);
        expect(f[1].fitness, 2.0 / 3);
        expect(f[2].fitness, 6.0 / 7);
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
