/* Conformance: operations of decoders beside attention. A backend computes one, compared here with plain references in
 * double, or refuses it by name. */
#include "activation.h"
#include "suite.h"

#include <math.h>
#include <string.h>

enum { N_ROWS = 37, N_TOKENS = 29, N_POSITIONS = 40, N_PROMPT_ROWS = 6 };

static double *numbers(suite *s, int64_t n)
{
    return suite_block(s, n * (int64_t)sizeof(double));
}

static fbt_buffer *list(suite *s, const int32_t *items)
{
    return suite_buffer_bytes(s, items, N_ROWS * (int64_t)sizeof *items);
}

static void fill_below(suite *s, int32_t *items, int64_t n)
{
    for (int i = 0; i < N_ROWS; i++) {
        items[i] = (int32_t)suite_random_below(s, n);
    }
}

/* ---- Embedding by lists. */

typedef struct row_inputs {
    fbt_row_embedding e;
    int32_t tokens[N_ROWS], positions[N_ROWS], prompt_rows[N_ROWS];
    double *word, *position, *prompts;
} row_inputs;

/* Every third row has a prompt's row added, every fourth has one in a token's place. */
static row_inputs make_rows(suite *s, int64_t n_dim, fbt_dtype dtype, int has_positions, int has_prompts)
{
    row_inputs in = {.word = suite_random(s, N_TOKENS * n_dim, 1, 0),
                     .position = suite_random(s, N_POSITIONS * n_dim, 1, 0),
                     .prompts = suite_random(s, N_PROMPT_ROWS * n_dim, 1, 0)};
    fill_below(s, in.tokens, N_TOKENS);
    fill_below(s, in.positions, N_POSITIONS - 2);
    fill_below(s, in.prompt_rows, N_PROMPT_ROWS);
    for (int i = 0; i < N_ROWS; i++) {
        in.prompt_rows[i] = has_prompts && (i % 3 == 0 || i % 4 == 0) ? in.prompt_rows[i] : -1;
        in.tokens[i] = has_prompts && i % 4 == 0 ? -1 : in.tokens[i];
    }
    in.e = (fbt_row_embedding){.word = suite_table(s, in.word, N_TOKENS, n_dim, dtype),
                               .position_offset = 2,
                               .tokens = list(s, in.tokens),
                               .positions = list(s, in.positions),
                               .n_dim = n_dim};
    if (has_positions) {
        in.e.position = suite_table(s, in.position, N_POSITIONS, n_dim, dtype == FBT_F32 ? FBT_BF16 : FBT_F32);
    }
    if (has_prompts) {
        in.e.prompts = suite_buffer(s, in.prompts, N_PROMPT_ROWS * n_dim, FBT_F32);
        in.e.prompt_rows = list(s, in.prompt_rows);
    }
    return in;
}

/* Errs by the sum's roundings in fp32, and by that of the result. */
static void reference_rows(const suite *s, const row_inputs *in, double *want, double *tolerance)
{
    const int64_t d = in->e.n_dim;
    for (int64_t i = 0; i < N_ROWS * d; i++) {
        const int64_t r = i / d, c = i % d, token = in->tokens[r], prompt = in->prompt_rows[r];
        const double a = token < 0 ? 0 : in->word[token * d + c], b = prompt < 0 ? 0 : in->prompts[prompt * d + c];
        const double p = in->e.position == NULL ? 0 : in->position[(in->positions[r] + 2) * d + c];
        want[i] = a + b + p;
        tolerance[i] = 1.01 * suite_residual_roundoff(s) * fabs(want[i]) + 0x1p-22 * (fabs(a) + fabs(b) + fabs(p));
    }
}

static void check_rows(fbt_dtype dtype, int64_t width, int has_positions, int has_prompts)
{
    suite *s = suite_begin(2);
    const row_inputs in = make_rows(s, suite_width(s, width), dtype, has_positions, has_prompts);
    const int64_t n = N_ROWS * in.e.n_dim;
    double *want = numbers(s, n), *tolerance = numbers(s, n);
    fbt_buffer *x = suite_poisoned(s, n, suite_residual(s));
    reference_rows(s, &in, want, tolerance);
    if (suite_computed(fbt_embed_rows(s->b, x, &in.e, N_ROWS), "embed_rows")) {
        suite_compare("embedded rows", suite_read(s, x, n, suite_residual(s)), want, tolerance, n);
    }
    suite_end(s);
}

