/* Messages between clients and server: a schema of named fields, and one encoder.
 *
 * Everything that travels passes fbt_messages_send, in both directions: values -> encode -> decode -> values; what
 * clients send, on the way that uplink.h makes of the settings. What comes out takes the place of what went in, so that
 * the receiver works with what was sent, and the ledger counts the encoder's bytes. No MPI here: round.c moves the
 * decoded values between ranks. */
#ifndef FBT_FED_MESSAGE_H
#define FBT_FED_MESSAGE_H

#include "base/choices.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { FBT_FIELDS_MAX = 16 };

typedef enum fbt_field_type {
    FBT_FIELD_REAL,     /* any number                                                                   */
    FBT_FIELD_POSITIVE, /* a number above zero, which no rounding makes zero (step sizes)               */
    FBT_FIELD_UPDATE,   /* of the numbers that the server has sent under the same name (means, shapes)  */
    FBT_FIELD_COMPARED, /* of which the differences count alone (losses of one population)              */
    FBT_FIELD_SIGN,     /* above 0, or not: travels as a bit, arrives as 1 or -1                        */
} fbt_field_type;

typedef enum fbt_field_use {
    FBT_FIELD_SENT,     /* travels                                                                      */
    FBT_FIELD_SUMMED,   /* travels, and the server uses the participants' sum alone: it keeps only that */
    FBT_FIELD_RECORDED, /* for the run file: neither encoded nor counted                                */
    FBT_FIELD_KNOWN,    /* for the run file, and every rank fills it in by itself                       */
} fbt_field_use;

typedef struct fbt_field {
    const char *name; /* constant text           */
    int64_t count;    /* values of one message   */
    fbt_field_type type;
    fbt_field_use use;
} fbt_field;

/* Fields in the order in which they travel. Zero-initialise. */
typedef struct fbt_schema {
    fbt_field fields[FBT_FIELDS_MAX];
    int n_fields;
} fbt_schema;

/* Appends a field; count 0 appends none. */
void fbt_schema_add(fbt_schema *schema, const char *name, int64_t count, fbt_field_type type, fbt_field_use use);

/* Whether a field is encoded and counted. */
bool fbt_field_travels(const fbt_field *field);

/* The field that is sent as an update of the server's; NULL: none. */
const fbt_field *fbt_schema_sent_update(const fbt_schema *schema);

/* Bytes that the plain encoder makes of one message. */
int64_t fbt_schema_bytes(const fbt_schema *schema, fbt_wire wire);

/* Values of one message that ranks exchange in one block, and those of summed fields, which go one message at a time.
 */
int64_t fbt_schema_n_exchanged(const fbt_schema *schema);
int64_t fbt_schema_n_summed(const fbt_schema *schema);

/* Bytes of a real number on the wire, and those that the plain encoder makes of a field. */
int64_t fbt_wire_bytes(fbt_wire wire);
int64_t fbt_field_bytes(const fbt_field *field, fbt_wire wire);

/* values: [count] to bytes and back; *n_bytes: how many were made. float64 keeps every bit. float32 rounds to nearest;
 * positive fields stay above zero. Errors: FBT_ERR_NUMERIC (a finite value is beyond what float32 holds). */
fbt_status fbt_field_encode(const fbt_field *field, fbt_wire wire, const double *values, void *bytes, int64_t *n_bytes);
void fbt_field_decode(const fbt_field *field, fbt_wire wire, const void *bytes, double *values);

/* Messages of one schema, of n senders. A field's values are [n, count]; a summed one's are [count]. Zero-initialise;
 * free with fbt_messages_clear. */
typedef struct fbt_messages {
    fbt_schema schema;
    fbt_wire wire;
    int64_t n;
    int64_t n_bytes; /* encoded here since the caller set it to 0 */
    double *starts[FBT_FIELDS_MAX];
    double *values;                  /* all of them: first what is exchanged, then what is known, then sums */
    int64_t n_exchanged;             /* leading values that ranks exchange                                  */
    char *bytes;                     /* of the largest field that travels                                   */
    const struct fbt_uplink *uplink; /* of what clients send in a round: uplink.h; NULL: plain     */
} fbt_messages;

fbt_status fbt_messages_init(fbt_messages *messages, const fbt_schema *schema, fbt_wire wire, int64_t n);
void fbt_messages_clear(fbt_messages *messages);

/* A field's values; NULL: the schema has none of that name. `at`: those of sender i. */
double *fbt_messages_field(const fbt_messages *messages, const char *name);
double *fbt_messages_at(const fbt_messages *messages, const char *name, int64_t i);

/* Copies values: [count] into sender i's field, if the schema has it. */
void fbt_messages_put(fbt_messages *messages, const char *name, int64_t i, const double *values);
void fbt_messages_put_one(fbt_messages *messages, const char *name, int64_t i, double value);

/* Sends sender i's fields, but for summed ones: each value becomes what the receiver decodes. Errors: the encoder's. */
fbt_status fbt_messages_send(fbt_messages *messages, int64_t i);
/* The same for values: [count] of one of the schema's fields, wherever they are. */
fbt_status fbt_messages_send_field(fbt_messages *messages, const fbt_field *field, int64_t i, double *values);

/* Zeros in sender i's exchanged fields. */
void fbt_messages_erase(fbt_messages *messages, int64_t i);

/* Lays the same memory out for n senders, at most as many as there were at fbt_messages_init: values are lost. */
void fbt_messages_set_senders(fbt_messages *messages, int64_t n);

#endif
