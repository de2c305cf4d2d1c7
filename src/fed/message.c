#include "fed/message.h"

#include "base/memory.h"
#include "fed/uplink.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_BYTES = 8 }; /* of a transform's encoding, in front of what takes no more than the plain one */

void fbt_schema_add(fbt_schema *schema, const char *name, int64_t count, fbt_field_type type, fbt_field_use use)
{
    if (count == 0) {
        return;
    }
    if (schema->n_fields < FBT_FIELDS_MAX) {
        schema->fields[schema->n_fields] = (fbt_field){name, count, type, use};
    }
    schema->n_fields++; /* one too many is refused by fbt_messages_init */
}

bool fbt_field_travels(const fbt_field *field)
{
    return field->use == FBT_FIELD_SENT || field->use == FBT_FIELD_SUMMED;
}

const fbt_field *fbt_schema_sent_update(const fbt_schema *schema)
{
    for (int f = 0; f < schema->n_fields; f++) {
        if (schema->fields[f].type == FBT_FIELD_UPDATE && schema->fields[f].use == FBT_FIELD_SENT) {
            return &schema->fields[f];
        }
    }
    return NULL;
}

static bool is_exchanged(const fbt_field *field)
{
    return field->use == FBT_FIELD_SENT || field->use == FBT_FIELD_RECORDED;
}

int64_t fbt_wire_bytes(fbt_wire wire)
{
    return wire == FBT_WIRE_FLOAT64 ? (int64_t)sizeof(double) : (int64_t)sizeof(float);
}

int64_t fbt_field_bytes(const fbt_field *field, fbt_wire wire)
{
    return field->type == FBT_FIELD_SIGN ? (field->count + 7) / 8 : field->count * fbt_wire_bytes(wire);
}

int64_t fbt_schema_bytes(const fbt_schema *schema, fbt_wire wire)
{
    int64_t n_bytes = 0;
    for (int f = 0; f < schema->n_fields; f++) {
        n_bytes += fbt_field_travels(&schema->fields[f]) ? fbt_field_bytes(&schema->fields[f], wire) : 0;
    }
    return n_bytes;
}

int64_t fbt_schema_n_exchanged(const fbt_schema *schema)
{
    int64_t n_values = 0;
    for (int f = 0; f < schema->n_fields; f++) {
        n_values += is_exchanged(&schema->fields[f]) ? schema->fields[f].count : 0;
    }
    return n_values;
}

int64_t fbt_schema_n_summed(const fbt_schema *schema)
{
    int64_t n_values = 0;
    for (int f = 0; f < schema->n_fields; f++) {
        n_values += schema->fields[f].use == FBT_FIELD_SUMMED ? schema->fields[f].count : 0;
    }
    return n_values;
}

/* ---- The encoder ---- */

static fbt_status to_float(const fbt_field *field, double value, float *rounded)
{
    *rounded = (float)value;
    if (isfinite(value) && !isfinite(*rounded)) {
        return fbt_fail(FBT_ERR_NUMERIC,
                        "a message's %s is %g, which is beyond what fed.wire float32 holds; use fed.wire float64",
                        field->name, value);
    }
    if (field->type == FBT_FIELD_POSITIVE && value > 0 && *rounded == 0) {
        *rounded = FLT_TRUE_MIN;
    }
    return FBT_OK;
}

/* Bit i of the bytes, the lowest first: value i is above 0. */
static void encode_signs(int64_t n, const double *values, void *bytes)
{
    unsigned char *to = bytes;
    memset(to, 0, (size_t)(n + 7) / 8);
    for (int64_t i = 0; i < n; i++) {
        to[i / 8] |= (unsigned char)((values[i] > 0) << (i % 8));
    }
}

static void decode_signs(int64_t n, const void *bytes, double *values)
{
    const unsigned char *from = bytes;
    for (int64_t i = 0; i < n; i++) {
        values[i] = from[i / 8] >> (i % 8) & 1 ? 1 : -1;
    }
}

fbt_status fbt_field_encode(const fbt_field *field, fbt_wire wire, const double *values, void *bytes, int64_t *n_bytes)
{
    fbt_status status = FBT_OK;
    *n_bytes = fbt_field_bytes(field, wire);
    if (field->type == FBT_FIELD_SIGN) {
        encode_signs(field->count, values, bytes);
        return FBT_OK;
    }
    if (wire == FBT_WIRE_FLOAT64) {
        memcpy(bytes, values, (size_t)*n_bytes);
        return FBT_OK;
    }
    for (int64_t i = 0; i < field->count; i++) {
        float rounded;
        FBT_TRY(to_float(field, values[i], &rounded));
        memcpy((char *)bytes + i * (int64_t)sizeof rounded, &rounded, sizeof rounded);
    }
done:
    return status;
}

void fbt_field_decode(const fbt_field *field, fbt_wire wire, const void *bytes, double *values)
{
    if (field->type == FBT_FIELD_SIGN) {
        decode_signs(field->count, bytes, values);
        return;
    }
    if (wire == FBT_WIRE_FLOAT64) {
        memcpy(values, bytes, (size_t)field->count * sizeof *values);
        return;
    }
    for (int64_t i = 0; i < field->count; i++) {
        float value;
        memcpy(&value, (const char *)bytes + i * (int64_t)sizeof value, sizeof value);
        values[i] = value;
    }
}

