/* Model: label logits against Hugging Face's, in float64, for small random models of every kind. */
#include "base/memory.h"
#include "fixture.h"
#include "model/prompt.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[] = {
    "hf_roberta_mlm",
    "hf_roberta_untied_f16",
    "hf_xlm_roberta_unaligned",
    "hf_bert_mlm_sharded",
    "hf_bert_gamma_bf16",
    "hf_bert_embedding",
    "hf_roberta_embedding",
    "st_roberta_cls",
    "hf_distilbert_mlm",
    "hf_llama_tied",
    "hf_llama_biases_linear",
    "hf_llama_llama3_bf16",
    "hf_llama_dynamic_old",
    "hf_llama_yarn_f16",
    "hf_llama_yarn_scaled",
    "hf_mistral",
    "hf_qwen2",
    "hf_qwen3",
    "hf_gpt2",
    "hf_opt",
    "hf_opt_no_biases",
    "hf_neox_old",
    "hf_neox_serial",
    "hf_deep_bert",
    "hf_deep_bert_embedding",
    "hf_deep_llama",
};
enum { N_NAMES = sizeof names / sizeof names[0] };

/* Bound on the relative error, which is relative to the largest logit of a case. */
typedef struct precision {
    const char *name;
    double bound;
    double pruning_bound;
} precision;
static const precision precisions[] = {{"fp32", 1e-4, 1e-5}, {"bf16", 3e-2, 1e-2}, {"int8", 6e-2, 2e-2}};

static int n_checked; /* models */

static void must(fbt_status status)
{
    if (status != FBT_OK) {
        fail_msg("%s: %s", fbt_status_text(status), fbt_error_message());
    }
}

/* NULL: the processor lacks the precision. */
static fbt_backend *open_backend(const char *precision_name)
{
    fbt_backend *b = NULL;
    fbt_status status = fixture_open_backend(precision_name, 2, &b);
    if (status == FBT_ERR_CONFIG) {
        print_message("skipped: %s\n", fbt_error_message());
        fbt_error_clear();
        return NULL;
    }
    must(status);
    return b;
}

static double relative_error(const float *found, const double *expected, int64_t n, double largest)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        assert_true(isfinite(found[i]));
        worst = fmax(worst, fabs(found[i] - expected[i]) / largest);
    }
    return worst;
}

/* Logits of a case; with poisoned outputs, so that what is not written shows. */
static void run_case(fbt_backend *b, const char *folder, const fixture *f, const fixture_case *c, int full,
                     float *logits)
{
    fbt_model *model;
    must(fixture_open_model(b, folder, f, c, full, &model));
    assert_true(fabs(fbt_model_embedding_std(model) / f->embedding_std - 1) < 1e-6);
    memset(logits, 0xff, (size_t)(c->batch.n_sequences * f->n_labels) * sizeof *logits);
    must(fbt_model_evaluate(model, &c->batch, FBT_LOSS_CE, &(fbt_model_result){.logits = logits}));
    fbt_model_close(model);
}

static double check_case(fbt_backend *b, const char *folder, const fixture *f, const fixture_case *c,
                         const precision *p)
{
    int64_t n = c->batch.n_sequences * f->n_labels;
    float *logits;
    float *full;
    must(fbt_memory_alloc(&logits, n, sizeof *logits));
    must(fbt_memory_alloc(&full, n, sizeof *full));
    run_case(b, folder, f, c, 0, logits);
    run_case(b, folder, f, c, FIXTURE_FULL_SEQUENCES, full);
    assert_memory_equal(logits, full, (size_t)n * sizeof *logits);
    run_case(b, folder, f, c, FIXTURE_FULL_LAST_LAYER, full);
    double error = relative_error(logits, c->logits, n, c->largest);
    for (int64_t i = 0; i < n; i++) {
        assert_true(fabs(logits[i] - full[i]) <= p->pruning_bound * c->largest);
    }
    free(logits);
    free(full);
    return error;
}

