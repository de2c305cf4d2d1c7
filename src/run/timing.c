#include "run/timing.h"

#include "base/memory.h"
#include "base/prompt_mode.h"
#include "base/rng.h"
#include "base/timer.h"
#include "data/batch.h"
#include "model/prompt.h"
#include "record/dataset_file.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* N_WARMING: a backend records a batch of one shape as a graph when it comes a second time. */
enum { SEED = 1, N_SEARCH = 500, N_LABELS = 2, FIRST_WORD = 3, N_WARMING = 2 };

/* Subject of the timing. */
typedef struct subject {
    const fbt_timing_plan *p;
    fbt_dataset dataset; /* empty: random words */
    fbt_backend *b;
    fbt_model *model;
    fbt_batch batch;
    fbt_batch *parts; /* [n_streams]: the batch's sequences, a part a stream */
    int n_streams;
    double *z;     /* [candidates, N_SEARCH] */
    float *losses; /* [n_sequences] */
} subject;

/* The shape of a named model, cut to so many layers as are asked for. */
static fbt_status read_shape(const fbt_timing_plan *p, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    if (p->model != NULL) {
        return p->layers > 0 ? fbt_fail(FBT_ERR_USAGE, "a model folder has the layers that it has: leave out --layers")
                             : fbt_model_read_shape(p->model, shape);
    }
    FBT_TRY(fbt_model_named_shape(p->shape, shape));
    if (p->layers > shape->n_layers) {
        FBT_FAIL(FBT_ERR_USAGE, "%s has %" PRId64 " layers, not %" PRId64, p->shape, shape->n_layers, p->layers);
    }
    shape->n_layers = p->layers > 0 ? p->layers : shape->n_layers;
done:
    return status;
}

/* Before the weights are made, which takes a minute for the largest shapes. */
static fbt_status check_length(const fbt_timing_plan *p, const fbt_model_shape *shape)
{
    const int64_t in_front = fbt_prompt_rows_in_front(p->mode, p->prompt_tokens) -
                             fbt_model_rows_without_position(shape, p->mode, p->prompt_tokens);
    const char *what;
    const int64_t most = fbt_model_max_length(shape, &what);
    if (p->mode == FBT_PROMPT_ADD && p->length <= p->prompt_tokens) {
        return fbt_fail(FBT_ERR_USAGE,
                        "--length is %" PRId64 ": in prompt mode add a sequence has more tokens than "
                        "--prompt-tokens, %" PRId64,
                        p->length, p->prompt_tokens);
    }
    if (p->length + in_front > most) {
        return fbt_fail(FBT_ERR_USAGE,
                        "--length is %" PRId64 ": with %" PRId64 " rows of a prompt in front that is more than the "
                        "model's %" PRId64 " %s",
                        p->length, in_front, most, what);
    }
    return FBT_OK;
}

/* The samples of a data set, and what they say of the plan. */
static fbt_status read_data(fbt_dataset *dataset, fbt_timing_plan *p)
{
    fbt_status status = FBT_OK;
    const fbt_split *train = &dataset->train;
    FBT_TRY(fbt_dataset_file_read(p->data, dataset));
    if (train->n_samples < p->samples) {
        FBT_FAIL(FBT_ERR_USAGE, "--samples is %" PRId64 ": %.300s has %" PRId64 " training samples", p->samples,
                 p->data, train->n_samples);
    }
    p->readout = (int)dataset->readout;
    p->mode = dataset->prompt_mode;
    p->prompt_tokens = dataset->n_prompt_tokens;
    for (int64_t i = 0; i < p->samples; i++) {
        const int64_t length = train->offsets[i + 1] - train->offsets[i];
        p->length = length > p->length ? length : p->length;
    }
done:
    return status;
}

static fbt_status check_vocabulary(const fbt_dataset *dataset, const fbt_timing_plan *p, const fbt_model_shape *shape)
{
    return dataset->vocab_size <= shape->vocab_size
               ? FBT_OK
               : fbt_fail(FBT_ERR_USAGE,
                          "%.300s was tokenised for a vocabulary of %" PRId64 " words, the model has %" PRId64
                          ": stage it in for this model",
                          p->data, dataset->vocab_size, shape->vocab_size);
}

