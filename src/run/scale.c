#include "run/scale.h"

#include "base/memory.h"
#include "base/prompt_mode.h"
#include "base/rng.h"
#include "base/timer.h"
#include "fed/protocol.h"
#include "record/run_costs.h"
#include "run/cost.h"
#include "run/limits.h"
#include "run/optimiser_speed.h"

#include <gsl/gsl_randist.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_DRAWN = 4096, N_LABELS = 2, TOKEN_BYTES = 5 /* of a data set in memory, with its frozen flag */ };

/* ---- Measured here ---- */

/* Seconds of writing n_bytes to a new temporary file and of syncing it. */
static fbt_status time_write(const char *bytes, int64_t n_bytes, double *seconds)
{
    fbt_status status = FBT_OK;
    FILE *file = tmpfile();
    if (file == NULL) {
        FBT_FAIL(FBT_ERR_IO, "no temporary file can be made in " P_tmpdir " to time the writing of rounds; make it "
                             "writable");
    }
    const double start_s = fbt_timer_now_s();
    if (fwrite(bytes, 1, (size_t)n_bytes, file) != (size_t)n_bytes || fflush(file) != 0 || fsync(fileno(file)) != 0) {
        FBT_FAIL(FBT_ERR_IO, "a temporary file cannot be written; make room for %" PRId64 " bytes", n_bytes);
    }
    *seconds = fbt_timer_now_s() - start_s;
done:
    if (file != NULL) {
        fclose(file);
    }
    return status;
}

/* A small write, and what each further byte takes; the best of a few. */
static fbt_status measure_disk(double *write_s, double *byte_s)
{
    enum { SMALL_BYTES = 1 << 12, LARGE_BYTES = 1 << 24, N_REPEATS = 3 };
    fbt_status status = FBT_OK;
    char *bytes = NULL;
    double best_s[2] = {INFINITY, INFINITY};
    FBT_TRY(fbt_memory_alloc(&bytes, LARGE_BYTES, 1));
    for (int i = 0; i < 2 * N_REPEATS; i++) {
        double seconds = 0;
        FBT_TRY(time_write(bytes, i % 2 == 0 ? SMALL_BYTES : LARGE_BYTES, &seconds));
        best_s[i % 2] = fmin(best_s[i % 2], seconds);
    }
    *write_s = best_s[0];
    *byte_s = fmax(best_s[1] - best_s[0], 0) / (LARGE_BYTES - SMALL_BYTES);
done:
    free(bytes);
    return status;
}

static fbt_status measure_alone(fbt_scale *s, const fbt_comm *self)
{
    fbt_status status = FBT_OK;
    fbt_optimiser_speed speed;
    fbt_rank_speeds *speeds = &s->c.speeds;
    FBT_TRY(measure_disk(&speeds->record_s, &speeds->record_byte_s));
    FBT_TRY(fbt_optimiser_speed_measure(&s->settings, self, &speed));
    speeds->client_s = speed.client_s;
    speeds->server_s = speed.server_s;
    speeds->server_participant_s = speed.server_participant_s;
    s->c.participant_bytes = speed.participant_bytes;
done:
    return status;
}

/* ---- From a run file ---- */

static fbt_status count_work(fbt_scale *s)
{
    fbt_status status = FBT_OK;
    const int64_t n_around = fbt_cost_rows_around(&s->settings, &s->inputs.dataset);
    FBT_TRY(fbt_memory_alloc(&s->work, s->partition.n_clients, sizeof *s->work));
    for (int64_t k = 0; k < s->partition.n_clients; k++) {
        fbt_evaluation_size size = {0};
        fbt_cost_add_client(&s->inputs.dataset, &s->partition, k, n_around, &size);
        s->work[k] = size.n_rows;
    }
    s->c.longest = (double)(fbt_split_max_length(&s->inputs.dataset.train) + n_around);
done:
    return status;
}

