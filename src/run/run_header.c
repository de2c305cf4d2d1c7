#include "run/run_header.h"

#include "base/build_info.h"
#include "fed/federation.h"
#include "fed/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Entries without a value are left out. */
static void add_text(fbt_run_texts *list, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0' && list->n < FBT_RUN_TEXTS_MAX - 1) {
        list->entries[list->n++] = (fbt_run_text){name, value};
    }
}

static void add_texts(fbt_run_texts *list, const fbt_run_text *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        add_text(list, texts[i].name, texts[i].value);
    }
}

/* Where the batch system has put the job: with it, log files and accounting are found again. */
static void add_job(fbt_run_texts *list)
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

static void list_environment(const fbt_experiment *e, fbt_run_header_text *t)
{
    snprintf(t->ranks, sizeof t->ranks, "%d", fbt_comm_size(e->comm));
    snprintf(t->threads, sizeof t->threads, "%d", t->info.n_threads);
    const fbt_run_text texts[] = {{"hosts", e->hosts},
                                  {"ranks", t->ranks},
                                  {"threads_per_rank", t->threads},
                                  {"mpi", fbt_comm_library()},
                                  {"backend", t->info.name},
                                  {"device", t->info.device},
                                  {"devices", e->devices},
                                  {"instruction_set", t->info.isa},
                                  {"precision", e->resumed ? e->restored.precision : t->info.types->name},
                                  {"libraries", t->info.libraries},
                                  {"compiler", fbt_build_compiler},
                                  {"sweep_name", e->plan->sweep_name},
                                  {"sweep_run", e->plan->sweep_run},
                                  {"sweep_axes", e->plan->sweep_axes},
                                  {"rerun_of", e->plan->rerun_of}};
    add_texts(&t->environment, texts, sizeof texts / sizeof texts[0]);
    add_job(&t->environment);
}

static void list_inputs(const fbt_experiment *e, fbt_run_header_text *t)
{
    const fbt_dataset *dataset = &e->inputs->dataset;
    const fbt_model *model = e->inputs->model;
    snprintf(t->parameters, sizeof t->parameters, "%" PRId64, fbt_model_n_parameters(model));
    const fbt_run_text texts[] = {{"model", e->settings.model.path},
                                  {"model_sha256", e->inputs->model_sha256},
                                  {"model_family", fbt_model_family_name(fbt_model_get_shape(model))},
                                  {"model_parameters", t->parameters},
                                  {"data", e->settings.data.path},
                                  {"data_sha256", e->inputs->data_sha256},
                                  {"data_source", dataset->source},
                                  {"data_source_sha256", dataset->source_sha256},
                                  {"tokenizer_sha256", dataset->tokenizer_sha256},
                                  {"task", dataset->task},
                                  {"readout", fbt_readout_names[dataset->readout]},
                                  {"template", dataset->template_text}};
    add_texts(&t->inputs, texts, sizeof texts / sizeof texts[0]);
}

void fbt_run_header_make(const fbt_experiment *experiment, fbt_run_header_text *text)
{
    const fbt_experiment *e = experiment;
    const fbt_settings *s = &e->settings;
    const fbt_partition *p = &e->partition;
    const fbt_dataset *dataset = &e->inputs->dataset;
    const fbt_model_shape *shape = fbt_model_get_shape(e->inputs->model);
    const fbt_model_options *options = fbt_model_get_options(e->inputs->model);
    *text = (fbt_run_header_text){0};
    fbt_backend_get_info(e->inputs->backend, &text->info);
    list_environment(e, text);
    list_inputs(e, text);
    fbt_settings_list_decides(text->decides);
    text->header =
        (fbt_run_header){.config_given = e->config_given,
                         .config_resolved = e->config_resolved,
                         .config_decides = text->decides,
                         .environment = text->environment.entries,
                         .inputs = text->inputs.entries,
                         .n_clients = s->fed.clients,
                         .n_slots = fbt_settings_participants(s),
                         .dimension = s->cma.dimension,
                         .n_generations = s->fed.local_generations,
                         .value_bytes = fbt_wire_bytes((fbt_wire)s->fed.wire),
                         .n_labels = dataset->n_labels,
                         .label_words = (const char *const *)dataset->label_words,
                         .vocabulary = &dataset->vocabulary,
                         .n_words = options->n_words,
                         .n_prompt_values = {fbt_model_n_prompts(shape, options) * s->prompt.tokens, shape->n_hidden},
                         .client_means = s->run.client_means,
                         .precision_checks = e->checks,
                         .faults = fbt_settings_have_faults(s),
                         .phases = fbt_phase_names,
                         .n_phases = e->checks ? FBT_N_PHASES : FBT_PHASE_CHECK,
                         .sample_offsets = p->sample_offsets,
                         .sample_index = p->sample_index,
                         .dev_index = p->dev_index,
                         .n_dev = p->n_dev,
                         .train_labels = dataset->train.labels};
}
