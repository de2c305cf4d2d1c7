#include "fed/local_search.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/timer.h"
#include "fed/placement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One hosted participant during the round. */
typedef struct search {
    const fbt_client *client;
    fbt_cma *cma;
    double *x;           /* [lambda, d] */
    double *fitness;     /* [lambda]    */
    fbt_fitness *scores; /* [lambda]    */
    int64_t slot;        /* among the participants */
} search;

/* The searches of one lane: while they are scored, those of another lane may tell and ask. */
typedef struct search_part {
    search *items;               /* [n], borrowed from the list */
    fbt_population *populations; /* [n]                         */
    int64_t n;
    fbt_scoring scoring;
} search_part;

typedef struct search_list {
    search *items;               /* [n] */
    fbt_population *populations; /* [n] */
    int64_t n;
    search_part *parts; /* [n_parts] */
    int n_parts;
} search_list;

/* pycma's option CMA_mirrors, "popsize < 6", which the official code leaves alone. */
bool fbt_local_search_mirrors(const fbt_settings *settings, int64_t population)
{
    return settings->cma.constants == FBT_CMA_CONSTANTS_PYCMA && population < 6;
}

void fbt_local_search_options(const fbt_settings *settings, fbt_cma_options *options)
{
    *options = (fbt_cma_options){.dimension = settings->cma.dimension,
                                 .population = settings->cma.population,
                                 .covariance = (fbt_cma_covariance)settings->cma.covariance,
                                 .constants = (fbt_cma_constants)settings->cma.constants,
                                 .active = settings->cma.active,
                                 .mirrored = fbt_local_search_mirrors(settings, settings->cma.population)};
}

int64_t fbt_local_search_covariance_floats(const fbt_settings *settings)
{
    int64_t d = settings->cma.dimension;
    switch ((fbt_cma_covariance)settings->cma.covariance) {
    case FBT_CMA_FULL:
        return d * (d + 1) / 2;
    case FBT_CMA_SEPARABLE:
        return d;
    case FBT_CMA_ISOTROPIC:
        break;
    }
    return 0;
}

int64_t fbt_local_search_floats_up(const fbt_settings *settings)
{
    return settings->cma.dimension + 1 + settings->fed.local_generations;
}

int64_t fbt_local_search_floats_down(const fbt_settings *settings)
{
    return settings->cma.dimension + 1 + fbt_local_search_covariance_floats(settings);
}

fbt_status fbt_uploads_init(fbt_uploads *uploads, int64_t n_participants, int64_t dimension, int64_t n_generations)
{
    fbt_status status = FBT_OK;
    int64_t m = n_participants;
    *uploads = (fbt_uploads){.n_participants = m, .dimension = dimension, .n_generations = n_generations};
    uploads->n_slots = m * (dimension + n_generations + 6);
    FBT_TRY(fbt_memory_alloc(&uploads->slots, uploads->n_slots, sizeof *uploads->slots));
    uploads->mean = uploads->slots;
    uploads->step_size = uploads->mean + m * dimension;
    uploads->fitness = uploads->step_size + m * n_generations;
    uploads->step_size_end = uploads->fitness + m;
    uploads->loss = uploads->step_size_end + m;
    uploads->loss_perturbed = uploads->loss + m;
    uploads->condition = uploads->loss_perturbed + m;
    uploads->resets = uploads->condition + m;
done:
    return status;
}

void fbt_uploads_clear(fbt_uploads *uploads)
{
    free(uploads->slots);
    *uploads = (fbt_uploads){0};
}

static void clear_searches(search_list *list)
{
    for (int i = 0; i < list->n_parts; i++) {
        fbt_scoring_clear(&list->parts[i].scoring);
    }
    for (int64_t i = 0; list->items != NULL && i < list->n; i++) {
        fbt_cma_free(list->items[i].cma);
        free(list->items[i].x);
        free(list->items[i].fitness);
        free(list->items[i].scores);
    }
    free(list->items);
    free(list->populations);
    free(list->parts);
}

