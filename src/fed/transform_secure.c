/* Secure aggregation (fed.secure_aggregation; secure_sum.h): a client sends masked integers, and the server learns
 * their sum.
 *
 * Of m participants with weights w_k (all 1 / m, or n_k over their sum) client k sends round(s m w_k x_k) modulo 2^32,
 * masked, in 4 bytes a number: x_k is its update of what the server has sent, or the number itself, and s the largest
 * power of two with which m numbers of fed.secure_range fit. The server's sum over s m is the average that it would
 * have taken. As it knows nothing else of a participant, each one's message becomes that average; the weights are in
 * it, and add up to 1. */
#include "fed/secure_sum.h"
#include "fed/transform.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { PARTICIPANTS_MAX = 1024 }; /* every two of them have masks of their own */

static bool is_on(const fbt_settings *settings)
{
    return settings->fed.secure_aggregation;
}

static fbt_status check(const fbt_settings *settings, const fbt_schema *up)
{
    fbt_status status = FBT_OK;
    const int64_t m = fbt_settings_participants(settings);
    if (settings->fed.quantise_bits > 0) {
        FBT_FAIL(FBT_ERR_CONFIG, "fed.quantise_bits: quantised messages have scales of their own, so that masked codes "
                                 "(fed.secure_aggregation) do not add up; set it to 0");
    }
    if (fbt_schema_n_summed(up) > 0) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.secure_aggregation: the shape of clients' searches (fed.optimiser %s, cma.covariance %s) is not "
                 "masked; use cma with cma.covariance isotropic",
                 fbt_optimiser_names[settings->fed.optimiser], fbt_cma_covariance_names[settings->cma.covariance]);
    }
    if (m < 2 || m > PARTICIPANTS_MAX) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.secure_aggregation: %" PRId64 " participants a round (fed.participants), but masks are agreed on "
                 "by every two of 2 to %d",
                 m, PARTICIPANTS_MAX);
    }
done:
    return status;
}

static bool encodes(const fbt_field *field)
{
    return field->use == FBT_FIELD_SENT;
}

static int64_t n_bytes(const fbt_settings *settings, const fbt_field *field)
{
    (void)settings;
    return field->count * (int64_t)sizeof(uint32_t);
}

/* m w_k of the sender. */
static double weight_of(const fbt_passage *p)
{
    const fbt_uplink *uplink = p->uplink;
    double sum = 0;
    for (int64_t i = 0; uplink->weights != NULL && i < uplink->n_participants; i++) {
        sum += uplink->weights[i];
    }
    return uplink->weights == NULL ? 1 : (double)uplink->n_participants * uplink->weights[p->slot] / sum;
}

static double scale_of(const fbt_uplink *uplink)
{
    return fbt_secure_scale(uplink->settings->fed.secure_range, uplink->n_participants);
}

/* A step size that is less than the integers' unit would be lost in the average: with it, a search. */
static fbt_status to_integer(const fbt_passage *p, double x, double factor, uint32_t *word)
{
    const double range = p->uplink->settings->fed.secure_range, unit = 1 / scale_of(p->uplink);
    if (p->field->type == FBT_FIELD_POSITIVE && x < unit) {
        return fbt_fail(FBT_ERR_NUMERIC,
                        "a message's %s is %g, but with fed.secure_range %g numbers are rounded to %g; lower it",
                        p->field->name, x, range, unit);
    }
    if (!(fabs(x) <= range)) {
        return fbt_fail(FBT_ERR_NUMERIC,
                        "a message's %s holds %g, but fed.secure_range says that none is larger than %g; raise it",
                        p->field->name, x, range);
    }
    *word = (uint32_t)(int32_t)rint(x * factor);
    return FBT_OK;
}

static fbt_secure_party party_of(const fbt_uplink *uplink, int64_t slot)
{
    const uint32_t client = (uint32_t)uplink->participants[slot];
    return (fbt_secure_party){client, fbt_secure_key((uint64_t)uplink->settings->run.seed, uplink->round, client)};
}

static void add_masks(const fbt_passage *p, uint32_t *words)
{
    const fbt_uplink *uplink = p->uplink;
    const fbt_secure_party own = party_of(uplink, p->slot);
    const fbt_secure_vector vector = {
        .round = uplink->round, .exchange = uplink->exchange, .index = (uint32_t)p->index, .count = p->field->count};
    for (int64_t i = 0; i < uplink->n_participants; i++) {
        if (i != p->slot) {
            const fbt_secure_party other = party_of(uplink, i);
            fbt_secure_mask(&vector, &own, &other, words);
        }
    }
}

static fbt_status encode(const fbt_passage *p, const double *values, void *bytes)
{
    fbt_status status = FBT_OK;
    uint32_t *words = bytes; /* allocated as such: fbt_messages_init */
    const double factor = scale_of(p->uplink) * weight_of(p);
    for (int64_t i = 0; i < p->field->count; i++) {
        const double base = p->reference == NULL ? 0 : p->reference[i];
        FBT_TRY(to_integer(p, values[i] - base, factor, &words[i]));
    }
    add_masks(p, words);
done:
    return status;
}

/* One masked message alone says nothing: its integers wait for the others. */
static void decode(const fbt_passage *p, const void *bytes, double *values)
{
    const uint32_t *words = bytes;
    for (int64_t i = 0; i < p->field->count; i++) {
        values[i] = words[i];
    }
}

/* The average of value i of a field of all participants; their integers are numbers below 2^32. */
static double average(const fbt_uplink *uplink, const double *values, int64_t count, int64_t i)
{
    uint32_t sum = 0;
    for (int64_t slot = 0; slot < uplink->n_participants; slot++) {
        sum += (uint32_t)values[slot * count + i];
    }
    return (double)(int32_t)sum / scale_of(uplink) / (double)uplink->n_participants;
}

static void gather_field(const fbt_messages *messages, const fbt_field *field)
{
    const fbt_uplink *uplink = messages->uplink;
    const bool is_update = field->type == FBT_FIELD_UPDATE;
    const double *reference = is_update ? fbt_messages_field(uplink->down, field->name) : NULL;
    double *values = fbt_messages_field(messages, field->name);
    for (int64_t i = 0; i < field->count; i++) {
        const double base = reference == NULL ? 0 : reference[i];
        const double mean = base + average(uplink, values, field->count, i);
        for (int64_t slot = 0; slot < uplink->n_participants; slot++) {
            values[slot * field->count + i] = mean;
        }
    }
}

static void gather(fbt_messages *messages)
{
    for (int f = 0; f < messages->schema.n_fields; f++) {
        const fbt_field *field = &messages->schema.fields[f];
        if (fbt_uplink_encoder(messages->uplink->settings, field) == &fbt_transform_secure) {
            gather_field(messages, field);
        }
    }
}

const fbt_transform fbt_transform_secure = {
    .is_on = is_on,
    .of_averages = "fed.secure_aggregation",
    .check = check,
    .encodes = encodes,
    .n_bytes = n_bytes,
    .encode = encode,
    .decode = decode,
    .gather = gather,
};
