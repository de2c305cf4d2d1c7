/* Row kernels: layer normalisation, embedding, bias and activation, perturbation. */
#include "base/rng_block.h"
#include "row_fixture.h"
#include "tests/conformance/activation.h"

#include <math.h>
#include <string.h>

static const fbt_dtype dtypes[] = {FBT_F32, FBT_BF16};

/* ---- norm ---- */

static void normalise(double *row, int64_t n_dim, const double *gamma, const double *beta)
{
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n_dim; i++) {
        mean += row[i] / (double)n_dim;
    }
    for (int64_t i = 0; i < n_dim; i++) {
        variance += (row[i] - mean) * (row[i] - mean) / (double)n_dim;
    }
    for (int64_t i = 0; i < n_dim; i++) {
        row[i] = (row[i] - mean) / sqrt(variance + 1e-5) * gamma[i] + beta[i];
    }
}

typedef struct norm_case {
    fbt_dtype dtype, x_dtype;
    int64_t n_rows, n_dim;
    int has_residual, has_bias;
    int target; /* 0: y is apart; 1: y is x; 2: y is residual */
    fbt_norm_kind kind;
} norm_case;

static void check_norm(const norm_case c)
{
    const int64_t n = c.n_rows * c.n_dim;
    const fbt_dtype dtype = c.dtype;
    /* A mean far from zero: where the variance were a difference of two large sums, it would be lost. */
    typed x = typed_random(c.x_dtype, n, 1, dtype == FBT_F32 ? 100 : 4), residual = typed_random(dtype, n, 1, 0);
    typed bias = typed_random(FBT_F32, c.n_dim, 1, 0), gamma = typed_random(FBT_F32, c.n_dim, 0.3, 1);
    typed beta = typed_random(FBT_F32, c.n_dim, 1, 0), apart = typed_poisoned(dtype, n);
    double *want = malloc((size_t)n * sizeof *want);
    typed *y = c.target == 0 ? &apart : c.target == 1 ? &x : &residual;
    const fbt_cuda_norm_args args = {.y = y->device,
                                     .x = x.device,
                                     .residual = c.has_residual ? residual.device : NULL,
                                     .bias = c.has_bias ? bias.device : NULL,
                                     .norm = {gamma.device, c.kind == FBT_NORM_RMS ? NULL : beta.device, 1e-5f},
                                     .dtype = c.dtype,
                                     .x_dtype = c.x_dtype,
                                     .n_rows = c.n_rows,
                                     .n_dim = c.n_dim};
    assert_non_null(want);
    for (int64_t i = 0; i < n; i++) {
        want[i] = x.values[i] + (c.has_residual ? residual.values[i] : 0) + (c.has_bias ? bias.values[i % c.n_dim] : 0);
    }
    for (int64_t r = 0; r < c.n_rows; r++) {
        if (c.kind == FBT_NORM_RMS) {
            rms_normalise(want + r * c.n_dim, c.n_dim, gamma.values);
        } else {
            normalise(want + r * c.n_dim, c.n_dim, gamma.values, beta.values);
        }
    }
    cuda_ok(fbt_cuda_launch_norm(NULL, &args));
    typed_read(y);
    for (int64_t i = 0; i < n; i++) {
        assert_near("norm", i, y->values[i], want[i], 1.01 * roundoff(dtype), dtype == FBT_F32 ? 1e-4 : 2e-5);
    }
    free(want);
}

/* Every layout of a row over threads, full and not. Broken by elements beyond the row that count in its sums, a
 * variance from raw moments, a row that is read after it was overwritten. */
