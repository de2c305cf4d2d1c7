#include "fed/prediction.h"

#include "base/memory.h"
#include "fed/local_search.h"
#include "fed/ordered_sum.h"
#include "fed/participants.h"
#include "fed/placement.h"
#include "fed/protocol.h"

#include <math.h>
#include <stdlib.h>

/* Small collectives of a round, of up to 8 numbers: agreements behind begin, search, each exchange, the last update,
 * the scores and the record, and the sums and maxima of the row (federation.c, experiment.c). */
enum { N_AGREEMENTS_ONCE = 5, N_AGREEMENTS_AN_EXCHANGE = 2, N_ROW_REDUCTIONS = 5, AGREEMENT_BYTES = 4, ROW_BYTES = 48 };

static fbt_settings settings_of(const fbt_prediction_case *c, int64_t n_clients)
{
    fbt_settings settings = *c->settings; /* its texts are borrowed */
    settings.fed.clients = n_clients;
    return settings;
}

static const fbt_client_work *clients_of(const fbt_settings *settings)
{
    return fbt_protocol_of(settings).clients;
}

/* Evaluations of a round in which a rank's sequences are one batch. */
static double n_passes(const fbt_settings *settings)
{
    return (double)clients_of(settings)->n_batches(settings);
}

double fbt_prediction_allreduce_s(const fbt_rank_speeds *speeds, int n_ranks, double n_bytes)
{
    const double n_steps = ceil(log2(n_ranks)), transfer_s = n_bytes / speeds->bytes_per_s;
    const double doubling_s = n_steps * (speeds->latency_s + transfer_s);
    return fmin(doubling_s, 2 * n_steps * speeds->latency_s + 2 * transfer_s * (n_ranks - 1) / n_ranks);
}

double fbt_prediction_share(double n_tokens, double longest, int n_ranks)
{
    return n_ranks == 1 ? n_tokens : fmin(n_tokens, n_tokens / n_ranks + longest / 2);
}

/* ---- Work ---- */

/* work: [m], of the participants that a round draws. */
static fbt_status draw_work(const fbt_prediction_case *c, const fbt_settings *settings, uint32_t round, int64_t *work)
{
    fbt_status status = FBT_OK;
    const int64_t m = fbt_settings_participants(settings);
    int64_t *participants = NULL;
    FBT_TRY(fbt_memory_alloc(&participants, m, sizeof *participants));
    fbt_participants_draw(settings, round, participants);
    for (int64_t i = 0; i < m; i++) {
        work[i] = c->work[participants[i] % c->n_clients];
    }
done:
    free(participants);
    return status;
}

static void look_at_rank(const fbt_placement *p, const int64_t *work, int rank, fbt_prediction_load *load)
{
    const int64_t first = p->client_offsets[rank], end = p->client_offsets[rank + 1];
    double tokens = 0;
    for (int64_t i = first; i < end; i++) {
        tokens += (double)work[p->client_index[i]];
    }
    if (p->member[rank] == 0) {
        load->all_tokens += tokens;
    }
    tokens /= p->group_size[rank];
    if (tokens > load->busiest_tokens) {
        load->busiest_tokens = tokens;
        load->n_sharing = p->group_size[rank];
    }
    load->n_hosted = fmax(load->n_hosted, (double)(end - first));
}

fbt_status fbt_prediction_find_load(const fbt_prediction_case *c, int64_t n_clients, int n_ranks, uint32_t round,
                                    fbt_prediction_load *load)
{
    fbt_status status = FBT_OK;
    const fbt_settings settings = settings_of(c, n_clients);
    int64_t *work = NULL;
    fbt_placement placement = {0};
    *load = (fbt_prediction_load){.n_participants = fbt_settings_participants(&settings), .n_sharing = 1};
    if (load->n_participants < 1) {
        FBT_FAIL(FBT_ERR_ARG, "of %lld clients none takes part with fed.participation %g: predict for more clients",
                 (long long)n_clients, settings.fed.participation);
    }
    if (load->n_participants > n_clients) {
        FBT_FAIL(FBT_ERR_ARG, "fed.participants is %lld, more than %lld clients: predict for more clients",
                 (long long)load->n_participants, (long long)n_clients);
    }
    FBT_TRY(fbt_memory_alloc(&work, load->n_participants, sizeof *work));
    FBT_TRY(draw_work(c, &settings, round, work));
    FBT_TRY(fbt_placement_make(load->n_participants, work, n_ranks, &placement));
    for (int rank = 0; rank < n_ranks; rank++) {
        look_at_rank(&placement, work, rank, load);
    }
done:
    fbt_placement_clear(&placement);
    free(work);
    return status;
}

