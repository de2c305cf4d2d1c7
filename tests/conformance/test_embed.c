/* Conformance: embedding of tokens and prompts. */
#include "suite.h"

#include <math.h>
#include <string.h>

enum { N_TOKENS = 29, N_POSITIONS = 40, N_PROMPTS = 3, POSITION_OFFSET = 2, N_SEQUENCES = 5 };

typedef struct embed_inputs {
    fbt_embedding e;
    fbt_packed packed;
    int32_t *tokens, *prompt_index;
    double *word, *position, *type, *gamma, *beta, *prompts;
} embed_inputs;

static embed_inputs make_inputs(suite *s, fbt_prompt_mode mode, int64_t n_prompt, int64_t n_dim, fbt_dtype dtype,
                                int has_type)
{
    const int32_t lengths[N_SEQUENCES] = {9, (int32_t)n_prompt + 1, 1 + (int32_t)n_prompt, 20, 12};
    embed_inputs in = {.word = suite_random(s, N_TOKENS * n_dim, 0.2, 0),
                       .position = suite_random(s, N_POSITIONS * n_dim, 0.2, 0),
                       .type = suite_random(s, 2 * n_dim, 0.2, 0),
                       .gamma = suite_random(s, n_dim, 1, 1),
                       .beta = suite_random(s, n_dim, 1, 0),
                       .prompts = suite_random(s, N_PROMPTS * (n_prompt + 1) * n_dim, 1, 0)};
    in.e = (fbt_embedding){.word = suite_table(s, in.word, N_TOKENS, n_dim, dtype),
                           .position = suite_table(s, in.position, N_POSITIONS, n_dim, FBT_F32),
                           .position_offset = POSITION_OFFSET,
                           .type = has_type ? suite_table(s, in.type, 2, n_dim, FBT_BF16) : NULL,
                           .norm = suite_norm(s, in.gamma, in.beta, n_dim, 1e-5f),
                           .n_dim = n_dim,
                           .mode = mode,
                           .n_prompt_tokens = mode == FBT_PROMPT_NONE ? 0 : n_prompt};
    in.packed = suite_packed(s, lengths, N_SEQUENCES, N_TOKENS, N_PROMPTS, &in.tokens, &in.prompt_index);
    if (mode == FBT_PROMPT_NONE) {
        in.packed.prompt_index = NULL;
    } else {
        in.e.prompts = suite_buffer(s, in.prompts, N_PROMPTS * n_prompt * n_dim, FBT_F32);
    }
    /* The prompt's own rows carry a placeholder that is no token. */
    for (int q = 0; q < N_SEQUENCES && (mode == FBT_PROMPT_CAT || mode == FBT_PROMPT_INPUT); q++) {
        memset(in.tokens + in.packed.host_offsets[q], 0xff, (size_t)n_prompt * sizeof *in.tokens);
    }
    in.packed.tokens = suite_buffer_bytes(s, in.tokens, in.packed.n_rows * (int64_t)sizeof *in.tokens);
    return in;
}

/* Row t of sequence q, straight from backend.h's description of the modes. */
static void reference_row(const embed_inputs *in, int64_t q, int64_t t, double *y)
{
    const int64_t d = in->e.n_dim, p = in->e.n_prompt_tokens, row = in->packed.host_offsets[q] + t;
    const double *prompt = in->prompts + in->prompt_index[q] * p * d;
    const int in_front = (in->e.mode == FBT_PROMPT_CAT || in->e.mode == FBT_PROMPT_INPUT) && t < p;
    const int64_t position = POSITION_OFFSET + t - (in->e.mode == FBT_PROMPT_CAT ? p : 0);
    double mean = 0, variance = 0;
    if (in->e.mode == FBT_PROMPT_CAT && in_front) {
        memcpy(y, prompt + t * d, (size_t)d * sizeof *y);
        return;
    }
    for (int64_t i = 0; i < d; i++) {
        y[i] = (in_front ? prompt[t * d + i] : in->word[in->tokens[row] * d + i]) + in->position[position * d + i] +
               (in->e.type != NULL ? in->type[i] : 0);
        mean += y[i] / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        variance += (y[i] - mean) * (y[i] - mean) / (double)d;
    }
    for (int64_t i = 0; i < d; i++) {
        y[i] = (y[i] - mean) / sqrt(variance + 1e-5) * in->gamma[i] + in->beta[i];
        if (in->e.mode == FBT_PROMPT_ADD && t >= 1 && t <= p) {
            y[i] += prompt[(t - 1) * d + i];
        }
    }
}