static void norm_matches_reference(void **state)
{
    const int64_t widths[] = {8, 40, 256, 384, 512, 768, 1000, 1024, 1032, 2048, 2056, 4096, 4104, 8192};
    (void)state;
    for (int p = 0; p < 2; p++) {
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
            const int64_t n_rows = widths[i] > 2048 ? 2 : 5;
            check_norm((norm_case){dtypes[p], dtypes[p], n_rows, widths[i], 1, 1, (int)(i % 3), FBT_NORM_LAYER});
            check_norm((norm_case){dtypes[p], dtypes[p], n_rows, widths[i], 0, 0, (int)(i % 2), FBT_NORM_RMS});
            check_norm((norm_case){dtypes[p], FBT_F32, n_rows, widths[i], 0, 0, 0, FBT_NORM_RMS});
            device_clear(NULL);
        }
        check_norm((norm_case){dtypes[p], dtypes[p], 9, 384, 0, 0, 1, FBT_NORM_LAYER});
        check_norm((norm_case){dtypes[p], dtypes[p], 9, 384, 1, 0, 2, FBT_NORM_LAYER});
        check_norm((norm_case){dtypes[p], dtypes[p], 9, 384, 0, 1, 0, FBT_NORM_LAYER});
        device_clear(NULL);
    }
}

/* Broken by a sum whose order the place in the batch decides. */
static void norm_is_batch_invariant(void **state)
{
    const int64_t widths[] = {384, 1032};
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int64_t d = widths[i], n_rows = 7;
        typed x = typed_random(FBT_F32, n_rows * d, 1, 0), gamma = typed_random(FBT_F32, d, 1, 0);
        typed all = typed_poisoned(FBT_F32, n_rows * d), one = typed_poisoned(FBT_F32, d);
        fbt_cuda_norm_args args = {
            .y = all.device, .x = x.device, .norm = {gamma.device, gamma.device, 1e-5f}, .n_rows = n_rows, .n_dim = d};
        cuda_ok(fbt_cuda_launch_norm(NULL, &args));
        typed_read(&all);
        for (int64_t r = 0; r < n_rows; r++) {
            args.x = (const float *)x.device + r * d;
            args.y = one.device;
            args.n_rows = 1;
            cuda_ok(fbt_cuda_launch_norm(NULL, &args));
            typed_read(&one);
            assert_memory_equal(one.values, all.values + r * d, (size_t)d * sizeof(double));
        }
    }
}

static void norm_refuses_long_rows(void **state)
{
    const fbt_cuda_norm_args args = {.n_rows = 1, .n_dim = 8200};
    (void)state;
    assert_int_equal(fbt_cuda_launch_norm(NULL, &args), cudaErrorInvalidValue);
}

/* Rows of floats from those of bfloat16: nobody needs them. */
static void norm_refuses_narrow_rows(void **state)
{
    const fbt_cuda_norm_args args = {.n_rows = 1, .n_dim = 8, .dtype = FBT_F32, .x_dtype = FBT_BF16};
    (void)state;
    assert_int_equal(fbt_cuda_launch_norm(NULL, &args), cudaErrorInvalidValue);
}

/* ---- embed ---- */

enum { N_TOKENS = 23, N_POSITIONS = 40, N_PROMPTS = 3, OFFSET = 2 };

typedef struct embed_inputs {
    fbt_cuda_embed_args args;
    typed word, position, type, gamma, beta, prompts, x;
    int32_t *offsets, *tokens, *prompt_index;
} embed_inputs;

static fbt_cuda_lookup lookup(const typed *rows, int64_t n_rows)
{
    return (fbt_cuda_lookup){.rows = rows->device, .dtype = rows->dtype, .n_rows = n_rows};
}

/* Sequences of random lengths from `shortest` to `longest`; their prompts' own rows hold what is no token. */
static void make_sequences(embed_inputs *in, int64_t n_sequences, int64_t shortest, int64_t longest)
{
    const int64_t n_front =
        in->args.mode == FBT_PROMPT_CAT || in->args.mode == FBT_PROMPT_INPUT ? in->args.n_prompt_tokens : 0;
    in->offsets = calloc((size_t)n_sequences + 1, sizeof *in->offsets);
    in->tokens = malloc((size_t)(n_sequences * longest) * sizeof *in->tokens);
    in->prompt_index = malloc((size_t)n_sequences * sizeof *in->prompt_index);
    assert_true(in->offsets != NULL && in->tokens != NULL && in->prompt_index != NULL);
    for (int64_t s = 0; s < n_sequences; s++) {
        const int64_t length = shortest + random_below(longest - shortest + 1), first = in->offsets[s];
        in->offsets[s + 1] = (int32_t)(first + length);
        in->prompt_index[s] = (int32_t)random_below(N_PROMPTS);
        for (int64_t t = 0; t < length; t++) {
            in->tokens[first + t] = t < n_front ? -7 : (int32_t)random_below(N_TOKENS);
        }
    }
}