/* ---- Messages ---- */

/* Lays the fields of some uses out behind each other; values NULL: only counts. Returns the end. */
static int64_t lay_out(fbt_messages *m, int64_t at, bool (*chosen)(const fbt_field *field))
{
    for (int f = 0; f < m->schema.n_fields; f++) {
        const fbt_field *field = &m->schema.fields[f];
        if (chosen(field)) {
            if (m->values != NULL) {
                m->starts[f] = m->values + at;
            }
            at += field->use == FBT_FIELD_SUMMED ? field->count : m->n * field->count;
        }
    }
    return at;
}

static bool is_local(const fbt_field *field)
{
    return !is_exchanged(field);
}

fbt_status fbt_messages_init(fbt_messages *messages, const fbt_schema *schema, fbt_wire wire, int64_t n)
{
    fbt_status status = FBT_OK;
    int64_t largest = 0;
    *messages = (fbt_messages){0};
    if (schema->n_fields > FBT_FIELDS_MAX) {
        FBT_FAIL(FBT_ERR_ARG, "a message of %d fields, more than %d", schema->n_fields, FBT_FIELDS_MAX);
    }
    *messages = (fbt_messages){.schema = *schema, .wire = wire, .n = n};
    for (int f = 0; f < schema->n_fields; f++) {
        const fbt_field *field = &schema->fields[f];
        largest = fbt_field_travels(field) && field->count > largest ? field->count : largest;
    }
    messages->n_exchanged = lay_out(messages, 0, is_exchanged);
    const int64_t n_values = lay_out(messages, messages->n_exchanged, is_local);
    FBT_TRY(fbt_memory_alloc(&messages->bytes, largest * fbt_wire_bytes(wire) + HEAD_BYTES, 1));
    FBT_TRY(fbt_memory_alloc(&messages->values, n_values, sizeof *messages->values));
    fbt_messages_set_senders(messages, n);
done:
    return status;
}

void fbt_messages_set_senders(fbt_messages *messages, int64_t n)
{
    messages->n = n;
    messages->n_exchanged = lay_out(messages, 0, is_exchanged);
    lay_out(messages, messages->n_exchanged, is_local);
}

void fbt_messages_clear(fbt_messages *messages)
{
    free(messages->values);
    free(messages->bytes);
    *messages = (fbt_messages){0};
}

static int find(const fbt_messages *m, const char *name)
{
    for (int f = 0; f < m->schema.n_fields; f++) {
        if (strcmp(m->schema.fields[f].name, name) == 0) {
            return f;
        }
    }
    return -1;
}

double *fbt_messages_field(const fbt_messages *messages, const char *name)
{
    const int f = find(messages, name);
    return f < 0 ? NULL : messages->starts[f];
}

double *fbt_messages_at(const fbt_messages *messages, const char *name, int64_t i)
{
    const int f = find(messages, name);
    return f < 0 ? NULL : messages->starts[f] + i * messages->schema.fields[f].count;
}

void fbt_messages_put(fbt_messages *messages, const char *name, int64_t i, const double *values)
{
    const int f = find(messages, name);
    if (f >= 0) {
        const int64_t count = messages->schema.fields[f].count;
        memcpy(messages->starts[f] + i * count, values, (size_t)count * sizeof *values);
    }
}

void fbt_messages_put_one(fbt_messages *messages, const char *name, int64_t i, double value)
{
    double *at = fbt_messages_at(messages, name, i);
    if (at != NULL) {
        *at = value;
    }
}

fbt_status fbt_messages_send_field(fbt_messages *messages, const fbt_field *field, int64_t i, double *values)
{
    fbt_status status = FBT_OK;
    int64_t n_bytes;
    if (messages->uplink != NULL) {
        return fbt_uplink_send_field(messages, field, i, values);
    }
    FBT_TRY(fbt_field_encode(field, messages->wire, values, messages->bytes, &n_bytes));
    messages->n_bytes += n_bytes;
    fbt_field_decode(field, messages->wire, messages->bytes, values);
done:
    return status;
}

fbt_status fbt_messages_send(fbt_messages *messages, int64_t i)
{
    fbt_status status = FBT_OK;
    for (int f = 0; f < messages->schema.n_fields; f++) {
        const fbt_field *field = &messages->schema.fields[f];
        if (field->use == FBT_FIELD_SENT) {
            FBT_TRY(fbt_messages_send_field(messages, field, i, messages->starts[f] + i * field->count));
        }
    }
done:
    return status;
}

void fbt_messages_erase(fbt_messages *messages, int64_t i)
{
    for (int f = 0; f < messages->schema.n_fields; f++) {
        const fbt_field *field = &messages->schema.fields[f];
        if (is_exchanged(field)) {
            memset(messages->starts[f] + i * field->count, 0, (size_t)field->count * sizeof(double));
        }
    }
}
