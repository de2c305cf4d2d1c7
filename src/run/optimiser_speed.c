#include "run/optimiser_speed.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/timer.h"
#include "fed/local_search.h"
#include "fed/protocol.h"

#include <gsl/gsl_randist.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_REPEATS = 3,
    N_ROUNDS = 4, /* of a server: what an update puts off, later ones do */
    FEW = 8,      /* participants of two updates, which tell what each adds */
    MANY = 264
};

static double heap_bytes(void)
{
    const struct mallinfo2 info = mallinfo2();
    return (double)info.uordblks + (double)info.hblkhd;
}

/* ---- A participant's search ---- */

typedef struct client {
    fbt_optimiser *server, *optimiser;
    double *x, *fitness;
    gsl_rng *rng;
} client;

/* A round of ask and tell; the losses have no meaning. */
static fbt_status search(client *c, const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_optimiser_restart_from(c->optimiser, c->server, 1));
    for (int64_t g = 0; g < settings->fed.local_generations; g++) {
        const fbt_rng_stream stream = {.seed = 1, .purpose = FBT_RNG_SEARCH, .generation = (uint32_t)g};
        FBT_TRY(fbt_optimiser_ask(c->optimiser, c->rng, &stream, c->x));
        for (int64_t i = 0; i < settings->cma.population; i++) {
            c->fitness[i] = c->x[i * settings->cma.dimension];
        }
        FBT_TRY(fbt_optimiser_tell(c->optimiser, settings->cma.population, c->x, c->fitness));
    }
done:
    return status;
}

static fbt_status time_client(const fbt_settings *settings, fbt_optimiser_speed *speed)
{
    fbt_status status = FBT_OK;
    client c = {0};
    fbt_optimiser_options options;
    fbt_local_search_options(settings, &options);
    FBT_TRY(fbt_memory_alloc(&c.x, options.population * options.dimension, sizeof *c.x));
    FBT_TRY(fbt_memory_alloc(&c.fitness, options.population, sizeof *c.fitness));
    FBT_TRY(fbt_rng_new(&c.rng));
    FBT_TRY(fbt_optimiser_new(&options, NULL, 1, &c.server));
    FBT_TRY(fbt_optimiser_settle(c.server));
    const double before_bytes = heap_bytes();
    FBT_TRY(fbt_optimiser_new(&options, NULL, 1, &c.optimiser));
    speed->client_s = INFINITY;
    for (int i = 0; i < N_REPEATS; i++) {
        const double start_s = fbt_timer_now_s();
        FBT_TRY(search(&c, settings));
        speed->client_s = fmin(speed->client_s, fbt_timer_now_s() - start_s);
    }
    speed->participant_bytes = fmax(heap_bytes() - before_bytes, 0);
done:
    fbt_optimiser_free(c.optimiser);
    fbt_optimiser_free(c.server);
    gsl_rng_free(c.rng);
    free(c.fitness);
    free(c.x);
    return status;
}

/* ---- The server's update ---- */

/* A round of m participants whose messages are random. */
typedef struct update {
    fbt_protocol protocol;
    fbt_round round;
    fbt_server server;
    fbt_messages up, down;
    void *state;
    int64_t *participants;
    double *n_samples;
    double phase_s[FBT_N_PHASES];
} update;

static fbt_status open_update(const fbt_settings *settings, const fbt_comm *self, int64_t m, update *u)
{
    fbt_status status = FBT_OK;
    fbt_optimiser_options options;
    fbt_schema up, down;
    u->protocol = fbt_protocol_of(settings);
    u->protocol.rule->server_options(settings, m, &options);
    fbt_protocol_schemas(&u->protocol, settings, &up, &down);
    u->round = (fbt_round){.settings = settings,
                           .world = self,
                           .n_participants = m,
                           .number = 1,
                           .phase_s = u->phase_s,
                           .server = &u->server,
                           .up = &u->up,
                           .down = &u->down};
    FBT_TRY(fbt_rng_new(&u->round.rng));
    FBT_TRY(fbt_memory_alloc(&u->participants, m, sizeof *u->participants));
    FBT_TRY(fbt_memory_alloc(&u->n_samples, m, sizeof *u->n_samples));
    for (int64_t i = 0; i < m; i++) {
        u->participants[i] = i;
        u->n_samples[i] = 1;
    }
    u->round.participants = u->participants;
    u->round.n_samples = u->n_samples;
    u->round.n_samples_all = (double)m;
    FBT_TRY(fbt_messages_init(&u->up, &up, (fbt_wire)settings->fed.wire, m));
    FBT_TRY(fbt_messages_init(&u->down, &down, (fbt_wire)settings->fed.wire, 1));
    FBT_TRY(fbt_server_init(&u->server, &options, settings->cma.sigma));
done:
    return status;
}