static embed_inputs make_embed(fbt_dtype dtype, int64_t d, fbt_prompt_mode mode, const fbt_dtype types[3],
                               int64_t n_sequences, int64_t shortest, int64_t longest)
{
    const int64_t n_prompt = mode == FBT_PROMPT_NONE ? 0 : 4;
    static const int32_t no_error = FBT_CUDA_ERROR_NONE;
    embed_inputs in = {.word = typed_random(types[0], N_TOKENS * d, 1, 0),
                       .position = typed_random(types[1], N_POSITIONS * d, 1, 0),
                       .type = typed_random(types[2], 2 * d, 1, 0),
                       .gamma = typed_random(FBT_F32, d, 0.3, 1),
                       .beta = typed_random(FBT_F32, d, 1, 0),
                       .prompts = typed_random(FBT_F32, N_PROMPTS * (n_prompt + 1) * d, 1, 0)};
    in.args = (fbt_cuda_embed_args){.dtype = dtype,
                                    .word = lookup(&in.word, N_TOKENS),
                                    .position = lookup(&in.position, N_POSITIONS),
                                    .type = lookup(&in.type, 2),
                                    .position_offset = OFFSET,
                                    .norm = {in.gamma.device, in.beta.device, 1e-5f},
                                    .n_dim = d,
                                    .mode = mode,
                                    .n_prompt_tokens = n_prompt,
                                    .prompts = mode == FBT_PROMPT_NONE ? NULL : in.prompts.device};
    make_sequences(&in, n_sequences, shortest, longest);
    const int64_t n_rows = in.offsets[n_sequences];
    in.x = typed_poisoned(dtype, n_rows * d);
    in.args.x = in.x.device;
    in.args.packed = (fbt_cuda_packed){.tokens = device_copy(in.tokens, n_rows * 4),
                                       .offsets = device_copy(in.offsets, (n_sequences + 1) * 4),
                                       .prompt_index = device_copy(in.prompt_index, n_sequences * 4),
                                       .n_sequences = n_sequences,
                                       .n_rows = n_rows,
                                       .max_length = longest};
    in.args.error = device_copy(&no_error, sizeof no_error);
    return in;
}

static void free_embed(embed_inputs *in)
{
    free(in->offsets);
    free(in->tokens);
    free(in->prompt_index);
    device_clear(NULL);
}

static int32_t error_of(const embed_inputs *in)
{
    int32_t error;
    host_copy(&error, in->args.error, sizeof error);
    return error;
}

/* Row t of sequence s, straight from backend.h. */
static void embed_reference(const embed_inputs *in, int64_t s, int64_t t, double *y)
{
    const fbt_cuda_embed_args *a = &in->args;
    const int64_t d = a->n_dim, p = a->n_prompt_tokens;
    const double *prompt = in->prompts.values + in->prompt_index[s] * p * d;
    const int in_front = (a->mode == FBT_PROMPT_CAT || a->mode == FBT_PROMPT_INPUT) && t < p;
    const int64_t position = OFFSET + t - (a->mode == FBT_PROMPT_CAT ? p : 0);
    if (a->mode == FBT_PROMPT_CAT && in_front) {
        memcpy(y, prompt + t * d, (size_t)d * sizeof *y);
        return;
    }
    const double *word = in_front ? prompt + t * d : in->word.values + in->tokens[in->offsets[s] + t] * d;
    for (int64_t i = 0; i < d; i++) {
        y[i] = word[i] + in->position.values[position * d + i] + (a->type.rows != NULL ? in->type.values[i] : 0);
    }
    normalise(y, d, in->gamma.values, in->beta.values);
    for (int64_t i = 0; i < d && a->mode == FBT_PROMPT_ADD && t >= 1 && t <= p; i++) {
        y[i] += prompt[(t - 1) * d + i];
    }
}

