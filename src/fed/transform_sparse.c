/* Updates of which few numbers differ from the server's (fbt_schema_limit_changes): the place of each as 4 bytes and
 * its value as fed.wire has it, where all in a row would take more. Messages keep one length, that of the most changes.
 */
#include "fed/transform.h"

#include <inttypes.h>
#include <string.h>

enum { PLACE_BYTES = sizeof(uint32_t) };

/* Noise changes every number. */
static bool is_on(const fbt_settings *settings)
{
    return settings->privacy.noise_multiplier == 0;
}

static fbt_status check(const fbt_settings *settings, const fbt_schema *up)
{
    (void)settings;
    (void)up;
    return FBT_OK; /* no value is changed */
}

static bool encodes(const fbt_field *field)
{
    return field->n_changed > 0 && 2 * field->n_changed < field->count;
}

static int64_t entry_bytes(const fbt_settings *settings)
{
    return PLACE_BYTES + fbt_wire_bytes((fbt_wire)settings->fed.wire);
}

static int64_t n_bytes(const fbt_settings *settings, const fbt_field *field)
{
    return field->n_changed * entry_bytes(settings);
}

/* A number of the field by itself. */
static fbt_field one_of(const fbt_field *field)
{
    return (fbt_field){.name = field->name, .count = 1, .type = FBT_FIELD_REAL, .use = field->use};
}

static fbt_status put_entry(const fbt_passage *p, int64_t place, double value, char *to)
{
    int64_t n_written;
    const uint32_t number = (uint32_t)place;
    const fbt_field one = one_of(p->field);
    memcpy(to, &number, sizeof number);
    return fbt_field_encode(&one, (fbt_wire)p->uplink->settings->fed.wire, &value, to + PLACE_BYTES, &n_written);
}

/* Fills what is left behind the last change with the first number, again and again. */
static fbt_status encode(const fbt_passage *p, const double *values, void *bytes)
{
    fbt_status status = FBT_OK;
    const int64_t step = entry_bytes(p->uplink->settings), n_changed = p->field->n_changed;
    int64_t n = 0;
    for (int64_t i = 0; i < p->field->count; i++) {
        if (values[i] != p->reference[i]) {
            if (n == n_changed) {
                FBT_FAIL(FBT_ERR_ARG, "more than %" PRId64 " numbers of a message's %s differ from the server's",
                         n_changed, p->field->name);
            }
            FBT_TRY(put_entry(p, i, values[i], (char *)bytes + step * n++));
        }
    }
    while (n < n_changed) {
        FBT_TRY(put_entry(p, 0, values[0], (char *)bytes + step * n++));
    }
done:
    return status;
}

static void decode(const fbt_passage *p, const void *bytes, double *values)
{
    const int64_t step = entry_bytes(p->uplink->settings);
    const fbt_field one = one_of(p->field);
    memcpy(values, p->reference, (size_t)p->field->count * sizeof *values);
    for (int64_t n = 0; n < p->field->n_changed; n++) {
        const char *entry = (const char *)bytes + step * n;
        uint32_t place;
        memcpy(&place, entry, sizeof place);
        fbt_field_decode(&one, (fbt_wire)p->uplink->settings->fed.wire, entry + PLACE_BYTES, &values[place]);
    }
}

const fbt_transform fbt_transform_sparse = {
    .is_on = is_on,
    .check = check,
    .encodes = encodes,
    .n_bytes = n_bytes,
    .encode = encode,
    .decode = decode,
};
