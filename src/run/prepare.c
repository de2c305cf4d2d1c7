/* Preparation of a run: settings, data, partition, placement, a look at the run file that may be
 * there, and what others may know of all that. */
#include "run/experiment_internal.h"

#include "base/memory.h"
#include "base/timer.h"
#include "fed/protocol.h"
#include "run/deep.h"
#include "run/guard.h"
#include "run/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The configuration as given, for the run file: the file's text, then the command line's settings as comments. */
static fbt_status join_given(const char *file_text, const fbt_experiment_plan *plan, char **text)
{
    size_t n_bytes = 0;
    FILE *out = open_memstream(text, &n_bytes);
    if (out == NULL) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: the configuration's text");
    }
    fputs(file_text, out);
    for (int i = 0; i < plan->n_assignments; i++) {
        fprintf(out, "# --set %s\n", plan->assignments[i]);
    }
    fclose(out);
    return FBT_OK;
}

/* The settings as the plan gives them. recorded: those of the run that is gone on with, if they are known. */
static fbt_status read_given(const fbt_experiment_plan *plan, const char *recorded, fbt_settings *settings,
                             char **file_text)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_settings_defaults(settings));
    if (recorded != NULL) {
        FBT_TRY(fbt_settings_defaults_before(settings, recorded, plan->config_path));
    }
    if (plan->rerun_of != NULL) {
        FBT_TRY(fbt_settings_read_recorded(settings, plan->config_text, plan->config_path));
    } else if (plan->config_text != NULL) {
        FBT_TRY(fbt_settings_read_text(settings, plan->config_text, plan->config_path));
    } else {
        FBT_TRY(fbt_settings_read_file(settings, plan->config_path, file_text));
    }
    for (int i = 0; i < plan->n_assignments; i++) {
        FBT_TRY(fbt_settings_set(settings, plan->assignments[i]));
    }
done:
    return status;
}

static fbt_status read_settings(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    const fbt_experiment_plan *plan = e->plan;
    char *file_text = NULL;
    FBT_TRY(read_given(plan, NULL, &e->settings, &file_text));
    FBT_TRY(fbt_settings_check(&e->settings));
    FBT_TRY(fbt_protocol_check(&e->settings));
    FBT_TRY(join_given(file_text != NULL ? file_text : plan->config_text, plan, &e->config_given));
done:
    free(file_text);
    return status;
}

/* Work of each client: the tokens of one pass over its samples. */
static fbt_status count_work(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    const int64_t n_clients = e->partition.n_clients;
    const int64_t n_around = fbt_cost_rows_around(&e->settings, &e->inputs->dataset);
    FBT_TRY(fbt_memory_alloc(&e->work, n_clients, sizeof *e->work));
    for (int64_t k = 0; k < n_clients; k++) {
        fbt_evaluation_size size = {0};
        fbt_cost_add_client(&e->inputs->dataset, &e->partition, k, n_around, &size);
        e->work[k] = size.n_rows;
    }
done:
    return status;
}

/* Checks the settings once more: how many numbers a round searches is known now. */
static fbt_status find_layers(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    fbt_deep_find_layers(&e->settings, &e->inputs->shape);
    FBT_TRY(fbt_settings_check(&e->settings));
    FBT_TRY(fbt_protocol_check(&e->settings));
done:
    return status;
}

/* How often test samples are scored, where that is not given. */
static fbt_status find_test_every(fbt_experiment *e)
{
    fbt_settings *s = &e->settings;
    e->shares = fbt_cost_of_shares(s, &e->inputs->dataset, e->work);
    e->found_test_every = s->eval.test_every == 0;
    if (e->found_test_every) {
        s->eval.test_every = fbt_cost_test_every(s, &e->shares);
    }
    return fbt_settings_print(s, &e->config_resolved);
}

/* Every rank comes to the same result by itself. */
static fbt_status prepare_by_itself(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    FBT_TRY(read_settings(e));
    FBT_TRY(fbt_inputs_open_dataset(e->inputs, &e->settings));
    FBT_TRY(fbt_inputs_check(e->inputs, &e->settings));
    FBT_TRY(find_layers(e));
    FBT_TRY(fbt_inputs_partition(e->inputs, &e->settings, &e->partition));
    FBT_TRY(count_work(e));
    FBT_TRY(find_test_every(e));
    if (fbt_settings_all_take_part(&e->settings)) {
        FBT_TRY(fbt_placement_make(e->settings.fed.clients, e->work, fbt_comm_size(e->comm), &e->placement));
    }
done:
    return status;
}

/* A round that was scored because it was the last makes a row that a longer run would not have. */
static fbt_status check_more_rounds(const fbt_experiment *e, const fbt_settings *before)
{
    const fbt_settings *now = &e->settings;
    const int64_t last = before->fed.rounds;
    if (e->restored.last_round < last || now->fed.rounds == last) {
        return FBT_OK;
    }
    if (!fbt_settings_scores_round(now, last) ||
        (!fbt_settings_scores_test(now, last) && e->restored.best.index != last)) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "fed.rounds cannot grow from %" PRId64 " to %" PRId64 ": %.300s has a score of round %" PRId64
                        ", its last, which a longer run with eval.every %" PRId64 " and eval.test_every %" PRId64
                        " would not have",
                        last, now->fed.rounds, now->run.output, last, now->eval.every, now->eval.test_every);
    }
    return FBT_OK;
}

