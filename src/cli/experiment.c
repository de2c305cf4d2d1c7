/* The rounds of a run and what is recorded of them. */
#include "experiment.h"

#include "build_info.h"
#include "device.h"
#include "federation.h"
#include "limits.h"
#include "log.h"
#include "memory.h"
#include "run_file.h"
#include "timer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What rank 0 keeps besides the federation. */
typedef struct recorder {
    fbt_run_file *file; /* NULL on the other ranks */
    bool committed;     /* a file of ours is on the disk */
    double *best_z;
    double *last_z;
    float *best_prompt;
    float *last_prompt;
    double best_accuracy, best_loss;
    int64_t best_round;
    double start_s;
} recorder;

enum { NUMBER_BYTES = 24 };

static fbt_status create_file(const fbt_experiment *e, const fbt_comm *world, recorder *r)
{
    fbt_backend_info info;
    char ranks[NUMBER_BYTES], threads[NUMBER_BYTES], parameters[NUMBER_BYTES];
    const fbt_settings *s = &e->settings;
    const fbt_dataset *dataset = &e->inputs.dataset;
    const fbt_partition *p = &e->partition;
    e->inputs.backend->ops->info(e->inputs.backend, &info);
    snprintf(ranks, sizeof ranks, "%d", fbt_comm_size(world));
    snprintf(threads, sizeof threads, "%d", info.n_threads);
    snprintf(parameters, sizeof parameters, "%lld", (long long)fbt_model_n_parameters(e->inputs.model));
    const fbt_run_text environment[] = {{"hosts", e->hosts},
                                        {"ranks", ranks},
                                        {"threads_per_rank", threads},
                                        {"mpi", fbt_comm_library()},
                                        {"backend", info.name},
                                        {"device", info.device},
                                        {"devices", e->devices},
                                        {"instruction_set", info.isa},
                                        {"precision", fbt_precision_name(info.precision)},
                                        {"libraries", info.libraries},
                                        {"compiler", fbt_build_compiler},
                                        {NULL, NULL}};
    const fbt_run_text inputs[] = {{"model", s->model.path},
                                   {"model_family", fbt_model_get_shape(e->inputs.model)->family},
                                   {"model_parameters", parameters},
                                   {"data", s->data.path},
                                   {"data_source", dataset->source},
                                   {"data_source_sha256", dataset->source_sha256},
                                   {"tokenizer_sha256", dataset->tokenizer_sha256},
                                   {"task", dataset->task},
                                   {"template", dataset->template_text},
                                   {NULL, NULL}};
    const fbt_run_header header = {.config_given = e->config_given,
                                   .config_resolved = e->config_resolved,
                                   .environment = environment,
                                   .inputs = inputs,
                                   .n_clients = s->fed.clients,
                                   .dimension = s->cma.dimension,
                                   .n_generations = s->fed.local_generations,
                                   .n_labels = dataset->n_labels,
                                   .n_prompt_values = {s->prompt.tokens, fbt_model_get_shape(e->inputs.model)->n_hidden},
                                   .client_means = s->run.client_means,
                                   .phases = fbt_phase_names,
                                   .n_phases = FBT_N_PHASES,
                                   .sample_offsets = p->sample_offsets,
                                   .sample_index = p->sample_index,
                                   .dev_index = p->dev_index,
                                   .n_dev = p->n_dev,
                                   .class_count = p->class_count};
    return fbt_run_file_create(s->run.output, s->run.overwrite, &header, &r->file);
}

static fbt_status open_recorder(const fbt_experiment *e, const fbt_comm *world, recorder *r)
{
    fbt_status status = FBT_OK;
    int64_t d = e->settings.cma.dimension;
    int64_t n = e->settings.prompt.tokens * fbt_model_get_shape(e->inputs.model)->n_hidden;
    r->best_round = -1;
    r->start_s = fbt_timer_now_s();
    if (fbt_comm_rank(world) != 0) {
        return FBT_OK;
    }
    FBT_TRY(fbt_memory_alloc(&r->best_z, d, sizeof *r->best_z));
    FBT_TRY(fbt_memory_alloc(&r->last_z, d, sizeof *r->last_z));
    FBT_TRY(fbt_memory_alloc(&r->best_prompt, n, sizeof *r->best_prompt));
    FBT_TRY(fbt_memory_alloc(&r->last_prompt, n, sizeof *r->last_prompt));
    FBT_TRY(create_file(e, world, r));
done:
    return status;
}

static void close_recorder(recorder *r)
{
    fbt_run_file_free(r->file);
    free(r->best_z);
    free(r->last_z);
    free(r->best_prompt);
    free(r->last_prompt);
}

