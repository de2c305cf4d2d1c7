#include "run/recorder.h"

#include "base/build_info.h"
#include "base/memory.h"
#include "base/timer.h"
#include "fed/message.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_TEXTS_MAX = 32, NUMBER_BYTES = 24 };

/* A list of entries being made; values are borrowed. */
typedef struct texts {
    fbt_run_text entries[N_TEXTS_MAX]; /* the last stays {NULL, NULL} */
    int n;
} texts;

/* Entries without a value are left out. */
static void add_text(texts *list, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0' && list->n < N_TEXTS_MAX - 1) {
        list->entries[list->n++] = (fbt_run_text){name, value};
    }
}

/* Where the batch system has put the job: with it, log files and accounting are found again. */
static void add_job(texts *list)
{
    static const char *const variables[][2] = {
        {"slurm_cluster", "SLURM_CLUSTER_NAME"},        {"slurm_job_id", "SLURM_JOB_ID"},
        {"slurm_job_name", "SLURM_JOB_NAME"},           {"slurm_array_job_id", "SLURM_ARRAY_JOB_ID"},
        {"slurm_array_task_id", "SLURM_ARRAY_TASK_ID"}, {"slurm_step_id", "SLURM_STEP_ID"},
        {"slurm_node_list", "SLURM_JOB_NODELIST"},      {"slurm_restart_count", "SLURM_RESTART_COUNT"},
    };
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        add_text(list, variables[i][0], getenv(variables[i][1]));
    }
}

/* Rank 0: the file of a new run, or the one that is gone on with. */
static fbt_status take_file(fbt_experiment *e)
{
    fbt_backend_info info;
    char ranks[NUMBER_BYTES], threads[NUMBER_BYTES], parameters[NUMBER_BYTES];
    const fbt_settings *s = &e->settings;
    const fbt_dataset *dataset = &e->inputs->dataset;
    const fbt_model *model = e->inputs->model;
    const fbt_partition *p = &e->partition;
    texts environment = {0}, inputs = {0};
    e->inputs->backend->ops->info(e->inputs->backend, &info);
    snprintf(ranks, sizeof ranks, "%d", fbt_comm_size(e->comm));
    snprintf(threads, sizeof threads, "%d", info.n_threads);
    snprintf(parameters, sizeof parameters, "%lld", (long long)fbt_model_n_parameters(model));
    const fbt_run_text run_environment[] = {{"hosts", e->hosts},
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
                                            {"sweep_name", e->plan->sweep_name},
                                            {"sweep_run", e->plan->sweep_run},
                                            {"sweep_axes", e->plan->sweep_axes},
                                            {"rerun_of", e->plan->rerun_of}};
    const fbt_run_text run_inputs[] = {{"model", s->model.path},
                                       {"model_sha256", e->inputs->model_sha256},
                                       {"model_family", fbt_model_get_shape(model)->family},
                                       {"model_parameters", parameters},
                                       {"data", s->data.path},
                                       {"data_sha256", e->inputs->data_sha256},
                                       {"data_source", dataset->source},
                                       {"data_source_sha256", dataset->source_sha256},
                                       {"tokenizer_sha256", dataset->tokenizer_sha256},
                                       {"task", dataset->task},
                                       {"template", dataset->template_text}};
    for (size_t i = 0; i < sizeof run_environment / sizeof run_environment[0]; i++) {
        add_text(&environment, run_environment[i].name, run_environment[i].value);
    }
    add_job(&environment);
    for (size_t i = 0; i < sizeof run_inputs / sizeof run_inputs[0]; i++) {
        add_text(&inputs, run_inputs[i].name, run_inputs[i].value);
    }
    const fbt_run_header header = {.config_given = e->config_given,
                                   .config_resolved = e->config_resolved,
                                   .environment = environment.entries,
                                   .inputs = inputs.entries,
                                   .n_clients = s->fed.clients,
                                   .dimension = s->cma.dimension,
                                   .n_generations = s->fed.local_generations,
                                   .value_bytes = fbt_wire_bytes((fbt_wire)s->fed.wire),
                                   .n_labels = dataset->n_labels,
                                   .label_words = (const char *const *)dataset->label_words,
                                   .n_prompt_values = {s->prompt.tokens, fbt_model_get_shape(model)->n_hidden},
                                   .client_means = s->run.client_means,
                                   .phases = fbt_phase_names,
                                   .n_phases = FBT_N_PHASES,
                                   .sample_offsets = p->sample_offsets,
                                   .sample_index = p->sample_index,
                                   .dev_index = p->dev_index,
                                   .n_dev = p->n_dev,
                                   .class_count = p->class_count};
    return e->resumed ? fbt_run_file_continue(e->file, &header)
                      : fbt_run_file_create(s->run.output, s->run.overwrite, &header, &e->file);
}

