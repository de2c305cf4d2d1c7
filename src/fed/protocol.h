/* A protocol: how the clients search and how the server makes one update of what they send.
 *
 * One file per protocol fills in one fbt_protocol; protocols.c lists them under the names of the option fed.protocol.
 */
#ifndef FBT_FED_PROTOCOL_H
#define FBT_FED_PROTOCOL_H

#include "base/status.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "fed/client.h"
#include "fed/federation.h"
#include "optim/cma.h"

/* The server's whole state; every rank keeps an equal copy. */
typedef struct fbt_server {
    fbt_cma *cma;
    double step_size_local; /* with which the clients start their next local search */
} fbt_server;

/* What the participants send in a round, in order of rising client id. After the exchange every rank has all of it. */
typedef struct fbt_uploads {
    int64_t n_participants; /* m */
    int64_t dimension;
    int64_t n_generations;  /* I */
    double *mean;           /* [m, d]: the client's final mean                 */
    double *fitness;        /* [m]: fitness of that mean                       */
    double *step_size;      /* [m, I]: with which each generation was sampled  */
    double *step_size_end;  /* [m]: after the last generation                  */
    double *loss;           /* [m]: mean loss at that mean; for the record     */
    double *loss_perturbed; /* [m]: on the perturbed copy; for the record      */
    double *condition;      /* [m]: of the client's covariance; for the record */
    double *resets;         /* [m]: how often the client's search collapsed (fbt_cma_reset); for the record */
    double *slots;          /* [m * (d + 6 + I)]: the block behind all of these, summed over ranks */
    int64_t n_slots;
} fbt_uploads;

/* What a protocol's round may use. */
typedef struct fbt_round_context {
    const fbt_settings *settings;
    const fbt_comm *world;
    const fbt_comm *group; /* ranks that share this rank's one client; NULL when it hosts whole clients */
    bool fills_slots;      /* this rank speaks for its clients (of a sharing group only one does)       */
    fbt_evaluator *evaluator;
    fbt_client *clients; /* hosted by this rank */
    int64_t n_clients;
    const int64_t *participants; /* [m]: client ids, rising */
    int64_t n_participants;
    const double *n_samples; /* [m]: how many samples each participant holds            */
    const int64_t *slot_of;  /* [K]: a client's place among the participants, or -1 */
    uint32_t round;
    gsl_rng *rng;
    double *phase_s; /* [FBT_N_PHASES], added to */
} fbt_round_context;

typedef struct fbt_protocol {
    const char *name;

    /* The server's CMA-ES for m participants a round. */
    void (*server_options)(const fbt_settings *settings, int64_t n_participants, fbt_cma_options *options);

    /* One round: fills `uploads` and updates `server`, the same on every rank. Collective over context->world. What
     * fails on this rank alone after the last exchange (the server's update) need not be agreed on: the caller does. */
    fbt_status (*round)(const fbt_round_context *context, fbt_server *server, fbt_uploads *uploads);

    /* Floats that one participant sends and receives in a round of a real deployment. */
    int64_t (*floats_up)(const fbt_settings *settings);
    int64_t (*floats_down)(const fbt_settings *settings);
} fbt_protocol;

#define FBT_PROTOCOL_DECLARE(value, name, object) extern const fbt_protocol object;
FBT_PROTOCOL_LIST(FBT_PROTOCOL_DECLARE)
#undef FBT_PROTOCOL_DECLARE

const fbt_protocol *fbt_protocol_get(fbt_protocol_kind kind);

/* Server updates by themselves, so that recorded uploads can be replayed. Not collective. */
fbt_status fbt_nvflare_aggregate(fbt_server *server, const fbt_uploads *uploads, int64_t n_parents_local);
fbt_status fbt_paper_aggregate(fbt_server *server, const fbt_uploads *uploads, int64_t population_local);

#endif