/* All table types, odd widths, each part there or not. Broken by a prompt's row in place of a token that should be
 * added to it or the other way round, or by positions without their offset. */
static void rows_by_lists(void **state)
{
    const fbt_dtype types[] = {FBT_F32, FBT_F16, FBT_BF16};
    (void)state;
    for (int k = 0; k < 12; k++) {
        check_rows(types[k % 3], k % 2 ? 37 : 64, k / 3 % 2, k / 6);
    }
}

/* Broken by a row read outside its table. */
static void indices_of_rows_are_checked(void **state)
{
    suite *s = *state;
    const row_inputs good = make_rows(s, suite_width(s, 16), FBT_F32, 1, 1);
    fbt_buffer *x = suite_poisoned(s, N_ROWS * good.e.n_dim, suite_residual(s));
    const struct {
        int list, row;
        int32_t item;
    } bad[] = {{0, 1, N_TOKENS},
               {0, 1, -2},
               {0, 1, -1}, /* neither token nor prompt's row */
               {1, 5, -1},
               {1, 5, N_POSITIONS - 2},
               {2, 3, N_PROMPT_ROWS},
               {2, 3, -2}};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0] && suite_checks_indices(s); k++) {
        row_inputs in = good;
        int32_t *lists[] = {in.tokens, in.positions, in.prompt_rows};
        lists[bad[k].list][bad[k].row] = bad[k].item;
        in.e.tokens = list(s, in.tokens);
        in.e.positions = list(s, in.positions);
        in.e.prompt_rows = list(s, in.prompt_rows);
        suite_expect(FBT_ERR_ARG, fbt_embed_rows(s->b, x, &in.e, N_ROWS));
    }
}

/* ---- Prompts at a layer's input. */

/* Broken by a row without a prompt that changes, or a prompt of another row. */
static void check_prompts(int64_t width, int is_residual, int adds)
{
    suite *s = suite_begin(2);
    const fbt_dtype dtype = is_residual ? suite_residual(s) : suite_dtype(s);
    const double roundoff = dtype == FBT_F32 ? 0x1p-24 : 0x1p-8;
    const row_inputs in = make_rows(s, suite_width(s, width), FBT_F32, 0, 1);
    const int64_t d = in.e.n_dim, n = N_ROWS * d;
    const fbt_layer_prompts prompts = {.prompts = in.e.prompts, .rows = in.e.prompt_rows, .adds = adds, .n_dim = d};
    double *before = suite_random(s, n, 1, 0);
    double *want = numbers(s, n), *tolerance = numbers(s, n);
    fbt_buffer *x = suite_buffer(s, before, n, dtype);
    const double *rounded = suite_read(s, x, n, dtype);
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = in.prompt_rows[i / d];
        want[i] = (row < 0 || adds ? rounded[i] : 0) + (row < 0 ? 0 : in.prompts[row * d + i % d]);
        tolerance[i] = row < 0 ? 0 : 1.01 * roundoff * fabs(want[i]) + 0x1p-22;
    }
    if (suite_computed(fbt_put_prompts(s->b, x, dtype, &prompts, N_ROWS), "put_prompts")) {
        suite_compare("prompts of a layer", suite_read(s, x, n, dtype), want, tolerance, n);
    }
    suite_end(s);
}

static void prompts_by_list(void **state)
{
    (void)state;
    for (int k = 0; k < 8; k++) {
        check_prompts(k % 2 ? 37 : 64, k / 2 % 2, k / 4);
    }
}

/* Broken by a prompt's row read outside the buffer. */
static void rows_of_prompts_are_checked(void **state)
{
    suite *s = *state;
    row_inputs in = make_rows(s, suite_width(s, 16), FBT_F32, 0, 1);
    const int32_t bad[] = {N_PROMPT_ROWS, -2};
    fbt_buffer *x = suite_poisoned(s, N_ROWS * in.e.n_dim, suite_residual(s));
    for (size_t k = 0; k < sizeof bad / sizeof bad[0] && suite_checks_indices(s); k++) {
        in.prompt_rows[3] = bad[k];
        const fbt_layer_prompts prompts = {
            .prompts = in.e.prompts, .rows = list(s, in.prompt_rows), .n_dim = in.e.n_dim};
        suite_expect(FBT_ERR_ARG, fbt_put_prompts(s->b, x, suite_residual(s), &prompts, N_ROWS));
    }
}

