/* Model: a packaged one, whole, against Hugging Face, where it has been staged in. */
#include "fixture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SKIPPED = 77, MAX_LOGITS = 256 };

/* Logits of a case; full: what is computed though nobody reads it (fixture.h). */
static fbt_status run_case(fbt_backend *b, const fixture *f, const fixture_case *c, int full, float logits[MAX_LOGITS])
{
    fbt_status status = FBT_OK;
    fbt_model *model = NULL;
    FBT_TRY(fixture_open_model(b, FBT_TEST_MODEL, f, c, full, &model));
    if (c->batch.n_sequences * f->n_labels > MAX_LOGITS ||
        !(fabs(fbt_model_embedding_std(model) / f->embedding_std - 1) < 1e-6)) {
        FBT_FAIL(FBT_ERR_NUMERIC, "standard deviation of the word embeddings is %g, not %g",
                 fbt_model_embedding_std(model), f->embedding_std);
    }
    FBT_TRY(fbt_model_evaluate(model, &c->batch, FBT_LOSS_CE, &(fbt_model_result){.logits = logits}));
done:
    fbt_model_close(model);
    return status;
}

static fbt_status check_case(fbt_backend *b, const fixture *f, const fixture_case *c, double bound)
{
    fbt_status status = FBT_OK;
    float logits[MAX_LOGITS], whole[MAX_LOGITS];
    double error = 0;
    const int64_t n = c->batch.n_sequences * f->n_labels;
    FBT_TRY(run_case(b, f, c, 0, logits));
    FBT_TRY(run_case(b, f, c, FIXTURE_FULL_SEQUENCES, whole));
    for (int64_t i = 0; i < n; i++) {
        double mine = fabs(logits[i] - c->logits[i]) / c->largest;
        error = mine <= error ? error : mine; /* NaN becomes the error */
    }
    printf("mode %d, %s: error %.1e\n", (int)c->mode, fbt_backend_types(b)->name, error);
    if (!(error <= bound)) {
        FBT_FAIL(FBT_ERR_NUMERIC, "error %g is above %g", error, bound);
    }
    if (memcmp(logits, whole, (size_t)n * sizeof *logits) != 0) {
        FBT_FAIL(FBT_ERR_NUMERIC, "logits have other bits where what sequences begin with is computed once");
    }
done:
    return status;
}

static fbt_status check_precision(const fixture *f, const char *precision, double bound)
{
    fbt_backend *b = NULL;
    fbt_status status = fixture_open_backend(precision, 2, &b);
    if (status == FBT_ERR_CONFIG) {
        fbt_error_clear();
        return FBT_OK;
    }
    for (int64_t i = 0; status == FBT_OK && i < f->n_cases; i++) {
        status = check_case(b, f, &f->cases[i], bound);
    }
    fbt_backend_close(b);
    return status;
}

int main(void)
{
    fbt_status status = FBT_OK;
    fixture f = {0};
    if (access(FBT_TEST_MODEL "/model.safetensors", F_OK) != 0) {
        printf("skipped: %s is not there\n", FBT_TEST_MODEL);
        return SKIPPED;
    }
    FBT_TRY(fixture_read(FBT_TEST_CASES, &f));
    FBT_TRY(check_precision(&f, "fp32", 1e-4));
    FBT_TRY(check_precision(&f, "bf16", 3e-2));
    FBT_TRY(check_precision(&f, "int8", 2e-1));
done:
    if (status != FBT_OK) {
        fprintf(stderr, "%s: %s\n", fbt_status_text(status), fbt_error_message());
    }
    fixture_clear(&f);
    return status == FBT_OK ? 0 : 1;
}
