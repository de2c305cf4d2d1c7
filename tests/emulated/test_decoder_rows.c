/* Row kernels of decoders: embedding by lists, rotary positions, norms of heads, gates. */
#include "row_fixture.h"
#include "tests/conformance/activation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const fbt_dtype dtypes[] = {FBT_F32, FBT_BF16};

static void expect_error(const int32_t *device_error, fbt_cuda_error want)
{
    int32_t error;
    host_copy(&error, device_error, sizeof error);
    assert_int_equal(error, want);
}

static int32_t *new_error(void)
{
    static const int32_t none = FBT_CUDA_ERROR_NONE;
    return device_copy(&none, sizeof none);
}

/* ---- embedding by lists ---- */

enum { N_TOKENS = 23, N_POSITIONS = 19, N_PROMPT_ROWS = 6, OFFSET = 2, N_ROWS = 37 };

typedef struct lists {
    int32_t tokens[N_ROWS], positions[N_ROWS], prompt_rows[N_ROWS];
} lists;

/* A row has a token, a prompt's row, or both; without prompts all have tokens. */
static lists random_lists(int has_prompt)
{
    lists l;
    for (int r = 0; r < N_ROWS; r++) {
        l.tokens[r] = has_prompt && r % 5 == 1 ? -1 : (int32_t)random_below(N_TOKENS);
        l.prompt_rows[r] = r % 5 == 1 || r % 3 == 0 ? (int32_t)random_below(N_PROMPT_ROWS) : -1;
        l.positions[r] = (int32_t)random_below(N_POSITIONS - OFFSET);
    }
    return l;
}

static fbt_cuda_lookup lookup(const typed *rows, int64_t n_rows)
{
    return (fbt_cuda_lookup){.rows = rows->device, .dtype = rows->dtype, .n_rows = n_rows};
}

static void put_lists(fbt_cuda_embed_rows_args *args, const lists *l)
{
    args->tokens = device_copy(l->tokens, sizeof l->tokens);
    args->positions = device_copy(l->positions, sizeof l->positions);
    args->prompt_rows = device_copy(l->prompt_rows, sizeof l->prompt_rows);
}

static void check_embed_rows(fbt_dtype dtype, fbt_dtype word_type, fbt_dtype position_type, int64_t d, int has_position,
                             int has_prompt)
{
    const lists l = random_lists(has_prompt);
    typed word = typed_random(word_type, N_TOKENS * d, 1, 0);
    typed position = typed_random(position_type, N_POSITIONS * d, 1, 0);
    typed prompt = typed_random(FBT_F32, N_PROMPT_ROWS * d, 1, 0), x = typed_poisoned(dtype, N_ROWS * d);
    fbt_cuda_embed_rows_args args = {.x = x.device,
                                     .dtype = dtype,
                                     .word = lookup(&word, N_TOKENS),
                                     .position_offset = OFFSET,
                                     .n_rows = N_ROWS,
                                     .n_dim = d,
                                     .error = new_error()};
    put_lists(&args, &l);
    args.position = has_position ? lookup(&position, N_POSITIONS) : (fbt_cuda_lookup){0};
    args.prompt = has_prompt ? lookup(&prompt, N_PROMPT_ROWS) : (fbt_cuda_lookup){0};
    args.prompt_rows = has_prompt ? args.prompt_rows : NULL;
    cuda_ok(fbt_cuda_launch_embed_rows(NULL, &args));
    expect_error(args.error, FBT_CUDA_ERROR_NONE);
    typed_read(&x);
    for (int64_t i = 0; i < N_ROWS * d; i++) {
        const int64_t r = i / d, column = i % d;
        const int has_row = has_prompt && l.prompt_rows[r] >= 0;
        const double want = (l.tokens[r] >= 0 ? word.values[l.tokens[r] * d + column] : 0) +
                            (has_row ? prompt.values[l.prompt_rows[r] * d + column] : 0) +
                            (has_position ? position.values[(l.positions[r] + OFFSET) * d + column] : 0);
        assert_near("embed_rows", i, x.values[i], want, 1.01 * roundoff(dtype), 1e-6);
    }
}