static fbt_status open_model(const fbt_timing_plan *p, const fbt_dataset *dataset, fbt_backend *b, fbt_model **model)
{
    static const int32_t label_ids[N_LABELS] = {FIRST_WORD, FIRST_WORD + 1};
    static const int64_t label_offsets[N_LABELS + 1] = {0, 1, 2};
    fbt_status status = FBT_OK;
    fbt_model_shape shape;
    FBT_TRY(read_shape(p, &shape));
    FBT_TRY(check_length(p, &shape));
    FBT_TRY(check_vocabulary(dataset, p, &shape));
    const fbt_model_options model_options = {
        .readout = p->readout < 0 ? fbt_model_default_readout(&shape) : (fbt_readout)p->readout,
        .prompt_mode = p->mode,
        .n_prompt_tokens = fbt_prompt_rows(p->mode, p->prompt_tokens),
        .n_labels = N_LABELS,
        .label_token_ids = label_ids,
        .label_tokens = label_ids,
        .label_offsets = label_offsets,
        .embedding_scale = 20,
    };
    if (p->model != NULL) {
        FBT_TRY(fbt_model_open(b, p->model, &model_options, model));
    } else {
        FBT_TRY(fbt_model_open_random(b, &shape, &model_options, SEED, model));
    }
done:
    return status;
}

static fbt_status set_projection(fbt_model *model, const fbt_timing_plan *p)
{
    fbt_status status = FBT_OK;
    float *projection = NULL;
    int64_t n_out = p->prompt_tokens * fbt_model_get_shape(model)->n_hidden;
    if (p->mode == FBT_PROMPT_NONE) {
        goto done;
    }
    FBT_TRY(fbt_memory_alloc(&projection, n_out * N_SEARCH, sizeof *projection));
    FBT_TRY(fbt_prompt_projection(FBT_PROJECTION_NORMAL, SEED, fbt_model_embedding_std(model) / sqrt(N_SEARCH), 0,
                                  n_out, N_SEARCH, projection));
    FBT_TRY(fbt_model_set_projection(model, projection, NULL, N_SEARCH));
done:
    free(projection);
    return status;
}

/* Random words; tokens: [p->length], where they go. */
static fbt_sequence draw_sequence(const subject *s, gsl_rng *rng, int32_t *tokens)
{
    const int64_t n_words = fbt_model_get_shape(s->model)->vocab_size;
    for (int64_t k = 0; k < s->p->length; k++) {
        tokens[k] = (int32_t)gsl_rng_uniform_int(rng, (unsigned long)n_words);
    }
    return (fbt_sequence){.tokens = tokens,
                          .n_tokens = (int32_t)s->p->length,
                          .readout = (int32_t)(s->p->length - 1),
                          .origin = {.client = -1}};
}

/* A training sample. A perturbed copy takes as long as the sample as it is. */
static fbt_sequence sample_sequence(const fbt_split *split, int64_t i)
{
    const int64_t first = split->offsets[i];
    return (fbt_sequence){.tokens = split->tokens + first,
                          .n_tokens = (int32_t)(split->offsets[i + 1] - first),
                          .readout = split->readout[i],
                          .origin = {.client = -1}};
}