/* Best on dev: largest accuracy, then smallest loss, then earliest. The test set has no say. */
static bool is_best(const recorder *r, const fbt_run_round *row)
{
    if (isnan(row->dev_accuracy)) {
        return false;
    }
    if (r->best_round < 0 || row->dev_accuracy > r->best_accuracy) {
        return true;
    }
    return row->dev_accuracy == r->best_accuracy && row->dev_loss < r->best_loss;
}

static fbt_status soft_prompt(fbt_model *model, const double *z, float *prompt)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_model_set_prompts(model, z, 1));
    FBT_TRY(fbt_model_get_prompt(model, 0, prompt));
done:
    return status;
}

static fbt_status set_result(const fbt_experiment *e, recorder *r, const fbt_run_round *row)
{
    fbt_status status = FBT_OK;
    size_t n_bytes = (size_t)e->settings.cma.dimension * sizeof *r->last_z;
    memcpy(r->last_z, row->z, n_bytes);
    FBT_TRY(soft_prompt(e->inputs.model, r->last_z, r->last_prompt));
    if (is_best(r, row)) {
        r->best_round = row->index;
        r->best_accuracy = row->dev_accuracy;
        r->best_loss = row->dev_loss;
        memcpy(r->best_z, row->z, n_bytes);
        FBT_TRY(soft_prompt(e->inputs.model, r->best_z, r->best_prompt));
    }
    FBT_TRY(fbt_run_file_set_result(r->file, &(fbt_run_result){.best_round = r->best_round,
                                                               .last_round = row->index,
                                                               .best_z = r->best_round < 0 ? NULL : r->best_z,
                                                               .last_z = r->last_z,
                                                               .best_prompt = r->best_round < 0 ? NULL : r->best_prompt,
                                                               .last_prompt = r->last_prompt}));
done:
    return status;
}

/* Rank 0: adds the row, the result so far and the checkpoint, and replaces the file. */
static fbt_status record(const fbt_experiment *e, fbt_federation *f, recorder *r, const fbt_run_round *row,
                         fbt_run_status run_status)
{
    fbt_status status = FBT_OK;
    const fbt_run_array *checkpoint;
    double start_s = fbt_timer_now_s();
    if (r->file == NULL) {
        return FBT_OK;
    }
    FBT_TRY(fbt_run_file_add_round(r->file, row));
    FBT_TRY(set_result(e, r, row));
    FBT_TRY(fbt_federation_checkpoint(f, &checkpoint));
    FBT_TRY(fbt_run_file_set_checkpoint(r->file, checkpoint));
    FBT_TRY(fbt_run_file_commit(r->file, run_status));
    r->committed = true;
done:
    fbt_federation_add_phase(f, FBT_PHASE_RECORD, fbt_timer_now_s() - start_s);
    return status;
}

/* "loss train 1.2345 dev 1.3456, accuracy dev 0.500": a run without dev or test samples has no such numbers. */
static void describe_scores(const fbt_run_round *row, char *text, size_t n_bytes)
{
    const struct {
        const char *format;
        double value;
    } parts[] = {{"loss train %.4f", row->train_loss}, {" dev %.4f", row->dev_loss}, {" test %.4f", row->test_loss},
                 {", accuracy train %.3f", row->train_accuracy}, {" dev %.3f", row->dev_accuracy},
                 {" test %.3f", row->test_accuracy}};
    size_t used = 0;
    if (isnan(row->train_loss)) {
        snprintf(text, n_bytes, "not scored");
        return;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && used < n_bytes; i++) {
        if (!isnan(parts[i].value)) {
            used += (size_t)snprintf(text + used, n_bytes - used, parts[i].format, parts[i].value);
        }
    }
}

static void log_round(const fbt_experiment *e, const recorder *r, const fbt_run_round *row, double round_s)
{
    double elapsed_s = fbt_timer_now_s() - r->start_s;
    double left_s = row->index > 0 ? elapsed_s / (double)row->index * (double)(e->settings.fed.rounds - row->index) : NAN;
    char scores[160];
    char left[32] = "";
    describe_scores(row, scores, sizeof scores);
    if (isfinite(left_s)) {
        snprintf(left, sizeof left, ", %.0f s left", left_s);
    }
    fbt_log_info("run", "round %3lld/%lld: %s, sigma %.3f, %.2f s%s", (long long)row->index,
                 (long long)e->settings.fed.rounds, scores, row->step_size_local, round_s, left);
}

