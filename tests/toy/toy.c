#include "toy.h"

#include "base/memory.h"
#include "base/rng.h"
#include "toy/must.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float toy_loss(const double *z, int64_t d, const int32_t *tokens, int64_t n_tokens, int32_t label)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++) {
        double centre = 0;
        for (int64_t j = 0; j < n_tokens; j++) {
            centre += sin(1.3 * (double)i + 0.7 * tokens[j]) / (double)n_tokens;
        }
        sum += ((float)z[i] - centre) * ((float)z[i] - centre);
    }
    return (float)(1 + 0.25 * label + sum / (double)d);
}

double toy_client_loss(const toy_problem *problem, int64_t k, const double *z)
{
    const fbt_split *train = &problem->dataset.train;
    const int64_t first = problem->partition.sample_offsets[k], end = problem->partition.sample_offsets[k + 1];
    double sum = 0;
    for (int64_t i = first; i < end; i++) {
        const int64_t row = problem->partition.sample_index[i];
        sum += toy_loss(z, problem->settings.cma.dimension, train->tokens + train->offsets[row],
                        train->offsets[row + 1] - train->offsets[row], train->labels[row]);
    }
    return sum / (double)(end - first);
}

fbt_model *toy_model_new(int64_t dimension)
{
    fbt_model *model = calloc(1, sizeof *model);
    model->options = (fbt_model_options){.readout = FBT_READOUT_MASK,
                                         .prompt_mode = FBT_PROMPT_INPUT,
                                         .n_prompt_tokens = TOY_PROMPT_TOKENS,
                                         .n_labels = TOY_LABELS,
                                         .full_sequences = 1};
    model->dimension = dimension;
    model->n_streams = 1;
    for (int i = 0; i < TOY_MAX_LANES; i++) {
        model->streams[i].last = &model->streams[i].first;
    }
    fbt_model_select_stream(model, 0);
    return model;
}

void toy_model_free(fbt_model *model)
{
    for (int i = 0; i < TOY_MAX_LANES; i++) {
        MUST(model->streams[i].first == NULL); /* nobody waits for results any more */
        free(model->streams[i].z);
    }
    free(model);
}

const fbt_model_options *fbt_model_get_options(const fbt_model *model)
{
    return &model->options;
}

const fbt_model_shape *fbt_model_get_shape(const fbt_model *model)
{
    (void)model;
    return NULL;
}

int64_t fbt_model_shared_rows(const fbt_model_shape *shape, const fbt_model_options *options)
{
    (void)shape;
    return options->full_sequences ? 0 : options->n_prompt_tokens;
}

int64_t fbt_model_label_rows(const fbt_model *model)
{
    return model->n_label_rows;
}

int fbt_model_n_streams(const fbt_model *model)
{
    return model->n_streams;
}

fbt_status fbt_model_select_stream(fbt_model *model, int stream)
{
    MUST(stream >= 0 && stream < model->n_streams);
    model->stream = &model->streams[stream];
    return FBT_OK;
}

fbt_status fbt_model_set_perturbation(fbt_model *model, const fbt_perturbation *perturbation)
{
    model->perturbation = *perturbation;
    return FBT_OK;
}

static void *copy_of(const void *items, int64_t n, size_t item_bytes)
{
    const size_t n_bytes = (size_t)n * item_bytes;
    void *copy = malloc(n_bytes + 1); /* not NULL for nothing */
    memcpy(copy, items, n_bytes);
    return copy;
}

fbt_status fbt_model_set_prompts(fbt_model *model, const double *z, int64_t n)
{
    free(model->stream->z);
    model->stream->z = copy_of(z, n * model->dimension, sizeof *z);
    model->stream->n_prompts = n;
    return FBT_OK;
}

/* Checks that the batch says what the contract promises. */
static void check_batch(const fbt_model *model, const fbt_batch *batch)
{
    for (int64_t i = 0; i < batch->n_sequences; i++) {
        for (int64_t p = 0; p < TOY_PROMPT_TOKENS; p++) {
            MUST(batch->tokens[batch->offsets[i] + p] == -1);
        }
        MUST(batch->readout[i] == batch->offsets[i] + TOY_PROMPT_TOKENS + 1); /* the mask is the second token */
        MUST(batch->prompt_index[i] >= 0 && batch->prompt_index[i] < model->stream->n_prompts);
        MUST(batch->origins[i].n_placeholders == TOY_PROMPT_TOKENS);
    }
}

