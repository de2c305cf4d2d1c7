/* Model: what sequences of a decoder begin with is computed once, and nothing else changes: the logits have the bits of
 * sequences computed whole, for every family, prompt mode and perturbation, however batches are cut. */
#include "base/memory.h"
#include "base/prompt_mode.h"
#include "fixture.h"
#include "model/prompt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { N_SEQUENCES = 26, N_LABELS = 3, N_PROMPTS = 3, P = 4, N_SEARCH = 5, VOCABULARY = 97, MAX_TOKENS = 20 };

static void must(fbt_status status)
{
    if (status != FBT_OK) {
        fail_msg("%s: %s", fbt_status_text(status), fbt_error_message());
    }
}

/* A published shape with the family's parts and few of each. */
static fbt_model_shape small_shape(const char *name)
{
    fbt_model_shape shape;
    must(fbt_model_named_shape(name, &shape));
    const bool has_groups = shape.decoder.n_kv_heads < shape.n_heads;
    shape.decoder.rotary.n_rotated = shape.decoder.rotary.n_rotated * 16 / shape.head_dim;
    shape.n_layers = 3;
    shape.n_hidden = 64;
    shape.n_heads = 4;
    shape.head_dim = 16;
    shape.decoder.n_kv_heads = has_groups ? 2 : 4;
    shape.n_intermediate = 80;
    shape.vocab_size = VOCABULARY;
    shape.n_positions = 64;
    return shape;
}

/* A model of random weights, and sequences for it. */
typedef struct subject {
    fbt_backend *b;
    fbt_model *model;
    fbt_prompt_mode mode;
    fbt_batch batch;
} subject;

static void set_prompts(subject *s)
{
    enum { MAX_ITEMS = P * 64 * N_SEARCH };
    static float a[MAX_ITEMS];
    double z[N_PROMPTS * N_SEARCH];
    if (s->mode == FBT_PROMPT_NONE) {
        return;
    }
    for (int i = 0; i < N_PROMPTS * N_SEARCH; i++) {
        z[i] = 0.3 * ((i * 7) % 11) - 1.5;
    }
    must(fbt_prompt_projection(FBT_PROJECTION_NORMAL, 3, 0.05, 0, P * 64, N_SEARCH, a));
    must(fbt_model_set_projection(s->model, a, NULL, N_SEARCH));
    must(fbt_model_set_prompts(s->model, z, N_PROMPTS));
}

/* Three template words, a text, a template word that is read and, in some, one more. Every third is perturbed, for one
 * of two clients; prompts are mixed. */
static void fill_batch(subject *s)
{
    const int64_t in_front = fbt_prompt_rows_in_front(s->mode, P);
    uint32_t random = 12345;
    fbt_batch_reset(&s->batch);
    for (int32_t i = 0; i < N_SEQUENCES; i++) {
        int32_t tokens[MAX_TOKENS] = {5, 6, 7};
        uint8_t frozen[MAX_TOKENS] = {1, 1, 1};
        const int32_t n_text = 1 + i * 5 % 11, read = 3 + n_text;
        for (int32_t t = 3; t < read; t++) {
            random = random * 1664525U + 1013904223U;
            tokens[t] = (int32_t)(random >> 8) % VOCABULARY;
        }
        tokens[read] = tokens[read + 1] = 8;
        frozen[read] = frozen[read + 1] = 1;
        const fbt_sequence sequence = {
            .tokens = tokens,
            .frozen = frozen,
            .n_tokens = read + 1 + i % 2,
            .readout = read,
            .origin = {.client = i % 3 == 2 ? i % 2 : -1, .sample = i / 2, .round = 4},
        };
        must(fbt_batch_append(&s->batch, &sequence, in_front, i % N_PROMPTS));
    }
}

/* 0: the processor lacks the precision. */
static int open_subject(subject *s, const char *precision, const char *shape_name, fbt_prompt_mode mode)
{
    static const int32_t ids[N_LABELS] = {9, 20, 31};
    const fbt_model_shape shape = small_shape(shape_name);
    const fbt_model_options options = {.readout = FBT_READOUT_LAST,
                                       .prompt_mode = mode,
                                       .n_prompt_tokens = fbt_prompt_rows(mode, P),
                                       .n_labels = N_LABELS,
                                       .label_token_ids = ids};
    *s = (subject){.mode = mode};
    const fbt_status status = fixture_open_backend(precision, 1, &s->b);
    if (status == FBT_ERR_CONFIG) {
        fbt_error_clear();
        return 0;
    }
    must(status);
    must(fbt_model_open_random(s->b, &shape, &options, 7, &s->model));
    set_prompts(s);
    fill_batch(s);
    return 1;
}

static void close_subject(subject *s)
{
    fbt_batch_clear(&s->batch);
    fbt_model_close(s->model);
    fbt_backend_close(s->b);
}