/* Broken by a term that is left out or looked up for a row that has none, or by another row's. */
static void embed_rows_matches_reference(void **state)
{
    const int64_t widths[] = {8, 264, 1032};
    const fbt_dtype types[] = {FBT_F32, FBT_F16, FBT_BF16, FBT_F32};
    (void)state;
    for (int i = 0; i < 24; i++) {
        check_embed_rows(dtypes[i % 2], types[i % 3], types[i % 3 + 1], widths[i / 2 % 3], i / 6 % 2, i / 12);
        device_clear(NULL);
    }
}

/* The lists with one of their items changed. */
static void expect_of_item(fbt_cuda_embed_rows_args *args, int32_t *item, int32_t value, const lists *l,
                           fbt_cuda_error want)
{
    const int32_t kept = *item;
    *item = value;
    put_lists(args, l);
    args->error = new_error();
    cuda_ok(fbt_cuda_launch_embed_rows(NULL, args));
    expect_error(args->error, want);
    *item = kept;
}

/* Broken by a row read outside a table, of which the emulated device's memory would tell, and by an error unsaid. */
static void embed_rows_reports(void **state)
{
    const int64_t d = 40;
    (void)state;
    lists l = random_lists(1);
    typed word = typed_random(FBT_BF16, N_TOKENS * d, 1, 0), position = typed_random(FBT_F32, N_POSITIONS * d, 1, 0);
    typed prompt = typed_random(FBT_F32, N_PROMPT_ROWS * d, 1, 0), x = typed_poisoned(FBT_BF16, N_ROWS * d);
    fbt_cuda_embed_rows_args args = {.x = x.device,
                                     .dtype = FBT_BF16,
                                     .word = lookup(&word, N_TOKENS),
                                     .position = lookup(&position, N_POSITIONS),
                                     .prompt = lookup(&prompt, N_PROMPT_ROWS),
                                     .position_offset = OFFSET,
                                     .n_rows = N_ROWS,
                                     .n_dim = d};
    expect_of_item(&args, &l.tokens[36], N_TOKENS - 1, &l, FBT_CUDA_ERROR_NONE);
    expect_of_item(&args, &l.tokens[36], N_TOKENS, &l, FBT_CUDA_ERROR_TOKEN);
    expect_of_item(&args, &l.tokens[0], -2, &l, FBT_CUDA_ERROR_TOKEN);
    expect_of_item(&args, &l.tokens[0], -1, &l, FBT_CUDA_ERROR_NONE);  /* it has a prompt's row */
    expect_of_item(&args, &l.tokens[2], -1, &l, FBT_CUDA_ERROR_TOKEN); /* it has none           */
    expect_of_item(&args, &l.positions[5], N_POSITIONS - OFFSET - 1, &l, FBT_CUDA_ERROR_NONE);
    expect_of_item(&args, &l.positions[5], N_POSITIONS - OFFSET, &l, FBT_CUDA_ERROR_POSITION);
    expect_of_item(&args, &l.positions[5], -OFFSET - 1, &l, FBT_CUDA_ERROR_POSITION);
    expect_of_item(&args, &l.prompt_rows[9], N_PROMPT_ROWS - 1, &l, FBT_CUDA_ERROR_NONE);
    expect_of_item(&args, &l.prompt_rows[9], N_PROMPT_ROWS, &l, FBT_CUDA_ERROR_PROMPT);
    expect_of_item(&args, &l.prompt_rows[9], -2, &l, FBT_CUDA_ERROR_PROMPT);
}

/* ---- prompts at a layer's input ---- */