static void check_embed(embed_inputs *in)
{
    const int64_t d = in->args.n_dim;
    double *want = malloc((size_t)d * sizeof *want);
    assert_non_null(want);
    cuda_ok(fbt_cuda_launch_embed(NULL, &in->args));
    assert_int_equal(error_of(in), FBT_CUDA_ERROR_NONE);
    typed_read(&in->x);
    for (int64_t s = 0; s < in->args.packed.n_sequences; s++) {
        for (int64_t r = in->offsets[s]; r < in->offsets[s + 1]; r++) {
            embed_reference(in, s, r - in->offsets[s], want);
            for (int64_t i = 0; i < d; i++) {
                assert_near("embed", r * d + i, in->x.values[r * d + i], want[i], 1.01 * roundoff(in->x.dtype), 2e-5);
            }
        }
    }
    free(want);
}

/* All modes, precisions and types of tables, rows of a warp and of a block. Broken by a position that counts the prompt
 * in mode cat or does not in mode input, a prompt added before the normalisation or from row 0, a placeholder looked
 * up. */
static void embed_matches_reference(void **state)
{
    const int64_t widths[] = {40, 1000, 1032};
    const fbt_dtype types[] = {FBT_F32, FBT_F16, FBT_BF16, FBT_F32, FBT_F16};
    (void)state;
    for (int p = 0; p < 2; p++) {
        for (int mode = FBT_PROMPT_NONE; mode <= FBT_PROMPT_INPUT; mode++) {
            for (int w = 0; w < 3; w++) {
                embed_inputs in =
                    make_embed(dtypes[p], widths[w], (fbt_prompt_mode)mode, types + (mode + w) % 3, 4, 5, 8);
                in.args.type.rows = (mode + w + p) % 2 == 0 ? NULL : in.args.type.rows;
                check_embed(&in);
                free_embed(&in);
            }
        }
    }
}

/* Around the powers of 32, which is how many starts a step of the search looks at; sequences without rows among them.
 */
static void embed_finds_the_sequence(void **state)
{
    const int64_t counts[] = {1, 2, 31, 32, 33, 64, 65, 1023, 1024, 1025, 1100};
    const fbt_dtype types[] = {FBT_F32, FBT_F32, FBT_F32};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        embed_inputs in = make_embed(FBT_F32, 8, FBT_PROMPT_NONE, types, counts[i], counts[i] == 1, 2);
        check_embed(&in);
        free_embed(&in);
    }
}

static void expect_error(embed_inputs *in, int64_t row, int32_t token, fbt_cuda_error error)
{
    const int32_t none = FBT_CUDA_ERROR_NONE, kept = in->tokens[row];
    const int64_t n_bytes = in->args.packed.n_rows * (int64_t)sizeof token;
    cuda_ok(cudaMemcpy(in->args.error, &none, sizeof none, cudaMemcpyHostToDevice));
    in->tokens[row] = token;
    in->args.packed.tokens = device_copy(in->tokens, n_bytes);
    cuda_ok(fbt_cuda_launch_embed(NULL, &in->args));
    assert_int_equal(error_of(in), error);
    in->tokens[row] = kept;
    in->args.packed.tokens = device_copy(in->tokens, n_bytes);
}

/* Broken by a row read outside a table, of which the emulated device's memory would tell, and by an error unsaid. */
static void embed_reports(void **state)
{
    const fbt_dtype types[] = {FBT_BF16, FBT_F32, FBT_F32};
    (void)state;
    embed_inputs in = make_embed(FBT_BF16, 264, FBT_PROMPT_INPUT, types, 3, 8, 8);
    expect_error(&in, 23, N_TOKENS - 1, FBT_CUDA_ERROR_NONE);
    expect_error(&in, 23, N_TOKENS, FBT_CUDA_ERROR_TOKEN);
    expect_error(&in, 4, -1, FBT_CUDA_ERROR_TOKEN);
    expect_error(&in, 3, N_TOKENS, FBT_CUDA_ERROR_NONE); /* the prompt's own row */
    in.args.position_offset = N_POSITIONS - 8;
    expect_error(&in, 23, 0, FBT_CUDA_ERROR_NONE);
    in.args.position_offset = N_POSITIONS - 7;
    expect_error(&in, 23, 0, FBT_CUDA_ERROR_POSITION);
    free_embed(&in);
}

