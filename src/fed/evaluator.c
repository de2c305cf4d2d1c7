#include "fed/evaluator.h"

#include "base/memory.h"
#include "base/prompt_mode.h"
#include "base/smaller.h"
#include "fed/placement.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* An evaluation on its stream, and what the model writes for this rank's items, first .. end - 1. */
typedef struct stream {
    fbt_evaluation evaluation;
    bool is_busy;
    fbt_status status; /* of its start */
    int64_t first, end;
    float *losses;        /* [capacity]           */
    int32_t *predictions; /* [capacity]           */
    float *logits;        /* [capacity, n_labels], where logits are wanted */
    int64_t capacity, logits_capacity;
} stream;

struct fbt_evaluator {
    fbt_model *model;
    fbt_loss loss;
    int64_t batch_tokens;
    int64_t n_placeholders; /* prompt rows in front of every sequence, */
    int64_t n_shared;       /*   and how many of them sequences of one candidate share in a batch */
    int64_t n_behind;       /* rows of labels behind every sequence */
    int64_t n_labels;
    int64_t n_tokens;
    fbt_batch batch;
    int64_t *work; /* rows per item, for the sharing */
    int64_t work_capacity;
    stream *streams; /* [n_streams] */
    int n_streams;
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

int64_t fbt_batch_tokens(const fbt_settings *settings)
{
    return settings->backend.batch_tokens > 0 ? settings->backend.batch_tokens
                                              : fbt_backend_find(settings->backend.name)->batch_tokens;
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
    e->n_shared = fbt_model_shared_rows(fbt_model_get_shape(model), options);
    e->n_behind = fbt_model_label_rows(model);
    e->n_labels = options->n_labels;
    FBT_TRY(fbt_memory_alloc(&e->streams, fbt_model_n_streams(model), sizeof *e->streams));
    e->n_streams = fbt_model_n_streams(model);
done:
    return status;
}

void fbt_evaluator_free(fbt_evaluator *evaluator)
{
    if (evaluator == NULL) {
        return;
    }
    for (int i = 0; i < evaluator->n_streams; i++) {
        fbt_evaluator_abandon(evaluator, i);
        free(evaluator->streams[i].losses);
        free(evaluator->streams[i].predictions);
        free(evaluator->streams[i].logits);
    }
    fbt_batch_clear(&evaluator->batch);
    free(evaluator->streams);
    free(evaluator->work);
    free(evaluator);
}

int fbt_evaluator_n_streams(const fbt_evaluator *evaluator)
{
    return evaluator->n_streams;
}

static fbt_status reserve_results(stream *s, int64_t n, int64_t n_labels)
{
    fbt_status status = FBT_OK;
    if (n > s->capacity) {
        free(s->losses);
        free(s->predictions);
        s->losses = NULL;
        s->predictions = NULL;
        s->capacity = 0;
        FBT_TRY(fbt_memory_alloc(&s->losses, n, sizeof *s->losses));
        FBT_TRY(fbt_memory_alloc(&s->predictions, n, sizeof *s->predictions));
        s->capacity = n;
    }
    if (s->evaluation.scores.logits != NULL && n > s->logits_capacity) {
        free(s->logits);
        s->logits = NULL;
        s->logits_capacity = 0;
        FBT_TRY(fbt_memory_alloc(&s->logits, n * n_labels, sizeof *s->logits));
        s->logits_capacity = n;
    }
done:
    return status;
}

/* Rows by which item i makes the forward pass of a batch that begins with item `first` longer, at most. */
static int64_t rows_of(const fbt_evaluator *e, const fbt_item *items, int64_t first, int64_t i)
{
    const bool shares = i > first && items[i].candidate == items[i - 1].candidate;
    return e->n_placeholders - (shares ? e->n_shared : 0) + items[i].sequence.n_tokens + e->n_behind;
}

/* How many batches items first .. end - 1 fill, and their rows. */
static int64_t count_batches(const fbt_evaluator *e, const fbt_item *items, int64_t first, int64_t end, int64_t *n_rows)
{
    int64_t n_batches = 0;
    *n_rows = 0;
    for (int64_t i = first, n_filled = 0, begin = first; i < end; i++) {
        n_filled += rows_of(e, items, begin, i);
        *n_rows += rows_of(e, items, first, i);
        if (i == begin || n_filled > e->batch_tokens) {
            n_batches++;
            begin = i;
            n_filled = rows_of(e, items, begin, i);
        }
    }
    return n_batches;
}

/* Packs items from `first` until the batch has `enough` rows, is full, or `end` is reached; *n_rows: those it has. */
static fbt_status pack(fbt_evaluator *e, const fbt_item *items, int64_t first, int64_t end, int64_t enough,
                       int64_t *n_rows)
{
    fbt_status status = FBT_OK;
    fbt_batch_reset(&e->batch);
    *n_rows = 0;
    for (int64_t i = first; i < end && *n_rows < enough; i++) {
        const int64_t n_more = rows_of(e, items, first, i);
        if (i > first && *n_rows + n_more > e->batch_tokens) {
            break;
        }
        *n_rows += n_more;
        FBT_TRY(fbt_batch_append(&e->batch, &items[i].sequence, e->n_placeholders,
                                 items[i].candidate - items[first].candidate));
    }
done:
    return status;
}

/* Queues the batch of items first .. next - 1: the prompts of its candidates, then the forward pass. */
static fbt_status submit(fbt_evaluator *e, const stream *s, int64_t first, int64_t next)
{
    fbt_status status = FBT_OK;
    const fbt_evaluation *job = &s->evaluation;
    int64_t candidate = job->items[first].candidate, at = first - s->first;
    if (fbt_model_get_options(e->model)->prompt_mode != FBT_PROMPT_NONE) {
        FBT_TRY(fbt_model_set_prompts(e->model, job->z + candidate * job->d,
                                      job->items[next - 1].candidate - candidate + 1));
    }
    const fbt_model_result result = {.losses = s->losses + at,
                                     .predictions = s->predictions + at,
                                     .logits = job->scores.logits == NULL ? NULL : s->logits + at * e->n_labels};
    FBT_TRY(fbt_model_submit(e->model, &e->batch, e->loss, &result));
    e->n_tokens += e->batch.n_rows + e->batch.n_sequences * e->n_behind;
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
        e->work[i] = rows_of(e, job->items, 0, i);
    }
    fbt_placement_share(job->n_items, e->work, fbt_comm_size(job->share), fbt_comm_rank(job->share), first, end);
done:
    return status;
}