static fbt_status init_search(search *s, const fbt_round_context *context, fbt_server *server)
{
    fbt_status status = FBT_OK;
    fbt_cma_options options;
    fbt_local_search_options(context->settings, &options);
    FBT_TRY(fbt_memory_alloc(&s->x, options.population * options.dimension, sizeof *s->x));
    FBT_TRY(fbt_memory_alloc(&s->fitness, options.population, sizeof *s->fitness));
    FBT_TRY(fbt_memory_alloc(&s->scores, options.population, sizeof *s->scores));
    FBT_TRY(fbt_cma_new(&options, fbt_cma_mean(server->cma), server->step_size_local, &s->cma));
    FBT_TRY(fbt_cma_restart_from(s->cma, server->cma, server->step_size_local));
done:
    return status;
}

/* Cuts the list into parts of about equal numbers of tokens, one for each lane. */
static fbt_status init_parts(search_list *list, const fbt_round_context *context)
{
    fbt_status status = FBT_OK;
    int64_t *work = NULL;
    const int n_lanes = fbt_evaluator_n_lanes(context->evaluator);
    FBT_TRY(fbt_memory_alloc(&work, list->n, sizeof *work));
    FBT_TRY(fbt_memory_alloc(&list->parts, n_lanes, sizeof *list->parts));
    for (int64_t i = 0; i < list->n; i++) {
        const fbt_client *client = list->items[i].client;
        for (int64_t k = 0; k < client->n_samples; k++) {
            work[i] += client->items[k].sequence.n_tokens;
        }
    }
    list->n_parts = n_lanes;
    for (int lane = 0; lane < n_lanes; lane++) {
        search_part *part = &list->parts[lane];
        int64_t first, end;
        fbt_placement_share(list->n, work, n_lanes, lane, &first, &end);
        *part = (search_part){.items = list->items + first,
                              .populations = list->populations + first,
                              .n = end - first,
                              .scoring = {.evaluator = context->evaluator, .lane = lane}};
    }
done:
    free(work);
    return status;
}

static fbt_status init_searches(search_list *list, const fbt_round_context *context, fbt_server *server)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_memory_alloc(&list->items, context->n_clients, sizeof *list->items));
    FBT_TRY(fbt_memory_alloc(&list->populations, context->n_clients, sizeof *list->populations));
    for (int64_t i = 0; i < context->n_clients; i++) {
        const fbt_client *client = &context->clients[i];
        if (context->slot_of[client->id] >= 0) {
            search *s = &list->items[list->n++];
            s->client = client;
            s->slot = context->slot_of[client->id];
            FBT_TRY(init_search(s, context, server));
        }
    }
    FBT_TRY(init_parts(list, context));
done:
    return status;
}

static fbt_status ask_all(const search_part *list, const fbt_round_context *context, int64_t generation,
                          fbt_uploads *uploads)
{
    const fbt_settings *settings = context->settings;
    int64_t d = settings->cma.dimension;
    bool shared = settings->fed.client_seeds == FBT_CLIENT_SEEDS_SHARED;
    for (int64_t i = 0; i < list->n; i++) {
        search *s = &list->items[i];
        uploads->step_size[s->slot * uploads->n_generations + generation] = fbt_cma_step_size(s->cma);
        for (int64_t c = 0; c < settings->cma.population; c++) {
            fbt_rng_seek(context->rng, &(fbt_rng_stream){.seed = (uint64_t)settings->run.seed,
                                                         .purpose = FBT_RNG_SEARCH,
                                                         .round = context->round,
                                                         .client = shared ? 0 : (uint32_t)s->client->id,
                                                         .generation = (uint32_t)generation,
                                                         .candidate = (uint32_t)c});
            fbt_status status = fbt_cma_ask(s->cma, c, context->rng, s->x + c * d);
            if (status != FBT_OK) {
                return status;
            }
        }
    }
    return FBT_OK;
}