/* All sequences, and random z. */
static fbt_status fill_batch(subject *s, gsl_rng *rng)
{
    fbt_status status = FBT_OK;
    const fbt_timing_plan *p = s->p;
    int32_t *tokens = NULL;
    const int64_t n = p->samples * p->candidates * p->copies;
    int64_t n_placeholders = fbt_prompt_rows_in_front(p->mode, p->prompt_tokens);
    FBT_TRY(fbt_memory_alloc(&tokens, p->length, sizeof *tokens));
    FBT_TRY(fbt_memory_alloc(&s->z, p->candidates * N_SEARCH, sizeof *s->z));
    FBT_TRY(fbt_memory_alloc(&s->losses, n, sizeof *s->losses));
    s->n_streams = fbt_model_n_streams(s->model);
    FBT_TRY(fbt_memory_alloc(&s->parts, s->n_streams, sizeof *s->parts));
    fbt_rng_seek(rng, &(fbt_rng_stream){.seed = SEED, .purpose = FBT_RNG_SYNTHETIC, .client = 1});
    for (int64_t i = 0; i < p->candidates * N_SEARCH; i++) {
        s->z[i] = gsl_ran_gaussian_ziggurat(rng, 1);
    }
    fbt_batch_reset(&s->batch);
    for (int64_t i = 0; i < n; i++) {
        const fbt_sequence sequence = p->data != NULL
                                          ? sample_sequence(&s->dataset.train, i / p->candidates % p->samples)
                                          : draw_sequence(s, rng, tokens);
        FBT_TRY(fbt_batch_append(&s->batch, &sequence, n_placeholders, (int32_t)(i % p->candidates)));
        FBT_TRY(
            fbt_batch_append(&s->parts[i * s->n_streams / n], &sequence, n_placeholders, (int32_t)(i % p->candidates)));
    }
done:
    free(tokens);
    return status;
}

static fbt_status open_subject(subject *s)
{
    fbt_status status = FBT_OK;
    gsl_rng *rng = NULL;
    FBT_TRY(open_model(s->p, &s->dataset, s->b, &s->model));
    FBT_TRY(set_projection(s->model, s->p));
    FBT_TRY(fbt_rng_new(&rng));
    FBT_TRY(fill_batch(s, rng));
done:
    gsl_rng_free(rng);
    return status;
}

static void close_subject(subject *s)
{
    fbt_model_close(s->model);
    fbt_batch_clear(&s->batch);
    for (int i = 0; s->parts != NULL && i < s->n_streams; i++) {
        fbt_batch_clear(&s->parts[i]);
    }
    free(s->parts);
    fbt_dataset_clear(&s->dataset);
    free(s->z);
    free(s->losses);
}

/* One generation: prompts of all candidates, then their losses. */
static fbt_status run_batch(subject *s, double *seconds)
{
    fbt_status status = FBT_OK;
    double begin_s = fbt_timer_now_s();
    FBT_TRY(fbt_model_set_prompts(s->model, s->z, s->p->candidates));
    FBT_TRY(fbt_model_evaluate(s->model, &s->batch, FBT_LOSS_CE, &(fbt_model_result){.losses = s->losses}));
    *seconds = fbt_timer_now_s() - begin_s;
done:
    return status;
}

/* The same with a part of the batch on every stream, as runs cut their clients. */
static fbt_status run_streams(subject *s, double *seconds)
{
    fbt_status status = FBT_OK;
    const double begin_s = fbt_timer_now_s();
    float *losses = s->losses;
    for (int i = 0; i < s->n_streams; i++) {
        FBT_TRY(fbt_model_select_stream(s->model, i));
        FBT_TRY(fbt_model_set_prompts(s->model, s->z, s->p->candidates));
        FBT_TRY(fbt_model_submit(s->model, &s->parts[i], FBT_LOSS_CE, &(fbt_model_result){.losses = losses}));
        losses += s->parts[i].n_sequences;
    }
done:
    for (int i = s->n_streams - 1; i >= 0; i--) { /* the first is selected at last */
        const fbt_status selected = fbt_model_select_stream(s->model, i);
        const fbt_status waited = selected == FBT_OK ? fbt_model_wait(s->model) : selected;
        status = status == FBT_OK ? waited : status;
    }
    *seconds = fbt_timer_now_s() - begin_s;
    return status;
}

static fbt_status measure_streams(subject *s, double *best_s)
{
    fbt_status status = FBT_OK;
    double seconds;
    for (int64_t r = -N_WARMING; s->n_streams > 1 && r < s->p->repeats; r++) {
        FBT_TRY(run_streams(s, &seconds));
        *best_s = r <= 0 ? seconds : fmin(*best_s, seconds);
    }
done:
    return status;
}