/* Batches of about equal size: a small one at the end would leave much of a device idle. */
static fbt_status queue_batches(fbt_evaluator *e, stream *s)
{
    fbt_status status = FBT_OK;
    const fbt_evaluation *job = &s->evaluation;
    int64_t next, n_rows, n_packed, n_batches;
    if (job->n_items > 0 && job->items[job->n_items - 1].candidate >= job->n_candidates) {
        FBT_FAIL(FBT_ERR_ARG, "an item refers to candidate %d of %lld", job->items[job->n_items - 1].candidate,
                 (long long)job->n_candidates);
    }
    FBT_TRY(find_share(e, job, &s->first, &s->end));
    FBT_TRY(reserve_results(s, s->end - s->first, e->n_labels));
    n_batches = count_batches(e, job->items, s->first, s->end, &n_rows);
    for (int64_t first = s->first, k = 0; first < s->end; first = next, k++) {
        const int64_t n_left = fbt_larger(n_batches - k, 1);
        FBT_TRY(pack(e, job->items, first, s->end, (n_rows + n_left - 1) / n_left, &n_packed));
        next = first + e->batch.n_sequences;
        n_rows = fbt_larger(n_rows - n_packed, 1);
        FBT_TRY(submit(e, s, first, next));
    }
done:
    return status;
}