/* ---- Heads in rows: what stands beside them stays as it is. */

typedef struct head_rows {
    int64_t n_heads, d, column, stride, n; /* n: numbers in all rows */
    double *x, *want, *tolerance;          /* want: x, tolerance 0, before a test says more */
    fbt_buffer *buffer;
} head_rows;

static head_rows make_heads(suite *s, int64_t n_heads, int64_t width)
{
    const int64_t unit = suite_width(s, 1);
    head_rows h = {.n_heads = n_heads, .d = suite_width(s, width), .column = 2 * unit};
    h.stride = h.column + n_heads * h.d + 3 * unit;
    h.n = N_ROWS * h.stride;
    h.x = suite_random(s, h.n, 1, 0);
    h.buffer = suite_buffer(s, h.x, h.n, suite_dtype(s));
    h.want = numbers(s, h.n);
    h.tolerance = numbers(s, h.n);
    memcpy(h.want, h.x, (size_t)h.n * sizeof *h.x);
    return h;
}

/* Where head h of row r begins. */
static int64_t head_at(const head_rows *h, int64_t r, int64_t head)
{
    return r * h->stride + h->column + head * h->d;
}

static void rotate_head(const suite *s, const head_rows *h, int64_t at, const double *cosine, const double *sine,
                        int64_t half)
{
    for (int64_t i = 0; i < half; i++) {
        const double a = h->x[at + i], b = h->x[at + half + i];
        h->want[at + i] = a * cosine[i] - b * sine[i];
        h->want[at + half + i] = b * cosine[i] + a * sine[i];
        for (int k = 0; k < 2; k++) {
            h->tolerance[at + i + k * half] =
                1.01 * suite_roundoff(s) * fabs(h->want[at + i + k * half]) + 0x1p-22 * (fabs(a) + fabs(b));
        }
    }
}

static void check_rotate(int64_t n_heads, int64_t width, int64_t n_rotated)
{
    suite *s = suite_begin(2);
    const head_rows h = make_heads(s, n_heads, width);
    const int64_t half = n_rotated / 2;
    double *cosine = suite_random(s, N_POSITIONS * half, 1, 0), *sine = suite_random(s, N_POSITIONS * half, 1, 0);
    int32_t positions[N_ROWS];
    fill_below(s, positions, N_POSITIONS);
    fbt_rotary rotary = {.cosine = suite_table(s, cosine, N_POSITIONS, half, FBT_F32),
                         .sine = suite_table(s, sine, N_POSITIONS, half, FBT_F32),
                         .positions = list(s, positions),
                         .n_rotated = n_rotated};
    const fbt_heads heads = {h.buffer, h.stride, h.column};
    for (int64_t i = 0; i < N_ROWS * n_heads; i++) {
        const int64_t at = positions[i / n_heads] * half;
        rotate_head(s, &h, head_at(&h, i / n_heads, i % n_heads), cosine + at, sine + at, half);
    }
    if (suite_computed(fbt_rotate(s->b, h.buffer, &heads, n_heads, h.d, &rotary, N_ROWS), "rotate")) {
        suite_compare("rotated heads", suite_read(s, h.buffer, h.n, suite_dtype(s)), h.want, h.tolerance, h.n);
        positions[N_ROWS - 1] = N_POSITIONS;
        rotary.positions = list(s, positions);
        if (suite_checks_indices(s)) {
            suite_expect(FBT_ERR_ARG, fbt_rotate(s->b, h.buffer, &heads, n_heads, h.d, &rotary, N_ROWS));
        }
    }
    suite_end(s);
}

/* Whole heads and the first part of them, in pairs that no vector holds evenly. Broken by pairs of neighbours instead
 * of halves, by halves of the head instead of the rotated part, by positions that count rows. */
static void rotary_positions(void **state)
{
    (void)state;
    check_rotate(3, 64, 64);
    check_rotate(1, 8, 8);
    check_rotate(2, 80, 20);
    check_rotate(4, 10, 6);
    check_rotate(9, 128, 32);
}

