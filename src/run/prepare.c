/* What a run does before its first round: settings, data, partition, placement, a look at the run file that may be
 * there, and the description of all that. */
#include "run/experiment.h"

#include "base/memory.h"
#include "base/timer.h"
#include "fed/protocol.h"
#include "run/device.h"
#include "run/limits.h"

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

static fbt_status read_settings(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    const fbt_experiment_plan *plan = e->plan;
    char *file_text = NULL;
    FBT_TRY(fbt_settings_defaults(&e->settings));
    if (plan->config_text != NULL) {
        FBT_TRY(fbt_settings_read_text(&e->settings, plan->config_text, plan->config_path));
    } else {
        FBT_TRY(fbt_settings_read_file(&e->settings, plan->config_path, &file_text));
    }
    for (int i = 0; i < plan->n_assignments; i++) {
        FBT_TRY(fbt_settings_set(&e->settings, plan->assignments[i]));
    }
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
    bool in_front = e->inputs->dataset.prompt_mode != FBT_PROMPT_ADD;
    FBT_TRY(fbt_memory_alloc(&e->work, p->n_clients, sizeof *e->work));
    for (int64_t k = 0; k < p->n_clients; k++) {
        for (int64_t i = p->sample_offsets[k]; i < p->sample_offsets[k + 1]; i++) {
            int64_t row = p->sample_index[i];
            e->work[k] += train->offsets[row + 1] - train->offsets[row] + (in_front ? e->settings.prompt.tokens : 0);
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
    if (e->past.last_round == before->fed.rounds && now->fed.rounds > before->fed.rounds &&
        before->fed.rounds % now->eval.every != 0) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "fed.rounds cannot grow from %lld to %lld: %.300s has a score of round %lld, its last, "
                        "which a longer run with eval.every %lld would not have",
                        (long long)before->fed.rounds, (long long)now->fed.rounds, now->run.output,
                        (long long)before->fed.rounds, (long long)now->eval.every);
    }
    return FBT_OK;
}

static fbt_status check_settings(const fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    fbt_settings before = {0};
    FBT_TRY(fbt_settings_defaults(&before));
    FBT_TRY(fbt_settings_read_text(&before, e->past.config_resolved, e->settings.run.output));
    FBT_TRY(fbt_settings_check_same(&e->settings, &before, e->settings.run.output));
    FBT_TRY(check_more_rounds(e, &before));
done:
    fbt_settings_clear(&before);
    return status;
}

/* Rank 0: the run file that is there, if it can be gone on with. */
static fbt_status open_past(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    const fbt_settings *s = &e->settings;
    FBT_TRY(fbt_run_file_open(s->run.output, &e->file, &e->past));
    if (e->file == NULL) {
        return FBT_OK;
    }
    e->resumed = true;
    FBT_TRY(check_settings(e));
    FBT_TRY(fbt_inputs_check_same(e->inputs, s, &e->past, s->run.output,
                                  "to go on with it give the same, to start anew choose another run.output"));
    e->finished = e->past.last_round >= fbt_experiment_last_round(e);
done:
    return status;
}

static fbt_status look_at_output(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    if (e->plan->resume) {
        FBT_TRY(open_past(e));
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

fbt_status fbt_experiment_prepare(fbt_experiment *experiment, const fbt_experiment_plan *plan, fbt_inputs *inputs,
                                  const fbt_comm *comm)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = experiment;
    e->plan = plan;
    e->inputs = inputs;
    e->comm = comm;
    e->start_s = fbt_timer_now_s();
    FBT_TRY(fbt_comm_agree(comm, prepare_by_itself(e)));
    if (fbt_comm_rank(comm) == 0) {
        status = look_at_output(e);
    }
    FBT_TRY(fbt_comm_agree(comm, status));
    int64_t shared[3] = {e->resumed, e->finished, e->past.last_round};
    fbt_comm_broadcast(comm, shared, sizeof shared);
    e->resumed = shared[0] != 0;
    e->finished = shared[1] != 0;
    e->past.last_round = shared[2];
done:
    return status;
}

void fbt_experiment_close(fbt_experiment *experiment)
{
    fbt_run_file_free(experiment->file);
    fbt_run_past_clear(&experiment->past);
    fbt_partition_clear(&experiment->partition);
    fbt_placement_clear(&experiment->placement);
    fbt_settings_clear(&experiment->settings);
    free(experiment->config_given);
    free(experiment->config_resolved);
    free(experiment->work);
    free(experiment->hosts);
    free(experiment->devices);
    *experiment = (fbt_experiment){0};
}

/* A text within a comment of the output: what could end its line becomes '?'. */
static void print_in_comment(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        /* U+0085, U+2028 and U+2029 end a line of YAML 1.1 too */
        bool wide = (c[0] == 0xc2 && c[1] < 0xa0) || (c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9));
        putchar(*c < 0x20 || *c == 0x7f || wide ? '?' : *c);
        c += wide ? (c[0] == 0xc2 ? 1 : 2) : 0;
    }
}

