/* All clients score the same population, so that one CMA-ES searches the whole federation's objective: candidate i of
 * generation g is made from (seed, round, g, i) alone, a client sends its lambda losses, and their n_k-weighted mean is
 * the fitness. No drift of clients, nothing to rank across clients; related: FedES, FedKSeed. */
#include "base/memory.h"
#include "base/rng.h"
#include "base/timer.h"
#include "fed/local_search.h"
#include "fed/protocol.h"

#include <stdlib.h>
#include <string.h>

/* Scratch of a round. */
typedef struct exchange {
    double *x;                   /* [lambda, d]                       */
    double *losses;              /* [m, lambda]: one slot per upload  */
    double *fitness;             /* [lambda]                          */
    fbt_fitness *scores;         /* [n_clients, lambda] of this rank  */
    fbt_population *populations; /* [n_clients]                       */
    int64_t n_populations;
} exchange;

static void server_options(const fbt_settings *settings, int64_t n_participants, fbt_cma_options *options)
{
    (void)n_participants;
    fbt_local_search_options(settings, options);
}

static void clear_exchange(exchange *e)
{
    free(e->x);
    free(e->losses);
    free(e->fitness);
    free(e->scores);
    free(e->populations);
}

static fbt_status init_exchange(exchange *e, const fbt_round_context *context)
{
    fbt_status status = FBT_OK;
    int64_t lambda = context->settings->cma.population;
    FBT_TRY(fbt_memory_alloc(&e->x, lambda * context->settings->cma.dimension, sizeof *e->x));
    FBT_TRY(fbt_memory_alloc(&e->losses, context->n_participants * lambda, sizeof *e->losses));
    FBT_TRY(fbt_memory_alloc(&e->fitness, lambda, sizeof *e->fitness));
    FBT_TRY(fbt_memory_alloc(&e->scores, context->n_clients * lambda, sizeof *e->scores));
    FBT_TRY(fbt_memory_alloc(&e->populations, context->n_clients, sizeof *e->populations));
    for (int64_t i = 0; i < context->n_clients; i++) {
        if (context->slot_of[context->clients[i].id] >= 0) {
            e->populations[e->n_populations] = (fbt_population){.client = &context->clients[i],
                                                                .z = e->x,
                                                                .n_candidates = lambda,
                                                                .fitness = e->scores + e->n_populations * lambda};
            e->n_populations++;
        }
    }
done:
    return status;
}

static fbt_status ask(const fbt_round_context *context, fbt_server *server, int64_t generation, double *x)
{
    for (int64_t c = 0; c < context->settings->cma.population; c++) {
        fbt_rng_seek(context->rng, &(fbt_rng_stream){.seed = (uint64_t)context->settings->run.seed,
                                                     .purpose = FBT_RNG_SERVER,
                                                     .round = context->round,
                                                     .generation = (uint32_t)generation,
                                                     .candidate = (uint32_t)c});
        fbt_status status = fbt_cma_ask(server->cma, c, context->rng, x + c * context->settings->cma.dimension);
        if (status != FBT_OK) {
            return status;
        }
    }
    return FBT_OK;
}

static fbt_status score(const fbt_round_context *context, exchange *e)
{
    double start_s = fbt_timer_now_s();
    fbt_status status = FBT_OK;
    if (e->n_populations > 0) {
        status = fbt_scoring_run(&(fbt_scoring){.evaluator = context->evaluator,
                                                .populations = e->populations,
                                                .n_populations = e->n_populations,
                                                .d = context->settings->cma.dimension,
                                                .round = context->round,
                                                .kind = (fbt_fitness_kind)context->settings->perturb.fitness,
                                                .share = context->group});
    }
    context->phase_s[FBT_PHASE_SEARCH] += fbt_timer_now_s() - start_s;
    return status;
}

/* Puts this rank's clients' losses into their slots, sums the slots, and weighs them, in the participants' order on
 * every rank. Collective. */
static void exchange_losses(const fbt_round_context *context, exchange *e)
{
    int64_t m = context->n_participants;
    int64_t lambda = context->settings->cma.population;
    double n_samples = 0;
    memset(e->losses, 0, (size_t)(m * lambda) * sizeof *e->losses);
    for (int64_t i = 0; context->fills_slots && i < e->n_populations; i++) {
        int64_t slot = context->slot_of[e->populations[i].client->id];
        for (int64_t c = 0; c < lambda; c++) {
            e->losses[slot * lambda + c] = e->populations[i].fitness[c].fitness;
        }
    }
    fbt_comm_sum(context->world, e->losses, m * lambda);
    for (int64_t k = 0; k < m; k++) {
        n_samples += context->n_samples[k];
    }
    for (int64_t c = 0; c < lambda; c++) {
        e->fitness[c] = 0;
        for (int64_t k = 0; k < m; k++) {
            e->fitness[c] += context->n_samples[k] / n_samples * e->losses[k * lambda + c];
        }
    }
}

