#include "evaluator.h"

#include "memory.h"
#include "placement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct fbt_evaluator {
    fbt_model *model;
    fbt_loss loss;
    int64_t batch_tokens;
    int64_t n_placeholders; /* prompt rows in front of every sequence */
    int64_t n_labels;
    int64_t n_tokens;
    fbt_batch batch;
    float *losses; /* scratch of one batch */
    int32_t *predictions;
    float *logits;
    int64_t capacity; /* sequences that the scratch holds */
    int64_t *work;    /* rows per item, for the sharing */
    int64_t work_capacity;
};

fbt_item fbt_item_of(const fbt_split *split, int64_t row)
{
    int64_t offset = split->offsets[row];
    return (fbt_item){.tokens = split->tokens + offset,
                      .n_tokens = (int32_t)(split->offsets[row + 1] - offset),
                      .readout = split->readout[row],
                      .label = split->labels[row]};
}

fbt_status fbt_evaluator_new(fbt_model *model, fbt_loss loss, int64_t batch_tokens, fbt_evaluator **evaluator)
{
    fbt_status status = FBT_OK;
    const fbt_model_options *options = fbt_model_get_options(model);
    int in_front = options->prompt_mode == FBT_PROMPT_CAT || options->prompt_mode == FBT_PROMPT_INPUT;
    fbt_evaluator *e;
    FBT_TRY(fbt_memory_alloc(evaluator, 1, sizeof **evaluator));
    e = *evaluator;
    e->model = model;
    e->loss = loss;
    e->batch_tokens = batch_tokens;
    e->n_placeholders = in_front ? options->n_prompt_tokens : 0;
    e->n_labels = options->n_labels;
done:
    return status;
}

void fbt_evaluator_free(fbt_evaluator *evaluator)
{
    if (evaluator == NULL) {
        return;
    }
    fbt_batch_clear(&evaluator->batch);
    free(evaluator->losses);
    free(evaluator->predictions);
    free(evaluator->logits);
    free(evaluator->work);
    free(evaluator);
}

static fbt_status reserve_scratch(fbt_evaluator *e, int64_t n_sequences)
{
    fbt_status status = FBT_OK;
    if (n_sequences <= e->capacity) {
        return FBT_OK;
    }
    free(e->losses);
    free(e->predictions);
    free(e->logits);
    e->losses = NULL;
    e->predictions = NULL;
    e->logits = NULL;
    e->capacity = 0;
    FBT_TRY(fbt_memory_alloc(&e->losses, n_sequences, sizeof *e->losses));
    FBT_TRY(fbt_memory_alloc(&e->predictions, n_sequences, sizeof *e->predictions));
    FBT_TRY(fbt_memory_alloc(&e->logits, n_sequences * e->n_labels, sizeof *e->logits));
    e->capacity = n_sequences;
done:
    return status;
}

/* Packs items from `first` until the batch is full or `end` is reached; *next is the first item left out. */
static fbt_status pack(fbt_evaluator *e, const fbt_item *items, int64_t first, int64_t end, int64_t *next)
{
    fbt_batch_reset(&e->batch);
    for (*next = first; *next < end; ++*next) {
        const fbt_item *item = &items[*next];
        if (*next > first && e->batch.n_rows + item->n_tokens + e->n_placeholders > e->batch_tokens) {
            break;
        }
        fbt_status status = fbt_batch_append(&e->batch, item->tokens, item->n_tokens, e->n_placeholders, item->readout,
                                             item->label, item->candidate - items[first].candidate);
        if (status != FBT_OK) {
            return status;
        }
    }
    return FBT_OK;
}

static void store(const fbt_evaluator *e, int64_t first, int64_t n, const fbt_scores *scores)
{
    for (int64_t i = 0; i < n; i++) {
        if (scores->losses != NULL) {
            scores->losses[first + i] = e->losses[i];
        }
        if (scores->predictions != NULL) {
            scores->predictions[first + i] = e->predictions[i];
        }
        for (int64_t c = 0; scores->logits != NULL && c < e->n_labels; c++) {
            scores->logits[(first + i) * e->n_labels + c] = e->logits[i * e->n_labels + c];
        }
    }
}