/* backend.precision may be auto: what came of it must be what it was. */
static fbt_status check_backend(const fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    fbt_backend_info info;
    e->inputs->backend->ops->info(e->inputs->backend, &info);
    const char *precision = fbt_precision_name(info.precision);
    if (strcmp(precision, e->past.precision) != 0) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "backend.precision is %s here, but %.300s was run with %s; to go on with it set "
                 "backend.precision to that, on a machine that has it",
                 precision, e->settings.run.output, e->past.precision);
    }
done:
    return status;
}

fbt_status fbt_recorder_open(fbt_recorder *recorder, fbt_experiment *experiment)
{
    fbt_status status = FBT_OK;
    fbt_recorder *r = recorder;
    fbt_experiment *e = experiment;
    *r = (fbt_recorder){.e = e, .writes = fbt_comm_rank(e->comm) == 0, .best_round = -1};
    if (!r->writes) {
        return FBT_OK;
    }
    if (e->resumed) {
        FBT_TRY(check_backend(e));
        r->best_round = e->past.best_round;
        r->best_accuracy = e->past.best_accuracy;
        r->best_loss = e->past.best_loss;
    } else {
        FBT_TRY(fbt_inputs_digest(e->inputs, &e->settings));
    }
    FBT_TRY(fbt_memory_alloc(&r->prompt, e->settings.prompt.tokens * fbt_model_get_shape(e->inputs->model)->n_hidden,
                             sizeof *r->prompt));
    FBT_TRY(take_file(e));
done:
    return status;
}

fbt_status fbt_recorder_begin(fbt_recorder *recorder, fbt_run_status run_status)
{
    if (!recorder->writes) {
        return FBT_OK;
    }
    recorder->committed = true;
    return fbt_run_file_commit(recorder->e->file, run_status);
}

/* Best on dev: largest accuracy, then smallest loss, then earliest. The test set has no say. */
static bool is_best(const fbt_recorder *r, const fbt_round_row *row)
{
    if (isnan(row->dev_accuracy)) {
        return false;
    }
    if (r->best_round < 0 || row->dev_accuracy > r->best_accuracy) {
        return true;
    }
    return row->dev_accuracy == r->best_accuracy && row->dev_loss < r->best_loss;
}

/* What an earlier round was best with stays in the file as it is. */
static fbt_status set_result(fbt_recorder *r, const fbt_round_row *row)
{
    fbt_status status = FBT_OK;
    fbt_model *model = r->e->inputs->model;
    const bool best = is_best(r, row);
    if (best) {
        r->best_round = row->index;
        r->best_accuracy = row->dev_accuracy;
        r->best_loss = row->dev_loss;
    }
    FBT_TRY(fbt_model_set_prompts(model, row->z, 1));
    FBT_TRY(fbt_model_get_prompt(model, 0, r->prompt));
    FBT_TRY(fbt_run_file_set_result(r->e->file, &(fbt_run_result){.best_round = r->best_round,
                                                                  .last_round = row->index,
                                                                  .best_z = best ? row->z : NULL,
                                                                  .last_z = row->z,
                                                                  .best_prompt = best ? r->prompt : NULL,
                                                                  .last_prompt = r->prompt}));
done:
    return status;
}

fbt_status fbt_recorder_add(fbt_recorder *recorder, fbt_federation *federation, const fbt_round_row *row,
                            fbt_run_status run_status)
{
    fbt_status status = FBT_OK;
    const fbt_array *checkpoint;
    fbt_run_file *file = recorder->e->file;
    const double start_s = fbt_timer_now_s();
    if (!recorder->writes) {
        return FBT_OK;
    }
    FBT_TRY(fbt_run_file_add_round(file, row));
    FBT_TRY(set_result(recorder, row));
    FBT_TRY(fbt_federation_checkpoint(federation, &checkpoint));
    FBT_TRY(fbt_run_file_set_checkpoint(file, checkpoint));
    FBT_TRY(fbt_run_file_commit(file, run_status));
    recorder->committed = true;
done:
    fbt_federation_add_phase(federation, FBT_PHASE_RECORD, fbt_timer_now_s() - start_s);
    return status;
}

void fbt_recorder_close(fbt_recorder *recorder, fbt_status status)
{
    if (status != FBT_OK && recorder->committed) {
        /* the first error is the one reported */
        fbt_run_file_commit(recorder->e->file, status == FBT_ERR_STORAGE ? FBT_RUN_INTERRUPTED : FBT_RUN_FAILED);
    }
    free(recorder->prompt);
    *recorder = (fbt_recorder){0};
}