/* Sequences first .. end - 1 in a batch of their own. Returns the operations that it took. */
static double evaluate(subject *s, int64_t first, int64_t end, float *logits)
{
    fbt_batch part = {0};
    fbt_profile profile = {{0}, {0}, {0}};
    double flops = 0;
    const int64_t in_front = fbt_prompt_rows_in_front(s->mode, P);
    fbt_batch_reset(&part);
    for (int64_t i = first; i < end; i++) {
        const int64_t begin = s->batch.offsets[i] + in_front;
        const fbt_sequence sequence = {.tokens = s->batch.tokens + begin,
                                       .frozen = s->batch.frozen + begin,
                                       .n_tokens = (int32_t)(s->batch.offsets[i + 1] - begin),
                                       .readout = (int32_t)(s->batch.readout[i] - begin),
                                       .origin = s->batch.origins[i]};
        must(fbt_batch_append(&part, &sequence, in_front, s->batch.prompt_index[i]));
    }
    fbt_profile_start(s->b, &profile);
    must(fbt_model_evaluate(s->model, &part, FBT_LOSS_CE, &(fbt_model_result){.logits = logits + first * N_LABELS}));
    fbt_profile_stop(s->b);
    fbt_batch_clear(&part);
    for (int i = 0; i < FBT_N_OPERATIONS; i++) {
        flops += profile.flops[i];
    }
    return flops;
}

/* The same bits for whole sequences, for one batch, for sequences alone and for a batch cut in three. */
static void check_cuts(subject *s)
{
    float whole[N_SEQUENCES * N_LABELS], shared[N_SEQUENCES * N_LABELS];
    static const int64_t cuts[] = {0, 1, 9, N_SEQUENCES};
    fbt_model_set_full_sequences(s->model, 1);
    const double flops_whole = evaluate(s, 0, N_SEQUENCES, whole);
    fbt_model_set_full_sequences(s->model, 0);
    const double flops_shared = evaluate(s, 0, N_SEQUENCES, shared);
    assert_memory_equal(shared, whole, sizeof whole);
    assert_true(flops_shared < 0.9 * flops_whole);
    for (int64_t i = 0; i < N_SEQUENCES; i += 5) {
        evaluate(s, i, i + 1, shared);
    }
    assert_memory_equal(shared, whole, sizeof whole);
    for (int i = 0; i < 3; i++) {
        evaluate(s, cuts[i], cuts[i + 1], shared);
    }
    assert_memory_equal(shared, whole, sizeof whole);
}

/* Perturbed sequences differ from what they are made of, and the others do not. */
static void check_perturbed(subject *s, int text_only)
{
    float plain[N_SEQUENCES * N_LABELS], perturbed[N_SEQUENCES * N_LABELS];
    const fbt_perturbation none = {.seed = 1, .rate = 0, .text_only = text_only, .vocab_size = VOCABULARY};
    const fbt_perturbation half = {.seed = 1, .rate = 0.5, .text_only = text_only, .vocab_size = VOCABULARY};
    must(fbt_model_set_perturbation(s->model, &none));
    evaluate(s, 0, N_SEQUENCES, plain);
    must(fbt_model_set_perturbation(s->model, &half));
    check_cuts(s);
    evaluate(s, 0, N_SEQUENCES, perturbed);
    int64_t n_changed = 0;
    for (int64_t i = 0; i < N_SEQUENCES; i++) {
        const int is_changed = plain[i * N_LABELS] != perturbed[i * N_LABELS];
        assert_true(s->batch.origins[i].client >= 0 || !is_changed);
        n_changed += is_changed;
    }
    assert_true(n_changed > N_SEQUENCES / 5);
}

static void check_shape(const char *precision, const char *shape)
{
    for (int mode = FBT_PROMPT_NONE; mode <= FBT_PROMPT_INPUT; mode++) {
        subject s;
        if (!open_subject(&s, precision, shape, (fbt_prompt_mode)mode)) {
            return;
        }
        check_perturbed(&s, 1);
        check_perturbed(&s, 0);
        close_subject(&s);
    }
}

/* Broken by a prefix whose softmax is put together in another order than a whole sequence's, by positions that count
 * from the shared rows, by sharing a token that a copy has replaced, by a perturbation that counts tokens from the
 * first row of a level, and by a prefix of another candidate. */
static void sharing_prefixes_changes_no_bit(void **state)
{
    const char *const *shapes = *state;
    for (int i = 0; shapes[i] != NULL; i++) {
        check_shape("fp32", shapes[i]);
    }
    check_shape("bf16", shapes[0]);
}

/* The shapes are those that the arguments name; without any, one of each family. */
int main(int argc, char **argv)
{
    static char *all[] = {"smollm2-135m", "gpt2", "opt-125m", "pythia-160m", "qwen3-0.6b", NULL};
    if (!fixture_device_is_there()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(sharing_prefixes_changes_no_bit, argc > 1 ? argv + 1 : all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
