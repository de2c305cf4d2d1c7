/* The way of clients' messages to the server: the transforms that the settings ask for (transform.h), in one order, and
 * the encoder. uplink.c is the one place that knows which transforms there are; protocols, rounds and the run file do
 * not. Not collective. */
#ifndef FBT_FED_UPLINK_H
#define FBT_FED_UPLINK_H

#include "config/settings.h"
#include "fed/message.h"

#include <stdbool.h>

/* Facts of a round that transforms go by; all borrowed. */
typedef struct fbt_uplink {
    const fbt_settings *settings;
    uint32_t round;
    uint32_t exchange;           /* of the round */
    const int64_t *participants; /* [m]: client ids */
    int64_t n_participants;
    const double *weights;    /* [m]: of the participants in the server's average; NULL: all the same            */
    const fbt_messages *down; /* the server's message, as clients have got it                                    */
    double *residuals;        /* [K, count]: error feedback's, the same on every rank; NULL: there is none (below) */
} fbt_uplink;

/* Whether what travels by these settings and schema can be transformed as they say. averages: the server uses the
 * participants' (weighted) sum of every field alone. Errors: FBT_ERR_CONFIG, naming both settings. */
fbt_status fbt_uplink_check(const fbt_settings *settings, const fbt_schema *up, bool averages);

/* Appends what transforms need the ranks to exchange; call once the protocol's own fields are in the schema. */
void fbt_uplink_add_fields(const fbt_settings *settings, fbt_schema *up);

/* Bytes of one participant's message. */
int64_t fbt_uplink_bytes(const fbt_settings *settings, const fbt_schema *up);

/* Numbers that all clients together keep from round to round: with error feedback K times those of the update that a
 * client sends, else 0. The settings have been checked. */
int64_t fbt_uplink_n_residuals(const fbt_settings *settings, const fbt_schema *up);

/* values: [count] of sender `slot` become what the server decodes. messages->uplink is this round's. Errors:
 * FBT_ERR_NUMERIC (a number that cannot be encoded). */
fbt_status fbt_uplink_send_field(fbt_messages *messages, const fbt_field *field, int64_t slot, double *values);

/* On every rank, once it has all participants' messages: makes of them what the server can use. */
void fbt_uplink_gather(fbt_messages *messages);

#endif
