#include "fed/federation.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/timer.h"
#include "fed/best_round.h"
#include "fed/client_values.h"
#include "fed/evaluator.h"
#include "fed/placement.h"
#include "fed/precision_check.h"
#include "fed/privacy.h"
#include "fed/protocol.h"
#include "fed/reports.h"
#include "fed/residuals.h"
#include "fed/scorer.h"
#include "fed/searches.h"
#include "fed/uplink.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct fbt_federation {
    fbt_federation_parts parts;
    fbt_protocol protocol;
    fbt_placement placement; /* of the participants' slots: all of one round, or of every round */
    fbt_comm *group;         /* ranks of this rank's group; NULL unless ranks outnumber participants */
    fbt_evaluator *evaluator;
    fbt_precision_check *check; /* NULL: there is no reference */
    fbt_scorer *scorer;
    fbt_client *clients; /* [n_clients]: participants that are hosted here, in the order of their slots */
    int64_t n_clients;
    fbt_searches searches;
    fbt_best_round best; /* on dev, of all rounds so far */
    fbt_messages up, down;
    double *residuals; /* of error feedback (uplink.h), or NULL */
    gsl_rng *rng;
    fbt_reports *reports;
    int64_t n_slots;                      /* the most participants that a round can have */
    fbt_round_reports round;              /* the last one's participants */
    double *n_samples;                    /* [n_slots] */
    int64_t *work;                        /* [n_slots] */
    double phase_s[FBT_N_PHASES];         /* of the last row */
    double pending_phase_s[FBT_N_PHASES]; /* for the next    */
    int64_t n_tokens_reported, n_resets_reported;
    bool told_of_resets;
    fbt_client_values values; /* of the last row */
    fbt_array_list checkpoint;
};

static fbt_status new_server(fbt_federation *f)
{
    fbt_status status = FBT_OK;
    const fbt_settings *settings = f->parts.settings;
    fbt_optimiser_options options;
    f->protocol.rule->server_options(settings, f->n_slots, &options);
    FBT_TRY(fbt_searches_init(&f->searches, &options, settings));
done:
    return status;
}

static fbt_status new_messages(fbt_federation *f)
{
    fbt_status status = FBT_OK;
    const fbt_settings *settings = f->parts.settings;
    const fbt_wire wire = (fbt_wire)settings->fed.wire;
    fbt_schema up, down;
    fbt_protocol_schemas(&f->protocol, settings, &up, &down);
    FBT_TRY(fbt_messages_init(&f->up, &up, wire, f->n_slots));
    FBT_TRY(fbt_messages_init(&f->down, &down, wire, 1));
    const int64_t n_residuals = fbt_uplink_n_residuals(settings, &up);
    FBT_TRY(n_residuals > 0 ? fbt_memory_alloc(&f->residuals, n_residuals, sizeof *f->residuals) : FBT_OK);
done:
    return status;
}

static fbt_status set_perturbation(const fbt_federation *f, fbt_model *model)
{
    const fbt_settings *settings = f->parts.settings;
    return fbt_model_set_perturbation(model,
                                      &(fbt_perturbation){.seed = (uint64_t)settings->run.seed,
                                                          .rate = settings->perturb.rate,
                                                          .text_only = settings->perturb.scope == FBT_PERTURB_TEXT,
                                                          .vocab_size = f->parts.dataset->vocab_size});
}

/* Evaluators of both models. */
static fbt_status new_evaluators(fbt_federation *f)
{
    fbt_status status = FBT_OK;
    const fbt_settings *settings = f->parts.settings;
    FBT_TRY(set_perturbation(f, f->parts.model));
    FBT_TRY(fbt_evaluator_new(f->parts.model, (fbt_loss)settings->objective.loss, fbt_batch_tokens(settings),
                              &f->evaluator));
    if (f->parts.reference != NULL) {
        FBT_TRY(set_perturbation(f, f->parts.reference));
        FBT_TRY(fbt_precision_check_new(settings, f->parts.reference, &f->check));
    }
done:
    return status;
}