static void describe_clients(const fbt_experiment *e)
{
    const fbt_partition *p = &e->partition;
    const fbt_dataset *dataset = &e->inputs->dataset;
    printf("# clients: samples, of which per label (");
    for (int64_t c = 0; c < dataset->n_labels; c++) {
        printf("%s", c > 0 ? ", " : "");
        print_in_comment(dataset->label_words[c]);
    }
    printf("), ranks\n");
    for (int64_t k = 0; k < p->n_clients; k++) {
        printf("#   client %3lld: %5lld samples (", (long long)k,
               (long long)(p->sample_offsets[k + 1] - p->sample_offsets[k]));
        for (int64_t c = 0; c < p->n_labels; c++) {
            printf("%s%lld", c > 0 ? ", " : "", (long long)p->class_count[k * p->n_labels + c]);
        }
        int owner = e->placement.owner[k];
        int size = e->placement.group_size[owner];
        printf(size > 1 ? "), ranks %d to %d\n" : "), rank %d\n", owner, owner + size - 1);
    }
}

/* What the ranks of this rank's device take of its memory. Collective; printed on rank 0. */
static fbt_status describe_memory(const fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    fbt_model_limits limits;
    fbt_model_plan plan;
    fbt_device_memory m;
    const fbt_inputs *inputs = e->inputs;
    fbt_limits_of_run(&e->settings, &inputs->dataset, &e->partition, &e->placement, fbt_comm_rank(e->comm), &limits);
    FBT_TRY(fbt_comm_agree(e->comm, fbt_inputs_plan_memory(inputs, &e->settings, &limits, &plan)));
    FBT_TRY(fbt_comm_agree(e->comm, fbt_device_sum_memory(inputs->device, inputs->backend, &plan, &m)));
    if (fbt_comm_rank(e->comm) == 0) {
        printf("# memory of rank 0 in %s: %.1f MB of weights, %.1f MB of lookup tables%s, %.1f MB of projection, %d x "
               "%.1f MB for "
               "batches of at most %lld rows\n",
               fbt_precision_name(inputs->backend->precision), 1e-6 * (double)plan.weights, 1e-6 * (double)plan.tables,
               plan.reads_tables_in_file && fbt_comm_size(inputs->device) == 1 ? " (they stay in the file)" : "",
               1e-6 * (double)plan.projection, plan.n_lanes, 1e-6 * (double)plan.workspace, (long long)limits.n_rows);
        const int64_t all = m.constants + m.projection + m.workspace;
        printf("# memory of its device: %.1f MB for %d rank%s, %.1f MB are free here%s\n", 1e-6 * (double)all,
               fbt_comm_size(inputs->device), fbt_comm_size(inputs->device) > 1 ? "s" : "", 1e-6 * (double)m.free,
               all > m.free ? ": too little" : "");
    }
done:
    return status;
}

static fbt_status describe_devices(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_device_list(e->comm, e->inputs->backend, &e->devices));
    for (char *line = e->devices; fbt_comm_rank(e->comm) == 0 && *line != '\0'; line += strspn(line, "\n")) {
        const size_t length = strcspn(line, "\n");
        printf("# %.*s\n", (int)length, line);
        line += length;
    }
done:
    return status;
}

/* Settings that were given, but change nothing. */
static void describe_idle(const fbt_experiment *e)
{
    const fbt_settings *s = &e->settings;
    fbt_settings defaults = {0};
    if (fbt_settings_print_idle(s, stdout) == FBT_OK && fbt_settings_defaults(&defaults) == FBT_OK &&
        e->inputs->dataset.readout != FBT_READOUT_EMBEDDING &&
        s->model.embedding_scale != defaults.model.embedding_scale) {
        printf("# model.embedding_scale: %g has no effect: the data set is not read by embedding\n",
               s->model.embedding_scale);
    }
    fbt_error_clear(); /* a hint that there is no memory for */
    fbt_settings_clear(&defaults);
}

static void describe_run(const fbt_experiment *e)
{
    const fbt_settings *s = &e->settings;
    const fbt_partition *p = &e->partition;
    double tokens = 0;
    double copies = s->perturb.rate > 0 ? 2 : 1;
    int64_t bytes_up, bytes_down;
    fbt_protocol_bytes(s, &bytes_up, &bytes_down);
    for (int64_t k = 0; k < s->fed.clients; k++) {
        tokens += (double)e->work[k];
    }
    tokens *= copies * (double)s->cma.population * (double)s->fed.local_generations;
    printf("# Settings in force; this output is a valid configuration.\n%s", e->config_resolved);
    describe_idle(e);
    printf("# data: ");
    print_in_comment(e->inputs->dataset.task);
    printf(" (");
    print_in_comment(e->inputs->dataset.source);
    printf("): %lld training, %lld dev, %lld test samples\n", (long long)p->sample_offsets[p->n_clients],
           (long long)p->n_dev, (long long)e->inputs->dataset.test.n_samples);
    describe_clients(e);
    printf("# a round: %lld generations of %lld candidates on %lld clients, %.3g tokens through the model at most, "
           "%lld bytes up and %lld down per client\n",
           (long long)s->fed.local_generations, (long long)s->cma.population, (long long)s->fed.clients, tokens,
           (long long)bytes_up, (long long)bytes_down);
    printf("# %lld rounds, run file ", (long long)s->fed.rounds);
    print_in_comment(s->run.output);
    if (e->finished) {
        printf(", which has them all: there is nothing to run");
    } else if (e->resumed) {
        printf(", which goes on after round %lld", (long long)e->past.last_round);
    }
    printf("\n");
}

fbt_status fbt_experiment_describe(fbt_experiment *experiment)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = experiment;
    FBT_TRY(fbt_inputs_open_backend(e->inputs, &e->settings, e->comm));
    if (fbt_comm_rank(e->comm) == 0) {
        describe_run(e);
    }
    FBT_TRY(describe_devices(e));
    FBT_TRY(describe_memory(e));
done:
    return status;
}