static void note_streams(fbt_model *model)
{
    int n_busy = 0;
    for (int i = 0; i < model->n_streams; i++) {
        n_busy += model->streams[i].first != NULL;
    }
    model->most_streams_at_once = n_busy > model->most_streams_at_once ? n_busy : model->most_streams_at_once;
}

static int64_t largest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void note_size(fbt_model *model, const fbt_batch *batch)
{
    int64_t n_rows = batch->n_rows + batch->n_sequences * model->n_label_rows;
    for (int64_t i = 1; i < batch->n_sequences; i++) {
        const bool shares = batch->prompt_index[i] == batch->prompt_index[i - 1];
        n_rows -= shares ? fbt_model_shared_rows(NULL, &model->options) : 0;
    }
    model->largest.n_rows = largest(model->largest.n_rows, n_rows);
    model->largest.n_sequences = largest(model->largest.n_sequences, batch->n_sequences);
    model->largest.n_prompts = largest(model->largest.n_prompts, model->stream->n_prompts);
}

static toy_batch *keep_batch(const fbt_model *model, const fbt_batch *batch, const fbt_model_result *result)
{
    toy_batch *kept = calloc(1, sizeof *kept);
    const int64_t n = batch->n_sequences;
    kept->call = model->n_calls;
    kept->result = *result;
    kept->z = copy_of(model->stream->z, model->stream->n_prompts * model->dimension, sizeof *kept->z);
    kept->batch = (fbt_batch){.n_sequences = n,
                              .n_rows = batch->n_rows,
                              .tokens = copy_of(batch->tokens, batch->n_rows, sizeof *batch->tokens),
                              .frozen = copy_of(batch->frozen, batch->n_rows, 1),
                              .offsets = copy_of(batch->offsets, n + 1, sizeof *batch->offsets),
                              .labels = copy_of(batch->labels, n, sizeof *batch->labels),
                              .prompt_index = copy_of(batch->prompt_index, n, sizeof *batch->prompt_index),
                              .origins = copy_of(batch->origins, n, sizeof *batch->origins)};
    return kept;
}

fbt_status fbt_model_submit(fbt_model *model, const fbt_batch *batch, fbt_loss loss, const fbt_model_result *result)
{
    (void)loss;
    model->n_calls++;
    note_size(model, batch);
    if (model->n_calls == model->fail_call && model->n_calls % 2 == 1) {
        return fbt_fail(FBT_ERR_BACKEND, "the toy model refuses its batch %lld", (long long)model->n_calls);
    }
    check_batch(model, batch);
    for (int64_t i = 0; i < batch->n_sequences; i++) {
        result->losses[i] = -1e30F; /* whoever reads too early will notice */
    }
    toy_batch *kept = keep_batch(model, batch, result);
    *model->stream->last = kept;
    model->stream->last = &kept->next;
    note_streams(model);
    return FBT_OK;
}

/* Replaces the tokens of sequence i as backend.h says, one by one. */
static void perturb(const fbt_perturbation *p, const fbt_origin *origin, const uint8_t *frozen, int32_t *tokens,
                    int64_t n_tokens)
{
    const fbt_rng_stream stream = {.seed = p->seed,
                                   .purpose = FBT_RNG_PERTURB,
                                   .round = (uint32_t)origin->round,
                                   .client = (uint32_t)origin->client,
                                   .candidate = (uint32_t)origin->sample};
    for (int64_t t = 0; t < n_tokens; t++) {
        uint32_t words[4];
        fbt_rng_block(&stream, (uint32_t)(t / 2), words);
        if (words[2 * (t % 2)] < p->rate * 4294967296.0 && !(p->text_only && frozen[t])) {
            tokens[t] = (int32_t)((uint64_t)words[2 * (t % 2) + 1] * (uint64_t)p->vocab_size >> 32);
        }
    }
}

