#include "fed/evaluator.h"

#include "base/memory.h"
#include "base/prompt_mode.h"
#include "fed/placement.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* An evaluation on its lane, and what the model writes for this rank's items, first .. end - 1. */
typedef struct lane {
    fbt_evaluation evaluation;
    bool is_busy;
    fbt_status status; /* of its start */
    int64_t first, end;
    float *losses;        /* [capacity]           */
    int32_t *predictions; /* [capacity]           */
    float *logits;        /* [capacity, n_labels], where logits are wanted */
    int64_t capacity, logits_capacity;
} lane;

struct fbt_evaluator {
    fbt_model *model;
    fbt_loss loss;
    int64_t batch_tokens;
    int64_t n_placeholders; /* prompt rows in front of every sequence */
    int64_t n_labels;
    int64_t n_tokens;
    fbt_batch batch;
    int64_t *work; /* rows per item, for the sharing */
    int64_t work_capacity;
    lane *lanes; /* [n_lanes] */
    int n_lanes;
};

fbt_item fbt_item_of(const fbt_split *split, int64_t row)
{
    int64_t offset = split->offsets[row];
    return (fbt_item){.sequence = {.tokens = split->tokens + offset,
                                   .frozen = split->frozen + offset,
                                   .n_tokens = (int32_t)(split->offsets[row + 1] - offset),
                                   .readout = split->readout[row],
                                   .label = split->labels[row],
                                   .origin = {.client = -1}}};
}

fbt_status fbt_evaluator_new(fbt_model *model, fbt_loss loss, int64_t batch_tokens, fbt_evaluator **evaluator)
{
    fbt_status status = FBT_OK;
    const fbt_model_options *options = fbt_model_get_options(model);
    fbt_evaluator *e;
    FBT_TRY(fbt_memory_alloc(evaluator, 1, sizeof **evaluator));
    e = *evaluator;
    e->model = model;
    e->loss = loss;
    e->batch_tokens = batch_tokens;
    e->n_placeholders = fbt_prompt_rows_in_front(options->prompt_mode, options->n_prompt_tokens);
    e->n_labels = options->n_labels;
    FBT_TRY(fbt_memory_alloc(&e->lanes, fbt_model_n_lanes(model), sizeof *e->lanes));
    e->n_lanes = fbt_model_n_lanes(model);
done:
    return status;
}

void fbt_evaluator_free(fbt_evaluator *evaluator)
{
    if (evaluator == NULL) {
        return;
    }
    for (int i = 0; i < evaluator->n_lanes; i++) {
        fbt_evaluator_abandon(evaluator, i);
        free(evaluator->lanes[i].losses);
        free(evaluator->lanes[i].predictions);
        free(evaluator->lanes[i].logits);
    }
    fbt_batch_clear(&evaluator->batch);
    free(evaluator->lanes);
    free(evaluator->work);
    free(evaluator);
}

int fbt_evaluator_n_lanes(const fbt_evaluator *evaluator)
{
    return evaluator->n_lanes;
}

static fbt_status reserve_results(lane *l, int64_t n, int64_t n_labels)
{
    fbt_status status = FBT_OK;
    if (n > l->capacity) {
        free(l->losses);
        free(l->predictions);
        l->losses = NULL;
        l->predictions = NULL;
        l->capacity = 0;
        FBT_TRY(fbt_memory_alloc(&l->losses, n, sizeof *l->losses));
        FBT_TRY(fbt_memory_alloc(&l->predictions, n, sizeof *l->predictions));
        l->capacity = n;
    }
    if (l->evaluation.scores.logits != NULL && n > l->logits_capacity) {
        free(l->logits);
        l->logits = NULL;
        l->logits_capacity = 0;
        FBT_TRY(fbt_memory_alloc(&l->logits, n * n_labels, sizeof *l->logits));
        l->logits_capacity = n;
    }
done:
    return status;
}

/* Packs items from `first` until the batch is full or `end` is reached; *next is the first item left out. */
static fbt_status pack(fbt_evaluator *e, const fbt_item *items, int64_t first, int64_t end, int64_t *next)
{
    fbt_batch_reset(&e->batch);
    for (*next = first; *next < end; ++*next) {
        const fbt_item *item = &items[*next];
        if (*next > first && e->batch.n_rows + item->sequence.n_tokens + e->n_placeholders > e->batch_tokens) {
            break;
        }
        fbt_status status =
            fbt_batch_append(&e->batch, &item->sequence, e->n_placeholders, item->candidate - items[first].candidate);
        if (status != FBT_OK) {
            return status;
        }
    }
    return FBT_OK;
}

/* Queues the batch of items first .. next - 1: the prompts of its candidates, then the forward pass. */
static fbt_status submit(fbt_evaluator *e, const lane *l, int64_t first, int64_t next)
{
    fbt_status status = FBT_OK;
    const fbt_evaluation *job = &l->evaluation;
    int64_t candidate = job->items[first].candidate, at = first - l->first;
    if (fbt_model_get_options(e->model)->prompt_mode != FBT_PROMPT_NONE) {
        FBT_TRY(fbt_model_set_prompts(e->model, job->z + candidate * job->d,
                                      job->items[next - 1].candidate - candidate + 1));
    }
    const fbt_model_result result = {.losses = l->losses + at,
                                     .predictions = l->predictions + at,
                                     .logits = job->scores.logits == NULL ? NULL : l->logits + at * e->n_labels};
    FBT_TRY(fbt_model_submit(e->model, &e->batch, e->loss, &result));
    e->n_tokens += e->batch.n_rows;
done:
    return status;
}

