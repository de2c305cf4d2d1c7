#include "fed/precision_check.h"

#include "base/memory.h"
#include "base/rng_block.h"
#include "fed/ranking.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct fbt_precision_check {
    const fbt_settings *settings;
    fbt_evaluator *evaluator; /* of the reference */
    uint32_t round;
    fbt_precision_choice choice;
    double *values; /* [n_values]: n_kept, z, fitness, loss, so that one sum shares them */
    int64_t n_values;
    double *n_kept;            /* [1] */
    double *z;                 /* [lambda, d] */
    double *fitness, *loss;    /* [lambda] in the low precision */
    double *reference_fitness; /* [lambda] */
    fbt_fitness *reference;    /* [lambda] */
};

fbt_precision_choice fbt_precision_choose(const fbt_settings *settings, uint32_t round, int64_t n_participants)
{
    const fbt_rng_stream stream = {.seed = (uint64_t)settings->run.seed, .purpose = FBT_RNG_CHECK, .round = round};
    uint32_t words[4];
    fbt_rng_block(&stream, 0, words);
    return (fbt_precision_choice){
        .slot = (int64_t)(((uint64_t)words[0] * (uint64_t)n_participants) >> 32),
        .generation = (int64_t)(((uint64_t)words[1] * (uint64_t)settings->fed.local_generations) >> 32)};
}

fbt_status fbt_precision_check_new(const fbt_settings *settings, fbt_model *reference, fbt_precision_check **check)
{
    fbt_status status = FBT_OK;
    const int64_t lambda = settings->cma.population, d = settings->cma.dimension;
    fbt_precision_check *c;
    FBT_TRY(fbt_memory_alloc(check, 1, sizeof **check));
    c = *check;
    c->settings = settings;
    c->n_values = 1 + lambda * (d + 2);
    FBT_TRY(fbt_memory_alloc(&c->values, c->n_values, sizeof *c->values));
    c->n_kept = c->values;
    c->z = c->n_kept + 1;
    c->fitness = c->z + lambda * d;
    c->loss = c->fitness + lambda;
    FBT_TRY(fbt_memory_alloc(&c->reference_fitness, lambda, sizeof *c->reference_fitness));
    FBT_TRY(fbt_memory_alloc(&c->reference, lambda, sizeof *c->reference));
    FBT_TRY(
        fbt_evaluator_new(reference, (fbt_loss)settings->objective.loss, fbt_batch_tokens(settings), &c->evaluator));
done:
    return status;
}

void fbt_precision_check_free(fbt_precision_check *check)
{
    if (check == NULL) {
        return;
    }
    fbt_evaluator_free(check->evaluator);
    free(check->values);
    free(check->reference_fitness);
    free(check->reference);
    free(check);
}

void fbt_precision_check_begin(fbt_precision_check *check, uint32_t round, int64_t n_participants)
{
    check->round = round;
    check->choice = fbt_precision_choose(check->settings, round, n_participants);
    memset(check->values, 0, (size_t)check->n_values * sizeof *check->values);
}

void fbt_precision_check_keep(fbt_precision_check *check, int64_t slot, int64_t generation, const fbt_block *block,
                              const double *x, const fbt_fitness *scores)
{
    const int64_t lambda = check->settings->cma.population;
    if (slot != check->choice.slot || generation != check->choice.generation) {
        return;
    }
    *check->n_kept = 1;
    fbt_block_complete(block, check->settings->cma.dimension, lambda, x, check->z);
    for (int64_t c = 0; c < lambda; c++) {
        check->fitness[c] = scores[c].fitness;
        check->loss[c] = scores[c].loss;
    }
}

static fbt_precision_result compare(const fbt_precision_check *check)
{
    const int64_t lambda = check->settings->cma.population;
    double sum = 0;
    for (int64_t c = 0; c < lambda; c++) {
        const double error = check->loss[c] - check->reference[c].loss;
        check->reference_fitness[c] = check->reference[c].fitness;
        sum += error * error;
    }
    return (fbt_precision_result){.tau = fbt_ranking_tau(check->fitness, check->reference_fitness, lambda),
                                  .overlap =
                                      fbt_ranking_overlap(check->fitness, check->reference_fitness, lambda, lambda / 2),
                                  .loss_error = sqrt(sum / (double)lambda)};
}

fbt_status fbt_precision_check_finish(fbt_precision_check *check, const int64_t *participants, const fbt_split *train,
                                      const fbt_partition *partition, const fbt_comm *world,
                                      fbt_precision_result *result)
{
    fbt_status status = FBT_OK;
    const fbt_settings *settings = check->settings;
    fbt_client client = {0};
    fbt_comm_sum(world, check->values, check->n_values); /* one rank has kept it */
    if (*check->n_kept != 1) {
        FBT_FAIL(FBT_ERR_ARG, "fed.protocol %s shows no population of generation %lld to be checked",
                 fbt_settings_choice_name("fed.protocol", settings->fed.protocol), (long long)check->choice.generation);
    }
    status = fbt_client_init(&client, participants[check->choice.slot], train, partition, settings->perturb.rate > 0);
    FBT_TRY(fbt_comm_agree(world, status));
    const fbt_population population = {
        .client = &client, .z = check->z, .n_candidates = settings->cma.population, .fitness = check->reference};
    FBT_TRY(fbt_scoring_run(&(fbt_scoring){.evaluator = check->evaluator,
                                           .populations = &population,
                                           .n_populations = 1,
                                           .d = settings->cma.dimension,
                                           .round = check->round,
                                           .kind = (fbt_fitness_kind)settings->perturb.fitness,
                                           .share = world}));
    *result = compare(check);
done:
    fbt_client_clear(&client);
    return status;
}

int64_t fbt_precision_check_n_tokens(const fbt_precision_check *check)
{
    return fbt_evaluator_n_tokens(check->evaluator);
}