/* The settings of the file, and the samples that they choose. */
static fbt_status open_inputs(fbt_scale *s, const char *run, const fbt_run_costs *costs)
{
    fbt_status status = FBT_OK;
    char precision[64];
    FBT_TRY(fbt_settings_read_recorded(&s->settings, costs->config_resolved, run));
    snprintf(precision, sizeof precision, "backend.precision=%.40s", costs->precision);
    FBT_TRY(fbt_settings_set(&s->settings, precision));
    FBT_TRY(fbt_settings_check(&s->settings));
    if (!fbt_settings_all_report(&s->settings)) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED,
                 "faults.dropout, pace.deadline_seconds or fed.over_selection let fewer clients report in some rounds: "
                 "predictions are of rounds in which all chosen clients do; give a run without them");
    }
    FBT_TRY(fbt_inputs_open_dataset(&s->inputs, &s->settings));
    FBT_TRY(fbt_inputs_check(&s->inputs, &s->settings));
    FBT_TRY(fbt_inputs_partition(&s->inputs, &s->settings, &s->partition));
    FBT_TRY(count_work(s));
done:
    return status;
}

/* Clients, samples and what of them an average round scores. */
static void describe_samples(fbt_scale *s, const fbt_run_costs *costs)
{
    const int64_t n_samples = s->partition.sample_offsets[s->partition.n_clients];
    const double n_rounds = (double)costs->n_rounds;
    fbt_evaluation_size scores = {0};
    double train = 0;
    fbt_cost_add_scores(&s->settings, &s->inputs.dataset, &s->partition, &scores);
    for (int64_t k = 0; k < s->partition.n_clients; k++) {
        train += (double)s->work[k];
    }
    const double test = (double)fbt_cost_of_shares(&s->settings, &s->inputs.dataset, s->work).test;
    s->c.n_clients = s->partition.n_clients;
    s->c.work = s->work;
    s->c.n_samples = (double)n_samples / (double)s->partition.n_clients;
    const double dev = (double)scores.n_rows - fbt_prediction_train_tokens(&s->c, s->c.n_clients) - test;
    s->c.scored = (double)costs->n_scored / n_rounds;
    s->c.other_score_tokens = s->c.scored * dev + (double)costs->n_tested / n_rounds * test;
    s->c.sample_bytes = (double)(sizeof(fbt_item) + 3 * sizeof(double)) + TOKEN_BYTES * train / (double)n_samples;
}

/* Mean of the rounds' loads: all the same where all clients take part. */
static fbt_status find_loads(const fbt_scale *s, const fbt_run_costs *costs, double *tokens, double *n_hosted)
{
    fbt_status status = FBT_OK;
    const int64_t n_clients = s->c.n_clients;
    const int64_t n = fbt_settings_participants(&s->settings) == n_clients ? 1 : costs->n_rounds;
    *tokens = *n_hosted = 0;
    for (int64_t i = 0; i < n; i++) {
        fbt_prediction_load load;
        FBT_TRY(fbt_prediction_find_load(&s->c, n_clients, costs->n_ranks, (uint32_t)costs->rounds[i], &load));
        *tokens += fbt_prediction_search_tokens(&s->c, &load, costs->n_ranks) / (double)n;
        *n_hosted += load.n_hosted / (double)n;
    }
done:
    return status;
}

