#include "cli/dry_run.h"

#include "base/memory.h"
#include "data/client_spread.h"
#include "fed/protocol.h"
#include "run/labels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of UTF-8 text within a comment of the output: what could end its line becomes '?'. */
static void print_bytes_in_comment(const char *text, size_t n)
{
    const unsigned char *c = (const unsigned char *)text, *end = c + n;
    for (; c < end; c++) {
        /* U+0085, U+2028 and U+2029 end a line of YAML 1.1 too */
        bool wide = (c[0] == 0xc2 && c[1] < 0xa0) || (c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9));
        putchar(*c < 0x20 || *c == 0x7f || wide ? '?' : *c);
        c += wide ? (c[0] == 0xc2 ? 1 : 2) : 0;
    }
}

static void print_in_comment(const char *text)
{
    print_bytes_in_comment(text, strlen(text));
}

/* Name of a client of the data set. */
static void print_client_name(const fbt_dataset *dataset, int64_t k)
{
    const int64_t first = dataset->client_offsets[k], end = dataset->client_offsets[k + 1];
    printf(", ");
    print_bytes_in_comment((const char *)dataset->client_names + first, (size_t)(end - first));
}

static fbt_status describe_client(const fbt_experiment_view *v, int64_t k)
{
    fbt_status status = FBT_OK;
    const fbt_partition *p = v->partition;
    int64_t *counts = NULL;
    FBT_TRY(fbt_memory_alloc(&counts, p->n_labels, sizeof *counts));
    fbt_partition_count_classes(p, v->dataset->train.labels, k, 1, counts);
    printf("#   client %3lld: %5lld samples (", (long long)k,
           (long long)(p->sample_offsets[k + 1] - p->sample_offsets[k]));
    for (int64_t c = 0; c < p->n_labels; c++) {
        printf("%s%lld", c > 0 ? ", " : "", (long long)counts[c]);
    }
    printf(")");
    if (v->placement->owner != NULL) {
        const int owner = v->placement->owner[k], size = v->placement->group_size[owner];
        printf(size > 1 ? ", ranks %d to %d" : ", rank %d", owner, owner + size - 1);
    }
    if (v->settings->fed.partition == FBT_PARTITION_NATURAL) {
        print_client_name(v->dataset, k);
    }
    printf("\n");
done:
    free(counts);
    return status;
}

/* Of all clients, in a line. */
static fbt_status describe_spread(const fbt_experiment_view *v)
{
    fbt_status status = FBT_OK;
    const fbt_partition *p = v->partition;
    int64_t *counts = NULL, *samples = NULL, *classes = NULL;
    char text[256];
    FBT_TRY(fbt_memory_alloc(&counts, p->n_labels, sizeof *counts));
    FBT_TRY(fbt_memory_alloc(&samples, p->n_clients, sizeof *samples));
    FBT_TRY(fbt_memory_alloc(&classes, p->n_clients, sizeof *classes));
    for (int64_t k = 0; k < p->n_clients; k++) {
        fbt_partition_count_classes(p, v->dataset->train.labels, k, 1, counts);
        samples[k] = p->sample_offsets[k + 1] - p->sample_offsets[k];
        classes[k] = fbt_client_spread_classes(counts, p->n_labels);
    }
    fbt_client_spread_describe(samples, classes, p->n_clients, p->n_labels, text, sizeof text);
    printf("# %s\n", text);
done:
    free(counts);
    free(samples);
    free(classes);
    return status;
}

/* The first of them, where there are very many. */
static fbt_status describe_clients(const fbt_experiment_view *v)
{
    enum { CLIENTS_MAX = 1000 };
    fbt_status status = FBT_OK;
    const fbt_partition *p = v->partition;
    const fbt_dataset *dataset = v->dataset;
    printf("# clients: samples, of which per label (");
    for (int64_t c = 0; c < dataset->n_labels; c++) {
        printf("%s", c > 0 ? ", " : "");
        print_in_comment(dataset->label_words[c]);
    }
    printf(v->placement->owner != NULL ? "), ranks\n" : "); participants of a round are dealt out over the ranks\n");
    for (int64_t k = 0; k < p->n_clients && k < CLIENTS_MAX; k++) {
        FBT_TRY(describe_client(v, k));
    }
    if (p->n_clients > CLIENTS_MAX) {
        printf("#   and %lld clients more, of %lld samples in all\n", (long long)(p->n_clients - CLIENTS_MAX),
               (long long)(p->sample_offsets[p->n_clients] - p->sample_offsets[CLIENTS_MAX]));
    }
done:
    return status;
}

static void describe_memory(const fbt_experiment_memory *m)
{
    const fbt_model_plan *plan = &m->plan;
    const char *plural = m->n_ranks > 1 ? "s" : "";
    const fbt_device_memory *check = &m->check_device;
    const int64_t all = m->device.constants + m->device.projection + m->device.workspace + check->constants +
                        check->projection + check->workspace;
    printf("# memory of rank 0 in %s: %.1f MB of weights, %.1f MB of lookup tables%s, %.1f MB of projection, %d x "
           "%.1f MB for batches of at most %lld rows\n",
           m->precision, 1e-6 * (double)plan->weights, 1e-6 * (double)plan->tables,
           plan->reads_tables_in_file && m->n_ranks == 1 ? " (they stay in the file)" : "",
           1e-6 * (double)plan->projection, plan->n_streams, 1e-6 * (double)plan->workspace, (long long)m->n_rows);
    if (m->checks) {
        plan = &m->check_plan;
        printf(
            "# memory of rank 0 for precision checks in fp32: %.1f MB of weights, %.1f MB of lookup tables, %.1f MB of "
            "projection, %d x %.1f MB for batches\n",
            1e-6 * (double)plan->weights, 1e-6 * (double)plan->tables, 1e-6 * (double)plan->projection, plan->n_streams,
            1e-6 * (double)plan->workspace);
    }
    printf("# memory of its device: %.1f MB for %d rank%s, %.1f MB are free here%s\n", 1e-6 * (double)all, m->n_ranks,
           plural, 1e-6 * (double)m->device.free, all > m->device.free ? ": too little" : "");
}