static void close_update(update *u)
{
    fbt_server_clear(&u->server);
    fbt_messages_clear(&u->up);
    fbt_messages_clear(&u->down);
    gsl_rng_free(u->round.rng);
    free(u->participants);
    free(u->n_samples);
}

/* Numbers about 1 in every exchanged field; shapes are the server's, one for each sender or their sum. */
static fbt_status fill(update *u)
{
    fbt_status status = FBT_OK;
    fbt_messages *up = &u->up;
    double *shape = fbt_messages_field(up, "shape");
    const fbt_optimiser_options *options = fbt_optimiser_options_of(u->server.optimiser);
    const int64_t n_shape = fbt_optimiser_n_shape(options);
    const bool is_sent = fbt_optimiser_mean_follows_shape(options->kind);
    fbt_rng_seek(u->round.rng, &(fbt_rng_stream){.seed = 1, .purpose = FBT_RNG_SYNTHETIC});
    for (int64_t i = 0; i < up->n_exchanged; i++) {
        up->values[i] = 0.5 + gsl_rng_uniform(u->round.rng);
    }
    if (shape != NULL) {
        FBT_TRY(fbt_optimiser_get_shape(u->server.optimiser, shape));
        for (int64_t i = 0; i < n_shape; i++) {
            shape[i] *= is_sent ? 1 : (double)up->n;
        }
        for (int64_t slot = 1; is_sent && slot < up->n; slot++) {
            fbt_messages_put(up, "shape", slot, shape);
        }
    }
done:
    return status;
}

/* Makes every rank's own part of a round, without its clients' work; adds its time. */
static fbt_status run_update(update *u, double *seconds)
{
    fbt_status status = FBT_OK;
    fbt_round *round = &u->round;
    const fbt_client_work *clients = u->protocol.clients;
    const int64_t n_exchanges = clients->n_exchanges(round->settings);
    double start_s = fbt_timer_now_s();
    FBT_TRY(clients->begin(round, &u->state));
    for (int64_t e = 0; e < n_exchanges; e++) {
        FBT_TRY(clients->step(round, u->state, e));
        for (int64_t slot = 0; slot < u->up.n; slot++) {
            fbt_messages_erase(&u->up, slot);
        }
        fbt_comm_sum(round->world, u->up.values, u->up.n_exchanged);
        const double pause_s = fbt_timer_now_s();
        FBT_TRY(fill(u));
        start_s += fbt_timer_now_s() - pause_s;
        FBT_TRY(u->protocol.rule->aggregate(round));
    }
    *seconds += fbt_timer_now_s() - start_s;
done:
    clients->free(u->state);
    u->state = NULL;
    return status;
}

/* The mean of a few rounds. */
static fbt_status run_updates(update *u, double *seconds)
{
    fbt_status status = FBT_OK;
    *seconds = 0;
    for (uint32_t round = 1; round <= N_ROUNDS; round++) {
        u->round.number = round;
        FBT_TRY(run_update(u, seconds));
    }
    *seconds /= N_ROUNDS;
done:
    return status;
}

static fbt_status time_update(const fbt_settings *settings, const fbt_comm *self, int64_t m, double *seconds)
{
    fbt_status status = FBT_OK;
    *seconds = INFINITY;
    for (int i = 0; i < N_REPEATS; i++) {
        update u = {0};
        double once_s = 0;
        status = open_update(settings, self, m, &u);
        status = status == FBT_OK ? run_updates(&u, &once_s) : status;
        close_update(&u);
        FBT_TRY(status);
        *seconds = fmin(*seconds, once_s);
    }
done:
    return status;
}

fbt_status fbt_optimiser_speed_measure(const fbt_settings *settings, const fbt_comm *self, fbt_optimiser_speed *speed)
{
    fbt_status status = FBT_OK;
    double few_s, many_s;
    *speed = (fbt_optimiser_speed){0};
    if (fbt_protocol_of(settings).clients->report == FBT_REPORT_SOLUTION) {
        FBT_TRY(time_client(settings, speed));
    }
    FBT_TRY(time_update(settings, self, FEW, &few_s));
    FBT_TRY(time_update(settings, self, MANY, &many_s));
    speed->server_participant_s = fmax(many_s - few_s, 0) / (MANY - FEW);
    speed->server_s = fmax(few_s - FEW * speed->server_participant_s, 0);
done:
    return status;
}