/* This member's part of the items: equal shares of the rows. */
static fbt_status find_share(fbt_evaluator *e, const fbt_evaluation *job, int64_t *first, int64_t *end)
{
    fbt_status status = FBT_OK;
    *first = 0;
    *end = job->n_items;
    if (job->share == NULL) {
        return FBT_OK;
    }
    if (job->n_items > e->work_capacity) {
        free(e->work);
        e->work = NULL;
        e->work_capacity = 0;
        FBT_TRY(fbt_memory_alloc(&e->work, job->n_items, sizeof *e->work));
        e->work_capacity = job->n_items;
    }
    for (int64_t i = 0; i < job->n_items; i++) {
        e->work[i] = job->items[i].sequence.n_tokens + e->n_placeholders;
    }
    fbt_placement_share(job->n_items, e->work, fbt_comm_size(job->share), fbt_comm_rank(job->share), first, end);
done:
    return status;
}

static fbt_status queue_batches(fbt_evaluator *e, lane *l)
{
    fbt_status status = FBT_OK;
    const fbt_evaluation *job = &l->evaluation;
    int64_t next;
    if (job->n_items > 0 && job->items[job->n_items - 1].candidate >= job->n_candidates) {
        FBT_FAIL(FBT_ERR_ARG, "an item refers to candidate %d of %lld", job->items[job->n_items - 1].candidate,
                 (long long)job->n_candidates);
    }
    FBT_TRY(find_share(e, job, &l->first, &l->end));
    FBT_TRY(reserve_results(l, l->end - l->first, e->n_labels));
    for (int64_t first = l->first; first < l->end; first = next) {
        FBT_TRY(pack(e, job->items, first, l->end, &next));
        FBT_TRY(submit(e, l, first, next));
    }
done:
    return status;
}

void fbt_evaluator_start(fbt_evaluator *evaluator, int lane_index, const fbt_evaluation *evaluation)
{
    lane *l = &evaluator->lanes[lane_index];
    const fbt_status selected = fbt_model_select_lane(evaluator->model, lane_index);
    l->evaluation = *evaluation;
    l->is_busy = true;
    l->status = selected != FBT_OK ? selected : queue_batches(evaluator, l);
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

static void store(const lane *l, int64_t n_labels)
{
    const fbt_scores *scores = &l->evaluation.scores;
    for (int64_t i = l->first; i < l->end; i++) {
        const int64_t at = i - l->first;
        if (scores->losses != NULL) {
            scores->losses[i] = l->losses[at];
        }
        if (scores->predictions != NULL) {
            scores->predictions[i] = l->predictions[at];
        }
        for (int64_t c = 0; scores->logits != NULL && c < n_labels; c++) {
            scores->logits[i * n_labels + c] = l->logits[at * n_labels + c];
        }
    }
}

/* After a failed start too, so that nothing is written to the results any more. */
static fbt_status wait_for(fbt_evaluator *e, int lane_index)
{
    lane *l = &e->lanes[lane_index];
    fbt_status status = fbt_model_select_lane(e->model, lane_index);
    status = status != FBT_OK ? status : fbt_model_wait(e->model);
    l->is_busy = false;
    return l->status != FBT_OK ? l->status : status;
}

fbt_status fbt_evaluator_finish(fbt_evaluator *evaluator, int lane_index)
{
    fbt_status status = wait_for(evaluator, lane_index);
    const lane *l = &evaluator->lanes[lane_index];
    const fbt_evaluation *job = &l->evaluation;
    if (job->share != NULL) {
        status = fbt_comm_agree(job->share, status);
    }
    FBT_TRY(status);
    zero_scores(&job->scores, job->n_items, evaluator->n_labels);
    store(l, evaluator->n_labels);
    if (job->share != NULL) {
        sum_scores(job->share, &job->scores, job->n_items, evaluator->n_labels);
    }
    if (job->scores.losses != NULL) {
        FBT_TRY(check_finite(job->scores.losses, job->n_items));
    }
done:
    return status;
}

void fbt_evaluator_abandon(fbt_evaluator *evaluator, int lane_index)
{
    if (evaluator->lanes[lane_index].is_busy) {
        wait_for(evaluator, lane_index);
    }
}

fbt_status fbt_evaluator_run(fbt_evaluator *evaluator, const fbt_evaluation *evaluation)
{
    fbt_evaluator_start(evaluator, 0, evaluation);
    return fbt_evaluator_finish(evaluator, 0);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t largest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

void fbt_evaluation_limits(const fbt_evaluation_size *size, int64_t batch_tokens, fbt_model_limits *limits)
{
    const int64_t n_rows = largest(least(batch_tokens, size->n_rows), size->longest);
    const int64_t n_sequences = least(size->n_sequences, size->shortest > 0 ? n_rows / size->shortest : 0);
    limits->n_rows = largest(limits->n_rows, n_rows);
    limits->n_sequences = largest(limits->n_sequences, n_sequences);
    limits->n_prompts = largest(limits->n_prompts, least(size->n_candidates, n_sequences));
}

int64_t fbt_evaluator_n_tokens(const fbt_evaluator *evaluator)
{
    return evaluator->n_tokens;
}