static fbt_status tell_all(const search_part *list, const fbt_round_context *context)
{
    int64_t population = context->settings->cma.population;
    for (int64_t i = 0; i < list->n; i++) {
        search *s = &list->items[i];
        for (int64_t c = 0; c < population; c++) {
            s->fitness[c] = s->scores[c].fitness;
        }
        fbt_status status = fbt_cma_tell(s->cma, population, s->x, s->fitness);
        if (status != FBT_OK) {
            return status;
        }
    }
    return FBT_OK;
}

/* Starts to score the part's populations, or its final means. */
static fbt_status start_part(search_part *part, const fbt_round_context *context, bool final_means)
{
    const fbt_settings *settings = context->settings;
    double start_s = fbt_timer_now_s();
    for (int64_t i = 0; i < part->n; i++) {
        search *s = &part->items[i];
        part->populations[i] = (fbt_population){.client = s->client,
                                                .z = final_means ? fbt_cma_mean(s->cma) : s->x,
                                                .n_candidates = final_means ? 1 : settings->cma.population,
                                                .fitness = s->scores};
    }
    fbt_scoring_clear(&part->scoring);
    part->scoring.populations = part->populations;
    part->scoring.n_populations = part->n;
    part->scoring.d = settings->cma.dimension;
    part->scoring.round = context->round;
    part->scoring.kind = (fbt_fitness_kind)settings->perturb.fitness;
    part->scoring.share = context->group;
    fbt_status status = fbt_scoring_start(&part->scoring);
    context->phase_s[FBT_PHASE_SEARCH] += fbt_timer_now_s() - start_s;
    return status;
}

static fbt_status finish_part(search_part *part, const fbt_round_context *context)
{
    double start_s = fbt_timer_now_s();
    fbt_status status = fbt_scoring_finish(&part->scoring);
    context->phase_s[FBT_PHASE_SEARCH] += fbt_timer_now_s() - start_s;
    return status;
}

/* What this rank does by itself between two evaluations: tells generation - 1, asks for generation. */
static fbt_status advance(const search_part *part, const fbt_round_context *context, int64_t generation,
                          fbt_uploads *uploads)
{
    fbt_status status = FBT_OK;
    double start_s = fbt_timer_now_s();
    if (generation > 0) {
        FBT_TRY(tell_all(part, context));
    }
    if (generation < uploads->n_generations) {
        FBT_TRY(ask_all(part, context, generation, uploads));
    }
done:
    context->phase_s[FBT_PHASE_OPTIMISE] += fbt_timer_now_s() - start_s;
    return status;
}

/* Ranks that share a client meet in every evaluation: none may enter it without the others. */
static fbt_status agree_in_group(const fbt_round_context *context, fbt_status status)
{
    return context->group == NULL ? status : fbt_comm_agree(context->group, status);
}

/* One step of a part: to the next generation, or, behind the last, to the final means. */
static fbt_status step(search_part *part, const fbt_round_context *context, int64_t generation, fbt_uploads *uploads)
{
    fbt_status status = FBT_OK;
    if (generation > 0) {
        FBT_TRY(finish_part(part, context));
    }
    FBT_TRY(agree_in_group(context, advance(part, context, generation, uploads)));
    FBT_TRY(start_part(part, context, generation == uploads->n_generations));
done:
    return status;
}

/* The parts take turns: each is scored while the others step. A group of ranks shares one client, and with it one part.
 */
static fbt_status search_all(search_list *list, const fbt_round_context *context, fbt_uploads *uploads)
{
    fbt_status status = FBT_OK;
    for (int64_t g = 0; g <= uploads->n_generations; g++) {
        for (int i = 0; i < list->n_parts; i++) {
            if (list->parts[i].n > 0) {
                FBT_TRY(step(&list->parts[i], context, g, uploads));
            }
        }
    }
    for (int i = 0; i < list->n_parts; i++) {
        if (list->parts[i].n > 0) {
            FBT_TRY(finish_part(&list->parts[i], context));
        }
    }
done:
    return status;
}