/* What every rank does by itself between two exchanges: tells generation - 1, asks for generation. */
static fbt_status advance(const fbt_round_context *context, fbt_server *server, exchange *e, int64_t generation,
                          fbt_uploads *uploads)
{
    fbt_status status = FBT_OK;
    double start_s = fbt_timer_now_s();
    if (generation > 0) {
        FBT_TRY(fbt_cma_tell(server->cma, context->settings->cma.population, e->x, e->fitness));
    }
    if (generation < uploads->n_generations) {
        for (int64_t k = 0; k < context->n_participants; k++) {
            uploads->step_size[k * uploads->n_generations + generation] = fbt_cma_step_size(server->cma);
        }
        FBT_TRY(ask(context, server, generation, e->x));
    }
done:
    context->phase_s[FBT_PHASE_OPTIMISE] += fbt_timer_now_s() - start_s;
    return status;
}

static fbt_status evaluate(const fbt_round_context *context, exchange *e)
{
    fbt_status status = score(context, e);
    double start_s = fbt_timer_now_s();
    FBT_TRY(fbt_comm_agree(context->world, status));
    exchange_losses(context, e);
done:
    context->phase_s[FBT_PHASE_EXCHANGE] += fbt_timer_now_s() - start_s;
    return status;
}

/* For the record: each client's mean fitness and losses over the last generation, and the mean that it now shares. */
static void fill_uploads(const fbt_round_context *context, const fbt_server *server, const exchange *e,
                         fbt_uploads *uploads)
{
    int64_t lambda = context->settings->cma.population;
    for (int64_t i = 0; context->fills_slots && i < e->n_populations; i++) {
        int64_t slot = context->slot_of[e->populations[i].client->id];
        for (int64_t c = 0; c < lambda; c++) {
            const fbt_fitness *f = &e->populations[i].fitness[c];
            uploads->fitness[slot] += f->fitness / (double)lambda;
            uploads->loss[slot] += f->loss / (double)lambda;
            uploads->loss_perturbed[slot] += f->loss_perturbed / (double)lambda;
        }
    }
    fbt_comm_sum(context->world, uploads->fitness, context->n_participants);
    fbt_comm_sum(context->world, uploads->loss, context->n_participants);
    fbt_comm_sum(context->world, uploads->loss_perturbed, context->n_participants);
    fbt_cma_health health;
    fbt_cma_health_get(server->cma, &health);
    for (int64_t k = 0; k < context->n_participants; k++) {
        memcpy(uploads->mean + k * uploads->dimension, fbt_cma_mean(server->cma),
               (size_t)uploads->dimension * sizeof(double));
        uploads->step_size_end[k] = fbt_cma_step_size(server->cma);
        uploads->condition[k] = health.condition;
    }
}

static fbt_status synchronous_round(const fbt_round_context *context, fbt_server *server, fbt_uploads *uploads)
{
    fbt_status status = FBT_OK;
    exchange e = {0};
    memset(uploads->slots, 0, (size_t)uploads->n_slots * sizeof *uploads->slots);
    FBT_TRY(fbt_comm_agree(context->world, init_exchange(&e, context)));
    for (int64_t g = 0; g < uploads->n_generations; g++) {
        FBT_TRY(fbt_comm_agree(context->world, advance(context, server, &e, g, uploads)));
        FBT_TRY(evaluate(context, &e));
    }
    FBT_TRY(fbt_comm_agree(context->world, advance(context, server, &e, uploads->n_generations, uploads)));
    fill_uploads(context, server, &e, uploads);
    server->step_size_local = fbt_cma_step_size(server->cma);
done:
    clear_exchange(&e);
    return status;
}

/* lambda losses up, their lambda weighted means down, every generation: candidates are made from the shared seed. */
static int64_t floats_each_way(const fbt_settings *settings)
{
    return settings->cma.population * settings->fed.local_generations;
}

const fbt_protocol fbt_protocol_synchronous = {
    .name = "synchronous",
    .server_options = server_options,
    .round = synchronous_round,
    .floats_up = floats_each_way,
    .floats_down = floats_each_way,
};