static void free_evaluators(fbt_federation *f)
{
    fbt_evaluator_free(f->evaluator);
    fbt_precision_check_free(f->check);
    f->evaluator = NULL;
    f->check = NULL;
    f->n_tokens_reported = 0;
}

static fbt_status new_participants(fbt_federation *f)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_reports_new(f->parts.settings, f->parts.work, &f->reports));
    FBT_TRY(fbt_memory_alloc(&f->n_samples, f->n_slots, sizeof *f->n_samples));
    FBT_TRY(fbt_memory_alloc(&f->work, f->n_slots, sizeof *f->work));
done:
    return status;
}

static fbt_status new_rank_local(fbt_federation *f)
{
    fbt_status status = FBT_OK;
    const fbt_settings *settings = f->parts.settings;
    f->protocol = fbt_protocol_of(settings);
    f->n_slots = fbt_settings_participants(settings);
    f->best = FBT_NO_BEST_ROUND;
    FBT_TRY(fbt_rng_new(&f->rng));
    FBT_TRY(new_participants(f));
    FBT_TRY(new_messages(f));
    FBT_TRY(new_server(f));
    FBT_TRY(fbt_client_values_init(&f->values, settings));
    FBT_TRY(new_evaluators(f));
    FBT_TRY(fbt_scorer_new(f->parts.dataset, f->parts.partition, settings, &f->scorer));
done:
    return status;
}

fbt_status fbt_federation_new(const fbt_federation_parts *parts, fbt_federation **federation)
{
    fbt_status status = fbt_memory_alloc(federation, 1, sizeof **federation);
    fbt_federation *f = *federation;
    if (status == FBT_OK) {
        f->parts = *parts;
        status = new_rank_local(f);
    }
    return fbt_comm_agree(parts->world, status);
}

static void clear_clients(fbt_federation *f)
{
    for (int64_t i = 0; i < f->n_clients; i++) {
        fbt_client_clear(&f->clients[i]);
    }
    free(f->clients);
    f->clients = NULL;
    f->n_clients = 0;
    fbt_comm_free(f->group);
    f->group = NULL;
    fbt_placement_clear(&f->placement);
}

void fbt_federation_free(fbt_federation *federation)
{
    fbt_federation *f = federation;
    if (f == NULL) {
        return;
    }
    clear_clients(f);
    fbt_searches_clear(&f->searches);
    fbt_messages_clear(&f->up);
    fbt_messages_clear(&f->down);
    free(f->residuals);
    free_evaluators(f);
    fbt_scorer_free(f->scorer);
    gsl_rng_free(f->rng);
    fbt_reports_free(f->reports);
    free(f->n_samples);
    free(f->work);
    fbt_client_values_clear(&f->values);
    fbt_array_list_clear(&f->checkpoint);
    free(f);
}

static void choose_participants(fbt_federation *f, uint32_t round)
{
    const int64_t *offsets = f->parts.partition->sample_offsets;
    fbt_reports_draw(f->reports, round, &f->round);
    fbt_messages_set_senders(&f->up, f->round.n);
    for (int64_t i = 0; i < f->round.n; i++) {
        int64_t k = f->round.clients[i];
        f->n_samples[i] = (double)(offsets[k + 1] - offsets[k]);
        f->work[i] = f->parts.work[k];
    }
}

/* The participants that this rank hosts. */
static fbt_status new_clients(fbt_federation *f)
{
    fbt_status status = FBT_OK;
    const fbt_comm *world = f->parts.world;
    FBT_TRY(fbt_placement_make(f->round.n, f->work, fbt_comm_size(world), &f->placement));
    const int64_t *offsets = f->placement.client_offsets + fbt_comm_rank(world);
    FBT_TRY(fbt_memory_alloc(&f->clients, offsets[1] - offsets[0], sizeof *f->clients));
    for (int64_t i = offsets[0]; i < offsets[1]; i++) {
        fbt_client *client = &f->clients[f->n_clients++];
        const int64_t slot = f->placement.client_index[i];
        FBT_TRY(fbt_client_init(client, f->round.clients[slot], &f->parts.dataset->train, f->parts.partition,
                                f->parts.settings->perturb.rate > 0));
        client->slot = slot;
    }
done:
    return status;
}