/* ---- activation ---- */

static void check_activation(fbt_activation activation, fbt_dtype dtype, int64_t n_rows, int64_t n_dim, int has_bias)
{
    typed y = typed_random(dtype, n_rows * n_dim, 2, 0), bias = typed_random(FBT_F32, n_dim, 1, 0);
    double *x = malloc((size_t)y.n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < y.n; i++) {
        x[i] = y.values[i] + (has_bias ? bias.values[i % n_dim] : 0);
    }
    cuda_ok(fbt_cuda_launch_bias_activation(NULL, y.device, has_bias ? bias.device : NULL, activation, dtype, n_rows,
                                            n_dim));
    typed_read(&y);
    for (int64_t i = 0; i < y.n; i++) {
        assert_near("activation", i, y.values[i], reference_activate(activation, x[i]), 1.01 * roundoff(y.dtype),
                    1.5e-6);
    }
    free(x);
    device_clear(NULL);
}

/* Tiles full and not, down and across. Broken by a bias of another column, a unit left out or done twice. */
static void activation_matches_reference(void **state)
{
    const int64_t sizes[][2] = {{1, 8}, {32, 256}, {33, 1000}, {70, 40}};
    (void)state;
    for (int activation = FBT_ACT_NONE; activation <= FBT_ACT_SILU; activation++) {
        for (int p = 0; p < 2; p++) {
            for (int i = 0; i < 4; i++) {
                check_activation((fbt_activation)activation, dtypes[p], sizes[i][0], sizes[i][1], i != 1);
            }
        }
    }
}

/* ---- perturbation ---- */

enum { N_SEQUENCES = 6, VOCABULARY = 30522 };

/* Straight from backend.h. */
static int32_t perturbed(const fbt_perturbation *p, const fbt_origin *origin, int64_t t, int32_t token, int is_frozen)
{
    uint32_t words[4];
    const fbt_rng_stream stream = {.seed = p->seed,
                                   .purpose = FBT_RNG_PERTURB,
                                   .round = (uint32_t)origin->round,
                                   .client = (uint32_t)origin->client,
                                   .candidate = (uint32_t)origin->sample};
    fbt_rng_block(&stream, (uint32_t)(t / 2), words);
    if (origin->client < 0 || t < 0 || (is_frozen && p->text_only) || words[2 * (t % 2)] >= p->rate * 4294967296.0) {
        return token;
    }
    return (int32_t)(((uint64_t)words[2 * (t % 2) + 1] * (uint64_t)p->vocab_size) >> 32);
}

static void check_perturb(const fbt_perturbation *p, int has_frozen)
{
    const int32_t offsets[N_SEQUENCES + 1] = {3, 7, 7, 150, 151, 180, 220}; /* the first rows are others' */
    const fbt_origin origins[N_SEQUENCES] = {{0, 70000, 2, 0}, {3, 0, 0, 0},  {65535, 1, 9, 5},
                                             {1, 2, 3, 1},     {-1, 0, 0, 0}, {9, 4, 1, -67}}; /* begins at token 67 */
    int32_t tokens[220], got[220], n_changed = 0;
    uint8_t frozen[220];
    for (int r = 0; r < 220; r++) {
        tokens[r] = -1 - r; /* outside every vocabulary: a replacement always shows */
        frozen[r] = r % 3 == 0;
    }
    const fbt_cuda_packed packed = {
        .offsets = device_copy(offsets, sizeof offsets), .n_sequences = N_SEQUENCES, .n_rows = 217, .max_length = 143};
    int32_t *device_tokens = device_copy(tokens, sizeof tokens);
    cuda_ok(fbt_cuda_launch_perturb(NULL, device_tokens, p, device_copy(origins, sizeof origins),
                                    has_frozen ? device_copy(frozen, sizeof frozen) : NULL, &packed));
    host_copy(got, device_tokens, sizeof got);
    assert_memory_equal(got, tokens, offsets[0] * sizeof *got);
    for (int s = 0; s < N_SEQUENCES; s++) {
        for (int r = offsets[s]; r < offsets[s + 1]; r++) {
            const int64_t t = r - offsets[s] - origins[s].n_placeholders;
            assert_int_equal(got[r], perturbed(p, &origins[s], t, tokens[r], has_frozen && frozen[r]));
            n_changed += got[r] != tokens[r];
        }
    }
    assert_true(p->rate == 0 ? n_changed == 0 : n_changed > 20);
}