/* Finds what is left of a rank's memory when all that is counted is taken away. */
static fbt_status find_memory(fbt_scale *s, const fbt_run_costs *costs, const fbt_comm *self, double n_hosted)
{
    fbt_status status = FBT_OK;
    fbt_placement placement = {0};
    fbt_model_limits limits;
    fbt_model_plan plan;
    if (fbt_settings_participants(&s->settings) == s->c.n_clients) {
        FBT_TRY(fbt_placement_make(s->c.n_clients, s->work, costs->n_ranks, &placement));
    }
    fbt_limits_of_run(&s->settings, &s->inputs.dataset, &s->partition, &placement, costs->n_ranks, 0, &limits);
    FBT_TRY(fbt_inputs_open_backend(&s->inputs, &s->settings, self));
    FBT_TRY(fbt_inputs_plan_memory(&s->inputs, &s->settings, &limits, &plan));
    s->c.node_bytes = (double)(plan.weights + plan.tables);
    s->c.rank_bytes = fmax((double)costs->peak_memory_bytes - s->c.node_bytes -
                               fbt_prediction_client_bytes(&s->c, s->c.n_clients) - s->c.participant_bytes * n_hosted,
                           (double)(plan.projection + plan.n_streams * plan.workspace));
done:
    fbt_placement_clear(&placement);
    return status;
}

/* The speeds with which the model comes to the phases of the file. What the optimisers take here is scaled to what they
 * took there. */
static void fit(fbt_scale *s, const fbt_run_costs *costs, double search_tokens, double n_hosted)
{
    fbt_rank_speeds *v = &s->c.speeds;
    const double *phase_s = costs->phase_s;
    const double m = (double)fbt_settings_participants(&s->settings);
    const double optimise_s = v->client_s * n_hosted + v->server_s + v->server_participant_s * m;
    const double factor = optimise_s > 0 ? phase_s[FBT_PHASE_OPTIMISE] / optimise_s : 1;
    const double score_tokens =
        s->c.other_score_tokens + s->c.scored * fbt_prediction_train_tokens(&s->c, s->c.n_clients);
    const double share = fbt_prediction_share(score_tokens, s->c.longest, costs->n_ranks);
    v->token_s = phase_s[FBT_PHASE_SEARCH] / fmax(search_tokens, 1);
    v->score_token_s = phase_s[FBT_PHASE_SCORE] / fmax(share, 1);
    v->client_s *= factor;
    v->server_s *= factor;
    v->server_participant_s *= factor;
    v->record_s = fmax(phase_s[FBT_PHASE_RECORD] - v->record_byte_s * fbt_prediction_row_bytes(&s->settings), 0);
    v->check_s = phase_s[FBT_PHASE_CHECK] * costs->n_ranks;
}

static fbt_status tell_source(fbt_scale *s, const char *what, const char *detail)
{
    if (asprintf(&s->source, "%s (%s)", what, detail) < 0) {
        s->source = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: the name of what is predicted from");
    }
    return FBT_OK;
}

static fbt_status open_run(fbt_scale *s, const char *run, const fbt_comm *self)
{
    fbt_status status = FBT_OK;
    fbt_run_costs costs = {0};
    double tokens, n_hosted;
    char detail[96];
    FBT_TRY(fbt_run_costs_read(run, &costs));
    FBT_TRY(open_inputs(s, run, &costs));
    FBT_TRY(measure_alone(s, self));
    describe_samples(s, &costs);
    FBT_TRY(find_loads(s, &costs, &tokens, &n_hosted));
    FBT_TRY(find_memory(s, &costs, self, n_hosted));
    fit(s, &costs, tokens, n_hosted);
    s->n_ranks = costs.n_ranks;
    snprintf(detail, sizeof detail, "%" PRId64 " rounds of %" PRId64 " clients on %d rank%s, %.20s", costs.n_rounds,
             s->c.n_clients, costs.n_ranks, costs.n_ranks > 1 ? "s" : "", costs.precision);
    FBT_TRY(tell_source(s, run, detail));
done:
    fbt_run_costs_clear(&costs);
    return status;
}

/* ---- From a shape ---- */

static fbt_status assign(fbt_settings *settings, const fbt_timing_plan *p)
{
    settings->cma.population = p->candidates;
    settings->perturb.rate = p->copies > 1 ? 0.5 : 0;
    settings->prompt.mode = (int)p->mode;
    settings->prompt.tokens = p->prompt_tokens;
    if (p->copies > 2) {
        return fbt_fail(FBT_ERR_UNSUPPORTED,
                        "--copies is %" PRId64
                        ": a round scores a sample once, or with one perturbed copy; give 1 or 2",
                        p->copies);
    }
    return FBT_OK;
}