static fbt_status run_profiled(subject *s, fbt_timing_result *m)
{
    fbt_status status = FBT_OK;
    fbt_profile profile = {{0}, {0}, {0}};
    double seconds;
    fbt_profile_start(s->b, &profile);
    FBT_TRY(run_batch(s, &seconds));
    if (m->profile_s == 0 || seconds < m->profile_s) {
        m->profile = profile;
        m->profile_s = seconds;
    }
done:
    fbt_profile_stop(s->b);
    return status;
}

static double product_flops(const int64_t size[3])
{
    return 2.0 * (double)size[0] * (double)size[1] * (double)size[2];
}

/* Best copy of memory so far: twice the bytes, which are read and written, by its time. */
static fbt_status time_copy(fbt_backend *b, fbt_timing_result *m)
{
    enum { COPY_BYTES = 1 << 28, N_REPEATS = 3 };
    fbt_status status = FBT_OK;
    double best_s;
    FBT_TRY(fbt_library_copy(b, COPY_BYTES, N_REPEATS, &best_s));
    m->copy_rate = fmax(m->copy_rate, 2.0 * COPY_BYTES / best_s);
done:
    return status;
}

/* Products that the peak is looked for in, small ones first: a fast device is at its best in large ones, a slow one
 * takes too long for them. */
static const int64_t peak_sizes[][3] = {{128, 128, 128},    {256, 256, 256},    {512, 512, 512},
                                        {1024, 1024, 1024}, {2048, 2048, 2048}, {4096, 4096, 1024},
                                        {5680, 3072, 1024}, {4096, 4096, 4096}, {8192, 8192, 8192}};
enum { N_PEAK_SIZES = sizeof peak_sizes / sizeof peak_sizes[0], N_TIMED = 4 };

static fbt_status time_product(fbt_backend *b, int i, double *flops_per_s)
{
    enum { N_REPEATS = 3 };
    fbt_status status = FBT_OK;
    double best_s;
    FBT_TRY(fbt_library_product(b, fbt_backend_types(b), peak_sizes[i], N_REPEATS, &best_s));
    *flops_per_s = product_flops(peak_sizes[i]) / best_s;
done:
    return status;
}

/* How many of the products come before the first that would take longer than a second to time, going by the one before
 * it. */
static fbt_status count_peak_sizes(fbt_backend *b, int *n)
{
    const double longest_s = 1;
    fbt_status status = FBT_OK;
    double flops_in_time = INFINITY, rate;
    for (*n = 0; *n < N_PEAK_SIZES && product_flops(peak_sizes[*n]) <= flops_in_time; ++*n) {
        const double begin_s = fbt_timer_now_s();
        FBT_TRY(time_product(b, *n, &rate));
        flops_in_time = product_flops(peak_sizes[*n]) * longest_s / (fbt_timer_now_s() - begin_s);
    }
done:
    return status;
}

/* The library's best rate over the largest products that there is time for; keeps the best of all in *m. */
static fbt_status time_library(fbt_backend *b, fbt_timing_result *m, double *peak)
{
    fbt_status status = FBT_OK;
    for (int i = m->n_peak_sizes > N_TIMED ? m->n_peak_sizes - N_TIMED : 0; i < m->n_peak_sizes; i++) {
        double rate;
        FBT_TRY(time_product(b, i, &rate));
        *peak = fmax(*peak, rate);
        if (rate > m->peak) {
            m->peak = rate;
            memcpy(m->peak_size, peak_sizes[i], sizeof m->peak_size);
        }
    }
done:
    return status;
}

static double sort_for_median(double *values, int64_t n)
{
    gsl_sort(values, 1, (size_t)n);
    return gsl_stats_median_from_sorted_data(values, 1, (size_t)n);
}

/* Two fractions of the peak: the best batch over the best product, and the median over the repeats of a batch over the
 * better of its neighbouring products, which stays meaningful where other work takes processors away for seconds. */