/* Broken by a token counted from the placeholders, a frozen token's words given to another, a stream of other fields,
 * the first client left out. */
static void perturb_matches_the_stream(void **state)
{
    const double rates[] = {0, 0.3, 1};
    (void)state;
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 4; k++) {
            check_perturb(&(fbt_perturbation){0x123456789abcdefULL, rates[i], k / 2, VOCABULARY}, k % 2);
        }
    }
}

/* A rate that is one of the words drawn, and the next larger one. Broken by a comparison with <= for <. */
static void perturb_at_the_rate_itself(void **state)
{
    const fbt_rng_stream stream = {.seed = 1, .purpose = FBT_RNG_PERTURB, .round = 9, .client = 65535, .candidate = 1};
    uint32_t words[4];
    (void)state;
    for (uint32_t block = 0; block < 8; block++) {
        fbt_rng_block(&stream, block, words);
        for (int i = 0; i < 2 && words[0] > 1U << 30; i++) {
            check_perturb(&(fbt_perturbation){1, (words[0] + (double)i) * 0x1p-32, 0, VOCABULARY}, 0);
        }
    }
}

/* Nothing to do: no launch, which would be refused. */
static void nothing_is_done_for_no_rows(void **state)
{
    (void)state;
    cuda_ok(fbt_cuda_launch_norm(NULL, &(fbt_cuda_norm_args){.n_dim = 8}));
    cuda_ok(fbt_cuda_launch_embed(NULL, &(fbt_cuda_embed_args){.n_dim = 8}));
    cuda_ok(fbt_cuda_launch_bias_activation(NULL, NULL, NULL, FBT_ACT_RELU, FBT_F32, 0, 8));
    cuda_ok(fbt_cuda_launch_perturb(NULL, NULL, &(fbt_perturbation){.rate = 1}, NULL, NULL, &(fbt_cuda_packed){0}));
    cuda_ok(fbt_cuda_launch_gather_rows(NULL, NULL, NULL, NULL, FBT_F32, 0, 8));
    cuda_ok(fbt_cuda_launch_mean_pool(NULL, NULL, NULL, NULL, FBT_F32, 0, 8));
    cuda_ok(fbt_cuda_launch_label_logits(NULL, &(fbt_cuda_label_logits_args){.n_labels = 2, .n_dim = 8}));
    cuda_ok(fbt_cuda_launch_loss(NULL, NULL, NULL, NULL, NULL, FBT_LOSS_CE, 0, 2));
    cuda_ok(cudaDeviceSynchronize());
}

int run_rows_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(norm_matches_reference, device_clear),
        cmocka_unit_test_teardown(norm_is_batch_invariant, device_clear),
        cmocka_unit_test_teardown(norm_refuses_long_rows, device_clear),
        cmocka_unit_test(norm_refuses_narrow_rows),
        cmocka_unit_test_teardown(embed_matches_reference, device_clear),
        cmocka_unit_test_teardown(embed_finds_the_sequence, device_clear),
        cmocka_unit_test_teardown(embed_reports, device_clear),
        cmocka_unit_test_teardown(activation_matches_reference, device_clear),
        cmocka_unit_test_teardown(perturb_matches_the_stream, device_clear),
        cmocka_unit_test_teardown(perturb_at_the_rate_itself, device_clear),
        cmocka_unit_test_teardown(nothing_is_done_for_no_rows, device_clear),
    };
    return cmocka_run_group_tests_name("row kernels", tests, NULL, NULL);
}
