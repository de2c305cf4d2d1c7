/* Model: the packaged all-MiniLM-L6-v2 against Hugging Face, where the model has been staged in. */
#include "fixture.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

enum { SKIPPED = 77, MAX_LOGITS = 256 };

static fbt_status check_case(fbt_backend *b, const fixture *f, const fixture_case *c, double bound)
{
    fbt_status status = FBT_OK;
    float logits[MAX_LOGITS];
    double error = 0;
    fbt_model *model = NULL;
    int64_t n = c->batch.n_sequences * f->n_labels;
    FBT_TRY(fixture_open_model(b, FBT_TEST_MINILM, f, c, 0, &model));
    if (n > MAX_LOGITS || !(fabs(fbt_model_embedding_std(model) / f->embedding_std - 1) < 1e-6)) {
        FBT_FAIL(FBT_ERR_NUMERIC, "standard deviation of the word embeddings is %g, not %g",
                 fbt_model_embedding_std(model), f->embedding_std);
    }
    FBT_TRY(fbt_model_evaluate(model, &c->batch, FBT_LOSS_CE, &(fbt_model_result){.logits = logits}));
    for (int64_t i = 0; i < n; i++) {
        double mine = fabs(logits[i] - c->logits[i]) / c->largest;
        error = mine <= error ? error : mine; /* NaN becomes the error */
    }
    printf("mode %d, %s: error %.1e\n", (int)c->mode, fbt_backend_types(b)->name, error);
    if (!(error <= bound)) {
        FBT_FAIL(FBT_ERR_NUMERIC, "error %g is above %g", error, bound);
    }
done:
    fbt_model_close(model);
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
    if (access(FBT_TEST_MINILM "/model.safetensors", F_OK) != 0) {
        printf("skipped: %s is not there\n", FBT_TEST_MINILM);
        return SKIPPED;
    }
    FBT_TRY(fixture_read(FBT_TEST_DATA "/minilm.json", &f));
    FBT_TRY(check_precision(&f, "fp32", 1e-4));
    FBT_TRY(check_precision(&f, "bf16", 3e-2));
done:
    if (status != FBT_OK) {
        fprintf(stderr, "%s: %s\n", fbt_status_text(status), fbt_error_message());
    }
    fixture_clear(&f);
    return status == FBT_OK ? 0 : 1;
}
