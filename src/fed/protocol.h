/* A protocol: what clients and server send each other in a round, what clients do, and how the server makes one update
 * of what they send.
 *
 * One file (protocol_NAME.c) fills in one fbt_protocol; FBT_PROTOCOL_LIST (base/choices.h) names it. A worked example
 * is docs/adding-a-protocol.md. */
#ifndef FBT_FED_PROTOCOL_H
#define FBT_FED_PROTOCOL_H

#include "base/choices.h"
#include "base/status.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "fed/client.h"
#include "fed/message.h"
#include "fed/precision_check.h"
#include "fed/round_row.h"
#include "fed/server.h"

/* One round, and what a protocol may use in it. */
typedef struct fbt_round {
    const fbt_settings *settings;
    const fbt_comm *world;
    const fbt_comm *group; /* ranks that share this rank's one participant; NULL when it hosts whole ones */
    bool fills_slots;      /* this rank speaks for its clients (of a sharing group only one does)       */
    fbt_evaluator *evaluator;
    fbt_client *clients; /* participants hosted by this rank, rising */
    int64_t n_clients;
    const int64_t *participants; /* [m]: client ids, rising */
    int64_t n_participants;
    int64_t n_silent;        /* others that were chosen, and are sent what goes to all before the first exchange */
    const double *n_samples; /* [m]: how many samples each participant holds        */
    const int *owner;        /* [m]: the rank that speaks for each participant      */
    uint32_t number;
    gsl_rng *rng;
    double *phase_s;            /* [FBT_N_PHASES], added to */
    fbt_precision_check *check; /* of this round; NULL: none */

    fbt_server *server;
    fbt_messages *up;   /* of m senders, in the participants' order; after an exchange every rank has all of them */
    fbt_messages *down; /* of one sender, the server, to all participants                                         */
    double *population; /* [lambda, d]: the server's candidates, where the clients score them                     */
} fbt_round;

/* Clients' work on the server's message. A round is n_exchanges of: `step`, the exchange of `up`, the protocol's
 * `aggregate`. state: what `begin` made. */
typedef struct fbt_client_work {
    int64_t (*n_exchanges)(const fbt_settings *settings);
    /* Passes of one participant over its samples in a round. */
    int64_t (*n_evaluations)(const fbt_settings *settings);
    /* Fields of the server's message. */
    void (*down)(const fbt_settings *settings, fbt_schema *schema);
    /* On every rank, before the first step. *state is freed after a failure, too. Not collective. */
    fbt_status (*begin)(fbt_round *round, void **state);
    /* Works for the participants that this rank hosts and puts what they send into `up`. Collective over the group. */
    fbt_status (*step)(fbt_round *round, void *state, int64_t exchange);
    /* The values [count] of a summed field of a participant hosted here. NULL: no such fields. */
    fbt_status (*summand)(const fbt_round *round, void *state, int64_t slot, const fbt_field *field, double *values);
    /* On every rank, after the last update: fills in fields that are known. NULL: nothing to do. */
    void (*end)(fbt_round *round, void *state);
    void (*free)(void *state);
} fbt_client_work;

typedef struct fbt_protocol {
    const fbt_client_work *clients;

    /* Checks what no table of settings can tell. NULL: any will do. Errors: FBT_ERR_CONFIG. */
    fbt_status (*check_settings)(const fbt_settings *settings);

    /* Participants without whose reports a round is abandoned, from 1 to the fewest that check_settings takes; 0: 1. */
    int64_t least_reports;

    /* The server's optimiser for m participants a round. */
    void (*server_options)(const fbt_settings *settings, int64_t n_participants, fbt_optimiser_options *options);

    /* Fields of a participant's message. The run file has columns for mean, fitness, loss, loss_perturbed, condition,
     * step_size (each generation's) and resets; what is not in the schema is NaN there, or the server's mean. */
    void (*up)(const fbt_settings *settings, fbt_schema *schema);

    /* The server's update of what it has received, the same on every rank. Not collective. */
    fbt_status (*aggregate)(fbt_round *round);
} fbt_protocol;

#define FBT_PROTOCOL_DECLARE(value, name, object, ...) extern const fbt_protocol object;
FBT_PROTOCOL_LIST(FBT_PROTOCOL_DECLARE)
#undef FBT_PROTOCOL_DECLARE

const fbt_protocol *fbt_protocol_get(fbt_protocol_kind kind);

/* Whether these settings can be run: the protocol's own say. Errors: FBT_ERR_CONFIG. */
fbt_status fbt_protocol_check(const fbt_settings *settings);

/* Schemas of the two messages. */
void fbt_protocol_schemas(const fbt_protocol *protocol, const fbt_settings *settings, fbt_schema *up, fbt_schema *down);

/* Passes of one participant over its samples in a round, those over perturbed copies counted, too. */
int64_t fbt_protocol_evaluations(const fbt_settings *settings);

/* Exchanges of a round. */
int64_t fbt_protocol_exchanges(const fbt_settings *settings);

/* Reports without which a round is abandoned, at least 1. */
int64_t fbt_protocol_least_reports(const fbt_settings *settings);

/* Bytes that one participant sends and receives in a round. */
void fbt_protocol_bytes(const fbt_settings *settings, int64_t *up, int64_t *down);

/* One round: fills up and down and updates the server, the same on every rank. Collective over round->world, up to the
 * last update: what that fails with on this rank alone is the caller's to agree on. */
fbt_status fbt_protocol_round(const fbt_protocol *protocol, fbt_round *round);

/* For `begin` and `aggregate`: sends `down` to all participants; its values become what they decode. */
fbt_status fbt_round_send_down(fbt_round *round);

/* For `step`: shows the scored population of a participant hosted here in a generation, one of the round's
 * local_generations, to the round's precision check. z: [lambda, d]; scores: [lambda]. */
void fbt_round_show_population(const fbt_round *round, int64_t slot, int64_t generation, const double *z,
                               const fbt_fitness *scores);

#endif
