/* One participant's message sent by hand: a schema, the server's message, and the facts of a round. */
#ifndef FBT_TESTS_SENDING_H
#define FBT_TESTS_SENDING_H

#include "fed/uplink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { SENDING_MAX_M = 16 };

typedef struct sending {
    fbt_settings settings;
    int64_t participants[SENDING_MAX_M];
    fbt_messages up, down;
    fbt_uplink uplink;
} sending;

/* m participants, clients 3, 6, 9 ..., whose message is the schema's; the server has sent reference: [n] as `mean`. */
static inline void sending_init(sending *s, const fbt_schema *up, int64_t m, const double *reference, int64_t n)
{
    fbt_schema down = {0};
    fbt_schema_add(&down, "mean", n, FBT_FIELD_REAL, FBT_FIELD_SENT);
    fbt_schema_add(&down, "step_size", 1, FBT_FIELD_POSITIVE, FBT_FIELD_SENT);
    assert_int_equal(fbt_messages_init(&s->up, up, (fbt_wire)s->settings.fed.wire, m), FBT_OK);
    assert_int_equal(fbt_messages_init(&s->down, &down, FBT_WIRE_FLOAT64, 1), FBT_OK);
    fbt_messages_put(&s->down, "mean", 0, reference);
    fbt_messages_put_one(&s->down, "step_size", 0, 0.75);
    for (int64_t i = 0; i < m; i++) {
        s->participants[i] = 3 * (i + 1);
    }
    s->uplink = (fbt_uplink){
        .settings = &s->settings, .round = 1, .participants = s->participants, .n_participants = m, .down = &s->down};
    s->up.uplink = &s->uplink;
}

static inline void sending_clear(sending *s)
{
    fbt_messages_clear(&s->up);
    fbt_messages_clear(&s->down);
}

/* Sends values: [count] of the field of a participant; they become what arrives. */
static inline void send_field(sending *s, int field, int64_t slot, double *values)
{
    assert_int_equal(fbt_messages_send_field(&s->up, &s->up.schema.fields[field], slot, values), FBT_OK);
}

#endif