static void fill_uploads(const search_list *list, fbt_uploads *uploads)
{
    int64_t d = uploads->dimension;
    for (int64_t i = 0; i < list->n; i++) {
        const search *s = &list->items[i];
        fbt_cma_health health;
        fbt_cma_health_get(s->cma, &health);
        memcpy(uploads->mean + s->slot * d, fbt_cma_mean(s->cma), (size_t)d * sizeof(double));
        uploads->fitness[s->slot] = s->scores[0].fitness;
        uploads->step_size_end[s->slot] = fbt_cma_step_size(s->cma);
        uploads->loss[s->slot] = s->scores[0].loss;
        uploads->loss_perturbed[s->slot] = s->scores[0].loss_perturbed;
        uploads->condition[s->slot] = health.condition;
        uploads->resets[s->slot] = (double)health.n_resets;
    }
}

/* One client after the other, so that memory stays at one covariance and the order of the additions is fixed. A rank
 * that fails goes on with zeros and says so at the end. */
static fbt_status sum_covariances(const search_list *list, const fbt_round_context *context, double *sum)
{
    fbt_status status = FBT_OK;
    bool full = context->settings->cma.covariance == FBT_CMA_FULL;
    int64_t d = context->settings->cma.dimension;
    int64_t n = full ? d * d : d;
    double *one = NULL;
    status = fbt_memory_alloc(&one, n, sizeof *one);
    FBT_TRY(fbt_comm_agree(context->world, status));
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int64_t slot = 0; slot < context->n_participants; slot++) {
        memset(one, 0, (size_t)n * sizeof *one);
        for (int64_t i = 0; i < list->n && status == FBT_OK; i++) {
            if (list->items[i].slot == slot && context->fills_slots) {
                fbt_cma *cma = list->items[i].cma;
                status = full ? fbt_cma_covariance_full(cma, one) : fbt_cma_covariance_diagonal(cma, one);
            }
        }
        fbt_comm_sum(context->world, one, n);
        for (int64_t i = 0; i < n; i++) {
            sum[i] += one[i];
        }
    }
    status = fbt_comm_agree(context->world, status);
done:
    free(one);
    return status;
}

fbt_status fbt_local_search(const fbt_round_context *context, fbt_server *server, fbt_uploads *uploads,
                            double *covariance_sum)
{
    fbt_status status = FBT_OK;
    search_list list = {0};
    double start_s = fbt_timer_now_s();
    memset(uploads->slots, 0, (size_t)uploads->n_slots * sizeof *uploads->slots);
    status = fbt_cma_settle(server->cma); /* on ranks that host no participant, too: it may reset the server */
    if (status == FBT_OK) {
        status = init_searches(&list, context, server);
    }
    context->phase_s[FBT_PHASE_OPTIMISE] += fbt_timer_now_s() - start_s;
    status = agree_in_group(context, status);
    if (status == FBT_OK && list.n > 0) {
        status = search_all(&list, context, uploads);
    }
    start_s = fbt_timer_now_s();
    FBT_TRY(fbt_comm_agree(context->world, status));
    if (context->fills_slots) {
        fill_uploads(&list, uploads);
    } else {
        memset(uploads->slots, 0, (size_t)uploads->n_slots * sizeof *uploads->slots);
    }
    fbt_comm_sum(context->world, uploads->slots, uploads->n_slots);
    if (covariance_sum != NULL) {
        FBT_TRY(sum_covariances(&list, context, covariance_sum));
    }
    context->phase_s[FBT_PHASE_EXCHANGE] += fbt_timer_now_s() - start_s;
done:
    clear_searches(&list);
    return status;
}