/* gamma x / sqrt(mean of squares + epsilon) of one row. */
static void rms_row(const suite *s, const double *x, const double *gamma, int64_t d, double *want, double *tolerance)
{
    double squares = 0;
    for (int64_t i = 0; i < d; i++) {
        squares += x[i] * x[i];
    }
    for (int64_t i = 0; i < d; i++) {
        want[i] = gamma[i] * x[i] / sqrt(squares / (double)d + 1e-5f);
        tolerance[i] = (1.01 * suite_roundoff(s) + 1e-6) * fabs(want[i]);
    }
}

/* Broken by a mean of the whole row, or by columns beside the heads that change. */
static void norms_of_heads(void **state)
{
    const int64_t widths[] = {64, 5, 128};
    (void)state;
    for (int k = 0; k < 3; k++) {
        suite *s = suite_begin(2);
        const head_rows h = make_heads(s, 3, widths[k]);
        double *gamma = suite_random(s, h.d, 1, 1);
        const fbt_norm norm = {.gamma = suite_buffer(s, gamma, h.d, FBT_F32), .epsilon = 1e-5f, .kind = FBT_NORM_RMS};
        const fbt_heads heads = {h.buffer, h.stride, h.column};
        for (int64_t i = 0; i < N_ROWS * 3; i++) {
            const int64_t at = head_at(&h, i / 3, i % 3);
            rms_row(s, h.x + at, gamma, h.d, h.want + at, h.tolerance + at);
        }
        if (suite_computed(fbt_norm_heads(s->b, h.buffer, &heads, 3, h.d, &norm, N_ROWS), "norm")) {
            suite_compare("norms of heads", suite_read(s, h.buffer, h.n, suite_dtype(s)), h.want, h.tolerance, h.n);
        }
        suite_end(s);
    }
}

/* ---- Gates. */

static void check_gate(fbt_activation activation, int64_t width)
{
    suite *s = suite_begin(2);
    const int64_t d = suite_width(s, width), n = N_ROWS * d;
    double *x = suite_random(s, 2 * n, 3, 0), *want = numbers(s, n), *tolerance = numbers(s, n);
    for (int64_t i = 0; i < 40; i++) { /* and far from zero: 2^-9 to 2^10 */
        x[i / d * 2 * d + i % d] = (i % 2 ? 1 : -1) * exp2((double)(i / 2) - 9);
    }
    fbt_buffer *xb = suite_buffer(s, x, 2 * n, suite_dtype(s)), *y = suite_poisoned(s, n, suite_dtype(s));
    for (int64_t i = 0; i < n; i++) {
        const double g = x[i / d * 2 * d + i % d], u = x[i / d * 2 * d + d + i % d];
        want[i] = reference_activate(activation, g) * u;
        tolerance[i] = 1.01 * suite_roundoff(s) * fabs(want[i]) + 1e-6 * fmin(fabs(g), 8) * fabs(u);
    }
    if (suite_computed(fbt_gate(s->b, y, xb, activation, N_ROWS, d), "gate")) {
        suite_compare("gate", suite_read(s, y, n, suite_dtype(s)), want, tolerance, n);
    }
    suite_end(s);
}

/* Broken by the two halves of a row exchanged, by interleaved ones, by inf * 0 in a tail. */
static void gates_of_every_activation(void **state)
{
    (void)state;
    for (int a = FBT_ACT_NONE; a <= FBT_ACT_SILU; a++) {
        check_gate((fbt_activation)a, 37);
        check_gate((fbt_activation)a, 64);
    }
}

/* ---- Norms and products. */