static void summarise(fbt_timing_result *m, int64_t repeats)
{
    for (int i = 0; i < FBT_N_OPERATIONS; i++) {
        *(i == FBT_OP_ATTENTION ? &m->attention_flops : &m->matrix_flops) += m->profile.flops[i];
    }
    for (int64_t r = 0; r < repeats; r++) {
        m->peaks[r] = m->matrix_flops / m->batch_s[r] / fmax(m->peaks[r], m->peaks[r + 1]);
    }
    m->fraction_median = sort_for_median(m->peaks, repeats);
    m->median_s = sort_for_median(m->batch_s, repeats);
    m->best_s = m->batch_s[0];
    m->fraction = m->matrix_flops / m->best_s / m->peak;
}

/* The batch with every sequence computed whole, where a model shares prefixes otherwise. */
static fbt_status measure_whole(subject *s, fbt_timing_whole *whole)
{
    fbt_status status = FBT_OK;
    fbt_timing_result m = {.backend = NULL};
    double seconds;
    if (!fbt_model_is_causal(fbt_model_get_shape(s->model))) {
        goto done;
    }
    fbt_model_set_full_sequences(s->model, 1);
    FBT_TRY(run_batch(s, &seconds));
    for (int64_t r = 0; r < s->p->repeats; r++) {
        FBT_TRY(run_batch(s, &seconds));
        whole->best_s = r == 0 ? seconds : fmin(whole->best_s, seconds);
    }
    FBT_TRY(run_profiled(s, &m));
    for (int i = 0; i < FBT_N_OPERATIONS; i++) {
        whole->flops += m.profile.flops[i];
    }
done:
    return status;
}

/* Batches and products in turn, so that a noisy machine treats them alike. The first ones warm up. */
static fbt_status measure(subject *s, fbt_timing_result *m)
{
    fbt_status status = FBT_OK;
    double seconds;
    FBT_TRY(fbt_memory_alloc(&m->batch_s, s->p->repeats, sizeof *m->batch_s));
    FBT_TRY(fbt_memory_alloc(&m->peaks, s->p->repeats + 1, sizeof *m->peaks));
    for (int i = 0; i < N_WARMING; i++) {
        FBT_TRY(run_batch(s, &seconds));
    }
    FBT_TRY(count_peak_sizes(s->b, &m->n_peak_sizes));
    for (int64_t r = 0; r <= s->p->repeats; r++) {
        FBT_TRY(time_library(s->b, m, &m->peaks[r]));
        FBT_TRY(time_copy(s->b, m));
        if (r < s->p->repeats) {
            FBT_TRY(run_batch(s, &m->batch_s[r]));
        }
    }
    FBT_TRY(measure_streams(s, &m->streams_s));
    for (int64_t r = 0; r < s->p->repeats; r++) {
        FBT_TRY(run_profiled(s, m));
    }
    summarise(m, s->p->repeats);
    FBT_TRY(measure_whole(s, &m->whole));
done:
    return status;
}

fbt_status fbt_timing_measure(const fbt_timing_plan *plan, fbt_timing_result *result)
{
    fbt_status status = FBT_OK;
    fbt_timing_result *m = result;
    subject s = {.p = &m->plan};
    const fbt_backend_options backend_options = {
        .name = plan->backend, .precision = plan->precision, .n_threads = (int)plan->threads, .n_local_ranks = 1};
    const double begin_s = fbt_timer_now_s();
    m->plan = *plan;
    FBT_TRY(plan->data != NULL ? read_data(&s.dataset, &m->plan) : FBT_OK);
    FBT_TRY(fbt_backend_open(&backend_options, &m->backend));
    s.b = m->backend;
    FBT_TRY(open_subject(&s));
    fbt_backend_get_info(s.b, &m->info);
    m->load_s = fbt_timer_now_s() - begin_s;
    m->shape = *fbt_model_get_shape(s.model);
    m->n_parameters = fbt_model_n_parameters(s.model);
    m->n_sequences = s.batch.n_sequences;
    m->n_rows = s.batch.n_rows;
    FBT_TRY(measure(&s, m));
done:
    close_subject(&s);
    return status;
}

void fbt_timing_clear(fbt_timing_result *result)
{
    free(result->batch_s);
    free(result->peaks);
    fbt_backend_close(result->backend);
    *result = (fbt_timing_result){0};
}
