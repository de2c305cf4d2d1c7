/* A transform of clients' messages. One file (transform_NAME.c) fills in one fbt_transform; the list in uplink.c says
 * in which order a message passes them:
 *
 *     values -> change, ... -> encode -> decode -> [all messages are there] -> gather -> values of the server
 *
 * A transform that encodes a field takes the plain encoder's place for it. Members that a transform does without are
 * NULL. Random numbers come from streams placed by (seed, purpose, round, client, exchange, field, value). */
#ifndef FBT_FED_TRANSFORM_H
#define FBT_FED_TRANSFORM_H

#include "base/rng_block.h"
#include "fed/uplink.h"

/* One field of one participant's message. */
typedef struct fbt_passage {
    const fbt_uplink *uplink;
    const fbt_field *field;
    int index;               /* of the field in its schema */
    int64_t slot;            /* of the sender              */
    const double *reference; /* [count]: of FBT_FIELD_UPDATE, what the server sent under the field's name; else NULL */
    double *residual;        /* [count]: error feedback writes the sender's new one here; NULL: there is none        */
} fbt_passage;

typedef struct fbt_transform {
    bool (*is_on)(const fbt_settings *settings);
    const char *of_averages; /* the setting of one that is for servers which use averages alone; else NULL */

    /* Whether what travels can be transformed, if it is on. Errors: FBT_ERR_CONFIG, naming both settings. */
    fbt_status (*check)(const fbt_settings *settings, const fbt_schema *up);

    /* values: [count], in place. */
    fbt_status (*change)(const fbt_passage *p, double *values);

    /* Whether it encodes a field that travels; n_bytes: of one message's. */
    bool (*encodes)(const fbt_field *field);
    int64_t (*n_bytes)(const fbt_settings *settings, const fbt_field *field);
    fbt_status (*encode)(const fbt_passage *p, const double *values, void *bytes);
    void (*decode)(const fbt_passage *p, const void *bytes, double *values);

    /* As fbt_uplink_gather. */
    void (*gather)(fbt_messages *messages);
} fbt_transform;

extern const fbt_transform fbt_transform_privacy;
extern const fbt_transform fbt_transform_quantise;
extern const fbt_transform fbt_transform_secure;
extern const fbt_transform fbt_transform_sparse;

/* The transform that encodes a field that travels; NULL: the plain encoder does. */
const fbt_transform *fbt_uplink_encoder(const fbt_settings *settings, const fbt_field *field);

/* Place of a participant's random numbers for one field. */
fbt_rng_stream fbt_passage_stream(const fbt_passage *p, fbt_rng_purpose purpose);

/* The id of the sender. */
int64_t fbt_passage_client(const fbt_passage *p);

#endif
