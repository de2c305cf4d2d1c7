/* A round of any protocol: what the clients do, the one exchange between ranks, the server's update. */
#include "fed/protocol.h"

#include "base/timer.h"
#include "fed/norm_bound.h"
#include "fed/ordered_sum.h"
#include "fed/uplink.h"

#include <stdlib.h>

/* Whether this rank speaks for the participant in a slot. */
static bool is_own(const fbt_round *round, int64_t slot)
{
    return round->owner[slot] == fbt_comm_rank(round->world);
}

/* Sends what this rank's clients have put into their slots; the slots of others become zeros, to be summed. */
static fbt_status send_own(fbt_round *round)
{
    fbt_status status = FBT_OK;
    for (int64_t slot = 0; slot < round->n_participants; slot++) {
        if (is_own(round, slot)) {
            FBT_TRY(fbt_messages_send(round->up, slot));
        } else {
            fbt_messages_erase(round->up, slot);
        }
    }
done:
    return status;
}

/* A summed field while it is added up. */
typedef struct summing {
    const fbt_protocol *protocol;
    fbt_round *round;
    void *state;
    const fbt_field *field;
} summing;

static bool weighs_by_samples(const fbt_protocol *protocol, const fbt_settings *settings)
{
    return protocol->rule->averages && fbt_settings_weighs_by_samples(settings);
}

/* The server cannot weigh what it gets the sum of alone: the senders do. */
static void weigh_summand(const summing *s, int64_t slot, double *values)
{
    if (weighs_by_samples(s->protocol, s->round->settings)) {
        for (int64_t i = 0; i < s->field->count; i++) {
            values[i] *= s->round->n_samples[slot];
        }
    }
}

/* The values that a participant hosted here sends of it. */
static fbt_status make_summand(void *user, int64_t slot, double *values)
{
    fbt_status status = FBT_OK;
    const summing *s = user;
    FBT_TRY(s->protocol->clients->summand(s->round, s->state, slot, s->field, values));
    weigh_summand(s, slot, values);
    FBT_TRY(fbt_messages_send_field(s->round->up, s->field, slot, values));
done:
    return status;
}

/* The participants' values of one field, added up in their order. */
static fbt_status sum_field(const fbt_protocol *protocol, fbt_round *round, void *state, const fbt_field *field)
{
    summing s = {protocol, round, state, field};
    return fbt_ordered_sum(round->world, round->n_participants, round->owner, field->count, make_summand, &s,
                           fbt_messages_field(round->up, field->name));
}

/* Every participant's message to every rank: each slot has one contributor, so that the sum is exact. step: how the
 * clients' work ended here. Collective. */
static fbt_status exchange(const fbt_protocol *protocol, fbt_round *round, void *state, fbt_status step)
{
    fbt_status status = step;
    const double start_s = fbt_timer_now_s();
    if (status == FBT_OK) {
        status = send_own(round);
    }
    FBT_TRY(fbt_comm_agree(round->world, status));
    fbt_comm_sum(round->world, round->up->values, round->up->n_exchanged);
    for (int f = 0; f < round->up->schema.n_fields; f++) {
        if (round->up->schema.fields[f].use == FBT_FIELD_SUMMED) {
            FBT_TRY(sum_field(protocol, round, state, &round->up->schema.fields[f]));
        }
    }
    fbt_uplink_gather(round->up);
done:
    round->phase_s[FBT_PHASE_EXCHANGE] += fbt_timer_now_s() - start_s;
    return status;
}

fbt_status fbt_round_send_down(fbt_round *round)
{
    const int64_t n_before = round->down->n_bytes;
    const fbt_status status = fbt_messages_send(round->down, 0);
    const int64_t n_sent = round->down->n_bytes - n_before;
    round->down->n_bytes = n_before + (round->n_participants + round->n_silent) * n_sent; /* the same bytes to each */
    return status;
}

void fbt_round_add_part(const fbt_round *round, int64_t slot, int64_t count, const double *values, double *sum)
{
    if (fbt_settings_weighs_by_samples(round->settings)) {
        const double weight = round->n_samples[slot] / round->n_samples_all;
        for (int64_t i = 0; i < count; i++) {
            sum[i] += weight * values[i];
        }
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        sum[i] += values[i] / (double)round->up->n;
    }
}

void fbt_round_show_population(const fbt_round *round, int64_t slot, int64_t generation, const double *x,
                               const fbt_fitness *scores)
{
    if (round->check != NULL && round->fills_slots) {
        fbt_precision_check_keep(round->check, slot, generation, &round->block, x, scores);
    }
}

/* Adds the time of something that this rank does by itself. */
static fbt_status timed(fbt_round *round, double start_s, fbt_status status)
{
    round->phase_s[FBT_PHASE_OPTIMISE] += fbt_timer_now_s() - start_s;
    return status;
}

static fbt_status update_server(const fbt_protocol *protocol, fbt_round *round)
{
    fbt_status status = FBT_OK;
    FBT_TRY(protocol->rule->aggregate(round));
    FBT_TRY(fbt_norm_bound_mean(fbt_norm_bound(round->settings, round->number), round->server->optimiser));
done:
    return status;
}

fbt_status fbt_protocol_round(const fbt_protocol *protocol, fbt_round *round)
{
    fbt_status status = FBT_OK;
    const fbt_client_work *clients = protocol->clients;
    const int64_t n_exchanges = round->n_participants > 0 ? clients->n_exchanges(round->settings) : 0;
    void *state = NULL;
    fbt_uplink uplink = {.settings = round->settings,
                         .round = round->number,
                         .participants = round->participants,
                         .n_participants = round->n_participants,
                         .weights = weighs_by_samples(protocol, round->settings) ? round->n_samples : NULL,
                         .down = round->down,
                         .residuals = round->residuals};
    round->up->uplink = &uplink;
    round->up->n_bytes = round->down->n_bytes = 0;
    round->n_samples_all = 0;
    for (int64_t slot = 0; slot < round->n_participants; slot++) {
        round->n_samples_all += round->n_samples[slot];
    }
    status = timed(round, fbt_timer_now_s(), clients->begin(round, &state));
    FBT_TRY(fbt_comm_agree(round->world, status));
    for (int64_t e = 0; e < n_exchanges; e++) {
        uplink.exchange = (uint32_t)e;
        FBT_TRY(exchange(protocol, round, state, clients->step(round, state, e)));
        round->n_silent = 0;
        status = timed(round, fbt_timer_now_s(), update_server(protocol, round));
        FBT_TRY(e + 1 < n_exchanges ? fbt_comm_agree(round->world, status) : status);
    }
    if (n_exchanges == 0) { /* so that its row is the one of a run that goes on from the last checkpoint */
        FBT_TRY(fbt_optimiser_settle(round->server->optimiser));
    }
    if (clients->end != NULL) {
        clients->end(round, state);
    }
done:
    round->up->uplink = NULL;
    clients->free(state);
    return status;
}
