/* The order in which the runs of a sweep are begun. */
#include "sweep/sweep_queue.h"

#include "base/memory.h"
#include "fed/protocol.h"
#include "model/model.h"
#include "run/cost.h"
#include "sweep/sweep_state.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A run while it is put in order. */
typedef struct candidate {
    int64_t index;
    double work;  /* floating point operations that are left, about */
    char *inputs; /* the settings of model and data, as text        */
} candidate;

/* Text that is equal where the same open model and data serve. */
static fbt_status describe_inputs(const fbt_settings *s, char **text)
{
    if (asprintf(text, "%s\n%s\n%s %s %d %d %" PRId64 " %d %g", s->model.path, s->data.path, s->backend.name,
                 s->backend.precision, s->prompt.mode, s->prompt.deep, s->prompt.tokens, s->model.label_scoring,
                 s->model.embedding_scale) < 0) {
        *text = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: order of a sweep");
    }
    return FBT_OK;
}

static double mean_length(const fbt_split *split)
{
    return split->n_samples > 0 ? (double)split->offsets[split->n_samples] / (double)split->n_samples : 0;
}

static double at_most(double n, int64_t limit)
{
    return limit > 0 && (double)limit < n ? (double)limit : n;
}

/* Operations of a whole run: tokens through the encoder, in search and scores, times its parameters. An estimate to
 * sort by: of clients of equal size, without attention. */
static double estimate_work(const fbt_settings *s, const fbt_dataset *dataset, const fbt_model_shape *shape)
{
    double length = mean_length(&dataset->train) + (double)fbt_cost_rows_around(s, dataset);
    double n_train = at_most((double)dataset->train.n_samples, s->data.shots * dataset->n_labels);
    double n_dev = fmin((double)dataset->train.n_samples, (double)(s->data.dev_shots * dataset->n_labels));
    double n_test = at_most((double)dataset->test.n_samples, s->data.test_limit);
    double share = (double)fbt_settings_participants(s) / (double)s->fed.clients;
    double search = share * n_train * (double)fbt_protocol_evaluations(s);
    double n_scored = 1 + ceil((double)s->fed.rounds / (double)s->eval.every);
    double n_searched = (double)s->fed.rounds * search;
    double n_tested = s->eval.test_every > 0 ? ceil(n_scored / (double)s->eval.test_every) * n_test
                                             : fmin(n_scored * n_test, n_test + n_searched);
    double n_sequences = n_searched + n_scored * (at_most(n_train, s->eval.train_limit) + n_dev) + n_tested;
    return n_sequences * length * 2 * fbt_model_token_products(shape);
}

/* Checks and measures the needs of one run. *last: the inputs that were checked last. */
static fbt_status measure(const fbt_settings *s, fbt_inputs *inputs, const char **last, candidate *c)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_inputs_open_dataset(inputs, s));
    if (*last == NULL || strcmp(*last, c->inputs) != 0) {
        FBT_TRY(fbt_inputs_check(inputs, s));
    }
    *last = c->inputs;
    c->work = estimate_work(s, &inputs->dataset, &inputs->shape);
done:
    return status;
}

/* Of what was estimated, what is left to do. */
static fbt_status subtract_done(const fbt_sweep *sweep, candidate *c)
{
    fbt_status status = FBT_OK;
    fbt_sweep_standing standing = {0};
    FBT_TRY(fbt_sweep_look(sweep, &sweep->runs[c->index], false, &standing));
    if (standing.state == FBT_SWEEP_OTHER) {
        FBT_FAIL(FBT_ERR_CONFIG, "%s", standing.reason);
    }
    if (standing.last_round > 0) {
        c->work *= 1 - (double)standing.last_round / (double)standing.n_rounds;
    }
done:
    fbt_sweep_standing_clear(&standing);
    return status;
}

static int by_inputs(const void *a, const void *b)
{
    const candidate *left = a, *right = b;
    int order = strcmp(left->inputs, right->inputs);
    return order != 0 ? order : (left->index > right->index) - (left->index < right->index);
}

static int by_work(const void *a, const void *b)
{
    const candidate *left = a, *right = b;
    return left->work != right->work ? (left->work < right->work) - (left->work > right->work) : by_inputs(a, b);
}

/* All runs of one model and data follow each other: each data set is read once. */
static fbt_status measure_all(const fbt_sweep *sweep, fbt_inputs *inputs, candidate *candidates, int64_t n)
{
    fbt_status status = FBT_OK;
    const char *last = NULL;
    fbt_settings settings = {0};
    qsort(candidates, (size_t)n, sizeof *candidates, by_inputs);
    for (int64_t i = 0; i < n; i++) {
        FBT_TRY(fbt_sweep_settings(sweep, &sweep->runs[candidates[i].index], &settings));
        FBT_TRY(measure(&settings, inputs, &last, &candidates[i]));
        FBT_TRY(subtract_done(sweep, &candidates[i]));
        fbt_settings_clear(&settings);
    }
done:
    fbt_settings_clear(&settings);
    return status;
}

fbt_status fbt_sweep_plan(const fbt_sweep *sweep, fbt_inputs *inputs, int64_t *order, int64_t n)
{
    fbt_status status = FBT_OK;
    candidate *candidates = NULL;
    fbt_settings settings = {0};
    FBT_TRY(fbt_memory_alloc(&candidates, n, sizeof *candidates));
    for (int64_t i = 0; i < n; i++) {
        candidates[i].index = order[i];
        FBT_TRY(fbt_sweep_settings(sweep, &sweep->runs[order[i]], &settings));
        FBT_TRY(describe_inputs(&settings, &candidates[i].inputs));
        fbt_settings_clear(&settings);
    }
    FBT_TRY(measure_all(sweep, inputs, candidates, n));
    qsort(candidates, (size_t)n, sizeof *candidates, by_work);
    for (int64_t i = 0; i < n; i++) {
        order[i] = candidates[i].index;
    }
done:
    for (int64_t i = 0; candidates != NULL && i < n; i++) {
        free(candidates[i].inputs);
    }
    free(candidates);
    fbt_settings_clear(&settings);
    return status;
}