/* gamma x / sqrt(mean of squares + epsilon). Broken by a mean that is taken off, or a beta that is added. */
static void rms_norm(void **state)
{
    suite *s = *state;
    const fbt_dtype dtype = suite_dtype(s);
    const int64_t d = suite_width(s, 37), n = N_ROWS * d;
    double *x = suite_random(s, n, 1, 0.7), *gamma = suite_random(s, d, 1, 1);
    double *want = numbers(s, n), *tolerance = numbers(s, n);
    fbt_norm norm = suite_norm(s, gamma, NULL, d, 1e-5f);
    fbt_buffer *xb = suite_buffer(s, x, n, dtype), *y = suite_poisoned(s, n, dtype);
    norm.kind = FBT_NORM_RMS;
    if (!suite_has(s, FBT_FEATURE_RMS_NORM)) {
        suite_refused(fbt_layernorm(s->b, y, xb, suite_dtype(s), &norm, N_ROWS, d), "rms");
        return;
    }
    suite_expect(FBT_ERR_ARG, fbt_layernorm(s->b, y, xb, suite_dtype(s), &norm, N_ROWS, d)); /* it has a beta */
    norm.beta = NULL;
    for (int64_t r = 0; r < N_ROWS; r++) {
        rms_row(s, x + r * d, gamma, d, want + r * d, tolerance + r * d);
    }
    suite_ok(fbt_layernorm(s->b, y, xb, suite_dtype(s), &norm, N_ROWS, d));
    suite_compare("rms norm", suite_read(s, y, n, dtype), want, tolerance, n);
    y = suite_poisoned(s, n, dtype);
    suite_ok(fbt_layernorm(s->b, y, suite_buffer(s, x, n, FBT_F32), FBT_F32, &norm, N_ROWS, d));
    suite_compare("rms norm of floats", suite_read(s, y, n, dtype), want, tolerance, n);
    norm.kind = FBT_NORM_LAYER; /* without a beta */
    suite_expect(FBT_ERR_ARG, fbt_layernorm(s->b, y, xb, suite_dtype(s), &norm, N_ROWS, d));
}

/* y = x W^T + bias + residual, in place and not. Broken by a residual or bias that is left out, or added twice. */
static void linear_with_residual(void **state)
{
    suite *s = *state;
    enum { N_IN = 29 };
    const fbt_dtype dtype = suite_residual(s);
    const int64_t n_out = suite_width(s, 21), n = N_ROWS * n_out;
    double *x = suite_random(s, N_ROWS * N_IN, 1, 0), *w = suite_random(s, n_out * N_IN, 1 / sqrt((double)N_IN), 0);
    double *bias = suite_random(s, n_out, 1, 0), *residual = suite_random(s, n, 1, 0);
    double *want = numbers(s, n), *tolerance = numbers(s, n);
    const fbt_matrix *matrix = suite_matrix(s, w, bias, n_out, N_IN, suite_types(s));
    fbt_buffer *xb = suite_buffer(s, x, N_ROWS * N_IN, suite_dtype(s)), *rb = suite_buffer(s, residual, n, dtype);
    fbt_buffer *y = suite_poisoned(s, n, dtype);
    suite_quantise(suite_types(s), x, N_ROWS, N_IN);
    for (int64_t i = 0; i < n; i++) {
        double size = fabs(bias[i % n_out]) + fabs(residual[i]);
        want[i] = bias[i % n_out] + residual[i];
        for (int64_t k = 0; k < N_IN; k++) {
            const double term = x[i / n_out * N_IN + k] * w[i % n_out * N_IN + k];
            want[i] += term;
            size += fabs(term);
        }
        tolerance[i] = (suite_product_error(suite_types(s))) * size + 1.01 * suite_residual_roundoff(s) * fabs(want[i]);
    }
    if (!suite_computed(fbt_linear_residual(s->b, y, xb, matrix, rb, N_ROWS), "linear_residual")) {
        return;
    }
    suite_compare("linear with residual", suite_read(s, y, n, dtype), want, tolerance, n);
    suite_ok(fbt_linear_residual(s->b, rb, xb, matrix, rb, N_ROWS));
    suite_compare("linear onto its residual", suite_read(s, rb, n, dtype), want, tolerance, n);
    suite_ok(fbt_linear_residual(s->b, y, xb, matrix, rb, 0));
    suite_expect(FBT_ERR_ARG, fbt_linear_residual(s->b, y, xb, matrix, rb, N_ROWS + 1));
    suite_expect(FBT_ERR_ARG, fbt_linear_residual(s->b, y, xb, matrix, NULL, N_ROWS));
}

/* A gate's g and u from one product: as if they were made one after the other, but for what rounding in between costs.
 * Odd numbers of outputs, and those that a product may make in one. Broken by halves exchanged, by bias of the other
 * half, by tiles that end within a half, by parts of long sums of one half that go into the other. */
