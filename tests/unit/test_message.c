/* Messages between clients and server: what the encoder makes of numbers, how many bytes, and who gets what. */
#include "fed/message.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 3 };

static fbt_schema schema_of_all_uses(void)
{
    fbt_schema schema = {0};
    fbt_schema_add(&schema, "mean", 4, FBT_FIELD_REAL, FBT_FIELD_SENT);
    fbt_schema_add(&schema, "nothing", 0, FBT_FIELD_REAL, FBT_FIELD_SENT);
    fbt_schema_add(&schema, "loss", 1, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
    fbt_schema_add(&schema, "shape", 5, FBT_FIELD_REAL, FBT_FIELD_SUMMED);
    fbt_schema_add(&schema, "step_size", 2, FBT_FIELD_POSITIVE, FBT_FIELD_SENT);
    fbt_schema_add(&schema, "condition", 1, FBT_FIELD_REAL, FBT_FIELD_KNOWN);
    return schema;
}

/* One value to the wire and back. */
static double round_trip(fbt_field_type type, fbt_wire wire, double value)
{
    const fbt_field field = {"value", 1, type, FBT_FIELD_SENT, 0};
    char bytes[8];
    int64_t n_bytes;
    double back;
    assert_int_equal(fbt_field_encode(&field, wire, &value, bytes, &n_bytes), FBT_OK);
    assert_int_equal(n_bytes, fbt_wire_bytes(wire));
    fbt_field_decode(&field, wire, bytes, &back);
    return back;
}

/* Broken by a wire that truncates, by one that changes float64, by a step size that becomes zero. */
static void numbers(void **state)
{
    (void)state;
    const double values[] = {0,      -0.0,   1,      -1.0 / 3, 1 + 0x1p-24, 1 + 0x1.8p-23,
                             3.4e38, 1e-300, -1e-42, INFINITY, DBL_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const double back = round_trip(FBT_FIELD_REAL, FBT_WIRE_FLOAT64, values[i]);
        assert_memory_equal(&back, &values[i], sizeof back);
        if (values[i] != DBL_MAX) {
            assert_true(round_trip(FBT_FIELD_REAL, FBT_WIRE_FLOAT32, values[i]) == (double)(float)values[i]);
        }
    }
    assert_true(isnan(round_trip(FBT_FIELD_REAL, FBT_WIRE_FLOAT32, NAN)));
    assert_true(round_trip(FBT_FIELD_REAL, FBT_WIRE_FLOAT32, 1 + 0x1p-24) == 1);             /* a tie goes to even */
    assert_true(round_trip(FBT_FIELD_REAL, FBT_WIRE_FLOAT32, 1 + 0x1.8p-23) == 1 + 0x1p-22); /* and here up        */
    assert_true(round_trip(FBT_FIELD_REAL, FBT_WIRE_FLOAT32, 1e-100) == 0);
    assert_true(round_trip(FBT_FIELD_POSITIVE, FBT_WIRE_FLOAT32, 1e-100) == FLT_TRUE_MIN);
    assert_true(round_trip(FBT_FIELD_POSITIVE, FBT_WIRE_FLOAT32, 0) == 0);
}

/* Nothing finite becomes infinite in silence. */
static void what_float32_cannot_hold(void **state)
{
    (void)state;
    const fbt_field field = {"mean", 2, FBT_FIELD_REAL, FBT_FIELD_SENT, 0};
    const double values[] = {1, -1e39};
    char bytes[16];
    int64_t n_bytes;
    assert_int_equal(fbt_field_encode(&field, FBT_WIRE_FLOAT32, values, bytes, &n_bytes), FBT_ERR_NUMERIC);
    assert_non_null(strstr(fbt_error_message(), "mean is -1e+39"));
    fbt_error_clear();
    assert_int_equal(fbt_field_encode(&field, FBT_WIRE_FLOAT64, values, bytes, &n_bytes), FBT_OK);
}

/* The ledger's bytes are the encoder's: 4 + 2 numbers of a message, and 5 of a summed field. Broken by counting what is
 * recorded alone, by another size of a number. */
static void bytes(void **state)
{
    (void)state;
    const fbt_schema schema = schema_of_all_uses();
    const fbt_wire wires[] = {FBT_WIRE_FLOAT64, FBT_WIRE_FLOAT32};
    const int64_t value_bytes[] = {8, 4};
    for (int w = 0; w < 2; w++) {
        fbt_messages m;
        double shape[5] = {1, 2, 3, 4, 5};
        assert_int_equal(fbt_messages_init(&m, &schema, wires[w], N), FBT_OK);
        assert_int_equal(fbt_messages_send(&m, 1), FBT_OK);
        assert_int_equal(m.n_bytes, 6 * value_bytes[w]);
        assert_int_equal(fbt_messages_send_field(&m, &schema.fields[2], 1, shape), FBT_OK);
        assert_int_equal(m.n_bytes, 11 * value_bytes[w]);
        assert_int_equal(m.n_bytes, fbt_schema_bytes(&schema, wires[w]));
        fbt_messages_clear(&m);
    }
}

/* A bit each, in either wire; 0 is not above 0. Broken by a byte each, by the last bits of a byte, by a sign of zero.
 */
static void signs(void **state)
{
    (void)state;
    const fbt_field field = {"votes", 10, FBT_FIELD_SIGN, FBT_FIELD_SENT, 0};
    const double values[10] = {1, -1, 0, 1e-300, -1e300, 1, 1, -1, -1, 7},
                 arrives[10] = {1, -1, -1, 1, -1, 1, 1, -1, -1, 1};
    for (int w = 0; w < 2; w++) {
        unsigned char coded[2];
        double decoded[10];
        int64_t n_bytes;
        assert_int_equal(fbt_field_encode(&field, (fbt_wire)w, values, coded, &n_bytes), FBT_OK);
        assert_int_equal(n_bytes, 2);
        assert_int_equal(coded[0], 0x69); /* values 0, 3, 5 and 6 */
        assert_int_equal(coded[1], 0x02);
        fbt_field_decode(&field, (fbt_wire)w, coded, decoded);
        assert_memory_equal(decoded, arrives, sizeof arrives);
    }
}

/* Values that are sent are replaced by those that arrive; what is recorded, known, or another's, is not touched. */
static void sending(void **state)
{
    (void)state;
    const fbt_schema schema = schema_of_all_uses();
    const double third = 1.0 / 3, means[4] = {third, third, third, third};
    fbt_messages m;
    assert_int_equal(fbt_messages_init(&m, &schema, FBT_WIRE_FLOAT32, N), FBT_OK);
    for (int64_t i = 0; i < N; i++) {
        fbt_messages_put(&m, "mean", i, means);
        fbt_messages_put_one(&m, "loss", i, third);
        fbt_messages_put_one(&m, "condition", i, third);
        fbt_messages_put_one(&m, "of no schema", i, third);
    }
    assert_int_equal(fbt_messages_send(&m, 1), FBT_OK);
    for (int64_t i = 0; i < N; i++) {
        for (int64_t v = 0; v < 4; v++) {
            assert_true(fbt_messages_at(&m, "mean", i)[v] == (i == 1 ? (double)(float)third : third));
        }
        assert_true(*fbt_messages_at(&m, "loss", i) == third && *fbt_messages_at(&m, "condition", i) == third);
    }
    fbt_messages_erase(&m, 1);
    assert_true(fbt_messages_at(&m, "mean", 1)[3] == 0 && fbt_messages_at(&m, "mean", 2)[0] == third);
    assert_true(*fbt_messages_at(&m, "loss", 1) == 0 && *fbt_messages_at(&m, "condition", 1) == third);
    assert_null(fbt_messages_field(&m, "nothing"));
    assert_int_equal(m.n_exchanged, N * (4 + 1 + 2)); /* neither what is known nor what is summed */
    fbt_messages_clear(&m);
}

static void too_many_fields(void **state)
{
    (void)state;
    fbt_schema schema = {0};
    fbt_messages m;
    for (int i = 0; i <= FBT_FIELDS_MAX; i++) {
        fbt_schema_add(&schema, "field", 1, FBT_FIELD_REAL, FBT_FIELD_SENT);
    }
    assert_int_equal(fbt_messages_init(&m, &schema, FBT_WIRE_FLOAT32, 1), FBT_ERR_ARG);
    fbt_error_clear();
    fbt_messages_clear(&m);
}

/* Fewer senders than there is room for: their values lie behind each other, those of each use together, and the block
 * that is exchanged is theirs alone. Broken by fields that stay where they were. */
static void fewer_senders(void **state)
{
    (void)state;
    const fbt_schema schema = schema_of_all_uses();
    fbt_messages m;
    assert_int_equal(fbt_messages_init(&m, &schema, FBT_WIRE_FLOAT64, N), FBT_OK);
    const int64_t n_each = m.n_exchanged / N;
    for (int64_t n = 0; n <= N; n++) {
        fbt_messages_set_senders(&m, n);
        assert_int_equal(m.n, n);
        assert_int_equal(m.n_exchanged, n * n_each);
        assert_ptr_equal(fbt_messages_field(&m, "mean"), m.values);
        assert_ptr_equal(fbt_messages_field(&m, "loss"), m.values + n * 4);
        assert_ptr_equal(fbt_messages_field(&m, "step_size"), m.values + n * 5);
        assert_ptr_equal(fbt_messages_field(&m, "shape"), m.values + m.n_exchanged);
        assert_ptr_equal(fbt_messages_field(&m, "condition"), m.values + m.n_exchanged + 5);
    }
    fbt_messages_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers),      cmocka_unit_test(what_float32_cannot_hold),
                                       cmocka_unit_test(bytes),        cmocka_unit_test(signs),
                                       cmocka_unit_test(sending),      cmocka_unit_test(too_many_fields),
                                       cmocka_unit_test(fewer_senders)};
    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
