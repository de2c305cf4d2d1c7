#include "fed/reports.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/smaller.h"
#include "fed/participants.h"
#include "fed/protocol.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <stdlib.h>

/* A chosen client that has not dropped out. */
typedef struct report {
    int64_t client;
    double seconds, order; /* order: random, for equal times */
} report;

struct fbt_reports {
    const fbt_settings *settings;
    const int64_t *work;
    gsl_rng *rng;
    int64_t n_participants, n_chosen, least;
    int64_t n_evaluations, n_exchanges, n_bytes; /* of one client in a round */
    int64_t *clients;                            /* [n_chosen] */
    report *items;                               /* [n_chosen] */
};

fbt_status fbt_reports_new(const fbt_settings *settings, const int64_t *work, fbt_reports **reports)
{
    fbt_status status = FBT_OK;
    int64_t up, down;
    fbt_reports *r;
    FBT_TRY(fbt_memory_alloc(reports, 1, sizeof **reports));
    r = *reports;
    fbt_protocol_bytes(settings, &up, &down);
    *r = (fbt_reports){.settings = settings,
                       .work = work,
                       .n_participants = fbt_settings_participants(settings),
                       .n_chosen = fbt_settings_chosen(settings),
                       .least = fbt_protocol_least_reports(settings),
                       .n_evaluations = fbt_protocol_evaluations(settings),
                       .n_exchanges = fbt_protocol_exchanges(settings),
                       .n_bytes = up + down};
    FBT_TRY(fbt_rng_new(&r->rng));
    FBT_TRY(fbt_memory_alloc(&r->clients, r->n_chosen, sizeof *r->clients));
    FBT_TRY(fbt_memory_alloc(&r->items, r->n_chosen, sizeof *r->items));
done:
    return status;
}

void fbt_reports_free(fbt_reports *reports)
{
    if (reports == NULL) {
        return;
    }
    gsl_rng_free(reports->rng);
    free(reports->clients);
    free(reports->items);
    free(reports);
}

/* Round 0: what is drawn of a client once. */
static void seek(fbt_reports *r, fbt_rng_purpose purpose, uint32_t round, int64_t client)
{
    fbt_rng_seek(r->rng, &(fbt_rng_stream){.seed = (uint64_t)r->settings->run.seed,
                                           .purpose = purpose,
                                           .round = round,
                                           .client = (uint32_t)client});
}

double fbt_reports_dropout(fbt_reports *reports, int64_t client)
{
    const double p = reports->settings->faults.dropout;
    if (reports->settings->faults.dropout_kind == FBT_DROPOUT_ROUND || p == 0 || p == 1) {
        return p;
    }
    seek(reports, FBT_RNG_FAULTS, 0, client);
    return gsl_ran_beta(reports->rng, 2 * p, 2 * (1 - p));
}

double fbt_reports_client_s(fbt_reports *reports, int64_t client)
{
    const fbt_settings *s = reports->settings;
    seek(reports, FBT_RNG_PACE, 0, client);
    const double slowness = gsl_ran_lognormal(reports->rng, 0, s->pace.compute_sigma);
    const double rate = s->pace.bytes_per_second * gsl_ran_lognormal(reports->rng, 0, s->pace.bandwidth_sigma);
    const double n_tokens = (double)reports->n_evaluations * (double)reports->work[client];
    return s->pace.compute_seconds * slowness * n_tokens / 1000 + (rate > 0 ? (double)reports->n_bytes / rate : 0) +
           (double)reports->n_exchanges * s->pace.latency_seconds;
}

/* Finds who drops out of the chosen ones, and the others' times; how many those are. */
static int64_t find_items(fbt_reports *r, uint32_t round)
{
    int64_t n = 0;
    for (int64_t i = 0; i < r->n_chosen; i++) {
        const int64_t client = r->clients[i];
        const double dropout = fbt_reports_dropout(r, client);
        seek(r, FBT_RNG_FAULTS, round, client);
        const double fate = gsl_rng_uniform(r->rng), order = gsl_rng_uniform(r->rng);
        if (fate >= dropout) {
            r->items[n++] = (report){.client = client, .seconds = fbt_reports_client_s(r, client), .order = order};
        }
    }
    return n;
}

static int sooner(const void *left, const void *right)
{
    const report *a = left, *b = right;
    if (a->seconds != b->seconds) {
        return a->seconds < b->seconds ? -1 : 1;
    }
    if (a->order != b->order) {
        return a->order < b->order ? -1 : 1;
    }
    return (a->client > b->client) - (a->client < b->client);
}

/* items: [n_reported] that count, by their times. */
static double round_s(const fbt_reports *r, int64_t n_reported)
{
    const double deadline_s = r->settings->pace.deadline_seconds;
    if (!fbt_settings_have_pace(r->settings)) {
        return NAN;
    }
    if (n_reported < r->n_participants && deadline_s > 0) {
        return deadline_s;
    }
    return n_reported == 0 ? 0 : r->items[n_reported - 1].seconds;
}

void fbt_reports_draw(fbt_reports *reports, uint32_t round, fbt_round_reports *drawn)
{
    fbt_reports *r = reports;
    const double deadline_s = r->settings->pace.deadline_seconds;
    fbt_participants_draw(r->settings, round, r->clients);
    const int64_t n = find_items(r, round);
    int64_t n_reported = 0;
    qsort(r->items, (size_t)n, sizeof *r->items, sooner);
    while (n_reported < fbt_smaller(n, r->n_participants) &&
           (deadline_s == 0 || r->items[n_reported].seconds <= deadline_s)) {
        r->clients[n_reported] = r->items[n_reported].client;
        n_reported++;
    }
    qsort(r->clients, (size_t)n_reported, sizeof *r->clients, fbt_compare_integers);
    *drawn = (fbt_round_reports){.clients = r->clients,
                                 .n = n_reported < r->least ? 0 : n_reported,
                                 .n_reported = n_reported,
                                 .n_dropped = r->n_chosen - n,
                                 .n_late = n - n_reported,
                                 .simulated_s = round_s(r, n_reported)};
}