static void check_put_prompts(fbt_dtype dtype, int64_t d, int adds)
{
    const lists l = random_lists(1);
    typed prompt = typed_random(FBT_F32, N_PROMPT_ROWS * d, 1, 0), x = typed_random(dtype, N_ROWS * d, 1, 0);
    const typed before = x;
    double *kept = malloc((size_t)(N_ROWS * d) * sizeof *kept);
    const fbt_cuda_put_prompts_args args = {.x = x.device,
                                            .dtype = dtype,
                                            .prompts = prompt.device,
                                            .n_prompt_rows = N_PROMPT_ROWS,
                                            .rows = device_copy(l.prompt_rows, sizeof l.prompt_rows),
                                            .adds = adds,
                                            .n_rows = N_ROWS,
                                            .n_dim = d,
                                            .error = new_error()};
    assert_non_null(kept);
    memcpy(kept, before.values, (size_t)(N_ROWS * d) * sizeof *kept);
    cuda_ok(fbt_cuda_launch_put_prompts(NULL, &args));
    expect_error(args.error, FBT_CUDA_ERROR_NONE);
    typed_read(&x);
    for (int64_t i = 0; i < N_ROWS * d; i++) {
        const int64_t row = l.prompt_rows[i / d];
        const double want = (row < 0 || adds ? kept[i] : 0) + (row < 0 ? 0 : prompt.values[row * d + i % d]);
        assert_near("put_prompts", i, x.values[i], want, row < 0 ? 0 : 1.01 * roundoff(dtype), row < 0 ? 0 : 1e-6);
    }
    free(kept);
}

/* Broken by a row that is put where none should be, or another's, or by what is there lost where it is added to. */
static void put_prompts_matches_reference(void **state)
{
    const int64_t widths[] = {8, 264, 1032};
    (void)state;
    for (int i = 0; i < 12; i++) {
        check_put_prompts(dtypes[i % 2], widths[i / 2 % 3], i / 6);
        device_clear(NULL);
    }
}

/* Broken by a prompt's row read outside its buffer, or by an error unsaid. */
static void put_prompts_reports(void **state)
{
    const int64_t d = 40;
    const int32_t bad[] = {N_PROMPT_ROWS, -2};
    (void)state;
    typed prompt = typed_random(FBT_F32, N_PROMPT_ROWS * d, 1, 0), x = typed_random(FBT_BF16, N_ROWS * d, 1, 0);
    for (int i = 0; i < 2; i++) {
        lists l = random_lists(1);
        l.prompt_rows[36] = bad[i];
        const fbt_cuda_put_prompts_args args = {.x = x.device,
                                                .dtype = FBT_BF16,
                                                .prompts = prompt.device,
                                                .n_prompt_rows = N_PROMPT_ROWS,
                                                .rows = device_copy(l.prompt_rows, sizeof l.prompt_rows),
                                                .n_rows = N_ROWS,
                                                .n_dim = d,
                                                .error = new_error()};
        cuda_ok(fbt_cuda_launch_put_prompts(NULL, &args));
        expect_error(args.error, FBT_CUDA_ERROR_PROMPT);
    }
    cuda_ok(fbt_cuda_launch_put_prompts(NULL, &(fbt_cuda_put_prompts_args){.n_dim = 8}));
}

/* ---- heads ---- */

enum { FRONT = 8, BEHIND = 16 };

/* n_rows rows with heads between columns that are none of their business. */
static fbt_cuda_rows_of_heads make_heads(typed *x, fbt_dtype dtype, int64_t n_rows, int64_t n_heads, int64_t head_dim)
{
    const int64_t stride = FRONT + n_heads * head_dim + BEHIND;
    *x = typed_random(dtype, n_rows * stride, 1, 0.5);
    return (fbt_cuda_rows_of_heads){.data = (char *)x->device + FRONT * (dtype == FBT_BF16 ? 2 : 4),
                                    .stride = stride,
                                    .dtype = dtype,
                                    .n_rows = n_rows,
                                    .n_heads = n_heads,
                                    .head_dim = head_dim};
}

/* A copy of x's values, freed by the caller. */
static double *copy_of(const typed *x)
{
    double *copy = malloc((size_t)x->n * sizeof *copy);
    assert_non_null(copy);
    return memcpy(copy, x->values, (size_t)x->n * sizeof *copy);
}

/* Turns one head as backend.h says. */
static void rotate_head(double *head, int64_t n_rotated, const double *cosine, const double *sine)
{
    const int64_t half = n_rotated / 2;
    for (int64_t i = 0; i < half; i++) {
        const double left = head[i], right = head[i + half];
        head[i] = left * cosine[i] - right * sine[i];
        head[i + half] = right * cosine[i] + left * sine[i];
    }
}