/* Deals the participants of a round out over the ranks: no client keeps anything from round to round. Where all take
 * part as in the round before, they stay. Collective. */
static fbt_status place_participants(fbt_federation *f)
{
    fbt_status status = FBT_OK;
    const fbt_comm *world = f->parts.world;
    if (f->round.n == f->parts.settings->fed.clients && f->placement.n_clients == f->round.n) {
        goto done;
    }
    clear_clients(f);
    FBT_TRY(fbt_comm_agree(world, new_clients(f)));
    if (f->round.n > 0 && fbt_comm_size(world) > f->round.n) {
        FBT_TRY(fbt_comm_split(world, f->placement.group[fbt_comm_rank(world)], &f->group));
    }
done:
    return status;
}

/* Tokens that this rank has put through the models and not yet told. */
static int64_t take_n_tokens(fbt_federation *f)
{
    const int64_t n_checked = f->check == NULL ? 0 : fbt_precision_check_n_tokens(f->check);
    const int64_t n = fbt_evaluator_n_tokens(f->evaluator) + n_checked - f->n_tokens_reported;
    f->n_tokens_reported += n;
    return n;
}

/* The server's part of a row, and what only all ranks together know. Collective. */
static void fill_server(fbt_federation *f, int64_t index, fbt_round_row *row)
{
    const fbt_server *server = f->searches.server;
    fbt_optimiser_health health;
    int64_t n_tokens = take_n_tokens(f);
    double peak_bytes = (double)fbt_memory_peak_bytes();
    const int64_t n_exchanges = f->protocol.clients->n_exchanges(f->parts.settings);
    fbt_comm_sum_int(f->parts.world, &n_tokens, 1);
    fbt_comm_max(f->parts.world, &peak_bytes, 1);
    fbt_comm_max(f->parts.world, f->phase_s, FBT_N_PHASES);
    fbt_optimiser_health_get(server->optimiser, &health);
    *row = (fbt_round_row){.index = index,
                           .z = fbt_searches_result(&f->searches),
                           .step_size = fbt_optimiser_step_size(server->optimiser),
                           .step_size_local = server->step_size_local,
                           .condition_number = health.condition,
                           .axis_ratio = health.axis_ratio,
                           .path_sigma_norm = health.path_length,
                           .epsilon = fbt_privacy_epsilon(f->parts.settings, n_exchanges, index),
                           .precision_tau = NAN,
                           .precision_overlap = NAN,
                           .precision_loss_error = NAN,
                           .n_participants = f->n_slots,
                           .n_reported = f->round.n_reported,
                           .n_dropped = f->round.n_dropped,
                           .n_late = f->round.n_late,
                           .simulated_s = f->round.simulated_s,
                           .participants = f->values.participants,
                           .client_fitness = f->values.fitness,
                           .client_loss = f->values.loss,
                           .client_loss_perturbed = f->values.loss_perturbed,
                           .client_step_size = f->values.step_size,
                           .client_mean = f->values.mean,
                           .client_condition = f->values.condition,
                           .client_evaluations = f->values.evaluations,
                           .phase_s = f->phase_s,
                           .n_tokens = n_tokens,
                           .peak_memory_bytes = (int64_t)peak_bytes,
                           .energy_cpu = NAN,
                           .energy_gpu = NAN};
}

/* How many searches of the round collapsed; the first time it is told. */
static int64_t count_resets(fbt_federation *f, uint32_t round)
{
    const fbt_optimiser *optimiser = f->searches.server->optimiser;
    const int64_t n_of_server = fbt_searches_n_resets(&f->searches);
    int64_t n = n_of_server - f->n_resets_reported;
    f->n_resets_reported = n_of_server;
    for (int64_t i = 0; i < f->round.n; i++) {
        const double *resets = fbt_messages_at(&f->up, "resets", i);
        n += resets == NULL ? 0 : (int64_t)*resets;
    }
    if (n > 0 && !f->told_of_resets) {
        fbt_log_info(fbt_optimiser_names[fbt_optimiser_options_of(optimiser)->kind],
                     "round %lld: %lld search%s collapsed (%s) and went on from the mean with C = identity; "
                     "rounds/resets counts them from here on",
                     (long long)round, (long long)n, n == 1 ? "" : "es", fbt_optimiser_type_of(optimiser)->collapse);
        f->told_of_resets = true;
    }
    return n;
}

