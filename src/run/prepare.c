/* What a run does before its first round: settings, data, partition, placement, a look at the run file that may be
 * there, and what others may know of all that. */
#include "run/experiment_internal.h"

#include "base/memory.h"
#include "base/prompt_mode.h"
#include "base/timer.h"
#include "fed/protocol.h"
#include "run/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

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
    FBT_TRY(fbt_settings_print(&e->settings, &e->config_resolved));
done:
    free(file_text);
    return status;
}

/* Work of a client: the tokens of its samples, prompt rows included. */
static fbt_status estimate_work(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    const fbt_split *train = &e->inputs->dataset.train;
    const fbt_partition *p = &e->partition;
    const int64_t in_front = fbt_prompt_rows_in_front(e->inputs->dataset.prompt_mode, e->settings.prompt.tokens);
    FBT_TRY(fbt_memory_alloc(&e->work, p->n_clients, sizeof *e->work));
    for (int64_t k = 0; k < p->n_clients; k++) {
        for (int64_t i = p->sample_offsets[k]; i < p->sample_offsets[k + 1]; i++) {
            int64_t row = p->sample_index[i];
            e->work[k] += train->offsets[row + 1] - train->offsets[row] + in_front;
        }
    }
done:
    return status;
}

/* Every rank comes to the same result by itself. */
static fbt_status prepare_by_itself(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    FBT_TRY(read_settings(e));
    FBT_TRY(fbt_inputs_open_dataset(e->inputs, &e->settings));
    FBT_TRY(fbt_inputs_check(e->inputs, &e->settings));
    FBT_TRY(fbt_inputs_partition(e->inputs, &e->settings, &e->partition));
    FBT_TRY(estimate_work(e));
    FBT_TRY(fbt_placement_make(e->settings.fed.clients, e->work, fbt_comm_size(e->comm), &e->placement));
done:
    return status;
}

/* A round that was scored because it was the last makes a row that a longer run would not have. */
static fbt_status check_more_rounds(const fbt_experiment *e, const fbt_settings *before)
{
    const fbt_settings *now = &e->settings;
    if (e->restored.last_round == before->fed.rounds && now->fed.rounds > before->fed.rounds &&
        before->fed.rounds % now->eval.every != 0) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "fed.rounds cannot grow from %" PRId64 " to %" PRId64 ": %.300s has a score of round %" PRId64
                        ", its last, "
                        "which a longer run with eval.every %" PRId64 " would not have",
                        before->fed.rounds, now->fed.rounds, now->run.output, before->fed.rounds, now->eval.every);
    }
    return FBT_OK;
}

static fbt_status check_settings(const fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    fbt_settings before = {0};
    FBT_TRY(fbt_settings_defaults(&before));
    FBT_TRY(fbt_settings_read_recorded(&before, e->restored.config_resolved, e->settings.run.output));
    FBT_TRY(fbt_settings_check_same(&e->settings, &before, e->settings.run.output));
    FBT_TRY(check_more_rounds(e, &before));
done:
    fbt_settings_clear(&before);
    return status;
}

/* Rank 0: a run that was begun before there was some setting goes on with what it was then, unless that setting is
 * given. */
static fbt_status take_earlier_defaults(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    fbt_settings settings = {0};
    char *file_text = NULL, *resolved = NULL;
    FBT_TRY(read_given(e->plan, e->restored.config_resolved, &settings, &file_text));
    FBT_TRY(fbt_settings_print(&settings, &resolved));
    free(e->config_resolved);
    e->config_resolved = resolved;
    const fbt_settings old = e->settings;
    e->settings = settings;
    settings = old;
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
    FBT_TRY(fbt_run_file_open(s->run.output, &e->file, &e->restored));
    if (e->file == NULL) {
        return FBT_OK;
    }
    e->resumed = true;
    FBT_TRY(take_earlier_defaults(e));
    FBT_TRY(check_settings(e));
    FBT_TRY(fbt_inputs_check_same(e->inputs, s, &e->restored, s->run.output,
                                  "to go on with it give the same, to start anew choose another run.output"));
    e->finished = e->restored.last_round >= fbt_experiment_last_round(e);
done:
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
    int64_t shared[3] = {e->resumed, e->finished, e->restored.last_round};
    fbt_comm_broadcast(e->comm, shared, sizeof shared);
    e->resumed = shared[0] != 0;
    e->finished = shared[1] != 0;
    e->restored.last_round = shared[2];
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

void fbt_experiment_look(const fbt_experiment *experiment, fbt_experiment_view *view)
{
    *view = (fbt_experiment_view){.settings = &experiment->settings,
                                  .config_resolved = experiment->config_resolved,
                                  .dataset = &experiment->inputs->dataset,
                                  .partition = &experiment->partition,
                                  .placement = &experiment->placement,
                                  .work = experiment->work,
                                  .resumed = experiment->resumed,
                                  .finished = experiment->finished,
                                  .past_round = experiment->restored.last_round};
}

/* Collective. */
static fbt_status need_backend(fbt_experiment *e)
{
    return e->inputs->backend == NULL ? fbt_inputs_open_backend(e->inputs, &e->settings, e->comm) : FBT_OK;
}

fbt_status fbt_experiment_plan_memory(fbt_experiment *experiment, fbt_experiment_memory *memory)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = experiment;
    fbt_inputs *inputs = e->inputs;
    fbt_model_limits limits;
    FBT_TRY(need_backend(e));
    fbt_limits_of_run(&e->settings, &inputs->dataset, &e->partition, &e->placement, fbt_comm_rank(e->comm), &limits);
    FBT_TRY(fbt_comm_agree(e->comm, fbt_inputs_plan_memory(inputs, &e->settings, &limits, &memory->plan)));
    status = fbt_device_sum_memory(inputs->device, inputs->backend, &memory->plan, &memory->device);
    FBT_TRY(fbt_comm_agree(e->comm, status));
    memory->n_rows = limits.n_rows;
    memory->n_ranks = fbt_comm_size(inputs->device);
    memory->precision = fbt_backend_types(inputs->backend)->name;
done:
    return status;
}

fbt_status fbt_experiment_list_devices(fbt_experiment *experiment, const char **text)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = experiment;
    FBT_TRY(need_backend(e));
    if (e->devices == NULL) {
        FBT_TRY(fbt_device_list(e->comm, e->inputs->backend, &e->devices));
    }
    *text = e->devices;
done:
    return status;
}