static void compute(const fbt_model *model, const toy_batch *kept)
{
    const fbt_batch *batch = &kept->batch;
    for (int64_t i = 0; i < batch->n_sequences; i++) {
        const int64_t first = batch->offsets[i] + TOY_PROMPT_TOKENS, n_tokens = batch->offsets[i + 1] - first;
        if (batch->origins[i].client >= 0) {
            perturb(&model->perturbation, &batch->origins[i], batch->frozen + first, batch->tokens + first, n_tokens);
        }
        const float loss = toy_loss(kept->z + batch->prompt_index[i] * model->dimension, model->dimension,
                                    batch->tokens + first, n_tokens, batch->labels[i]);
        kept->result.losses[i] = loss;
        kept->result.predictions[i] = (int32_t)(1e4F * loss) % TOY_LABELS;
    }
    if (kept->call == model->nan_call) {
        kept->result.losses[0] = NAN;
    }
}

fbt_status fbt_model_wait(fbt_model *model)
{
    fbt_status status = FBT_OK;
    toy_stream *stream = model->stream;
    while (stream->first != NULL) {
        toy_batch *kept = stream->first;
        stream->first = kept->next;
        if (kept->call == model->fail_call) {
            status = fbt_fail(FBT_ERR_BACKEND, "the toy model fails in its batch %lld", (long long)kept->call);
        } else {
            compute(model, kept);
        }
        fbt_batch_clear(&kept->batch);
        free(kept->z);
        free(kept);
    }
    stream->last = &stream->first;
    return status;
}

/* Sample i: 3 to 7 tokens, of which the second is the mask and, with the first, frozen. */
static void make_split(fbt_split *split, int64_t n_samples, int64_t salt)
{
    int64_t n_tokens = 0;
    split->n_samples = n_samples;
    MUST(fbt_memory_alloc(&split->offsets, n_samples + 1, sizeof *split->offsets) == FBT_OK);
    MUST(fbt_memory_alloc(&split->labels, n_samples, sizeof *split->labels) == FBT_OK);
    MUST(fbt_memory_alloc(&split->readout, n_samples, sizeof *split->readout) == FBT_OK);
    for (int64_t i = 0; i < n_samples; i++) {
        n_tokens += 3 + (7 * i + salt) % 5;
        split->offsets[i + 1] = n_tokens;
        split->labels[i] = (int32_t)(i % TOY_LABELS);
        split->readout[i] = 1;
    }
    MUST(fbt_memory_alloc(&split->tokens, n_tokens, sizeof *split->tokens) == FBT_OK);
    MUST(fbt_memory_alloc(&split->frozen, n_tokens, sizeof *split->frozen) == FBT_OK);
    for (int64_t t = 0; t < n_tokens; t++) {
        split->tokens[t] = (int32_t)(2 + (17 * t * t + 5 * t + salt) % (TOY_VOCABULARY - 2));
    }
    for (int64_t i = 0; i < n_samples; i++) {
        split->tokens[split->offsets[i] + 1] = TOY_MASK;
        split->frozen[split->offsets[i]] = split->frozen[split->offsets[i] + 1] = 1;
    }
}

static void make_settings(fbt_settings *settings, const char *const *assignments)
{
    static const char *const defaults[] = {"fed.clients=4",
                                           "fed.local_generations=3",
                                           "cma.population=4",
                                           "cma.dimension=6",
                                           "data.shots=6",
                                           "data.dev_shots=2",
                                           "perturb.rate=0",
                                           "run.client_means=true",
                                           "backend.batch_tokens=64",
                                           "model.path=(none)",
                                           "data.path=(none)",
                                           NULL};
    MUST(fbt_settings_defaults(settings) == FBT_OK);
    for (int64_t i = 0; defaults[i] != NULL; i++) {
        MUST(fbt_settings_set(settings, defaults[i]) == FBT_OK);
    }
    for (int64_t i = 0; assignments[i] != NULL; i++) {
        MUST(fbt_settings_set(settings, assignments[i]) == FBT_OK);
    }
    MUST(fbt_settings_check(settings) == FBT_OK);
}