static void check_rotate(fbt_dtype dtype, int64_t n_rows, int64_t n_heads, int64_t head_dim, int64_t n_rotated)
{
    const int64_t half = n_rotated / 2;
    typed x, cosine = typed_random(FBT_F32, N_POSITIONS * half, 1, 0);
    typed sine = typed_random(FBT_F32, N_POSITIONS * half, 1, 0);
    const fbt_cuda_rows_of_heads heads = make_heads(&x, dtype, n_rows, n_heads, head_dim);
    double *want = copy_of(&x);
    int32_t positions[64];
    for (int64_t r = 0; r < n_rows; r++) {
        positions[r] = (int32_t)random_below(N_POSITIONS);
        for (int64_t h = 0; h < n_heads; h++) {
            rotate_head(want + r * heads.stride + FRONT + h * head_dim, n_rotated, cosine.values + positions[r] * half,
                        sine.values + positions[r] * half);
        }
    }
    const fbt_cuda_rotary rotary = {.cosine = cosine.device,
                                    .sine = sine.device,
                                    .n_positions = N_POSITIONS,
                                    .n_rotated = n_rotated,
                                    .positions = device_copy(positions, n_rows * 4),
                                    .error = new_error()};
    cuda_ok(fbt_cuda_launch_rotate(NULL, &heads, &rotary));
    expect_error(rotary.error, FBT_CUDA_ERROR_NONE);
    typed_read(&x);
    for (int64_t i = 0; i < x.n; i++) {
        assert_near("rotate", i, x.values[i], want[i], 1.01 * roundoff(dtype), 2e-6);
    }
    free(want);
}

/* Halves made of units and not, parts of heads that are not turned. Broken by a head or pair left out or turned twice,
 * another row's position, columns outside the heads that change. */
static void rotate_matches_reference(void **state)
{
    const int64_t sizes[][4] = {{5, 1, 8, 8},    {7, 4, 64, 64},  {40, 9, 32, 16}, {3, 5, 80, 20},
                                {6, 2, 128, 96}, {2, 33, 40, 24}, {1, 3, 256, 64}, {64, 1, 16, 2}};
    (void)state;
    for (int i = 0; i < 16; i++) {
        const int64_t *size = sizes[i / 2];
        check_rotate(dtypes[i % 2], size[0], size[1], size[2], size[3]);
        device_clear(NULL);
    }
}

/* Broken by a table read outside its rows, and by an error unsaid. */
static void rotate_reports(void **state)
{
    const int32_t bad[] = {N_POSITIONS, -1};
    (void)state;
    typed x, table = typed_random(FBT_F32, N_POSITIONS * 4, 1, 0);
    const fbt_cuda_rows_of_heads heads = make_heads(&x, FBT_F32, 3, 2, 8);
    for (int i = 0; i < 2; i++) {
        const int32_t positions[] = {0, N_POSITIONS - 1, bad[i]};
        fbt_cuda_rotary rotary = {.cosine = table.device,
                                  .sine = table.device,
                                  .n_positions = N_POSITIONS,
                                  .n_rotated = 8,
                                  .positions = device_copy(positions, sizeof positions),
                                  .error = new_error()};
        cuda_ok(fbt_cuda_launch_rotate(NULL, &heads, &rotary));
        expect_error(rotary.error, FBT_CUDA_ERROR_POSITION);
    }
}

/* Broken by a norm over another head's elements, or over lanes past the head's end. */
static void norm_heads_matches_reference(void **state)
{
    const int64_t sizes[][3] = {{5, 3, 8}, {7, 4, 64}, {3, 1, 128}, {4, 5, 80}, {2, 2, 256}};
    (void)state;
    for (int i = 0; i < 10; i++) {
        const int64_t n_rows = sizes[i / 2][0], n_heads = sizes[i / 2][1], head_dim = sizes[i / 2][2];
        const fbt_dtype dtype = dtypes[i % 2];
        typed x, gamma = typed_random(FBT_F32, head_dim, 0.3, 1);
        const fbt_cuda_rows_of_heads heads = make_heads(&x, dtype, n_rows, n_heads, head_dim);
        double *want = copy_of(&x);
        for (int64_t h = 0; h < n_rows * n_heads; h++) {
            rms_normalise(want + h / n_heads * heads.stride + FRONT + h % n_heads * head_dim, head_dim, gamma.values);
        }
        cuda_ok(fbt_cuda_launch_norm_heads(NULL, &heads, &(fbt_cuda_norm){gamma.device, NULL, 1e-5f}));
        typed_read(&x);
        for (int64_t k = 0; k < x.n; k++) {
            assert_near("norm_heads", k, x.values[k], want[k], 1.01 * roundoff(dtype), 2e-6);
        }
        free(want);
        device_clear(NULL);
    }
}

