/* Conformance: random replacement of tokens, integer for integer. */
#include "suite.h"

#include "base/rng.h"

#include <string.h>

enum { N_SEQUENCES = 7, VOCABULARY = 1000 };

typedef struct perturb_inputs {
    fbt_packed packed;
    fbt_origin origins[N_SEQUENCES];
    int32_t *tokens; /* [offsets[N_SEQUENCES]], as frozen */
    uint8_t *frozen;
    int64_t n_rows;
} perturb_inputs;

/* Lengths of 1, odd, beyond a warp's pairs; placeholders in front, in one sequence nothing else; a sequence of no
 * client; sequences that begin with their 5th and 8th token. The first row is `first`. */
static perturb_inputs make_inputs(suite *s, int32_t first)
{
    const int32_t lengths[N_SEQUENCES] = {1, 5, 8, 150, 3, 40, 71};
    perturb_inputs in;
    int32_t *prompts;
    in.packed = suite_packed(s, lengths, N_SEQUENCES, VOCABULARY, 1, &in.tokens, &prompts);
    in.n_rows = first + in.packed.n_rows;
    int32_t *offsets = suite_block(s, (N_SEQUENCES + 1) * (int64_t)sizeof *offsets);
    for (int i = 0; i <= N_SEQUENCES; i++) {
        offsets[i] = first + in.packed.host_offsets[i];
    }
    in.packed.host_offsets = offsets;
    in.packed.offsets = suite_buffer_bytes(s, offsets, (N_SEQUENCES + 1) * (int64_t)sizeof *offsets);
    in.tokens = suite_block(s, in.n_rows * (int64_t)sizeof *in.tokens);
    in.frozen = suite_block(s, in.n_rows);
    for (int64_t i = 0; i < in.n_rows; i++) {
        in.tokens[i] = (int32_t)suite_random_below(s, VOCABULARY);
        in.frozen[i] = suite_random_below(s, 4) == 0;
    }
    for (int i = 0; i < N_SEQUENCES; i++) {
        in.origins[i] = (fbt_origin){.client = i == 2 ? -1 : (int32_t)suite_random_below(s, 1 << 16),
                                     .sample = (int32_t)suite_random_below(s, 1 << 24),
                                     .round = (int32_t)suite_random_below(s, 1 << 20),
                                     .n_placeholders = i == 4 ? 3 : i % 4};
    }
    in.origins[0].n_placeholders = 0;
    in.origins[3].client = 0;
    in.origins[5].n_placeholders = -4;
    in.origins[6].n_placeholders = -7;
    return in;
}

/* Straight from backend.h: words 2t and 2t + 1 of the stream, of which a block has four. */
static void perturb_sequence(const fbt_perturbation *p, const fbt_origin *origin, const uint8_t *frozen,
                             int32_t *tokens, int64_t length)
{
    const fbt_rng_stream stream = {.seed = p->seed,
                                   .purpose = FBT_RNG_PERTURB,
                                   .round = (uint32_t)origin->round,
                                   .client = (uint32_t)origin->client,
                                   .candidate = (uint32_t)origin->sample};
    for (int64_t t = 0; t < length - origin->n_placeholders; t++) {
        const int64_t row = origin->n_placeholders + t;
        if (row < 0) {
            continue; /* in another's rows */
        }
        uint32_t words[4];
        fbt_rng_block(&stream, (uint32_t)(2 * t / 4), words);
        const double draw = words[2 * t % 4], number = words[(2 * t + 1) % 4];
        if (draw < p->rate * 0x1p32 && !(p->text_only && frozen != NULL && frozen[row])) {
            tokens[row] = (int32_t)(number * (double)p->vocab_size / 0x1p32);
        }
    }
}

