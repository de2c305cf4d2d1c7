#include "fed/shared_population.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/timer.h"
#include "fed/norm_bound.h"

#include <stdlib.h>
#include <string.h>

/* Scratch of a round. */
typedef struct scorers {
    double *x;                   /* [lambda, block.n]                */
    fbt_fitness *scores;         /* [n_clients, lambda] of this rank */
    fbt_population *populations; /* [n_populations]                  */
    int64_t n_populations;
} scorers;

void fbt_shared_population_record(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_schema_add(schema, "fitness", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
    fbt_schema_add(schema, "loss", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
    fbt_schema_add(schema, "loss_perturbed", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
    fbt_schema_add(schema, "step_size", settings->fed.local_generations, FBT_FIELD_POSITIVE, FBT_FIELD_KNOWN);
    fbt_schema_add(schema, "condition", 1, FBT_FIELD_REAL, FBT_FIELD_KNOWN);
}

static void free_scorers(void *state)
{
    scorers *s = state;
    if (s == NULL) {
        return;
    }
    free(s->x);
    free(s->scores);
    free(s->populations);
    free(s);
}

static fbt_status begin(fbt_round *round, void **state)
{
    fbt_status status = FBT_OK;
    scorers *s = NULL;
    const int64_t lambda = round->settings->cma.population;
    FBT_TRY(fbt_memory_alloc(&s, 1, sizeof *s));
    *state = s;
    FBT_TRY(fbt_memory_alloc(&s->x, lambda * fbt_settings_searched(round->settings), sizeof *s->x));
    FBT_TRY(fbt_memory_alloc(&s->scores, round->n_clients * lambda, sizeof *s->scores));
    FBT_TRY(fbt_memory_alloc(&s->populations, round->n_clients, sizeof *s->populations));
    for (int64_t i = 0; i < round->n_clients; i++) {
        s->populations[i] = (fbt_population){
            .client = &round->clients[i], .z = s->x, .n_candidates = lambda, .fitness = s->scores + i * lambda};
    }
    s->n_populations = round->n_clients;
    round->population = s->x;
done:
    return status;
}

/* The generation's candidates, and the step size with which they are made. */
static fbt_status ask(fbt_round *round, double *x, int64_t generation)
{
    const double start_s = fbt_timer_now_s();
    fbt_optimiser *optimiser = round->server->optimiser;
    for (int64_t slot = 0; slot < round->n_participants; slot++) {
        fbt_messages_at(round->up, "step_size", slot)[generation] = fbt_optimiser_step_size(optimiser);
    }
    const fbt_rng_stream stream = {.seed = (uint64_t)round->settings->run.seed,
                                   .purpose = FBT_RNG_SERVER,
                                   .round = round->number,
                                   .generation = (uint32_t)generation};
    const fbt_status status = fbt_optimiser_ask(optimiser, round->rng, &stream, x);
    if (status == FBT_OK) {
        fbt_norm_bound_apply(fbt_norm_bound(round->settings, round->number), round->settings->cma.population,
                             fbt_settings_searched(round->settings), x);
    }
    round->phase_s[FBT_PHASE_OPTIMISE] += fbt_timer_now_s() - start_s;
    return status;
}

static fbt_status score(fbt_round *round, scorers *s)
{
    const double start_s = fbt_timer_now_s();
    fbt_status status = FBT_OK;
    if (s->n_populations > 0) {
        status = fbt_scoring_run(&(fbt_scoring){.evaluator = round->evaluator,
                                                .populations = s->populations,
                                                .n_populations = s->n_populations,
                                                .d = round->settings->cma.dimension,
                                                .block = round->block,
                                                .round = round->number,
                                                .kind = (fbt_fitness_kind)round->settings->perturb.fitness,
                                                .share = round->group});
    }
    round->phase_s[FBT_PHASE_SEARCH] += fbt_timer_now_s() - start_s;
    return status;
}

/* Losses, or of each pair whether the first is no worse, as the schema has it. */
static void fill_report(const fbt_messages *up, int64_t slot, int64_t lambda, const fbt_fitness *fitness)
{
    double *losses = fbt_messages_at(up, "losses", slot), *votes = fbt_messages_at(up, "votes", slot);
    for (int64_t c = 0; losses != NULL && c < lambda; c++) {
        losses[c] = fitness[c].fitness;
    }
    for (int64_t p = 0; votes != NULL && p < lambda / 2; p++) {
        votes[p] = fitness[2 * p].fitness <= fitness[2 * p + 1].fitness ? 1 : -1;
    }
}

/* Adds to the report, for the record, the means of losses over the generation. */
static void fill_messages(const fbt_round *round, const scorers *s)
{
    const int64_t lambda = round->settings->cma.population;
    for (int64_t i = 0; i < s->n_populations; i++) {
        const int64_t slot = s->populations[i].client->slot;
        double fitness = 0, loss = 0, loss_perturbed = 0;
        for (int64_t c = 0; c < lambda; c++) {
            const fbt_fitness *f = &s->populations[i].fitness[c];
            fitness += f->fitness / (double)lambda;
            loss += f->loss / (double)lambda;
            loss_perturbed += f->loss_perturbed / (double)lambda;
        }
        fill_report(round->up, slot, lambda, s->populations[i].fitness);
        fbt_messages_put_one(round->up, "fitness", slot, fitness);
        fbt_messages_put_one(round->up, "loss", slot, loss);
        fbt_messages_put_one(round->up, "loss_perturbed", slot, loss_perturbed);
    }
}

static fbt_status step(fbt_round *round, void *state, int64_t exchange)
{
    fbt_status status = FBT_OK;
    scorers *s = state;
    status = ask(round, s->x, exchange);
    if (round->group != NULL) {
        status = fbt_comm_agree(round->group, status); /* its ranks meet in the evaluation */
    }
    FBT_TRY(status);
    FBT_TRY(score(round, s));
    fill_messages(round, s);
    for (int64_t i = 0; i < s->n_populations; i++) {
        const fbt_population *p = &s->populations[i];
        fbt_round_show_population(round, p->client->slot, exchange, p->z, p->fitness);
    }
done:
    return status;
}

static void end(fbt_round *round, void *state)
{
    fbt_optimiser_health health;
    (void)state;
    fbt_optimiser_health_get(round->server->optimiser, &health);
    for (int64_t slot = 0; slot < round->n_participants; slot++) {
        fbt_messages_put_one(round->up, "condition", slot, health.condition);
    }
}

static int64_t n_exchanges(const fbt_settings *settings)
{
    return settings->fed.local_generations;
}

static int64_t n_evaluations(const fbt_settings *settings)
{
    return settings->cma.population * settings->fed.local_generations;
}

const fbt_client_work fbt_shared_population = {
    .report = FBT_REPORT_LOSSES,
    .n_exchanges = n_exchanges,
    .n_evaluations = n_evaluations,
    .n_batches = n_exchanges, /* one for each */
    .begin = begin,
    .step = step,
    .end = end,
    .free = free_scorers,
};