/* ---- gate ---- */

static void check_gate(fbt_activation activation, fbt_dtype dtype, int64_t n_rows, int64_t n_dim)
{
    typed x = typed_random(dtype, 2 * n_rows * n_dim, 2, 0), y = typed_poisoned(dtype, n_rows * n_dim);
    cuda_ok(fbt_cuda_launch_gate(NULL, y.device, x.device, activation, dtype, n_rows, n_dim));
    typed_read(&y);
    for (int64_t i = 0; i < y.n; i++) {
        const double *row = x.values + i / n_dim * 2 * n_dim, g = row[i % n_dim], u = row[n_dim + i % n_dim];
        assert_near("gate", i, y.values[i], reference_activate(activation, g) * u, 1.01 * roundoff(dtype),
                    1.5e-6 * (fabs(u) + 1));
    }
    device_clear(NULL);
}

/* Tiles full and not, down and across. Broken by a value of another column or row, or by gate and value exchanged. */
static void gate_matches_reference(void **state)
{
    const int64_t sizes[][2] = {{1, 8}, {32, 256}, {33, 1000}, {70, 40}};
    (void)state;
    for (int activation = FBT_ACT_NONE; activation <= FBT_ACT_SILU; activation++) {
        for (int i = 0; i < 8; i++) {
            check_gate((fbt_activation)activation, dtypes[i % 2], sizes[i / 2][0], sizes[i / 2][1]);
        }
    }
}

/* Broken by sizes that the kernels cannot hold and take all the same, or by a launch for no rows. */
static void heads_refuse(void **state)
{
    fbt_cuda_rows_of_heads heads = {.n_rows = 1, .n_heads = 1, .head_dim = 264};
    (void)state;
    assert_int_equal(fbt_cuda_launch_norm_heads(NULL, &heads, &(fbt_cuda_norm){0}), cudaErrorInvalidValue);
    heads = (fbt_cuda_rows_of_heads){.n_rows = INT64_C(1) << 31, .n_heads = 1, .head_dim = 8};
    assert_int_equal(fbt_cuda_launch_norm_heads(NULL, &heads, &(fbt_cuda_norm){0}), cudaErrorInvalidValue);
    assert_int_equal(fbt_cuda_launch_rotate(NULL, &heads, &(fbt_cuda_rotary){.n_rotated = 8}), cudaErrorInvalidValue);
    heads.n_rows = 0;
    cuda_ok(fbt_cuda_launch_norm_heads(NULL, &heads, &(fbt_cuda_norm){0}));
    cuda_ok(fbt_cuda_launch_rotate(NULL, &heads, &(fbt_cuda_rotary){.n_rotated = 8}));
    cuda_ok(fbt_cuda_launch_embed_rows(NULL, &(fbt_cuda_embed_rows_args){.n_dim = 8}));
    cuda_ok(fbt_cuda_launch_gate(NULL, NULL, NULL, FBT_ACT_SILU, FBT_F32, 0, 8));
    cuda_ok(cudaDeviceSynchronize());
}

int run_decoder_rows_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(embed_rows_matches_reference, device_clear),
        cmocka_unit_test_teardown(embed_rows_reports, device_clear),
        cmocka_unit_test_teardown(put_prompts_matches_reference, device_clear),
        cmocka_unit_test_teardown(put_prompts_reports, device_clear),
        cmocka_unit_test_teardown(rotate_matches_reference, device_clear),
        cmocka_unit_test_teardown(rotate_reports, device_clear),
        cmocka_unit_test_teardown(norm_heads_matches_reference, device_clear),
        cmocka_unit_test_teardown(gate_matches_reference, device_clear),
        cmocka_unit_test_teardown(heads_refuse, device_clear),
    };
    return cmocka_run_group_tests_name("row kernels of decoders", tests, NULL, NULL);
}