static void check_embed(fbt_prompt_mode mode, int64_t width, fbt_dtype table_dtype, int has_type)
{
    suite *s = suite_begin(2);
    const int64_t n_dim = suite_width(s, width);
    const fbt_dtype dtype = suite_dtype(s);
    const embed_inputs in = make_inputs(s, mode, 4, n_dim, table_dtype, has_type);
    const int64_t n = in.packed.n_rows * n_dim;
    double *want = suite_block(s, n * (int64_t)sizeof *want),
           *tolerance = suite_block(s, n * (int64_t)sizeof *tolerance);
    fbt_buffer *y = suite_poisoned(s, n, dtype);
    for (int64_t q = 0; q < N_SEQUENCES; q++) {
        for (int64_t t = 0; t < in.packed.host_offsets[q + 1] - in.packed.host_offsets[q]; t++) {
            reference_row(&in, q, t, want + (in.packed.host_offsets[q] + t) * n_dim);
        }
    }
    for (int64_t i = 0; i < n; i++) {
        tolerance[i] =
            1.01 * suite_roundoff(s) * fabs(want[i]) + 1e-5; /* 1e-5: LN of few columns magnifies the sum's error */
    }
    suite_ok(fbt_embed(s->b, y, &in.e, &in.packed));
    suite_compare("embed", suite_read(s, y, n, dtype), want, tolerance, n);
    suite_end(s);
}

/* All modes, table types and odd widths; a sequence with no text behind its prompt but one row. Broken by positions
 * that count the prompt in mode cat or do not in mode input, a prompt added before the LayerNorm or from row 0, another
 * sequence's prompt, a placeholder token that is looked up. */
static void embed_matches_reference(void **state)
{
    const fbt_dtype types[] = {FBT_F32, FBT_F16, FBT_BF16};
    (void)state;
    for (int mode = FBT_PROMPT_NONE; mode <= FBT_PROMPT_INPUT; mode++) {
        for (int k = 0; k < 3; k++) {
            check_embed((fbt_prompt_mode)mode, k == 0 ? 37 : 32 * k, types[k], k != 1);
        }
    }
}

static void refuse_token(suite *s, embed_inputs *in, fbt_buffer *y, int64_t row, int32_t token)
{
    const int32_t kept = in->tokens[row];
    in->tokens[row] = token;
    in->packed.tokens = suite_buffer_bytes(s, in->tokens, in->packed.n_rows * (int64_t)sizeof *in->tokens);
    suite_expect_by_sync(s, FBT_ERR_ARG, fbt_embed(s->b, y, &in->e, &in->packed));
    in->tokens[row] = kept;
    in->packed.tokens = suite_buffer_bytes(s, in->tokens, in->packed.n_rows * (int64_t)sizeof *in->tokens);
}

/* Broken by a table row read outside its table, by an error that stays when it was reported. */
static void embed_refuses(void **state)
{
    suite *s = *state;
    const fbt_dtype dtype = suite_dtype(s);
    embed_inputs in = make_inputs(s, FBT_PROMPT_INPUT, 4, 16, FBT_F32, 1);
    fbt_buffer *y = suite_poisoned(s, in.packed.n_rows * 16, dtype);
    suite_ok(fbt_embed(s->b, y, &in.e, &in.packed));
    refuse_token(s, &in, y, in.packed.n_rows - 1, N_TOKENS);
    refuse_token(s, &in, y, in.packed.n_rows - 1, -1);
    suite_expect_by_sync(s, FBT_OK, fbt_embed(s->b, y, &in.e, &in.packed));
    in.e.position_offset = N_POSITIONS - 19;
    suite_expect_by_sync(s, FBT_ERR_ARG, fbt_embed(s->b, y, &in.e, &in.packed));
    in.e.position_offset = N_POSITIONS - 20;
    suite_expect_by_sync(s, FBT_OK, fbt_embed(s->b, y, &in.e, &in.packed));
    if (suite_checks_indices(s)) {
        in.prompt_index[2] = N_PROMPTS;
        in.packed.prompt_index = suite_buffer_bytes(s, in.prompt_index, N_SEQUENCES * (int64_t)sizeof *in.prompt_index);
        suite_expect(FBT_ERR_ARG, fbt_embed(s->b, y, &in.e, &in.packed));
    }
    in.packed.n_sequences = in.packed.n_rows = 0;
    suite_ok(fbt_embed(s->b, y, &in.e, &in.packed));
}

int run_embed_tests(void)
{
    const struct CMUnitTest embed[] = {
        cmocka_unit_test(embed_matches_reference),
        cmocka_unit_test_setup_teardown(embed_refuses, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(embed, NULL, NULL);
}