/* Rank 0: a run that was begun before there was some setting goes on with what it was then, unless that setting is
 * given; with what was found for it when it began, unless another value is given. */
static fbt_status take_earlier(fbt_experiment *e, const fbt_settings *before)
{
    fbt_status status = FBT_OK;
    fbt_settings settings = {0};
    char *file_text = NULL, *resolved = NULL;
    FBT_TRY(read_given(e->plan, e->restored.config_resolved, &settings, &file_text));
    if (settings.eval.test_every == 0) {
        settings.eval.test_every = before->eval.test_every;
    }
    fbt_deep_find_layers(&settings, &e->inputs->shape);
    if (fbt_deep_needs_stds(&settings)) {
        FBT_TRY(fbt_memory_replace_text(&settings.prompt.hidden_std, before->prompt.hidden_std));
    }
    FBT_TRY(fbt_settings_print(&settings, &resolved));
    free(e->config_resolved);
    e->config_resolved = resolved;
    const fbt_settings old = e->settings;
    e->settings = settings;
    settings = old;
    e->found_test_every = false;
done:
    fbt_settings_clear(&settings);
    free(file_text);
    return status;
}

/* Rank 0: the run file that is there, if it can be gone on with. */
static fbt_status open_restored(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    const fbt_settings *s = &e->settings;
    fbt_settings before = {0};
    FBT_TRY(fbt_run_file_open(s->run.output, &e->file, &e->restored));
    if (e->file == NULL) {
        return FBT_OK;
    }
    e->resumed = true;
    FBT_TRY(fbt_settings_defaults(&before));
    FBT_TRY(fbt_settings_read_recorded(&before, e->restored.config_resolved, s->run.output));
    FBT_TRY(take_earlier(e, &before));
    FBT_TRY(fbt_settings_check_same(s, &before, s->run.output));
    FBT_TRY(check_more_rounds(e, &before));
    FBT_TRY(fbt_inputs_check_same(e->inputs, s, &e->restored, s->run.output,
                                  "to go on with it give the same, to start anew choose another run.output"));
    e->finished = e->restored.last_round >= fbt_experiment_last_round(e);
done:
    fbt_settings_clear(&before);
    return status;
}

static fbt_status look_at_output(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    if (e->plan->resume) {
        FBT_TRY(open_restored(e));
    }
    if (!e->resumed) {
        FBT_TRY(fbt_run_file_check(e->settings.run.output, e->settings.run.overwrite));
    }
done:
    return status;
}

int64_t fbt_experiment_last_round(const fbt_experiment *experiment)
{
    const int64_t n_rows = experiment->plan->n_rows, n_rounds = experiment->settings.fed.rounds;
    return n_rows > 0 && n_rows - 1 < n_rounds ? n_rows - 1 : n_rounds;
}

const char *fbt_experiment_label(const fbt_experiment *experiment)
{
    return experiment->plan->label == NULL ? "run" : experiment->plan->label;
}

/* Rank 0's settings on every rank. Collective. */
static fbt_status share_settings(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_comm_broadcast_text(e->comm, &e->config_resolved));
    if (fbt_comm_rank(e->comm) != 0) {
        status = fbt_settings_read_text(&e->settings, e->config_resolved, e->plan->config_path);
    }
    FBT_TRY(fbt_comm_agree(e->comm, status));
done:
    return status;
}

/* Rank 0's look at the run file, and what all ranks need of it. Collective. */
static fbt_status share_restored(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    if (fbt_comm_rank(e->comm) == 0) {
        status = look_at_output(e);
    }
    FBT_TRY(fbt_comm_agree(e->comm, status));
    int64_t shared[] = {e->resumed, e->finished, e->restored.last_round, e->restored.fell_back};
    fbt_comm_broadcast(e->comm, shared, sizeof shared);
    e->resumed = shared[0] != 0;
    e->finished = shared[1] != 0;
    e->restored.last_round = shared[2];
    e->restored.fell_back = shared[3] != 0;
    if (e->resumed) {
        FBT_TRY(share_settings(e));
    }
done:
    return status;
}

fbt_status fbt_experiment_open(const fbt_experiment_plan *plan, fbt_inputs *inputs, const fbt_comm *comm,
                               fbt_experiment **experiment)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = NULL;
    *experiment = NULL;
    FBT_TRY(fbt_comm_agree(comm, fbt_memory_alloc(&e, 1, sizeof *e)));
    *e = (fbt_experiment){.plan = plan, .inputs = inputs, .comm = comm, .start_s = fbt_timer_now_s()};
    FBT_TRY(fbt_comm_agree(comm, prepare_by_itself(e)));
    FBT_TRY(share_restored(e));
    *experiment = e;
    e = NULL;