/* One batch: the prompts of its candidates, the forward pass, the scores of items first .. next - 1. */
static fbt_status run_batch(fbt_evaluator *e, const fbt_item *items, int64_t first, int64_t next, const double *z,
                            int64_t d, const fbt_scores *scores)
{
    fbt_status status = FBT_OK;
    int64_t n = next - first;
    int64_t candidate = items[first].candidate;
    FBT_TRY(reserve_scratch(e, n));
    if (fbt_model_get_options(e->model)->prompt_mode != FBT_PROMPT_NONE) {
        FBT_TRY(fbt_model_set_prompts(e->model, z + candidate * d, items[next - 1].candidate - candidate + 1));
    }
    fbt_model_result result = {e->losses, e->predictions, scores->logits == NULL ? NULL : e->logits};
    FBT_TRY(fbt_model_evaluate(e->model, &e->batch, e->loss, &result));
    store(e, first, n, scores);
    e->n_tokens += e->batch.n_rows;
done:
    return status;
}

/* This member's part of the items: equal shares of the rows. */
static fbt_status find_share(fbt_evaluator *e, const fbt_item *items, int64_t n_items, const fbt_comm *share,
                             int64_t *first, int64_t *end)
{
    fbt_status status = FBT_OK;
    if (n_items > e->work_capacity) {
        free(e->work);
        e->work_capacity = 0;
        FBT_TRY(fbt_memory_alloc(&e->work, n_items, sizeof *e->work));
        e->work_capacity = n_items;
    }
    for (int64_t i = 0; i < n_items; i++) {
        e->work[i] = items[i].n_tokens + e->n_placeholders;
    }
    fbt_placement_share(n_items, e->work, fbt_comm_size(share), fbt_comm_rank(share), first, end);
done:
    return status;
}

static fbt_status check_finite(const double *losses, int64_t n_items)
{
    for (int64_t i = 0; i < n_items; i++) {
        if (!isfinite(losses[i])) {
            return fbt_fail(
                FBT_ERR_NUMERIC,
                "the model gives a loss that is not a number (sequence %lld of a batch of %lld): "
                "the prompt has left the range that the model can compute; lower cma.sigma or cma.alpha, or set "
                "backend.precision=fp32",
                (long long)i, (long long)n_items);
        }
    }
    return FBT_OK;
}

static void sum_scores(const fbt_comm *share, const fbt_scores *scores, int64_t n_items, int64_t n_labels)
{
    if (scores->losses != NULL) {
        fbt_comm_sum(share, scores->losses, n_items);
    }
    if (scores->predictions != NULL) {
        fbt_comm_sum(share, scores->predictions, n_items);
    }
    if (scores->logits != NULL) {
        fbt_comm_sum(share, scores->logits, n_items * n_labels);
    }
}

static void zero_scores(const fbt_scores *scores, int64_t n_items, int64_t n_labels)
{
    double *const arrays[] = {scores->losses, scores->predictions, scores->logits};
    const int64_t widths[] = {1, 1, n_labels};
    for (int k = 0; k < 3; k++) {
        if (arrays[k] != NULL) {
            memset(arrays[k], 0, (size_t)(n_items * widths[k]) * sizeof(double));
        }
    }
}

fbt_status fbt_evaluator_run(fbt_evaluator *evaluator, const fbt_item *items, int64_t n_items, const double *z,
                             int64_t n_candidates, int64_t d, const fbt_comm *share, const fbt_scores *scores)
{
    fbt_status status = FBT_OK;
    fbt_evaluator *e = evaluator;
    int64_t first = 0;
    int64_t end = n_items;
    int64_t next;
    zero_scores(scores, n_items, e->n_labels);
    if (n_items > 0 && items[n_items - 1].candidate >= n_candidates) {
        FBT_FAIL(FBT_ERR_ARG, "an item refers to candidate %d of %lld", items[n_items - 1].candidate,
                 (long long)n_candidates);
    }
    if (share != NULL) {
        FBT_TRY(find_share(e, items, n_items, share, &first, &end));
    }
    for (; first < end; first = next) {
        FBT_TRY(pack(e, items, first, end, &next));
        FBT_TRY(run_batch(e, items, first, next, z, d, scores));
    }
done:
    if (share != NULL) {
        status = fbt_comm_agree(share, status);
        if (status == FBT_OK) {
            sum_scores(share, scores, n_items, e->n_labels);
        }
    }
    if (status == FBT_OK && scores->losses != NULL) {
        status = check_finite(scores->losses, n_items);
    }
    return status;
}

int64_t fbt_evaluator_n_tokens(const fbt_evaluator *evaluator)
{
    return evaluator->n_tokens;
}
