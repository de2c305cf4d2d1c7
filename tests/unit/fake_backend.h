/* A backend that computes nothing, and operands that every operation takes as they are: what is called with one of them
 * spoilt must not reach it. */
#ifndef FBT_TESTS_FAKE_BACKEND_H
#define FBT_TESTS_FAKE_BACKEND_H

#include "kernels/backend_ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 4, DIM = 16, N_IN = 8, N_SEQUENCES = 2, BYTES = 4096 };

/* Operations that reached the backend, and its memory. */
typedef struct fake_calls {
    int n_calls;
    int n_graphs;
    fbt_status (*queued)(void *context);
    void *context;
} fake_calls;
extern fake_calls fake;

/* Operands that every operation below takes as they are; a test spoils one at a time. */
typedef struct fixture {
    fbt_backend b;
    fbt_buffer *x, *y, *z, *small;
    fbt_matrix *w;
    fbt_table *table, *narrow, *turns;
    int32_t offsets[N_SEQUENCES + 1];
    fbt_packed packed;
    fbt_norm norm, rms;
    fbt_embedding e;
    fbt_row_embedding rows;
    fbt_rotary rotary;
    int32_t index[N_SEQUENCES];
    fbt_prefix before, prefix;
    fbt_attention a;
    fbt_perturbation p;
} fixture;
extern fixture f;

/* cmocka's setup and teardown. */
int fake_setup(void **state);
int fake_teardown(void **state);

/* Fails unless the status is as expected, with a sentence, after so many calls of the backend. */
void fake_expect(fbt_status expected, int n_calls, fbt_status status, const char *call, int line);

#define TAKEN(call) fake_expect(FBT_OK, 1, call, #call, __LINE__)
#define NOTHING(call) fake_expect(FBT_OK, 0, call, #call, __LINE__)
#define REFUSED(call) fake_expect(FBT_ERR_ARG, 0, call, #call, __LINE__)
#define UNSUPPORTED(call) fake_expect(FBT_ERR_UNSUPPORTED, 0, call, #call, __LINE__)

/* With one member of the fixture changed for the call. */
#define WITH(expectation, member, value, call)                                                                         \
    do {                                                                                                               \
        const __typeof__(f.member) kept = f.member;                                                                    \
        f.member = (value);                                                                                            \
        expectation(call);                                                                                             \
        f.member = kept;                                                                                               \
    } while (0)

#define CASE(name) cmocka_unit_test_setup_teardown(name, fake_setup, fake_teardown)

#endif
