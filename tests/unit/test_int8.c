/* int8 products as the kernels of each instruction set compute them: all that this machine has, beside plain loops. The
 * conformance suite compares the operations that are made of them. */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_ROWS = 26, MOST_OUT = 70, MOST_IN = 4096, GUARD = 64, ALIGNMENT = 64 };

/* From the least to the most; a machine has all up to its own. */
static const fbt_int8_kernels *const kinds[] = {
#ifdef FBT_X86
    &fbt_int8_avx2, &fbt_int8_avx512, &fbt_int8_avx512_vnni, &fbt_int8_avx512_bf16,
#endif
    NULL};

typedef struct problem {
    int64_t n_rows, n_out, n_in;
} problem;

static float x[MOST_ROWS * MOST_IN], w[MOST_OUT * MOST_IN], bias[MOST_OUT + GUARD];
static float y[MOST_ROWS * MOST_OUT + GUARD];

static int64_t count_kinds(void)
{
    const fbt_int8_kernels *own = fbt_cpu_int8_kernels();
    for (int64_t i = 0; own != NULL && kinds[i] != NULL; i++) {
        if (kinds[i] == own) {
            return i + 1;
        }
    }
    return 0;
}

static float uniform(float half_width)
{
    return half_width * (2 * (float)rand() / (float)RAND_MAX - 1);
}

static char *new_block(int64_t n_bytes)
{
    void *block = NULL;
    assert_int_equal(posix_memalign(&block, ALIGNMENT, (size_t)n_bytes), 0);
    memset(block, 0xff, (size_t)n_bytes);
    return block;
}

/* y = x W^T + bias in float; what lies behind y stays as it was. */
static void multiply(const fbt_int8_kernels *kernels, const problem *p)
{
    const int64_t n_panels = fbt_n_parts(p->n_out, 2 * kernels->panel_outputs) * 2, n = p->n_rows * p->n_out;
    const int64_t n_bytes = kernels->panel_bytes(p->n_in), v = kernels->panel_outputs;
    char *panels = new_block(n_panels * n_bytes);
    char *strips = new_block(fbt_n_parts(p->n_rows, kernels->strip_rows) * kernels->strip_bytes(p->n_in));
    const fbt_int8_product product = {.strips = strips,
                                      .panels = panels,
                                      .bias = bias,
                                      .y = y,
                                      .dtype = FBT_F32,
                                      .n_rows = p->n_rows,
                                      .n_in = p->n_in,
                                      .n_out = p->n_out};
    for (int64_t i = 0; i < n_panels; i++) {
        const int64_t left = p->n_out - i * v, n_here = left < 0 ? 0 : left < v ? left : v;
        kernels->pack(panels + i * n_bytes, w + (n_here > 0 ? i * v * p->n_in : 0), n_here, p->n_in);
    }
    kernels->quantise(strips, x, FBT_F32, p->n_rows, p->n_in);
    memset(y, 0xff, sizeof y);
    kernels->multiply(&product);
    for (int64_t i = n; i < n + GUARD; i++) {
        assert_true(isnan(y[i]));
    }
    free(panels);
    free(strips);
}

static const problem problems[] = {{1, 1, 1},     {7, 17, 3},     {13, 33, 64},    {26, 70, 131},
                                   {12, 32, 768}, {25, 64, 1040}, {6, 17, MOST_IN}};
enum { N_PROBLEMS = sizeof problems / sizeof problems[0] };

/* Integers such that scales are 1: weights of up to 127 in size, which every row has, or rows of x from 0 - low to
 * 254 - low, which each has. pattern 0: any; 1: all at the upper end; 2: both ends in turn. */
static void fill_integers(float *rows, int64_t n_rows, int64_t n, int pattern, int least, int largest)
{
    for (int64_t i = 0; i < n_rows * n; i++) {
        const int extreme = pattern == 2 && (i / n + i % n) % 2 ? least : largest;
        rows[i] = (float)(pattern > 0 ? extreme : rand() % (largest - least + 1) + least);
    }
    for (int64_t r = 0; r < n_rows; r++) {
        rows[r * n + rand() % n] = (float)largest;
    }
    for (int64_t r = 0; r < n_rows && least < 0 && n > 1; r++) {
        rows[r * n] = (float)least;
        rows[r * n + 1] = (float)largest;
    }
}

/* Sums are those of whole numbers, also where products of pairs do not fit in 16 bits. Broken by a sum that stops at
 * the largest number, by an offset that is not taken off, by elements or outputs beyond the last that count. */
