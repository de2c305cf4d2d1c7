/* Model: labels of one to three tokens, scored by the log-probability of all of them, against Hugging Face's in
 * float64. A label's score has the bits that it has without the other labels, without what sequences share, and where
 * the last layer computes rows that nobody reads. */
#include "base/memory.h"
#include "fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[] = {"hf_llama_tied", "hf_llama_llama3_bf16", "hf_qwen3", "hf_gpt2",
                                    "hf_opt",        "hf_neox_serial"};
enum { N_NAMES = sizeof names / sizeof names[0], MAX_SCORES = 64 };

static void must(fbt_status status)
{
    if (status != FBT_OK) {
        fail_msg("%s: %s", fbt_status_text(status), fbt_error_message());
    }
}

static void evaluate(fbt_backend *b, const char *folder, const fixture *f, const fixture_case *c, int full,
                     float scores[MAX_SCORES])
{
    fbt_model *model;
    must(fixture_open_model(b, folder, f, c, full, &model));
    must(fbt_model_evaluate(model, &c->batch, FBT_LOSS_CE, &(fbt_model_result){.logits = scores}));
    fbt_model_close(model);
}

/* mean: the expected sum by the number of tokens. */
static void compare(const char *name, const fixture *f, const fixture_case *c, double bound, const float *scores)
{
    for (int64_t i = 0; i < c->batch.n_sequences * f->n_labels; i++) {
        const int64_t label = i % f->n_labels, n = f->label_offsets[label + 1] - f->label_offsets[label];
        const double want = f->label_scoring == FBT_LABEL_SCORING_MEAN ? c->logits[i] / (double)n : c->logits[i];
        if (!(fabs(scores[i] - want) <= bound * c->largest)) {
            fail_msg("%s, mode %d, sequence %d, label %d: %.8g instead of %.8g", name, (int)c->mode,
                     (int)(i / f->n_labels), (int)label, (double)scores[i], want);
        }
    }
}

/* The same bits for sequences computed whole, for all rows of the last layer, and for each label scored alone. */
static void compare_bits(fbt_backend *b, const char *folder, const fixture *f, const fixture_case *c,
                         const float *scores)
{
    float others[MAX_SCORES];
    for (int full = 1; full <= (FIXTURE_FULL_LAST_LAYER | FIXTURE_FULL_SEQUENCES); full++) {
        evaluate(b, folder, f, c, full, others);
        assert_memory_equal(others, scores, (size_t)(c->batch.n_sequences * f->n_labels) * sizeof *scores);
    }
    for (int64_t label = 0; label < f->n_labels; label++) {
        int64_t offsets[2] = {0, f->label_offsets[label + 1] - f->label_offsets[label]};
        fixture one = *f;
        one.n_labels = 1;
        one.label_ids = f->label_ids + label;
        one.label_tokens = f->label_tokens + f->label_offsets[label];
        one.label_offsets = offsets;
        evaluate(b, folder, &one, c, 0, others);
        for (int64_t s = 0; s < c->batch.n_sequences; s++) {
            assert_memory_equal(&others[s], &scores[s * f->n_labels + label], sizeof *others);
        }
    }
}

static void check_fixture(fbt_backend *b, const char *name, double bound)
{
    char folder[512], path[600];
    fixture f;
    snprintf(folder, sizeof folder, "%s/%s", FBT_TEST_DATA, name);
    snprintf(path, sizeof path, "%s/label_cases.json", folder);
    must(fixture_read(path, &f));
    for (int64_t k = 0; k < f.n_cases; k++) {
        float scores[MAX_SCORES];
        f.label_scoring = FBT_LABEL_SCORING_MEAN;
        evaluate(b, folder, &f, &f.cases[k], 0, scores);
        compare(name, &f, &f.cases[k], bound, scores);
        f.label_scoring = FBT_LABEL_SCORING_SUM;
        evaluate(b, folder, &f, &f.cases[k], 0, scores);
        compare(name, &f, &f.cases[k], bound, scores);
        compare_bits(b, folder, &f, &f.cases[k], scores);
    }
    fixture_clear(&f);
}

/* Bounds as in test_model.c. */
static void check_fixtures(const char *precision, double bound)
{
    fbt_backend *b;
    int n_checked = 0, takes;
    const fbt_status status = fixture_open_backend(precision, 2, &b);
    if (status == FBT_ERR_CONFIG) {
        print_message("skipped: %s\n", fbt_error_message());
        fbt_error_clear();
        return;
    }
    must(status);
    for (int i = 0; i < N_NAMES; i++) {
        char folder[512];
        snprintf(folder, sizeof folder, "%s/%s", FBT_TEST_DATA, names[i]);
        must(fixture_takes(b, folder, &takes));
        if (takes) {
            check_fixture(b, names[i], bound);
            n_checked++;
        }
    }
    assert_true(n_checked >= 4);
    fbt_backend_close(b);
}

/* Broken by a token whose probability is read in another row, positions that do not go on behind the text, a label that
 * sees another's words, or a softmax over the labels alone. */
static void scores_match_in_fp32(void **state)
{
    (void)state;
    check_fixtures("fp32", 1e-4);
}

static void scores_match_in_bf16(void **state)
{
    (void)state;
    check_fixtures("bf16", 3e-2);
}

/* Of the last layer, keys and values of all rows, the rest of the last row of each sequence and of those of labels.
 * Broken by a last layer of all rows. */
static void rows_that_nobody_reads_are_left_out(void **state)
{
    (void)state;
    fbt_backend *b;
    fbt_model *model;
    fixture f;
    float scores[MAX_SCORES];
    fbt_profile profile = {{0}, {0}, {0}};
    int takes;
    must(fixture_open_backend("fp32", 2, &b));
    must(fixture_takes(b, FBT_TEST_DATA "/hf_llama_tied", &takes));
    assert_true(takes);
    must(fixture_read(FBT_TEST_DATA "/hf_llama_tied/label_cases.json", &f));
    f.label_scoring = FBT_LABEL_SCORING_SUM;
    const fixture_case *c = &f.cases[0];
    must(fixture_open_model(b, FBT_TEST_DATA "/hf_llama_tied", &f, c, FIXTURE_FULL_SEQUENCES, &model));
    fbt_profile_start(b, &profile);
    must(fbt_model_evaluate(model, &c->batch, FBT_LOSS_CE, &(fbt_model_result){.logits = scores}));
    fbt_profile_stop(b);
    const fbt_model_shape *shape = fbt_model_get_shape(model);
    const int64_t n_behind = c->batch.n_sequences * (f.label_offsets[f.n_labels] - f.n_labels);
    int64_t n_rows = n_behind;
    for (int64_t s = 0; s < c->batch.n_sequences; s++) {
        n_rows += c->batch.readout[s] + 1 - c->batch.offsets[s];
    }
    const int64_t n_computed = (shape->n_layers - 1) * n_rows + c->batch.n_sequences + n_behind;
    assert_true(n_rows > c->batch.n_sequences + n_behind);
    assert_true(profile.flops[FBT_OP_DOWN] == (double)(2 * shape->n_hidden * shape->n_intermediate * n_computed));
    fbt_model_close(model);
    fixture_clear(&f);
    fbt_backend_close(b);
}

int main(void)
{
    if (!fixture_device_is_there()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_match_in_fp32),
        cmocka_unit_test(scores_match_in_bf16),
        cmocka_unit_test(rows_that_nobody_reads_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
