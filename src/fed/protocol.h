/* A protocol: what clients do in a round, and how the server makes one update of what they send.
 *
 * The two are composed: a work says what kind of report it makes, an aggregation has a rule for the kinds that it can
 * use. One file fills in each (FBT_CLIENT_WORK_LIST and FBT_AGGREGATION_LIST in base/choices.h name them), and
 * FBT_PROTOCOL_LIST gives published compositions a name. A worked example is docs/adding-a-protocol.md. */
#ifndef FBT_FED_PROTOCOL_H
#define FBT_FED_PROTOCOL_H

#include "base/choices.h"
#include "base/status.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "fed/block.h"
#include "fed/client.h"
#include "fed/message.h"
#include "fed/precision_check.h"
#include "fed/round_row.h"
#include "fed/server.h"

#include <stdbool.h>

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
    double n_samples_all;    /* of all participants                                 */
    const int *owner;        /* [m]: the rank that speaks for each participant      */
    double *residuals;       /* of error feedback, or NULL (uplink.h)                */
    uint32_t number;
    gsl_rng *rng;
    double *phase_s;            /* [FBT_N_PHASES], added to */
    fbt_precision_check *check; /* of this round; NULL: none */

    fbt_server *server;
    fbt_block block;    /* of z that the server and its clients search; z is as they have it                         */
    fbt_messages *up;   /* of m senders, in the participants' order; after an exchange every rank has all of them */
    fbt_messages *down; /* of one sender, the server, to all participants                                         */
    double *population; /* [lambda, d]: the server's candidates, where the clients score them                     */
} fbt_round;

/* Kinds of what clients report. */
typedef enum fbt_report {
    FBT_REPORT_SOLUTION, /* `mean`, `step_size`, `step_size_end`, `fitness`, `shape` of a search of their own */
    FBT_REPORT_LOSSES,   /* `losses` [lambda] of the server's candidates, or `votes` [lambda / 2] on pairs    */
    FBT_N_REPORTS
} fbt_report;

/* Clients' work on the server's message. A round is n_exchanges of: `step`, the exchange of `up`, the rule's
 * `aggregate`. state: what `begin` made. */
typedef struct fbt_client_work {
    fbt_report report;
    int64_t (*n_exchanges)(const fbt_settings *settings);
    /* Passes of one participant over its samples in a round, and how many batches they are. */
    int64_t (*n_evaluations)(const fbt_settings *settings);
    int64_t (*n_batches)(const fbt_settings *settings);
    /* Fields of the server's message that the work begins with. NULL: none. */
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

/* The server's side for one kind of report. */
typedef struct fbt_aggregation_rule {
    bool ranks;          /* participants against each other: at least two must take part, and weights mean nothing */
    bool keeps_paths;    /* of the clients' searches, from round to round, where cma.keep_paths asks for it */
    bool averages;       /* what they send, with the weights of fed.weighting                                      */
    bool compares_pairs; /* candidates 2 i and 2 i + 1, which must be opposite                               */

    /* The server's optimiser for m participants a round. */
    void (*server_options)(const fbt_settings *settings, int64_t n_participants, fbt_optimiser_options *options);

    /* Fields of a participant's message. The run file has columns for mean, fitness, loss, loss_perturbed, condition,
     * step_size (each generation's) and resets; what is not in the schema is NaN there, or the server's mean. */
    void (*up)(const fbt_settings *settings, fbt_schema *schema);

    /* Fields of the server's message by which it tells clients of an update. NULL: none but those of their work. */
    void (*down)(const fbt_settings *settings, fbt_schema *schema);

    /* The server's update of what it has received, the same on every rank. Not collective. */
    fbt_status (*aggregate)(fbt_round *round);
} fbt_aggregation_rule;

typedef struct fbt_aggregation {
    const fbt_aggregation_rule *rules[FBT_N_REPORTS]; /* NULL: it can do nothing with such reports */
} fbt_aggregation;

typedef struct fbt_protocol {
    const fbt_client_work *clients;
    const fbt_aggregation_rule *rule; /* NULL: the aggregation has none for what these clients report */
} fbt_protocol;

#define FBT_CLIENT_WORK_DECLARE(value, name, object, ...) extern const fbt_client_work object;
FBT_CLIENT_WORK_LIST(FBT_CLIENT_WORK_DECLARE)
#undef FBT_CLIENT_WORK_DECLARE
#define FBT_AGGREGATION_DECLARE(value, name, object) extern const fbt_aggregation object;
FBT_AGGREGATION_LIST(FBT_AGGREGATION_DECLARE)
#undef FBT_AGGREGATION_DECLARE

/* The composition that the settings ask for. */
fbt_protocol fbt_protocol_of(const fbt_settings *settings);

/* Whether these settings can be run: what they compose fits together. Errors: FBT_ERR_CONFIG, naming both. */
fbt_status fbt_protocol_check(const fbt_settings *settings);

/* Schemas of the two messages. */
void fbt_protocol_schemas(const fbt_protocol *protocol, const fbt_settings *settings, fbt_schema *up, fbt_schema *down);

/* Passes of one participant over its samples in a round, those over perturbed copies counted, too. */
int64_t fbt_protocol_evaluations(const fbt_settings *settings);

/* Exchanges of a round. */
int64_t fbt_protocol_exchanges(const fbt_settings *settings);

/* Reports without which a round is abandoned: one cannot be ranked, and its masked sum would be itself. */
int64_t fbt_protocol_least_reports(const fbt_settings *settings);

/* Bytes that one participant sends and receives in a round. */
void fbt_protocol_bytes(const fbt_settings *settings, int64_t *up, int64_t *down);

/* For `aggregate`: adds a participant's part in an average of values: [count] to sum: [count]. That is values / m, or
 * n_k / n * values where fed.weighting is samples. */
void fbt_round_add_part(const fbt_round *round, int64_t slot, int64_t count, const double *values, double *sum);

/* One round: fills up and down and updates the server, the same on every rank. Collective over round->world, up to the
 * last update: what that fails with on this rank alone is the caller's to agree on. */
fbt_status fbt_protocol_round(const fbt_protocol *protocol, fbt_round *round);

/* For `begin` and `aggregate`: sends `down` to all participants; its values become what they decode. */
fbt_status fbt_round_send_down(fbt_round *round);

/* For `step`: shows the scored population of a participant hosted here in a generation, one of the round's
 * local_generations, to the round's precision check. x: [lambda, block.n]; scores: [lambda]. */
void fbt_round_show_population(const fbt_round *round, int64_t slot, int64_t generation, const double *x,
                               const fbt_fitness *scores);

#endif