/* Broken by a wrong name, order of Q, K, V, position offset, activation of layers or head, head bias, prompt row,
 * attention across sequences, a layer's prompt put into another layer or other rows, conversion of F16 or BF16, rows
 * left out of the last layer that are read after all, or bits that depend on whether what sequences begin with is
 * computed once. */
static void check_fixture(fbt_backend *b, const char *name, const precision *p)
{
    static const char *const modes[] = {"none", "add", "cat", "input"};
    char folder[1024];
    char path[1100];
    fixture f;
    int takes;
    snprintf(folder, sizeof folder, "%s/%s", FBT_TEST_DATA, name);
    must(fixture_takes(b, folder, &takes));
    if (!takes) {
        return;
    }
    n_checked++;
    snprintf(path, sizeof path, "%s/cases.json", folder);
    must(fixture_read(path, &f));
    for (int64_t i = 0; i < f.n_cases; i++) {
        double error = check_case(b, folder, &f, &f.cases[i], p);
        print_message("%-22s %s %-5s %s %s error %.1e\n", name, p->name, modes[f.cases[i].mode],
                      f.cases[i].is_deep ? "deep" : "    ", f.cases[i].has_offset ? "with p0" : "       ", error);
        assert_true(error <= p->bound);
    }
    fixture_clear(&f);
}

static void check_fixtures(const precision *p)
{
    fbt_backend *b = open_backend(p->name);
    n_checked = 0;
    for (int i = 0; i < N_NAMES && b != NULL; i++) {
        check_fixture(b, names[i], p);
    }
    assert_true(b == NULL || n_checked >= 4);
    fbt_backend_close(b);
}

static void logits_match_in_fp32(void **state)
{
    (void)state;
    check_fixtures(&precisions[0]);
}

static void logits_match_in_bf16(void **state)
{
    (void)state;
    check_fixtures(&precisions[1]);
}

static void logits_match_in_int8(void **state)
{
    (void)state;
    check_fixtures(&precisions[2]);
}

/* Broken by a row that depends on another, on the number of rows or on the scale's place. */
static void projection_is_keyed_by_row(void **state)
{
    (void)state;
    enum { N_OUT = 700, D = 33 };
    float *all;
    float *few;
    double sum = 0;
    double squares = 0;
    must(fbt_memory_alloc(&all, N_OUT * D, sizeof *all));
    must(fbt_memory_alloc(&few, N_OUT * D, sizeof *few));
    must(fbt_prompt_projection(FBT_PROJECTION_NORMAL, 7, 0.5, 0, N_OUT, D, all));
    must(fbt_prompt_projection(FBT_PROJECTION_NORMAL, 7, 0.5, 0, 10, D, few));
    assert_memory_equal(all, few, 10 * D * sizeof *all);
    must(fbt_prompt_projection(FBT_PROJECTION_NORMAL, 7, 0.5, 15, 10, D, few));
    assert_memory_equal(all + 15 * D, few, 10 * D * sizeof *all);
    must(fbt_prompt_projection(FBT_PROJECTION_NORMAL, 8, 0.5, 0, 10, D, few));
    assert_memory_not_equal(all, few, 10 * D * sizeof *all);
    for (int i = 0; i < N_OUT * D; i++) {
        sum += all[i];
        squares += (double)all[i] * all[i];
    }
    assert_true(fabs(sum / (N_OUT * D)) < 0.02);
    assert_true(fabs(sqrt(squares / (N_OUT * D)) - 0.5) < 0.02);
    must(fbt_prompt_projection(FBT_PROJECTION_UNIFORM, 7, 0, 0, N_OUT, D, all));
    for (int i = 0; i < N_OUT * D; i++) {
        assert_true(fabs(all[i]) <= 1 / sqrt(D));
    }
    assert_int_equal(fbt_prompt_projection(FBT_PROJECTION_NORMAL, 7, NAN, 0, 1, 1, all), FBT_ERR_ARG);
    fbt_error_clear();
    free(all);
    free(few);
}

int main(void)
{
    if (!fixture_device_is_there()) {
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_match_in_fp32),
        cmocka_unit_test(logits_match_in_bf16),
        cmocka_unit_test(logits_match_in_int8),
        cmocka_unit_test(projection_is_keyed_by_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
