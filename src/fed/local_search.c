#include "fed/local_search.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/timer.h"
#include "fed/norm_bound.h"
#include "fed/placement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One hosted participant during the round. */
typedef struct search {
    const fbt_client *client;
    fbt_optimiser *optimiser;
    double *x;           /* [lambda, n] */
    double *fitness;     /* [lambda]    */
    fbt_fitness *scores; /* [lambda]    */
    int64_t slot;        /* among the participants */
} search;

/* The searches of one stream: while they are scored, those of another stream may tell and ask. */
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
    fbt_optimiser *received; /* the distribution that the server has sent, if it is not the server's own */
    double *point;           /* [d]: z as clients have it, where they search a block of it; or NULL      */
} search_list;

/* Of the server's message: the blocks of z that the round does not search. Clients that took part in every round have
 * them; new to these is the mean that the last round has moved, in the ledger the one that is sent, which is as long.
 */
static const char others_name[] = "others";

/* pycma's option CMA_mirrors, "popsize < 6", which the official code leaves alone. */
bool fbt_local_search_mirrors(const fbt_settings *settings, int64_t population)
{
    return settings->cma.constants == FBT_CMA_CONSTANTS_PYCMA && population < 6;
}

void fbt_local_search_options(const fbt_settings *settings, fbt_optimiser_options *options)
{
    *options =
        (fbt_optimiser_options){.kind = (fbt_optimiser_kind)settings->fed.optimiser,
                                .dimension = fbt_settings_searched(settings),
                                .population = settings->cma.population,
                                .n_words = fbt_settings_n_words(settings),
                                .cma = {.covariance = (fbt_cma_covariance)settings->cma.covariance,
                                        .decomposition = (fbt_cma_decomposition)settings->cma.decomposition,
                                        .constants = (fbt_cma_constants)settings->cma.constants,
                                        .active = settings->cma.active,
                                        .mirrored = fbt_local_search_mirrors(settings, settings->cma.population)},
                                .es = {.learning_rate = fbt_settings_learning_rate(settings),
                                       .momentum = settings->es.momentum,
                                       .weight_decay = settings->es.weight_decay,
                                       .elite = settings->es.elite,
                                       .smoothing = settings->es.smoothing,
                                       .deviation_smoothing = settings->es.deviation_smoothing,
                                       .seeds = settings->es.seeds,
                                       .pool_seed = (uint64_t)settings->run.seed}};
}

void fbt_local_search_server_options(const fbt_settings *settings, int64_t n_participants,
                                     fbt_optimiser_options *options)
{
    (void)n_participants;
    fbt_local_search_options(settings, options);
}

/* The mean that a search began from is then scored, too. */
static bool ranks_by_improvement(const fbt_settings *settings)
{
    return settings->fed.ranking == FBT_RANKING_IMPROVEMENT;
}