/* Clients whose samples have about so many tokens; without spread one, whom all are like. */
static fbt_status draw_clients(fbt_scale *s, const fbt_timing_plan *p, int64_t spread)
{
    fbt_status status = FBT_OK;
    const double in_front = (double)fbt_prompt_rows_in_front(p->mode, p->prompt_tokens);
    const double least = 1 + (p->mode == FBT_PROMPT_ADD ? (double)p->prompt_tokens : 0);
    gsl_rng *rng = NULL;
    s->c.n_clients = spread > 0 ? N_DRAWN : 1;
    FBT_TRY(fbt_rng_new(&rng));
    FBT_TRY(fbt_memory_alloc(&s->work, s->c.n_clients, sizeof *s->work));
    fbt_rng_seek(rng, &(fbt_rng_stream){.seed = 1, .purpose = FBT_RNG_SYNTHETIC, .client = 2});
    for (int64_t i = 0; i < s->c.n_clients * p->samples; i++) {
        const double drawn = (double)p->length + gsl_ran_gaussian_ziggurat(rng, (double)spread);
        const double n_tokens = spread > 0 ? fmax(round(drawn), least) : (double)p->length;
        s->work[i / p->samples] += (int64_t)(n_tokens + in_front);
        s->c.longest = fmax(s->c.longest, n_tokens + in_front);
    }
    s->c.work = s->work;
done:
    gsl_rng_free(rng);
    return status;
}

/* Weights and batches, by the backend that is open. */
static void plan_memory(fbt_scale *s, const fbt_timing_plan *p, const fbt_timing_result *m, double own_bytes)
{
    const fbt_model_options options = {.readout = p->readout < 0 ? fbt_model_default_readout(&m->shape)
                                                                 : (fbt_readout)p->readout,
                                       .prompt_mode = p->mode,
                                       .n_prompt_tokens = fbt_prompt_rows(p->mode, p->prompt_tokens),
                                       .n_labels = N_LABELS};
    const fbt_model_limits limits = {.n_rows = m->n_rows, .n_sequences = m->n_sequences, .n_prompts = p->candidates};
    fbt_model_plan plan;
    fbt_model_plan_memory(m->backend, &m->shape, &options, s->settings.cma.dimension, &limits, &plan);
    s->c.node_bytes = (double)(plan.weights + plan.tables);
    s->c.rank_bytes = own_bytes + (double)(plan.projection + plan.n_streams * plan.workspace);
}

/* A client's batch, timed, or, where its speed is known, only described. */
static fbt_status describe_batch(const fbt_scale_plan *plan, fbt_timing_result *m)
{
    fbt_status status = FBT_OK;
    const fbt_timing_plan *p = plan->timing;
    const fbt_backend_options options = {
        .name = p->backend, .precision = p->precision, .n_threads = (int)p->threads, .n_local_ranks = 1};
    if (plan->tokens_per_s == 0) {
        return fbt_timing_measure(p, m);
    }
    FBT_TRY(p->model != NULL ? fbt_model_read_shape(p->model, &m->shape) : fbt_model_named_shape(p->shape, &m->shape));
    FBT_TRY(fbt_backend_open(&options, &m->backend));
    fbt_backend_get_info(m->backend, &m->info);
    m->n_sequences = p->samples * p->candidates * p->copies;
    m->n_rows = m->n_sequences * (p->length + fbt_prompt_rows_in_front(p->mode, p->prompt_tokens));
    m->median_s = (double)m->n_rows / (double)plan->tokens_per_s;
done:
    return status;
}