static fbt_status score_part(fbt_federation *f, fbt_scored_part what, fbt_split_scores *scores)
{
    return fbt_scorer_run(f->scorer, f->evaluator, fbt_searches_result(&f->searches), f->parts.settings->cma.dimension,
                          what, f->parts.world, scores);
}

/* Test samples are scored where it is their turn, and where dev samples are better than ever: that round's test scores
 * are the run's result. Collective. */
static fbt_status score(fbt_federation *f, int64_t round, bool scored, fbt_split_scores *scores)
{
    fbt_status status = FBT_OK;
    const double start_s = fbt_timer_now_s();
    const fbt_metrics none = {NAN, NAN, NAN};
    const bool with_test = fbt_settings_scores_test(f->parts.settings, round);
    *scores = (fbt_split_scores){none, none, none};
    if (!scored) {
        goto done;
    }
    FBT_TRY(score_part(f, with_test ? FBT_SCORE_ALL : FBT_SCORE_TRAIN_AND_DEV, scores));
    const bool is_best = fbt_best_round_update(&f->best, round, scores->dev.accuracy, scores->dev.loss);
    FBT_TRY(is_best && !with_test ? score_part(f, FBT_SCORE_TEST, scores) : FBT_OK);
done:
    f->phase_s[FBT_PHASE_SCORE] += fbt_timer_now_s() - start_s;
    return status;
}

static void set_scores(const fbt_split_scores *scores, fbt_round_row *row)
{
    row->train_loss = scores->train.loss;
    row->train_accuracy = scores->train.accuracy;
    row->dev_loss = scores->dev.loss;
    row->dev_accuracy = scores->dev.accuracy;
    row->dev_f1 = scores->dev.f1;
    row->test_loss = scores->test.loss;
    row->test_accuracy = scores->test.accuracy;
    row->test_f1 = scores->test.f1;
}

static void begin_phases(fbt_federation *f)
{
    memcpy(f->phase_s, f->pending_phase_s, sizeof f->phase_s);
    memset(f->pending_phase_s, 0, sizeof f->pending_phase_s);
}

fbt_status fbt_federation_start(fbt_federation *federation, fbt_round_row *row)
{
    fbt_status status = FBT_OK;
    fbt_split_scores scores;
    begin_phases(federation);
    fbt_client_values_empty(&federation->values);
    federation->round =
        (fbt_round_reports){.simulated_s = fbt_settings_have_pace(federation->parts.settings) ? 0 : NAN};
    FBT_TRY(score(federation, 0, true, &scores));
    fill_server(federation, 0, row);
    set_scores(&scores, row);
done:
    return status;
}

/* check: of this round, or NULL. */
static fbt_status protocol_round(fbt_federation *f, uint32_t round, fbt_precision_check *check)
{
    const int rank = fbt_comm_rank(f->parts.world);
    const bool shares = f->placement.group_size[rank] > 1;
    fbt_round context = {.settings = f->parts.settings,
                         .world = f->parts.world,
                         .group = shares ? f->group : NULL,
                         .fills_slots = f->placement.member[rank] == 0,
                         .evaluator = f->evaluator,
                         .clients = f->clients,
                         .n_clients = f->n_clients,
                         .participants = f->round.clients,
                         .n_participants = f->round.n,
                         .n_silent = fbt_settings_chosen(f->parts.settings) - f->round.n,
                         .n_samples = f->n_samples,
                         .owner = f->placement.owner,
                         .residuals = f->residuals,
                         .number = round,
                         .rng = f->rng,
                         .phase_s = f->phase_s,
                         .check = check,
                         .server = f->searches.server,
                         .block = f->searches.block,
                         .up = &f->up,
                         .down = &f->down};
    return fbt_comm_agree(f->parts.world, fbt_protocol_round(&f->protocol, &context));
}