void fbt_local_search_record(fbt_schema *schema)
{
    fbt_schema_add(schema, "loss", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
    fbt_schema_add(schema, "loss_perturbed", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
    fbt_schema_add(schema, "condition", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
    fbt_schema_add(schema, "resets", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
}

void fbt_local_search_add_ranking(const fbt_settings *settings, fbt_schema *schema)
{
    const bool by_improvement = ranks_by_improvement(settings);
    fbt_schema_add(schema, "fitness", 1, FBT_FIELD_REAL, by_improvement ? FBT_FIELD_RECORDED : FBT_FIELD_SENT);
    fbt_schema_add(schema, "improvement", by_improvement ? 1 : 0, FBT_FIELD_REAL, FBT_FIELD_SENT);
}

void fbt_local_search_add_paths(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_optimiser_options options;
    fbt_local_search_options(settings, &options);
    const int64_t n = settings->cma.keep_paths ? fbt_optimiser_n_paths(&options) : 0;
    fbt_schema_add(schema, "paths", n, FBT_FIELD_REAL, FBT_FIELD_SENT);
}

void fbt_local_search_up_ranked(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_schema_add(schema, "mean", fbt_settings_searched(settings), FBT_FIELD_UPDATE, FBT_FIELD_SENT);
    fbt_schema_add(schema, "step_size", settings->fed.local_generations, FBT_FIELD_POSITIVE, FBT_FIELD_SENT);
    fbt_local_search_add_ranking(settings, schema);
    fbt_schema_add(schema, "step_size_end", 1, FBT_FIELD_POSITIVE, FBT_FIELD_RECORDED);
    fbt_local_search_record(schema);
}

const double *fbt_local_search_ranked_by(const fbt_messages *up)
{
    const double *improvement = fbt_messages_field(up, "improvement");
    return improvement != NULL ? improvement : fbt_messages_field(up, "fitness");
}

static void down(const fbt_settings *settings, fbt_schema *schema)
{
    fbt_optimiser_options options;
    fbt_local_search_options(settings, &options);
    const int64_t n_mean = fbt_optimiser_mean_follows_shape(options.kind) ? 0 : options.dimension;
    fbt_schema_add(schema, "mean", n_mean, FBT_FIELD_REAL, FBT_FIELD_SENT);
    fbt_schema_add(schema, "step_size", 1, FBT_FIELD_POSITIVE, FBT_FIELD_SENT);
    fbt_schema_add(schema, "shape", fbt_optimiser_n_shape(&options), FBT_FIELD_REAL, FBT_FIELD_SENT);
    fbt_local_search_add_paths(settings, schema);
    fbt_schema_add(schema, "path_generations", settings->cma.keep_paths ? 1 : 0, FBT_FIELD_REAL, FBT_FIELD_SENT);
    fbt_schema_add(schema, others_name, settings->cma.dimension - options.dimension, FBT_FIELD_REAL,
                   fbt_settings_all_take_part(settings) ? FBT_FIELD_EARLIER : FBT_FIELD_SENT);
}

static void free_searches(void *state)
{
    search_list *list = state;
    if (list == NULL) {
        return;
    }
    for (int i = 0; i < list->n_parts; i++) {
        fbt_scoring_clear(&list->parts[i].scoring);
    }
    for (int64_t i = 0; list->items != NULL && i < list->n; i++) {
        fbt_optimiser_free(list->items[i].optimiser);
        free(list->items[i].x);
        free(list->items[i].fitness);
        free(list->items[i].scores);
    }
    free(list->items);
    free(list->populations);
    free(list->parts);
    fbt_optimiser_free(list->received);
    free(list->point);
    free(list);
}

/* Sends the server's distribution; *same: it arrives as it is. */
static fbt_status send_distribution(fbt_round *round, bool *same)
{
    fbt_status status = FBT_OK;
    fbt_messages *message = round->down;
    fbt_server *server = round->server;
    double *sent = NULL, *shape = fbt_messages_field(message, "shape");
    double *others = fbt_messages_field(message, others_name), *paths = fbt_messages_field(message, "paths");
    const int64_t n_bytes = message->n_exchanged * (int64_t)sizeof *sent;
    fbt_messages_put(message, "mean", 0, fbt_optimiser_mean(server->optimiser)); /* where it is sent */
    fbt_messages_put_one(message, "step_size", 0, server->step_size_local);
    if (paths != NULL) {
        fbt_optimiser_get_paths(server->optimiser, paths);
        fbt_messages_put_one(message, "path_generations", 0, (double)fbt_optimiser_generation(server->optimiser));
    }
    if (others != NULL) {
        fbt_block_get_others(&round->block, round->settings->cma.dimension, others);
    }
    if (shape != NULL) {
        FBT_TRY(fbt_optimiser_get_shape(server->optimiser, shape));
    }
    FBT_TRY(fbt_memory_alloc(&sent, message->n_exchanged, sizeof *sent));
    memcpy(sent, message->values, (size_t)n_bytes);
    FBT_TRY(fbt_round_send_down(round));
    *same = memcmp(sent, message->values, (size_t)n_bytes) == 0;
done:
    free(sent);
    return status;
}

/* Makes the clients' search from the server's message. A shape that cannot be used once it is rounded ends the search
 * that it comes from, like one that cannot be decomposed any more: both sides begin anew from the mean. */
static fbt_status receive(fbt_round *round, fbt_optimiser **received)
{
    fbt_status status = FBT_OK;
    const fbt_messages *message = round->down;
    const double *shape = fbt_messages_field(message, "shape");
    fbt_optimiser_options options;
    fbt_local_search_options(round->settings, &options);
    FBT_TRY(fbt_optimiser_new(&options, fbt_messages_field(message, "mean"), *fbt_messages_field(message, "step_size"),
                              received));
    if (shape != NULL) {
        status = fbt_optimiser_set_shape(*received, shape);
    }
    if (status == FBT_ERR_NUMERIC) {
        fbt_error_clear();
        status = fbt_optimiser_reset(round->server->optimiser);
    }
done:
    return status;
}

/* Puts the blocks that are not searched as clients have them into the round: who scores candidates is a client. */
static fbt_status receive_others(fbt_round *round, double **point)
{
    fbt_status status = FBT_OK;
    const int64_t d = round->settings->cma.dimension;
    const double *others = fbt_messages_field(round->down, others_name);
    if (others == NULL) {
        return FBT_OK;
    }
    FBT_TRY(fbt_memory_alloc(point, d, sizeof **point));
    fbt_block_set_others(&round->block, d, others, *point);
    round->block.z = *point;
done:
    return status;
}

/* Where clients get exactly what the server has, they share its factors instead of making them again. On ranks that
 * host no participant, too: the server may be reset. */
static fbt_status distribute(fbt_round *round, search_list *list)
{
    bool same;
    fbt_status status = send_distribution(round, &same);
    if (status == FBT_OK) {
        status = same ? fbt_optimiser_settle(round->server->optimiser) : receive(round, &list->received);
    }
    return status;
}

static fbt_status init_search(search *s, const fbt_round *round, fbt_optimiser *from)
{
    fbt_status status = FBT_OK;
    const double step_size = *fbt_messages_field(round->down, "step_size");
    const double *paths = fbt_messages_field(round->down, "paths");
    fbt_optimiser_options options;
    fbt_local_search_options(round->settings, &options);
    FBT_TRY(fbt_memory_alloc(&s->x, options.population * options.dimension, sizeof *s->x));
    FBT_TRY(fbt_memory_alloc(&s->fitness, options.population, sizeof *s->fitness));
    FBT_TRY(fbt_memory_alloc(&s->scores, options.population, sizeof *s->scores));
    FBT_TRY(fbt_optimiser_new(&options, fbt_optimiser_mean(from), step_size, &s->optimiser));
    FBT_TRY(fbt_optimiser_restart_from(s->optimiser, from, step_size));
    if (paths != NULL) {
        FBT_TRY(fbt_optimiser_set_paths(s->optimiser, paths,
                                        (int64_t)*fbt_messages_field(round->down, "path_generations")));
    }
done:
    return status;
}

/* Cuts the list into parts of about equal numbers of tokens, one for each stream. */
static fbt_status init_parts(search_list *list, const fbt_round *round)
{
    fbt_status status = FBT_OK;
    int64_t *work = NULL;
    const int n_streams = fbt_evaluator_n_streams(round->evaluator);
    FBT_TRY(fbt_memory_alloc(&work, list->n, sizeof *work));
    FBT_TRY(fbt_memory_alloc(&list->parts, n_streams, sizeof *list->parts));
    for (int64_t i = 0; i < list->n; i++) {
        const fbt_client *client = list->items[i].client;
        for (int64_t k = 0; k < client->n_samples; k++) {
            work[i] += client->items[k].sequence.n_tokens;
        }
    }
    list->n_parts = n_streams;
    for (int stream = 0; stream < n_streams; stream++) {
        search_part *part = &list->parts[stream];
        int64_t first, end;
        fbt_placement_share(list->n, work, n_streams, stream, &first, &end);
        *part = (search_part){.items = list->items + first,
                              .populations = list->populations + first,
                              .n = end - first,
                              .scoring = {.evaluator = round->evaluator, .stream = stream}};
    }
done:
    free(work);
    return status;
}

static fbt_status begin(fbt_round *round, void **state)
{
    fbt_status status = FBT_OK;
    search_list *list = NULL;
    FBT_TRY(fbt_memory_alloc(&list, 1, sizeof *list));
    *state = list;
    FBT_TRY(distribute(round, list));
    FBT_TRY(receive_others(round, &list->point));
    fbt_optimiser *from = list->received != NULL ? list->received : round->server->optimiser;
    FBT_TRY(fbt_memory_alloc(&list->items, round->n_clients, sizeof *list->items));
    FBT_TRY(fbt_memory_alloc(&list->populations, round->n_clients, sizeof *list->populations));
    for (int64_t i = 0; i < round->n_clients; i++) {
        search *s = &list->items[list->n++];
        s->client = &round->clients[i];
        s->slot = s->client->slot;
        FBT_TRY(init_search(s, round, from));
    }
    FBT_TRY(list->n > 0 ? init_parts(list, round) : FBT_OK);
done:
    return status;
}

static fbt_status ask_all(const search_part *list, fbt_round *round, int64_t generation)
{
    const fbt_settings *settings = round->settings;
    const double bound = fbt_norm_bound(settings, round->number);
    bool shared = settings->fed.client_seeds == FBT_CLIENT_SEEDS_SHARED;
    for (int64_t i = 0; i < list->n; i++) {
        search *s = &list->items[i];
        fbt_messages_at(round->up, "step_size", s->slot)[generation] = fbt_optimiser_step_size(s->optimiser);
        const fbt_rng_stream stream = {.seed = (uint64_t)settings->run.seed,
                                       .purpose = FBT_RNG_SEARCH,
                                       .round = round->number,
                                       .client = shared ? 0 : (uint32_t)s->client->id,
                                       .generation = (uint32_t)generation};
        const fbt_status status = fbt_optimiser_ask(s->optimiser, round->rng, &stream, s->x);
        if (status != FBT_OK) {
            return status;
        }
        fbt_norm_bound_apply(bound, settings->cma.population, fbt_settings_searched(settings), s->x);
    }
    return FBT_OK;
}

static fbt_status tell_all(const search_part *list, const fbt_round *round)
{
    int64_t population = round->settings->cma.population;
    const double bound = fbt_norm_bound(round->settings, round->number);
    for (int64_t i = 0; i < list->n; i++) {
        search *s = &list->items[i];
        for (int64_t c = 0; c < population; c++) {
            s->fitness[c] = s->scores[c].fitness;
        }
        fbt_status status = fbt_optimiser_tell(s->optimiser, population, s->x, s->fitness);
        status = status == FBT_OK ? fbt_norm_bound_mean(bound, s->optimiser) : status;
        if (status != FBT_OK) {
            return status;
        }
    }
    return FBT_OK;
}

/* Candidates of the last scoring: the search's mean and, where it counts, the one that it began from. They take the
 * place of the last population, which is told. */
static int64_t put_means(search *s, const fbt_round *round)
{
    const int64_t n = fbt_settings_searched(round->settings);
    const size_t n_bytes = (size_t)n * sizeof *s->x;
    memcpy(s->x, fbt_optimiser_mean(s->optimiser), n_bytes);
    if (!ranks_by_improvement(round->settings)) {
        return 1;
    }
    memcpy(s->x + n, fbt_messages_field(round->down, "mean"), n_bytes);
    return 2;
}

/* Starts to score the part's populations, or its means. */
static fbt_status start_part(search_part *part, const fbt_round *round, bool means)
{
    const fbt_settings *settings = round->settings;
    double start_s = fbt_timer_now_s();
    for (int64_t i = 0; i < part->n; i++) {
        search *s = &part->items[i];
        part->populations[i] = (fbt_population){.client = s->client,
                                                .z = s->x,
                                                .n_candidates = means ? put_means(s, round) : settings->cma.population,
                                                .fitness = s->scores};
    }
    fbt_scoring_clear(&part->scoring);
    part->scoring.populations = part->populations;
    part->scoring.n_populations = part->n;
    part->scoring.d = settings->cma.dimension;
    part->scoring.block = round->block;
    part->scoring.round = round->number;
    part->scoring.kind = (fbt_fitness_kind)settings->perturb.fitness;
    part->scoring.share = round->group;
    fbt_status status = fbt_scoring_start(&part->scoring);
    round->phase_s[FBT_PHASE_SEARCH] += fbt_timer_now_s() - start_s;
    return status;
}

static fbt_status finish_part(search_part *part, const fbt_round *round)
{
    double start_s = fbt_timer_now_s();
    fbt_status status = fbt_scoring_finish(&part->scoring);
    round->phase_s[FBT_PHASE_SEARCH] += fbt_timer_now_s() - start_s;
    return status;
}

/* Does this rank's own part between two evaluations: tells generation - 1, asks for generation. */
static fbt_status advance(const search_part *part, fbt_round *round, int64_t generation)
{
    fbt_status status = FBT_OK;
    double start_s = fbt_timer_now_s();
    if (generation > 0) {
        FBT_TRY(tell_all(part, round));
    }
    if (generation < round->settings->fed.local_generations) {
        FBT_TRY(ask_all(part, round, generation));
    }
done:
    round->phase_s[FBT_PHASE_OPTIMISE] += fbt_timer_now_s() - start_s;
    return status;
}

/* Ranks that share a client meet in every evaluation: none may enter it without the others. */
static fbt_status agree_in_group(const fbt_round *round, fbt_status status)
{
    return round->group == NULL ? status : fbt_comm_agree(round->group, status);
}

static void show_populations(const search_part *part, const fbt_round *round, int64_t generation)
{
    for (int64_t i = 0; i < part->n; i++) {
        const search *s = &part->items[i];
        fbt_round_show_population(round, s->slot, generation, s->x, s->scores);
    }
}

/* One step of a part: to the next generation, or, behind the last, to the final means. */
static fbt_status step_part(search_part *part, fbt_round *round, int64_t generation)
{
    fbt_status status = FBT_OK;
    if (generation > 0) {
        FBT_TRY(finish_part(part, round));
        show_populations(part, round, generation - 1);
    }
    FBT_TRY(agree_in_group(round, advance(part, round, generation)));
    FBT_TRY(start_part(part, round, generation == round->settings->fed.local_generations));
done:
    return status;
}

/* The parts take turns: each is scored while the others step. A group of ranks shares one client, and with it one part.
 */
static fbt_status search_all(search_list *list, fbt_round *round)
{
    fbt_status status = FBT_OK;
    for (int64_t g = 0; g <= round->settings->fed.local_generations; g++) {
        for (int i = 0; i < list->n_parts; i++) {
            if (list->parts[i].n > 0) {
                FBT_TRY(step_part(&list->parts[i], round, g));
            }
        }
    }
    for (int i = 0; i < list->n_parts; i++) {
        if (list->parts[i].n > 0) {
            FBT_TRY(finish_part(&list->parts[i], round));
        }
    }
done:
    return status;
}

/* Symmetric relative change from a to b; no change where both are 0. */
static double relative_change(double a, double b)
{
    return a == b ? 0 : (b - a) / (fabs(a) + fabs(b));
}

/* A shape that is sent takes the mean's place; others are summed. */
static fbt_status put_distribution(const search *s, fbt_messages *up)
{
    fbt_messages_put(up, "mean", s->slot, fbt_optimiser_mean(s->optimiser));
    return fbt_optimiser_mean_follows_shape(fbt_optimiser_options_of(s->optimiser)->kind)
               ? fbt_optimiser_get_shape(s->optimiser, fbt_messages_at(up, "shape", s->slot))
               : FBT_OK;
}

static fbt_status fill_messages(const search_list *list, fbt_messages *up)
{
    fbt_status status = FBT_OK;
    for (int64_t i = 0; i < list->n; i++) {
        const search *s = &list->items[i];
        double *paths = fbt_messages_at(up, "paths", s->slot);
        fbt_optimiser_health health;
        fbt_optimiser_health_get(s->optimiser, &health);
        if (paths != NULL) {
            fbt_optimiser_get_paths(s->optimiser, paths);
        }
        FBT_TRY(put_distribution(s, up));
        fbt_messages_put_one(up, "fitness", s->slot, s->scores[0].fitness);
        fbt_messages_put_one(up, "improvement", s->slot, relative_change(s->scores[1].fitness, s->scores[0].fitness));
        fbt_messages_put_one(up, "step_size_end", s->slot, fbt_optimiser_step_size(s->optimiser));
        fbt_messages_put_one(up, "loss", s->slot, s->scores[0].loss);
        fbt_messages_put_one(up, "loss_perturbed", s->slot, s->scores[0].loss_perturbed);
        fbt_messages_put_one(up, "condition", s->slot, health.condition);
        fbt_messages_put_one(up, "resets", s->slot, (double)health.n_resets);
    }
done:
    return status;
}

static fbt_status step(fbt_round *round, void *state, int64_t exchange)
{
    fbt_status status = FBT_OK;
    search_list *list = state;
    (void)exchange; /* the only one */
    if (list->n > 0) {
        FBT_TRY(search_all(list, round));
    }
    FBT_TRY(fill_messages(list, round->up));
done:
    return status;
}

/* The shape of a participant's final distribution. */
static fbt_status summand(const fbt_round *round, void *state, int64_t slot, const fbt_field *field, double *values)
{
    const search_list *list = state;
    (void)round;
    (void)field;
    for (int64_t i = 0; i < list->n; i++) {
        if (list->items[i].slot == slot) {
            return fbt_optimiser_get_shape(list->items[i].optimiser, values);
        }
    }
    return fbt_fail(FBT_ERR_ARG, "no participant %lld is hosted here", (long long)slot);
}

static int64_t n_exchanges(const fbt_settings *settings)
{
    (void)settings;
    return 1;
}

static int64_t n_evaluations(const fbt_settings *settings)
{
    return settings->cma.population * settings->fed.local_generations + (ranks_by_improvement(settings) ? 2 : 1);
}

static int64_t n_batches(const fbt_settings *settings)
{
    return settings->fed.local_generations + 1;
}

const fbt_client_work fbt_local_search = {
    .report = FBT_REPORT_SOLUTION,
    .n_exchanges = n_exchanges,
    .n_evaluations = n_evaluations,
    .n_batches = n_batches,
    .down = down,
    .begin = begin,
    .step = step,
    .summand = summand,
    .free = free_searches,
};
