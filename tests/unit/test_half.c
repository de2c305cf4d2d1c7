/* Conversion of the 16-bit floating types, every value of them. */
#include "base/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The value by IEEE 754's definition. Broken by a subnormal that is scaled like a normal number, or flushed to zero. */
static void every_half_by_its_definition(void **state)
{
    (void)state;
    for (uint32_t x = 0; x <= 0xffff; x++) {
        const int exponent = (int)(x >> 10 & 0x1f), fraction = (int)(x & 0x3ff), sign = x >> 15 ? -1 : 1;
        const float value = fbt_f16_to_float((uint16_t)x);
        if (exponent == 31) {
            assert_true(fraction == 0 ? isinf(value) && (value > 0) == (sign > 0) : isnan(value));
            continue;
        }
        const double expected = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
        if ((double)value != sign * expected || (signbit(value) != 0) != (sign < 0)) {
            fail_msg("half %04x is %g instead of %g", x, (double)value, sign * expected);
        }
    }
}

/* Broken by truncation, by ties that go up, and by a NaN that rounds to infinity. */
static void bfloat16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t x = 0; x <= 0xffff; x++) {
        const float value = fbt_bf16_to_float((uint16_t)x);
        assert_int_equal(bits_of(value), x << 16);
        if (isnan(value)) {
            assert_true(isnan(fbt_bf16_to_float(fbt_bf16_from_float(value))));
            continue;
        }
        assert_int_equal(fbt_bf16_from_float(value), x);
        if (isinf(value)) {
            continue;
        }
        const uint32_t up = x + 1, even = x + (x & 1);
        assert_int_equal(fbt_bf16_from_float(fbt_float_of_bits(x << 16 | 0x7fff)), x);
        assert_int_equal(fbt_bf16_from_float(fbt_float_of_bits(x << 16 | 0x8000)), even);
        assert_int_equal(fbt_bf16_from_float(fbt_float_of_bits(x << 16 | 0x8001)), up);
    }
    assert_true(isnan(fbt_bf16_to_float(fbt_bf16_from_float(fbt_float_of_bits(0x7f800001))))); /* a low payload bit */
    assert_true(isnan(fbt_bf16_to_float(fbt_bf16_from_float(fbt_float_of_bits(0xffffffff)))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_by_its_definition),
        cmocka_unit_test(bfloat16_rounds_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