static void log_end(const fbt_experiment *e, const recorder *r, int64_t last_round, bool interrupted)
{
    char best[48] = "";
    if (r->best_round >= 0) {
        snprintf(best, sizeof best, ", best on dev: round %lld", (long long)r->best_round);
    }
    fbt_log_info("run", "%s round %lld of %lld in %.0f s%s; run file %s",
                 interrupted ? "stopped by run.max_seconds after" : "finished with", (long long)last_round,
                 (long long)e->settings.fed.rounds, fbt_timer_now_s() - r->start_s, best, e->settings.run.output);
}

/* Rank 0's clock decides for all. Collective. */
static bool out_of_time(const fbt_experiment *e, const recorder *r, const fbt_comm *world)
{
    char stop = e->settings.run.max_seconds > 0 && fbt_timer_now_s() - r->start_s > e->settings.run.max_seconds;
    fbt_comm_broadcast(world, &stop, 1);
    return stop != 0;
}

static fbt_run_status status_after(const fbt_experiment *e, int64_t round, bool stop)
{
    if (round == e->settings.fed.rounds) {
        return FBT_RUN_FINISHED;
    }
    return stop ? FBT_RUN_INTERRUPTED : FBT_RUN_RUNNING;
}

static fbt_status run_rounds(const fbt_experiment *e, const fbt_comm *world, fbt_federation *f, recorder *r, bool *interrupted)
{
    fbt_status status = FBT_OK;
    fbt_run_round row;
    int64_t n_rounds = e->settings.fed.rounds;
    double start_s = fbt_timer_now_s();
    FBT_TRY(fbt_federation_start(f, &row));
    log_round(e, r, &row, fbt_timer_now_s() - start_s);
    status = record(e, f, r, &row, status_after(e, 0, false));
    FBT_TRY(fbt_comm_agree(world, status));
    for (int64_t round = 1; round <= n_rounds && !*interrupted; round++) {
        bool scored = round % e->settings.eval.every == 0 || round == n_rounds;
        start_s = fbt_timer_now_s();
        FBT_TRY(fbt_federation_round(f, (uint32_t)round, scored, &row));
        log_round(e, r, &row, fbt_timer_now_s() - start_s);
        *interrupted = round < n_rounds && out_of_time(e, r, world);
        status = record(e, f, r, &row, status_after(e, round, *interrupted));
        FBT_TRY(fbt_comm_agree(world, status));
    }
    log_end(e, r, row.index, *interrupted);
done:
    return status;
}

static void log_start(const fbt_experiment *e, const fbt_comm *world)
{
    fbt_backend_info info;
    const fbt_settings *s = &e->settings;
    e->inputs.backend->ops->info(e->inputs.backend, &info);
    fbt_log_info("run", "fedbpt %s (%s): %s, %lld clients on %d rank%s of %d thread%s, backend %s %s (%s, %s)",
                 fbt_build_version, fbt_build_commit, fbt_settings_choice_name("fed.protocol", s->fed.protocol),
                 (long long)s->fed.clients, fbt_comm_size(world), fbt_comm_size(world) > 1 ? "s" : "", info.n_threads,
                 info.n_threads > 1 ? "s" : "", info.name, fbt_precision_name(info.precision), info.device, info.isa);
}

fbt_status fbt_experiment_run(fbt_experiment *experiment, const fbt_comm *world, bool *interrupted)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = experiment;
    fbt_federation *f = NULL;
    recorder r = {0};
    fbt_model_limits limits;
    *interrupted = false;
    fbt_limits_of_run(&e->settings, &e->inputs.dataset, &e->partition, &e->placement, fbt_comm_rank(world), &limits);
    FBT_TRY(fbt_inputs_open_model(&e->inputs, &e->settings, &limits, world));
    FBT_TRY(fbt_comm_hosts(world, &e->hosts));
    FBT_TRY(fbt_device_list(world, e->inputs.backend, &e->devices));
    FBT_TRY(fbt_comm_agree(world, open_recorder(e, world, &r)));
    log_start(e, world);
    fbt_federation_parts parts = {.settings = &e->settings,
                                  .dataset = &e->inputs.dataset,
                                  .partition = &e->partition,
                                  .placement = &e->placement,
                                  .world = world,
                                  .model = e->inputs.model};
    FBT_TRY(fbt_federation_new(&parts, &f));
    FBT_TRY(run_rounds(e, world, f, &r, interrupted));
done:
    if (status != FBT_OK && r.committed) {
        fbt_run_file_commit(r.file, FBT_RUN_FAILED); /* the finished rounds stay; the first error is the one reported */
    }
    fbt_federation_free(f);
    close_recorder(&r);
    return status;
}