static void check_linear_gate(fbt_activation activation, int64_t width, int64_t n_in)
{
    suite *s = suite_begin(2);
    const int64_t d = suite_width(s, width), n = N_ROWS * d;
    double *x = suite_random(s, N_ROWS * n_in, 1, 0), *w = suite_random(s, 2 * d * n_in, 1 / sqrt((double)n_in), 0);
    double *bias = suite_random(s, 2 * d, 1, 0), *want = numbers(s, n), *tolerance = numbers(s, n);
    const fbt_matrix *matrix = suite_matrix(s, w, bias, 2 * d, n_in, suite_types(s));
    fbt_buffer *xb = suite_buffer(s, x, N_ROWS * n_in, suite_dtype(s)), *y = suite_poisoned(s, n, suite_dtype(s));
    fbt_buffer *wide = suite_poisoned(s, 2 * n, suite_dtype(s));
    suite_quantise(suite_types(s), x, N_ROWS, n_in);
    const double error =
        suite_product_error(suite_types(s)) + suite_bias_error(s, suite_types(s)) + 1.01 * suite_roundoff(s);
    for (int64_t i = 0; i < n; i++) {
        double part[2], size[2];
        for (int k = 0; k < 2; k++) {
            const int64_t o = k * d + i % d;
            part[k] = bias[o];
            size[k] = fabs(bias[o]);
            for (int64_t j = 0; j < n_in; j++) {
                const double term = x[i / d * n_in + j] * w[o * n_in + j];
                part[k] += term;
                size[k] += fabs(term);
            }
        }
        want[i] = reference_activate(activation, part[0]) * part[1];
        tolerance[i] = 1.01 * suite_roundoff(s) * fabs(want[i]) +
                       1.2 * error * size[0] * (fabs(part[1]) + error * size[1]) +
                       error * size[1] * fabs(reference_activate(activation, part[0])) +
                       1e-6 * fmin(fabs(part[0]), 8) * fabs(part[1]);
    }
    if (suite_computed(fbt_linear_gate(s->b, y, wide, xb, matrix, activation, N_ROWS), "linear_gate")) {
        suite_compare("linear with gate", suite_read(s, y, n, suite_dtype(s)), want, tolerance, n);
    }
    suite_end(s);
}

static void products_with_gates(void **state)
{
    const int64_t widths[] = {37, 32, 96};
    (void)state;
    for (int a = FBT_ACT_NONE; a <= FBT_ACT_SILU; a++) {
        for (int k = 0; k < 3; k++) {
            check_linear_gate((fbt_activation)a, widths[k], 40);
        }
    }
    check_linear_gate(FBT_ACT_SILU, 160, 2100);
}

/* ---- Rows alone. */

enum { N_OUTPUTS = 7, ROW_DIM = 64 };

/* Bytes of a row of each output of run_rows. */
static void output_bytes(const suite *s, int64_t bytes[N_OUTPUTS])
{
    const int64_t item = (int64_t)fbt_dtype_bytes(suite_dtype(s));
    const int64_t residual_item = (int64_t)fbt_dtype_bytes(suite_residual(s));
    const int64_t of_each[N_OUTPUTS] = {ROW_DIM * residual_item, ROW_DIM * item,     ROW_DIM * item,
                                        ROW_DIM / 2 * item,      ROW_DIM / 2 * item, ROW_DIM * residual_item,
                                        ROW_DIM * item};
    memcpy(bytes, of_each, sizeof of_each);
}