void toy_problem_init(toy_problem *problem, const char *const *assignments)
{
    memset(problem, 0, sizeof *problem);
    make_settings(&problem->settings, assignments);
    const fbt_settings *s = &problem->settings;
    problem->dataset.vocab_size = TOY_VOCABULARY;
    problem->dataset.n_labels = TOY_LABELS;
    make_split(&problem->dataset.train, TOY_LABELS * (s->data.shots + s->data.dev_shots), 0);
    make_split(&problem->dataset.test, 11, 3);
    const fbt_partition_options options = {.seed = (uint64_t)s->run.seed,
                                           .n_clients = s->fed.clients,
                                           .shots = s->data.shots,
                                           .dev_shots = s->data.dev_shots,
                                           .kind = (fbt_partition_kind)s->fed.partition,
                                           .dirichlet_alpha = s->fed.dirichlet_alpha,
                                           .sizes = (fbt_sizes_kind)s->fed.sizes,
                                           .size_alpha = s->fed.size_alpha,
                                           .size_sigma = s->fed.size_sigma};
    MUST(fbt_partition_make(&problem->dataset, &options, &problem->partition) == FBT_OK);
    problem->work = calloc((size_t)s->fed.clients, sizeof *problem->work);
    for (int64_t k = 0; k < s->fed.clients; k++) {
        problem->work[k] = problem->partition.sample_offsets[k + 1] - problem->partition.sample_offsets[k];
    }
}

void toy_problem_clear(toy_problem *problem)
{
    free(problem->work);
    fbt_partition_clear(&problem->partition);
    fbt_dataset_clear(&problem->dataset);
    fbt_settings_clear(&problem->settings);
}

fbt_status toy_federation_new(const toy_problem *problem, const fbt_comm *world, fbt_model *model,
                              fbt_federation **federation)
{
    const fbt_federation_parts parts = {.settings = &problem->settings,
                                        .dataset = &problem->dataset,
                                        .partition = &problem->partition,
                                        .work = problem->work,
                                        .world = world,
                                        .model = model};
    return fbt_federation_new(&parts, federation);
}

int64_t toy_row_doubles(const toy_problem *problem)
{
    const fbt_settings *s = &problem->settings;
    return 21 + s->cma.dimension + fbt_settings_participants(s) * (6 + s->fed.local_generations + s->cma.dimension);
}

static double *append(double *to, const double *from, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof *to);
    return to + n;
}

void toy_row_copy(const toy_problem *problem, const fbt_round_row *row, double *doubles)
{
    const int64_t k = row->n_participants, d = problem->settings.cma.dimension;
    const double scalars[] = {(double)row->index,      row->step_size,        row->step_size_local,
                              row->train_loss,         row->train_accuracy,   row->dev_loss,
                              row->dev_accuracy,       row->dev_f1,           row->test_loss,
                              row->test_accuracy,      row->test_f1,          row->condition_number,
                              row->axis_ratio,         row->path_sigma_norm,  (double)row->bytes_up,
                              (double)row->bytes_down, (double)row->n_tokens, (double)row->n_reported,
                              (double)row->n_dropped,  (double)row->n_late,   row->simulated_s};
    double *end = append(doubles, scalars, 21);
    end = append(end, row->z, d);
    end = append(end, row->client_fitness, k);
    end = append(end, row->client_loss, k);
    end = append(end, row->client_loss_perturbed, k);
    end = append(end, row->client_condition, k);
    end = append(end, row->client_step_size, k * problem->settings.fed.local_generations);
    end = append(end, row->client_mean, k * d);
    for (int64_t i = 0; i < k; i++) {
        *end++ = (double)row->participants[i];
        *end++ = (double)row->client_evaluations[i];
    }
    MUST(end - doubles == toy_row_doubles(problem));
}

fbt_status toy_alone_start(toy_alone *a, const char *const *assignments, const fbt_comm *world)
{
    fbt_status status = FBT_OK;
    memset(a, 0, sizeof *a);
    toy_problem_init(&a->problem, assignments);
    a->model = toy_model_new(a->problem.settings.cma.dimension);
    FBT_TRY(toy_federation_new(&a->problem, world, a->model, &a->federation));
    FBT_TRY(fbt_federation_start(a->federation, &a->row));
done:
    return status;
}

void toy_alone_stop(toy_alone *a)
{
    fbt_federation_free(a->federation);
    toy_model_free(a->model);
    toy_problem_clear(&a->problem);
}