done:
    fbt_experiment_close(e);
    return status;
}

void fbt_experiment_close(fbt_experiment *experiment)
{
    if (experiment == NULL) {
        return;
    }
    fbt_run_file_free(experiment->file);
    fbt_run_restored_clear(&experiment->restored);
    fbt_partition_clear(&experiment->partition);
    fbt_placement_clear(&experiment->placement);
    fbt_settings_clear(&experiment->settings);
    free(experiment->config_given);
    free(experiment->config_resolved);
    free(experiment->work);
    free(experiment->hosts);
    free(experiment->devices);
    free(experiment);
}

fbt_status fbt_experiment_count_tokens(const fbt_experiment *experiment, fbt_cost *cost)
{
    const fbt_experiment *e = experiment;
    return fbt_cost_of_run(&e->settings, &e->inputs->dataset, &e->partition, e->work, e->checks, cost);
}

void fbt_experiment_look(const fbt_experiment *experiment, fbt_experiment_view *view)
{
    *view = (fbt_experiment_view){.settings = &experiment->settings,
                                  .config_resolved = experiment->config_resolved,
                                  .dataset = &experiment->inputs->dataset,
                                  .n_prompts =
                                      fbt_deep_is_on(&experiment->settings) ? experiment->inputs->shape.n_layers : 1,
                                  .partition = &experiment->partition,
                                  .placement = &experiment->placement,
                                  .work = experiment->work,
                                  .resumed = experiment->resumed,
                                  .finished = experiment->finished,
                                  .past_round = experiment->restored.last_round};
}

/* `auto` may come to another precision on another rank: all check where one does. */
fbt_status fbt_experiment_need_backend(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    const fbt_settings settings = fbt_guard_settings(e, e->restored.fell_back);
    if (e->inputs->backend == NULL) {
        FBT_TRY(fbt_inputs_open_backend(e->inputs, &settings, e->comm));
    }
    const char *precision = fbt_backend_types(e->inputs->backend)->name;
    const bool is_low = strcmp(precision, fbt_precision_names[FBT_PRECISION_FP32]) != 0 || e->restored.fell_back;
    double checks = is_low && settings.backend.precision_check_every > 0;
    fbt_comm_max(e->comm, &checks, 1);
    e->checks = checks > 0;
done:
    return status;
}

/* Collective. */
static fbt_status plan_checks(fbt_experiment *e, fbt_experiment_memory *memory)
{
    fbt_status status = FBT_OK;
    fbt_inputs reference;
    fbt_model_limits limits;
    const fbt_settings settings = fbt_guard_reference_settings(e);
    fbt_inputs_borrow(&reference, e->inputs);
    fbt_limits_of_checks(&settings, &e->inputs->dataset, &e->partition, &limits);
    FBT_TRY(fbt_inputs_open_backend(&reference, &settings, e->comm));
    FBT_TRY(fbt_comm_agree(e->comm, fbt_inputs_plan_memory(&reference, &settings, &limits, &memory->check_plan)));
    status = fbt_device_sum_memory(reference.device, reference.backend, &memory->check_plan, &memory->check_device);
    FBT_TRY(fbt_comm_agree(e->comm, status));
done:
    fbt_inputs_close(&reference);
    return status;
}

fbt_status fbt_experiment_plan_memory(fbt_experiment *experiment, fbt_experiment_memory *memory)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = experiment;
    fbt_inputs *inputs = e->inputs;
    fbt_model_limits limits;
    *memory = (fbt_experiment_memory){0};
    FBT_TRY(fbt_experiment_need_backend(e));
    fbt_limits_of_run(&e->settings, &inputs->dataset, &e->partition, &e->placement, fbt_comm_size(e->comm),
                      fbt_comm_rank(e->comm), &limits);
    FBT_TRY(fbt_comm_agree(e->comm, fbt_inputs_plan_memory(inputs, &e->settings, &limits, &memory->plan)));
    status = fbt_device_sum_memory(inputs->device, inputs->backend, &memory->plan, &memory->device);
    FBT_TRY(fbt_comm_agree(e->comm, status));
    memory->n_rows = limits.n_rows;
    memory->n_ranks = fbt_comm_size(inputs->device);
    memory->precision = fbt_backend_types(inputs->backend)->name;
    memory->checks = fbt_guard_needs_reference(e);
    if (memory->checks) {
        FBT_TRY(plan_checks(e, memory));
    }
done:
    return status;
}

fbt_status fbt_experiment_find_devices(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_experiment_need_backend(e));
    if (e->devices == NULL) {
        FBT_TRY(fbt_device_list(e->comm, e->inputs->backend, &e->devices));
    }
done:
    return status;
}

fbt_status fbt_experiment_list_devices(fbt_experiment *experiment, const char **text)
{
    fbt_status status = fbt_experiment_find_devices(experiment);
    *text = experiment->devices;
    return status;
}