/* Bytes of rows first .. first + n - 1 of every operation of rows, made of these rows alone. */
static void run_rows(suite *s, const row_inputs *in, const fbt_matrix *w, const char *x, int64_t first, int64_t n,
                     char *out[N_OUTPUTS])
{
    const int64_t x_bytes = ROW_DIM * (int64_t)fbt_dtype_bytes(suite_dtype(s)),
                  list_bytes = n * (int64_t)sizeof(int32_t);
    int64_t bytes[N_OUTPUTS];
    double turns[N_POSITIONS * 8];
    for (int i = 0; i < N_POSITIONS * 8; i++) {
        turns[i] = sin(i);
    }
    const fbt_table *table = suite_table(s, turns, N_POSITIONS, 8, FBT_F32);
    fbt_buffer *xb = suite_buffer_bytes(s, x + first * x_bytes, n * x_bytes), *buffers[N_OUTPUTS];
    fbt_buffer *wide = suite_poisoned(s, n * ROW_DIM, suite_dtype(s));
    fbt_row_embedding e = in->e;
    e.tokens = suite_buffer_bytes(s, in->tokens + first, list_bytes);
    e.positions = suite_buffer_bytes(s, in->positions + first, list_bytes);
    e.prompt_rows = suite_buffer_bytes(s, in->prompt_rows + first, list_bytes);
    output_bytes(s, bytes);
    for (int k = 0; k < N_OUTPUTS; k++) {
        buffers[k] = k == 1 || k == 2
                         ? suite_buffer_bytes(s, x + first * x_bytes, n * x_bytes)
                         : suite_poisoned(s, n * ROW_DIM, k == 0 || k == 5 ? suite_residual(s) : suite_dtype(s));
    }
    const fbt_rotary rotary = {.cosine = table, .sine = table, .positions = e.positions, .n_rotated = 16};
    const fbt_norm norm = {.gamma = e.prompts, .epsilon = 1e-5f, .kind = FBT_NORM_RMS};
    suite_computed(fbt_embed_rows(s->b, buffers[0], &e, n), "embed_rows");
    suite_computed(fbt_rotate(s->b, buffers[1], &(fbt_heads){buffers[1], ROW_DIM, 0}, 3, 16, &rotary, n), "rotate");
    suite_computed(fbt_norm_heads(s->b, buffers[2], &(fbt_heads){buffers[2], ROW_DIM, 16}, 2, 16, &norm, n), "norm");
    suite_computed(fbt_gate(s->b, buffers[3], buffers[2], FBT_ACT_SILU, n, ROW_DIM / 2), "gate");
    suite_computed(fbt_linear_gate(s->b, buffers[4], wide, xb, w, FBT_ACT_SILU, n), "linear_gate");
    suite_computed(fbt_linear_residual(s->b, buffers[5], xb, w, buffers[0], n), "linear_residual");
    suite_ok(fbt_layernorm(s->b, buffers[6], buffers[5], suite_residual(s), &norm, n, ROW_DIM));
    for (int k = 0; k < N_OUTPUTS; k++) {
        out[k] = suite_block(s, n * bytes[k]);
        suite_read_bytes(s, out[k], buffers[k], n * bytes[k]);
    }
}

/* A row's bits do not depend on the others. Broken by a reduction over rows, or by vectors that reach into the next
 * row. */
static void rows_do_not_depend_on_the_batch(void **state)
{
    suite *s = *state;
    const row_inputs in = make_rows(s, ROW_DIM, FBT_F32, 1, 1);
    const int64_t parts[][2] = {{0, 1}, {N_ROWS - 1, 1}, {3, 17}, {1, N_ROWS - 1}};
    const char *x = suite_typed(s, suite_random(s, N_ROWS * ROW_DIM, 1, 0), N_ROWS * ROW_DIM, suite_dtype(s));
    double *weights = suite_random(s, ROW_DIM * ROW_DIM, 0.2, 0);
    const fbt_matrix *w = suite_matrix(s, weights, suite_random(s, ROW_DIM, 1, 0), ROW_DIM, ROW_DIM, suite_types(s));
    int64_t bytes[N_OUTPUTS];
    char *all[N_OUTPUTS], *some[N_OUTPUTS];
    output_bytes(s, bytes);
    run_rows(s, &in, w, x, 0, N_ROWS, all);
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
        run_rows(s, &in, w, x, parts[p][0], parts[p][1], some);
        for (int k = 0; k < N_OUTPUTS; k++) {
            assert_memory_equal(some[k], all[k] + parts[p][0] * bytes[k], (size_t)(parts[p][1] * bytes[k]));
        }
    }
}

int run_decoder_tests(void)
{
    const struct CMUnitTest decoder[] = {
        cmocka_unit_test(rows_by_lists),
        cmocka_unit_test_setup_teardown(indices_of_rows_are_checked, suite_setup, suite_teardown),
        cmocka_unit_test(prompts_by_list),
        cmocka_unit_test_setup_teardown(rows_of_prompts_are_checked, suite_setup, suite_teardown),
        cmocka_unit_test(rotary_positions),
        cmocka_unit_test(norms_of_heads),
        cmocka_unit_test(gates_of_every_activation),
        cmocka_unit_test(products_with_gates),
        cmocka_unit_test_setup_teardown(rms_norm, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(linear_with_residual, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(rows_do_not_depend_on_the_batch, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(decoder, NULL, NULL);
}