/* The check of a round, NULL where it has none. */
static fbt_precision_check *begin_check(fbt_federation *f, uint32_t round)
{
    if (f->check == NULL || f->round.n == 0 || !fbt_settings_checks_round(f->parts.settings, round)) {
        return NULL;
    }
    fbt_precision_check_begin(f->check, round, f->round.n);
    return f->check;
}

/* check NULL: finds nothing. */
static fbt_status finish_check(fbt_federation *f, fbt_precision_check *check, fbt_precision_result *result)
{
    const double start_s = fbt_timer_now_s();
    *result = (fbt_precision_result){NAN, NAN, NAN};
    if (check == NULL) {
        return FBT_OK;
    }
    const fbt_status status = fbt_precision_check_finish(check, f->round.clients, &f->parts.dataset->train,
                                                         f->parts.partition, f->parts.world, result);
    f->phase_s[FBT_PHASE_CHECK] += fbt_timer_now_s() - start_s;
    return status;
}

static void set_check(const fbt_precision_result *check, fbt_round_row *row)
{
    row->precision_tau = check->tau;
    row->precision_overlap = check->overlap;
    row->precision_loss_error = check->loss_error;
}

fbt_status fbt_federation_round(fbt_federation *federation, uint32_t round, bool scored, fbt_round_row *row)
{
    fbt_status status = FBT_OK;
    fbt_federation *f = federation;
    fbt_split_scores scores;
    fbt_precision_result checked;
    begin_phases(f);
    fbt_searches_begin_round(&f->searches, f->parts.settings, round);
    choose_participants(f, round);
    FBT_TRY(place_participants(f));
    fbt_precision_check *check = begin_check(f, round);
    FBT_TRY(protocol_round(f, round, check));
    fbt_searches_end_round(&f->searches);
    FBT_TRY(finish_check(f, check, &checked));
    FBT_TRY(score(f, round, scored, &scores));
    fbt_client_values_fill(&f->values, f->parts.settings, &f->round, &f->up, &f->searches.block);
    fill_server(f, round, row);
    set_scores(&scores, row);
    set_check(&checked, row);
    row->n_resets = count_resets(f, round);
    row->bytes_up = f->up.n_bytes;
    fbt_comm_sum_int(f->parts.world, &row->bytes_up, 1);
    row->bytes_down = f->down.n_bytes;
done:
    return status;
}

fbt_status fbt_federation_use_model(fbt_federation *federation, fbt_model *model)
{
    free_evaluators(federation);
    federation->parts.model = model;
    federation->parts.reference = NULL;
    return new_evaluators(federation);
}

void fbt_federation_add_phase(fbt_federation *federation, fbt_phase phase, double seconds)
{
    federation->pending_phase_s[phase] += seconds;
}

static int64_t n_residuals(const fbt_federation *f)
{
    return fbt_uplink_n_residuals(f->parts.settings, &f->up.schema);
}

fbt_status fbt_federation_checkpoint(fbt_federation *federation, const fbt_array **arrays)
{
    fbt_status status = FBT_OK;
    fbt_federation *f = federation;
    FBT_TRY(fbt_searches_export(&f->searches, &f->checkpoint));
    FBT_TRY(fbt_residuals_export(f->residuals, n_residuals(f), &f->checkpoint));
    *arrays = f->checkpoint.items;
done:
    return status;
}

fbt_status fbt_federation_restore(fbt_federation *federation, const fbt_array *checkpoint, const fbt_best_round *best)
{
    fbt_status status = FBT_OK;
    fbt_federation *f = federation;
    const fbt_comm *world = f->parts.world;
    if (fbt_comm_rank(world) == 0) {
        f->best = *best;
    }
    fbt_comm_broadcast(world, &f->best, sizeof f->best);
    FBT_TRY(fbt_searches_import(&f->searches, world, checkpoint));
    FBT_TRY(fbt_residuals_import(f->residuals, n_residuals(f), world, checkpoint));
done:
    return status;
}
