/* Causal attention in bfloat16 as the row kernels compute it: the copy for any processor, which no backend asks for in
 * bfloat16, and the one for this machine. Without bfloat16 products arithmetic is that of fp32, so that the results are
 * those of the same numbers as floats, rounded once; with them, probabilities are rounded, too. The conformance suite
 * compares floats with double precision. */
#include "base/half.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/tiles.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_KEYS = 96, MAX_DIM = 64, MAX_HEADS = 3, WIDTH = MAX_HEADS * MAX_DIM, ROW = WIDTH + 2 * MAX_DIM };

/* Rows of queries, a key and a value each, in both types; results. */
typedef struct numbers {
    uint16_t rows[MAX_KEYS * ROW], y[MAX_KEYS * WIDTH];
    float wide_rows[MAX_KEYS * ROW], wide_y[MAX_KEYS * WIDTH];
} numbers;

typedef struct problem {
    int64_t n_keys, n_queries, n_heads, d;
    int64_t n_first; /* keys of the first part; 0: there is one part */
} problem;

static numbers n;

static void fill(unsigned seed)
{
    srand(seed);
    for (int i = 0; i < MAX_KEYS * ROW; i++) {
        n.rows[i] = fbt_bf16_from_float(4.0f * (float)rand() / (float)RAND_MAX - 2.0f);
        n.wide_rows[i] = fbt_bf16_to_float(n.rows[i]);
    }
}

static fbt_key_rows part(const char *rows, int64_t item, int64_t first, int64_t n_keys)
{
    const char *k = rows + (first * ROW + WIDTH) * item;
    return (fbt_key_rows){.k = k, .v = k + MAX_DIM * item, .k_stride = ROW, .v_stride = ROW, .n = n_keys};
}

/* Of this machine's copy: whether it wants tiles, and whether it has bfloat16 products. */
static int uses_tiles(const fbt_row_kernels *kernels)
{
    return kernels != &fbt_rows_plain && fbt_cpu_has_tiles();
}

static int rounds_probabilities(const fbt_row_kernels *kernels)
{
    return kernels != &fbt_rows_plain && fbt_cpu_has_bf16();
}

/* The last n_queries rows are those of the queries; results from y's first row on. */
static void attend(const fbt_row_kernels *kernels, const problem *p, fbt_dtype dtype)
{
    const int64_t item = (int64_t)fbt_dtype_bytes(dtype);
    const char *rows = dtype == FBT_BF16 ? (const char *)n.rows : (const char *)n.wide_rows;
    fbt_head_group group = {.q = rows + (p->n_keys - p->n_queries) * ROW * item,
                            .y = dtype == FBT_BF16 ? (void *)n.y : (void *)n.wide_y,
                            .q_stride = ROW,
                            .y_stride = WIDTH,
                            .n_queries = p->n_queries,
                            .n_heads = p->n_heads,
                            .head_dim = p->d,
                            .n_keys = p->n_keys,
                            .is_causal = 1,
                            .scale = 0.3f,
                            .dtype = dtype};
    void *scratch = NULL;
    assert_int_equal(posix_memalign(&scratch, 64, (size_t)kernels->attention_bytes(p->n_keys, p->d)), 0);
    if (p->n_first > 0) {
        group.parts[group.n_parts++] = part(rows, item, 0, p->n_first);
    }
    group.parts[group.n_parts++] = part(rows, item, p->n_first, p->n_keys - p->n_first);
    memset(group.y, 0xff, dtype == FBT_BF16 ? sizeof n.y : sizeof n.wide_y);
    if (uses_tiles(kernels)) {
        fbt_tiles_begin();
    }
    kernels->attention(&group, scratch);
    if (uses_tiles(kernels)) {
        fbt_tiles_end();
    }
    free(scratch);
}

/* Result c of the r-th query; columns that belong to no head were left alone. */
static uint16_t result(int64_t r, int64_t c)
{
    return n.y[r * WIDTH + c];
}

static const problem problems[] = {
    {17, 17, 1, 64, 0}, {33, 9, 3, 5, 0}, {96, 40, 3, 64, 56}, {64, 64, 2, 16, 0}, {50, 1, 3, 30, 49}, {1, 1, 1, 8, 0},
};
enum { N_PROBLEMS = sizeof problems / sizeof problems[0] };

static const fbt_row_kernels *copies(int i)
{
    return i == 0 ? &fbt_rows_plain : fbt_cpu_row_kernels();
}

/* Values are at most 2: a probability's rounding moves a mean of them by 2^-8 at most. */
static void compare(const fbt_row_kernels *kernels, uint16_t found, float want)
{
    if (rounds_probabilities(kernels)) {
        assert_true(fabsf(fbt_bf16_to_float(found) - want) <= 1.1f * (0x1p-8f + 0x1p-9f * fabsf(want)));
    } else {
        assert_int_equal(found, fbt_bf16_from_float(want));
    }
}

/* Broken by a row read as the other type, by a key too many or too few, by a result that is rounded twice. */
static void results_are_those_of_floats(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * N_PROBLEMS; i++) {
        const problem *p = &problems[i / 2];
        fill((unsigned)i);
        attend(copies(i % 2), p, FBT_F32);
        attend(copies(i % 2), p, FBT_BF16);
        for (int64_t k = 0; k < p->n_queries * WIDTH; k++) {
            if (k % WIDTH < p->n_heads * p->d) {
                compare(copies(i % 2), result(k / WIDTH, k % WIDTH), n.wide_y[k]);
            } else {
                assert_int_equal(result(k / WIDTH, k % WIDTH), 0xffff);
            }
        }
    }
}

/* Broken by sums that begin anew where a part ends. */
static void parts_do_not_matter(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * N_PROBLEMS; i++) {
        const problem *p = &problems[i / 2];
        uint16_t whole[MAX_KEYS * WIDTH];
        fill((unsigned)i);
        attend(copies(i % 2), &(problem){p->n_keys, p->n_queries, p->n_heads, p->d, 0}, FBT_BF16);
        memcpy(whole, n.y, sizeof whole);
        for (int64_t first = 1; first < p->n_keys; first += 7) {
            attend(copies(i % 2), &(problem){p->n_keys, p->n_queries, p->n_heads, p->d, first}, FBT_BF16);
            assert_memory_equal(whole, n.y, sizeof whole);
        }
    }
}

/* The queries of a shorter sequence are the first of a longer one's. Broken by a query that depends on those behind it.
 */
static void later_queries_do_not_matter(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        uint16_t all[MAX_KEYS * WIDTH];
        fill((unsigned)i);
        attend(copies(i), &(problem){MAX_KEYS, MAX_KEYS, 3, 24, 0}, FBT_BF16);
        memcpy(all, n.y, sizeof all);
        for (int64_t length = 1; length < MAX_KEYS; length += 5) {
            attend(copies(i), &(problem){length, length, 3, 24, 0}, FBT_BF16);
            assert_memory_equal(all, n.y, (size_t)(length * WIDTH) * sizeof *all);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_those_of_floats),
        cmocka_unit_test(parts_do_not_matter),
        cmocka_unit_test(later_queries_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