double fbt_prediction_search_tokens(const fbt_prediction_case *c, const fbt_prediction_load *load, int n_ranks)
{
    const double cut = load->n_sharing > 1 && n_ranks > 1 ? n_passes(c->settings) * c->longest / 2 : 0;
    return (double)fbt_protocol_evaluations(c->settings) * load->busiest_tokens + cut;
}

/* Tokens of one pass over a client's samples, the mean. */
static double mean_work(const fbt_prediction_case *c)
{
    double sum = 0;
    for (int64_t k = 0; k < c->n_clients; k++) {
        sum += (double)c->work[k];
    }
    return sum / (double)c->n_clients;
}

/* Training samples that are scored, of n_clients. */
static double scored_train(const fbt_prediction_case *c, int64_t n_clients)
{
    const double all = (double)n_clients * c->n_samples, limit = (double)c->settings->eval.train_limit;
    return limit > 0 ? fmin(all, limit) : all;
}

double fbt_prediction_train_tokens(const fbt_prediction_case *c, int64_t n_clients)
{
    return mean_work(c) / c->n_samples * scored_train(c, n_clients);
}

/* ---- Collectives ---- */

/* The sum of a field of m participants in their order (ordered_sum.h): blocks of their rows, of which every rank gets
 * its columns, and the sum of all columns to all. */
static double ordered_sum_s(const fbt_rank_speeds *s, int64_t m, int n_ranks, double row_bytes)
{
    const double n_blocks = ceil((double)m / (double)fbt_ordered_sum_block(n_ranks));
    const double row_s = row_bytes / s->bytes_per_s;
    const double gather_s = ceil(log2(n_ranks)) * s->latency_s + row_s * (n_ranks - 1) / n_ranks;
    return n_blocks * ((n_ranks - 1) * s->latency_s + row_s) + gather_s +
           2 * fbt_prediction_allreduce_s(s, n_ranks, AGREEMENT_BYTES);
}

/* Messages of an exchange. */
static double messages_s(const fbt_prediction_case *c, int64_t m, int n_ranks)
{
    const fbt_settings *settings = c->settings;
    const fbt_rank_speeds *s = &c->speeds;
    fbt_schema up, down;
    const fbt_protocol protocol = fbt_protocol_of(settings);
    fbt_protocol_schemas(&protocol, settings, &up, &down);
    const double block = (double)(m * fbt_schema_n_exchanged(&up)) * sizeof(double);
    const double summed = (double)fbt_schema_n_summed(&up) * sizeof(double);
    const double sum_s = summed > 0 ? ordered_sum_s(s, m, n_ranks, summed) : 0;
    return fbt_prediction_allreduce_s(s, n_ranks, block) + sum_s +
           N_AGREEMENTS_AN_EXCHANGE * fbt_prediction_allreduce_s(s, n_ranks, AGREEMENT_BYTES);
}

/* Ranks that share a participant agree three times a pass and sum its losses; that of the busiest ranks may have many
 * more samples than the mean. */
static double group_s(const fbt_prediction_case *c, const fbt_prediction_load *load)
{
    const fbt_rank_speeds *s = &c->speeds;
    const fbt_settings *settings = c->settings;
    const double copies = settings->perturb.rate > 0 ? 2 : 1;
    if (load->n_sharing == 1) {
        return 0;
    }
    const double n_samples = c->n_samples * load->busiest_tokens * load->n_sharing / fmax(mean_work(c), 1);
    const double losses = copies * (double)settings->cma.population * n_samples * sizeof(double);
    return n_passes(settings) * (3 * fbt_prediction_allreduce_s(s, load->n_sharing, AGREEMENT_BYTES) +
                                 fbt_prediction_allreduce_s(s, load->n_sharing, losses));
}

/* Losses and predictions of an average round's scores. */
static double scores_s(const fbt_prediction_case *c, int64_t n_clients, int n_ranks)
{
    const double n_others = c->longest > 0 ? c->other_score_tokens / c->longest : 0;
    const double n_items = c->scored * scored_train(c, n_clients) + n_others;
    return 2 * fbt_prediction_allreduce_s(&c->speeds, n_ranks, n_items * sizeof(double));
}