static fbt_status open_shape(fbt_scale *s, const fbt_scale_plan *plan, const fbt_comm *self)
{
    fbt_status status = FBT_OK;
    const fbt_timing_plan *p = plan->timing;
    const double own_bytes = (double)fbt_memory_peak_bytes();
    fbt_timing_result m = {0};
    char detail[160];
    FBT_TRY(assign(&s->settings, p));
    FBT_TRY(draw_clients(s, p, plan->spread));
    FBT_TRY(measure_alone(s, self));
    FBT_TRY(describe_batch(plan, &m));
    s->c.speeds.token_s = s->c.speeds.score_token_s = m.median_s / (double)m.n_rows;
    s->c.n_samples = (double)p->samples;
    s->c.scored = 1;
    s->c.other_score_tokens = (double)(plan->test_samples * m.n_rows) / (double)m.n_sequences;
    s->c.sample_bytes = (double)(sizeof(fbt_item) + 3 * sizeof(double)) + TOKEN_BYTES * (double)p->length;
    plan_memory(s, p, &m, own_bytes);
    snprintf(detail, sizeof detail, "%.20s, %" PRId64 " samples of %" PRId64 " tokens a client, %.0f tokens/s %s%.60s",
             m.info.types->name, p->samples, p->length, 1 / s->c.speeds.token_s,
             plan->tokens_per_s > 0 ? "as given" : "on ", plan->tokens_per_s > 0 ? "" : m.info.device);
    FBT_TRY(tell_source(s, p->model != NULL ? p->model : p->shape, detail));
done:
    fbt_timing_clear(&m);
    return status;
}

/* ---- Both ---- */

/* Measures what is not given between the first rank and the last. Collective. */
static fbt_status find_network(fbt_scale *s, const fbt_scale_plan *plan, const fbt_comm *world)
{
    fbt_status status = FBT_OK;
    fbt_rank_speeds *v = &s->c.speeds;
    fbt_comm_speed speed = {plan->latency_s, plan->bytes_per_s};
    s->pinged = plan->latency_s == 0 || plan->bytes_per_s == 0;
    if (s->pinged && fbt_comm_size(world) == 1) {
        FBT_FAIL(FBT_ERR_USAGE,
                 "--scale needs the network: give --latency and --bandwidth (2us, 12.5GB/s), or start it "
                 "under mpirun on 2 ranks, between which it is measured");
    }
    if (s->pinged) {
        FBT_TRY(fbt_comm_ping(world, &speed));
    }
    v->latency_s = plan->latency_s > 0 ? plan->latency_s : speed.latency_s;
    v->bytes_per_s = plan->bytes_per_s > 0 ? plan->bytes_per_s : speed.bytes_per_s;
done:
    return status;
}

fbt_status fbt_scale_open(const fbt_scale_plan *plan, const fbt_comm *world, fbt_scale *scale)
{
    fbt_status status = FBT_OK;
    fbt_scale *s = scale;
    fbt_comm *self = NULL;
    s->c.settings = &s->settings;
    s->c.ranks_per_node = plan->ranks_per_node;
    FBT_TRY(find_network(s, plan, world));
    FBT_TRY(fbt_comm_agree(world, fbt_settings_defaults(&s->settings)));
    FBT_TRY(fbt_comm_split(world, fbt_comm_rank(world), &self));
    if (fbt_comm_rank(world) == 0) {
        status = plan->run != NULL ? open_run(s, plan->run, self) : open_shape(s, plan, self);
    }
    fbt_inputs_close(&s->inputs); /* while the rank's own communicator is there */
    fbt_comm_free(self);
    fbt_comm_wait(world); /* the others leave rank 0 the processors */
    FBT_TRY(fbt_comm_agree(world, status));
done:
    return status;
}

void fbt_scale_close(fbt_scale *scale)
{
    fbt_partition_clear(&scale->partition);
    fbt_settings_clear(&scale->settings);
    free(scale->work);
    free(scale->source);
    *scale = (fbt_scale){0};
}