static void describe_devices(const char *devices)
{
    for (const char *line = devices; *line != '\0'; line += strspn(line, "\n")) {
        const size_t length = strcspn(line, "\n");
        printf("# %.*s\n", (int)length, line);
        line += length;
    }
}

/* Settings that were given, but change nothing. */
static void describe_idle(const fbt_experiment_view *v)
{
    const fbt_settings *s = v->settings;
    fbt_settings defaults = {0};
    if (fbt_settings_print_idle(s, stdout) == FBT_OK && fbt_settings_defaults(&defaults) == FBT_OK &&
        v->dataset->readout != FBT_READOUT_EMBEDDING && s->model.embedding_scale != defaults.model.embedding_scale) {
        printf("# model.embedding_scale: %g has no effect: the data set is not read by embedding\n",
               s->model.embedding_scale);
    }
    if (fbt_labels_scoring_is_idle(v->dataset, s)) {
        printf("# model.label_scoring: %s has no effect: no label word is several tokens\n",
               fbt_label_scoring_names[s->model.label_scoring]);
    }
    fbt_error_clear(); /* a hint that there is no memory for */
    fbt_settings_clear(&defaults);
}

/* Who reports, in a run that simulates it. */
static void describe_reports(const fbt_settings *s, const fbt_cost *cost)
{
    const double n_rounds = (double)s->fed.rounds;
    if (!fbt_settings_have_faults(s)) {
        return;
    }
    printf(
        "# simulated clients: on average %.1f of %lld chosen ones report in a round, %lld of %lld rounds are abandoned",
        (double)cost->n_reported / n_rounds, (long long)fbt_settings_chosen(s), (long long)cost->n_abandoned,
        (long long)s->fed.rounds);
    if (!isnan(cost->simulated_s)) {
        printf(", a round takes %.1f s, all rounds %.0f s", cost->simulated_s / n_rounds, cost->simulated_s);
    }
    printf("\n");
}

static fbt_status describe_run(const fbt_experiment_view *v, const fbt_cost *cost)
{
    fbt_status status = FBT_OK;
    const fbt_settings *s = v->settings;
    const fbt_partition *p = v->partition;
    int64_t bytes_up, bytes_down;
    char test[FBT_COST_TEXT_BYTES];
    fbt_protocol_bytes(s, &bytes_up, &bytes_down);
    printf("# Settings in force; this output is a valid configuration.\n%s", v->config_resolved);
    describe_idle(v);
    printf("# data: ");
    print_in_comment(v->dataset->task);
    printf(" (");
    print_in_comment(v->dataset->source);
    printf("): %lld training, %lld dev, %lld test samples\n", (long long)p->sample_offsets[p->n_clients],
           (long long)p->n_dev, (long long)v->dataset->test.n_samples);
    FBT_TRY(describe_spread(v));
    FBT_TRY(describe_clients(v));
    if (v->n_prompts > 1) {
        printf("# prompts: one of %lld vectors at the input of each of %lld layers, of %lld dimensions each%s\n",
               (long long)s->prompt.tokens, (long long)v->n_prompts, (long long)(s->cma.dimension / v->n_prompts),
               fbt_settings_alternates(s) ? ", searched in turn, one in a round" : "");
    }
    printf("# a round: %lld generations of %lld candidates on %lld of %lld clients, %lld bytes up and %lld down for "
           "each\n",
           (long long)s->fed.local_generations, (long long)s->cma.population, (long long)fbt_settings_participants(s),
           (long long)s->fed.clients, (long long)bytes_up, (long long)bytes_down);
    describe_reports(s, cost);
    printf("# tokens through the model: %lld in the largest round, %lld to score one, %lld in all rounds",
           (long long)cost->largest_round, (long long)cost->scores, (long long)cost->all);
    if (cost->checks > 0) {
        printf(", of which %lld check the precision", (long long)cost->checks);
    }
    if (cost->most_for_best > 0) {
        printf(", at most %lld more for test samples where dev samples are best so far",
               (long long)cost->most_for_best);
    }
    fbt_cost_describe_test(s, &cost->shares, test);
    printf("\n# %s\n", test);
    printf("# %lld rounds, run file ", (long long)s->fed.rounds);
    print_in_comment(s->run.output);
    if (v->finished) {
        printf(", which has them all: there is nothing to run");
    } else if (v->resumed) {
        printf(", which goes on after round %lld", (long long)v->past_round);
    }
    printf("\n");
done:
    return status;
}

fbt_status fbt_cli_describe(fbt_experiment *experiment, const fbt_comm *comm)
{
    fbt_status status = FBT_OK;
    fbt_experiment_view view;
    fbt_experiment_memory memory;
    fbt_cost cost;
    const char *devices;
    FBT_TRY(fbt_experiment_list_devices(experiment, &devices));
    FBT_TRY(fbt_experiment_plan_memory(experiment, &memory));
    FBT_TRY(fbt_comm_agree(comm, fbt_experiment_count_tokens(experiment, &cost)));
    if (fbt_comm_rank(comm) == 0) {
        fbt_experiment_look(experiment, &view);
        FBT_TRY(describe_run(&view, &cost));
        describe_devices(devices);
        describe_memory(&memory);
    }
done:
    return status;
}