static double exchange_s(const fbt_prediction_case *c, const fbt_prediction_load *load, int64_t n_clients, int n_ranks)
{
    const fbt_rank_speeds *s = &c->speeds;
    if (n_ranks == 1) {
        return 0;
    }
    const double n_exchanges = (double)clients_of(c->settings)->n_exchanges(c->settings);
    return n_exchanges * messages_s(c, load->n_participants, n_ranks) + group_s(c, load) +
           scores_s(c, n_clients, n_ranks) +
           N_AGREEMENTS_ONCE * fbt_prediction_allreduce_s(s, n_ranks, AGREEMENT_BYTES) +
           N_ROW_REDUCTIONS * fbt_prediction_allreduce_s(s, n_ranks, ROW_BYTES);
}

/* ---- Memory ---- */

double fbt_prediction_row_bytes(const fbt_settings *settings)
{
    const int64_t d = settings->cma.dimension, m = fbt_settings_participants(settings);
    const int64_t of_participant = 6 + settings->fed.local_generations + (settings->run.client_means ? d : 0);
    fbt_optimiser_options options;
    fbt_local_search_options(settings, &options);
    return (double)(m * of_participant + 4 * d + fbt_settings_n_blocks(settings) * fbt_optimiser_n_shape(&options)) *
           sizeof(double);
}

double fbt_prediction_client_bytes(const fbt_prediction_case *c, int64_t n_clients)
{
    const fbt_settings settings = settings_of(c, n_clients);
    fbt_schema up, down;
    const fbt_protocol protocol = fbt_protocol_of(&settings);
    fbt_protocol_schemas(&protocol, &settings, &up, &down);
    const double message = (double)fbt_schema_n_exchanged(&up) * sizeof(double);
    const double lists = 3 * sizeof(int64_t); /* work, offsets, numbers of samples */
    return (double)fbt_settings_participants(&settings) * message + (double)n_clients * lists +
           fbt_prediction_row_bytes(&settings) + (double)n_clients * c->n_samples * c->sample_bytes;
}

/* ---- The whole ---- */

static void add_up(const fbt_prediction_case *c, const fbt_prediction_load *load, fbt_prediction *p)
{
    const fbt_rank_speeds *s = &c->speeds;
    const fbt_settings settings = settings_of(c, p->n_clients);
    const double score_tokens = c->scored * fbt_prediction_train_tokens(c, p->n_clients) + c->other_score_tokens;
    const double search_tokens = fbt_prediction_search_tokens(c, load, p->n_ranks);
    p->n_participants = load->n_participants;
    p->balance = load->all_tokens / p->n_ranks / fmax(load->busiest_tokens, 1);
    p->search_s = s->token_s * search_tokens;
    p->optimise_s = s->client_s * load->n_hosted + s->server_s + s->server_participant_s * (double)p->n_participants;
    p->exchange_s = exchange_s(c, load, p->n_clients, p->n_ranks);
    p->score_s = s->score_token_s * fbt_prediction_share(score_tokens, c->longest, p->n_ranks);
    p->record_s = s->record_s + s->record_byte_s * fbt_prediction_row_bytes(&settings);
    p->check_s = s->check_s / p->n_ranks;
    p->round_s = p->search_s + p->optimise_s + p->exchange_s + p->score_s + p->record_s + p->check_s;
    p->rank_bytes =
        c->rank_bytes + fbt_prediction_client_bytes(c, p->n_clients) + c->participant_bytes * load->n_hosted;
    p->node_bytes = c->node_bytes + fmin(p->n_ranks, c->ranks_per_node) * p->rank_bytes;
}

fbt_status fbt_prediction_make(const fbt_prediction_case *c, int64_t n_clients, int n_ranks, fbt_prediction *prediction)
{
    fbt_status status = FBT_OK;
    fbt_prediction alone = {.n_clients = n_clients, .n_ranks = 1};
    fbt_prediction_load load;
    *prediction = (fbt_prediction){.n_clients = n_clients, .n_ranks = n_ranks};
    FBT_TRY(fbt_prediction_find_load(c, n_clients, 1, 1, &load));
    add_up(c, &load, &alone);
    FBT_TRY(fbt_prediction_find_load(c, n_clients, n_ranks, 1, &load));
    add_up(c, &load, prediction);
    prediction->efficiency = alone.round_s / n_ranks / prediction->round_s;
done:
    return status;
}