static void check_perturb(suite *s, const fbt_perturbation *p, int has_frozen, int32_t first_row)
{
    perturb_inputs in = make_inputs(s, first_row);
    const int64_t n_bytes = in.n_rows * (int64_t)sizeof *in.tokens;
    int32_t *got = suite_block(s, n_bytes), n_changed = 0;
    fbt_buffer *tokens = suite_buffer_bytes(s, in.tokens, n_bytes);
    fbt_buffer *origins = suite_buffer_bytes(s, in.origins, sizeof in.origins);
    fbt_buffer *frozen = has_frozen ? suite_buffer_bytes(s, in.frozen, in.n_rows) : NULL;
    in.packed.tokens = tokens;
    suite_ok(fbt_perturb(s->b, tokens, p, origins, frozen, &in.packed));
    suite_read_bytes(s, got, tokens, n_bytes);
    for (int i = 0; i < N_SEQUENCES; i++) {
        const int32_t first = in.packed.host_offsets[i];
        if (in.origins[i].client >= 0) {
            perturb_sequence(p, &in.origins[i], has_frozen ? in.frozen + first : NULL, in.tokens + first,
                             in.packed.host_offsets[i + 1] - first);
        }
    }
    assert_memory_equal(got, in.tokens, (size_t)n_bytes);
    for (int64_t i = 0; i < in.n_rows; i++) {
        n_changed += got[i] >= VOCABULARY;
    }
    assert_true(p->rate == 0 || n_changed > 0); /* the larger vocabulary is in use: something was tested */
}

/* Broken by words of another place, a frozen token's words used for the next, placeholders or sequences of no client
 * that change, rows in front of the first sequence that do, frozen tokens that stay where any may change, a threshold
 * that is off at rate 0 or 1. */
static void perturb_matches_reference(void **state)
{
    suite *s = *state;
    const double rates[] = {0, 0.3, 0.9, 1};
    for (int k = 0; k < 4; k++) {
        for (int has_frozen = 0; has_frozen < 2; has_frozen++) {
            const fbt_perturbation p = {
                .seed = 0x123456789abcdefULL + (uint64_t)k, .rate = rates[k], .text_only = k % 2, .vocab_size = 60000};
            check_perturb(s, &p, has_frozen, 0);
            check_perturb(s, &p, has_frozen, 9);
        }
    }
}

static void perturb_refuses(void **state)
{
    suite *s = *state;
    perturb_inputs in = make_inputs(s, 0);
    fbt_buffer *tokens = suite_buffer_bytes(s, in.tokens, in.n_rows * (int64_t)sizeof *in.tokens);
    fbt_buffer *origins = suite_buffer_bytes(s, in.origins, sizeof in.origins);
    fbt_buffer *few = suite_buffer_bytes(s, in.origins, sizeof in.origins - 1);
    fbt_perturbation p = {.seed = 1, .rate = 0.5, .vocab_size = 10};
    suite_expect(FBT_ERR_ARG, fbt_perturb(s->b, tokens, &p, few, NULL, &in.packed));
    suite_expect(FBT_ERR_ARG, fbt_perturb(s->b, few, &p, origins, NULL, &in.packed));
    suite_expect(FBT_ERR_ARG, fbt_perturb(s->b, tokens, &p, origins, few, &in.packed));
    p.rate = 1.5;
    suite_expect(FBT_ERR_ARG, fbt_perturb(s->b, tokens, &p, origins, NULL, &in.packed));
    p = (fbt_perturbation){.seed = 1, .rate = 0.5, .vocab_size = 0};
    suite_expect(FBT_ERR_ARG, fbt_perturb(s->b, tokens, &p, origins, NULL, &in.packed));
    p.vocab_size = 10;
    in.packed.n_sequences = in.packed.n_rows = 0;
    suite_ok(fbt_perturb(s->b, tokens, &p, origins, NULL, &in.packed));
}

int run_perturb_tests(void)
{
    const struct CMUnitTest perturb[] = {
        cmocka_unit_test_setup_teardown(perturb_matches_reference, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(perturb_refuses, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(perturb, NULL, NULL);
}