void fbt_evaluator_start(fbt_evaluator *evaluator, int stream_index, const fbt_evaluation *evaluation)
{
    stream *s = &evaluator->streams[stream_index];
    const fbt_status selected = fbt_model_select_stream(evaluator->model, stream_index);
    s->evaluation = *evaluation;
    s->is_busy = true;
    s->status = selected != FBT_OK ? selected : queue_batches(evaluator, s);
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

static void store(const stream *s, int64_t n_labels)
{
    const fbt_scores *scores = &s->evaluation.scores;
    for (int64_t i = s->first; i < s->end; i++) {
        const int64_t at = i - s->first;
        if (scores->losses != NULL) {
            scores->losses[i] = s->losses[at];
        }
        if (scores->predictions != NULL) {
            scores->predictions[i] = s->predictions[at];
        }
        for (int64_t c = 0; scores->logits != NULL && c < n_labels; c++) {
            scores->logits[i * n_labels + c] = s->logits[at * n_labels + c];
        }
    }
}

/* After a failed start too, so that nothing is written to the results any more. */
static fbt_status wait_for(fbt_evaluator *e, int stream_index)
{
    stream *s = &e->streams[stream_index];
    fbt_status status = fbt_model_select_stream(e->model, stream_index);
    status = status != FBT_OK ? status : fbt_model_wait(e->model);
    s->is_busy = false;
    return s->status != FBT_OK ? s->status : status;
}

fbt_status fbt_evaluator_finish(fbt_evaluator *evaluator, int stream_index)
{
    fbt_status status = wait_for(evaluator, stream_index);
    const stream *s = &evaluator->streams[stream_index];
    const fbt_evaluation *job = &s->evaluation;
    if (job->share != NULL) {
        status = fbt_comm_agree(job->share, status);
    }
    FBT_TRY(status);
    zero_scores(&job->scores, job->n_items, evaluator->n_labels);
    store(s, evaluator->n_labels);
    if (job->share != NULL) {
        sum_scores(job->share, &job->scores, job->n_items, evaluator->n_labels);
    }
    if (job->scores.losses != NULL) {
        FBT_TRY(check_finite(job->scores.losses, job->n_items));
    }
done:
    return status;
}

void fbt_evaluator_abandon(fbt_evaluator *evaluator, int stream_index)
{
    if (evaluator->streams[stream_index].is_busy) {
        wait_for(evaluator, stream_index);
    }
}

fbt_status fbt_evaluator_run(fbt_evaluator *evaluator, const fbt_evaluation *evaluation)
{
    fbt_evaluator_start(evaluator, 0, evaluation);
    return fbt_evaluator_finish(evaluator, 0);
}

void fbt_evaluation_size_add(fbt_evaluation_size *size, int64_t n_rows)
{
    size->shortest = size->n_sequences == 0 ? n_rows : fbt_smaller(n_rows, size->shortest);
    size->longest = fbt_larger(n_rows, size->longest);
    size->n_rows += n_rows;
    size->n_sequences++;
}

void fbt_evaluation_limits(const fbt_evaluation_size *size, int64_t batch_tokens, fbt_model_limits *limits)
{
    const int64_t n_shared = size->n_shared, n_again = fbt_larger(size->n_sequences - size->n_candidates, 0);
    const int64_t n_rows = fbt_larger(fbt_smaller(batch_tokens, size->n_rows - n_again * n_shared), size->longest);
    const int64_t n_alone = size->shortest > 0 ? n_rows / size->shortest : 0; /* each of another candidate */
    const int64_t n_beside = size->shortest > 0 ? (n_rows - n_shared) / (size->shortest - n_shared) : 0;
    limits->n_rows = fbt_larger(limits->n_rows, n_rows);
    limits->n_sequences = fbt_larger(limits->n_sequences, fbt_smaller(size->n_sequences, n_beside));
    limits->n_prompts = fbt_larger(limits->n_prompts, fbt_smaller(size->n_candidates, n_alone));
}

int64_t fbt_evaluator_n_tokens(const fbt_evaluator *evaluator)
{
    return evaluator->n_tokens;
}