static void sums_are_exact(void **state)
{
    (void)state;
    memset(bias, 0, sizeof bias);
    for (int64_t k = 0; k < count_kinds(); k++) {
        for (int i = 0; i < N_PROBLEMS * 3; i++) {
            const problem p = problems[i / 3];
            const int least = p.n_in > 1 ? -(i * 37 % 255) : 0; /* with one element a row is of one sign */
            fill_integers(x, p.n_rows, p.n_in, i % 3, least, least + FBT_I8_ROW_STEPS);
            fill_integers(w, p.n_out, p.n_in, i % 3 > 0, -FBT_I8_WEIGHT_STEPS, FBT_I8_WEIGHT_STEPS);
            multiply(kinds[k], &p);
            for (int64_t at = 0; at < p.n_rows * p.n_out; at++) {
                int32_t sum = 0;
                for (int64_t j = 0; j < p.n_in; j++) {
                    sum += (int32_t)x[at / p.n_out * p.n_in + j] * (int32_t)w[at % p.n_out * p.n_in + j];
                }
                assert_true(y[at] == (float)sum);
            }
        }
    }
}

/* Rows and outputs of very different sizes, with single large elements, as models have them. */
static void fill_unevenly(const problem *p)
{
    for (int64_t i = 0; i < p->n_rows * p->n_in; i++) {
        x[i] = uniform(1) * exp2f((float)(i / p->n_in % 9) - 4) * (i % 97 == 5 ? 30 : 1);
    }
    for (int64_t i = 0; i < p->n_out * p->n_in; i++) {
        w[i] = uniform(0.1f) * exp2f((float)(i / p->n_in % 7) - 3);
    }
    for (int64_t o = 0; o < p->n_out; o++) {
        bias[o] = uniform(1);
    }
}

/* A step of the integers of a row of weights, or of x. */
static double step_of(const float *row, int64_t n, int is_weight)
{
    double least = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        least = fmin(least, row[i]);
        largest = fmax(largest, row[i]);
    }
    return is_weight ? fmax(largest, -least) / FBT_I8_WEIGHT_STEPS : (largest - least) / FBT_I8_ROW_STEPS;
}

/* Each element is rounded by up to half its row's scale a: |sum - exact| <= sum (|x| a_w + |w| a_x) / 2 + a_x a_w / 4.
 * Broken by one scale for all rows or outputs, by a scale of another row, by rounding towards zero. */
static void errors_are_those_of_rounding(void **state)
{
    (void)state;
    for (int64_t k = 0; k < count_kinds(); k++) {
        for (int i = 0; i < N_PROBLEMS; i++) {
            const problem p = problems[i];
            fill_unevenly(&p);
            multiply(kinds[k], &p);
            for (int64_t at = 0; at < p.n_rows * p.n_out; at++) {
                const float *row = x + at / p.n_out * p.n_in, *output = w + at % p.n_out * p.n_in;
                const double a_x = step_of(row, p.n_in, 0), a_w = step_of(output, p.n_in, 1);
                double exact = bias[at % p.n_out], bound = 1e-6 * fabs(exact);
                for (int64_t j = 0; j < p.n_in; j++) {
                    exact += (double)row[j] * output[j];
                    bound += (fabs(row[j]) * a_w + fabs(output[j]) * a_x) / 2 + a_x * a_w / 4;
                }
                assert_true(fabs(y[at] - exact) <= 1.0001 * bound);
            }
        }
    }
}

/* Results, too, have the same bits for every instruction set. */
static void results_do_not_depend_on_the_instructions(void **state)
{
    static float first[MOST_ROWS * MOST_OUT];
    (void)state;
    for (int i = 0; i < N_PROBLEMS; i++) {
        const problem p = problems[i];
        const size_t n_bytes = (size_t)(p.n_rows * p.n_out) * sizeof *y;
        fill_unevenly(&p);
        for (int64_t k = 0; k < count_kinds(); k++) {
            multiply(kinds[k], &p);
            memcpy(first, y, k == 0 ? n_bytes : 0);
            assert_memory_equal(y, first, n_bytes);
        }
    }
}

/* A number that is none reaches all results of its row, and no other row's; rows of zeros, or of almost nothing, have
 * none of it. Broken by a largest element that passes over NaN, by 127 / 0. */
static void rows_that_are_not_numbers(void **state)
{
    enum { N_ROWS = 5, N_OUT = 17, N_IN = 37 };
    const float odd[N_ROWS] = {NAN, -INFINITY, 0, 0x1p-120f, 1};
    const problem p = {N_ROWS, N_OUT, N_IN};
    (void)state;
    fill_unevenly(&p);
    for (int r = 0; r < N_ROWS; r++) {
        for (int i = 0; i < N_IN; i++) {
            x[r * N_IN + i] = r < 2 ? uniform(1) : odd[r];
        }
        x[r * N_IN + 7 * r] = odd[r];
    }
    for (int64_t k = 0; k < count_kinds(); k++) {
        multiply(kinds[k], &p);
        for (int i = 0; i < N_ROWS * N_OUT; i++) {
            const int row = i / N_OUT;
            assert_true(row < 2 ? !isfinite(y[i]) : isfinite(y[i]));
            assert_true((row == 2 || row == 3) == (y[i] == bias[i % N_OUT]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_exact),
        cmocka_unit_test(errors_are_those_of_rounding),
        cmocka_unit_test(results_do_not_depend_on_the_instructions),
        cmocka_unit_test(rows_that_are_not_numbers),
    };
    srand(2024);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
