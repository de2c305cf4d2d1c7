/* fedbpt evaluate */
#include "base/log.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/console.h"
#include "comm/comm.h"
#include "config/settings.h"
#include "data/partition.h"
#include "fed/evaluator.h"
#include "fed/metrics.h"
#include "record/output_file.h"
#include "record/run_reader.h"
#include "run/inputs.h"
#include "run/limits.h"

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    char *model;
    char *data;
    const char *split;
    const char *run;
    const char *round;
    const char *logits;
    fbt_cli_assignments assignments;
    bool overwrite;
    bool json;
} arguments;

static const struct argp_option options[] = {
    {"model", 'm', "FOLDER", 0, "the model; default: the run's", 0},
    {"data", 'd', "FILE", 0, "the data set file; default: the run's", 0},
    {"split", 'p', "NAME", 0,
     "train, dev or test (default); of a run without --data: the samples that the run itself scored", 0},
    {"run", 'r', "RUN.h5", 0, "score a prompt of this run; default: none (z = 0)", 0},
    {"round", 'n', "N|best|last", 0, "which round of the run (default: best, chosen on its dev samples)", 0},
    {"logits", 'l', "OUT.h5", 0, "write logits [n, n_labels], predictions and labels [n] to this file", 0},
    {"json", 'j', NULL, 0, "print one JSON object, with all digits", 0},
    {"overwrite", 'f', NULL, 0, "replace an existing --logits file", 0},
    {"set", 's', "SECTION.KEY=VALUE", 0, "change one setting, such as backend.precision; may be repeated", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 'm':
        a->model = value;
        return 0;
    case 'd':
        a->data = value;
        return 0;
    case 'p':
        a->split = value;
        return 0;
    case 'r':
        a->run = value;
        return 0;
    case 'n':
        a->round = value;
        return 0;
    case 'l':
        a->logits = value;
        return 0;
    case 'j':
        a->json = true;
        return 0;
    case 'f':
        a->overwrite = true;
        return 0;
    case 's':
        fbt_cli_assign(&a->assignments, value, state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected; a run file goes behind --run", value);
        return 0;
    case ARGP_KEY_END:
        if (a->run == NULL && (a->model == NULL || a->data == NULL)) {
            argp_error(state, "name --run, or --model and --data");
        }
        if (a->run == NULL && a->round != NULL) {
            argp_error(state, "--round needs --run");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .doc = "Scores a prompt that a run found, or none, on a labelled split: loss, accuracy, F1."
           "\vExamples:\n"
           "  fedbpt evaluate --run runs/quickstart.h5\n"
           "  fedbpt evaluate --run runs/quickstart.h5 --round last --split dev\n"
           "  fedbpt evaluate --model models/minilm --data datasets/bbc.h5 --logits s.h5\n\n"
           "Without a run, z = 0: the untuned model. 'data.test_limit' of the run counts here too; --set "
           "data.test_limit=0 scores "
           "all test samples.",
};

/* What is evaluated. */
typedef struct job {
    fbt_settings settings;
    fbt_inputs inputs;
    double *z; /* [d] */
    int64_t d;
    int64_t round; /* of the run; -1: none */
    const char *split_name;
    const fbt_split *split;
    fbt_partition partition; /* of the run, when its own samples are scored */
    int64_t n;               /* samples that are scored */
    fbt_item *items;         /* [n] */
    int32_t *labels;         /* [n] */
    double *losses, *predictions, *logits;
} job;

static fbt_status replace(char **text, const char *value)
{
    if (value == NULL) {
        return FBT_OK;
    }
    free(*text);
    return fbt_memory_strdup(text, value);
}

/* A recorded prompt is z under the run's own projection: what makes that projection cannot be changed. */
static fbt_status check_assignment(const char *assignment)
{
    static const char *const changeable[] = {"model.", "data.", "objective.", "backend."};
    for (size_t i = 0; i < sizeof changeable / sizeof changeable[0]; i++) {
        if (strncmp(assignment, changeable[i], strlen(changeable[i])) == 0) {
            return FBT_OK;
        }
    }
    return fbt_fail(FBT_ERR_USAGE,
                    "--set %.100s: with --run only model., data., objective. and backend. settings can be changed; "
                    "the others belong to the recorded prompt",
                    assignment);
}

/* A run's settings and z, then what the command line changes. */
static fbt_status read_settings(job *j, const arguments *a)
{
    fbt_status status = FBT_OK;
    char *config = NULL;
    j->round = -1;
    FBT_TRY(fbt_settings_defaults(&j->settings));
    if (a->run != NULL) {
        FBT_TRY(fbt_run_reader_load_z(a->run, a->round == NULL ? "best" : a->round, &config, &j->z, &j->d, &j->round));
        FBT_TRY(fbt_settings_read_recorded(&j->settings, config, a->run));
    }
    FBT_TRY(replace(&j->settings.model.path, a->model));
    FBT_TRY(replace(&j->settings.data.path, a->data));
    for (int i = 0; i < a->assignments.n; i++) {
        if (a->run != NULL) {
            FBT_TRY(check_assignment(a->assignments.items[i]));
        }
        FBT_TRY(fbt_settings_set(&j->settings, a->assignments.items[i]));
    }
    FBT_TRY(fbt_settings_check(&j->settings));
    if (a->run != NULL && j->d != j->settings.cma.dimension) {
        FBT_FAIL(FBT_ERR_DATA, "%s: its z has %lld entries, its setting cma.dimension is %lld; the file is damaged",
                 a->run, (long long)j->d, (long long)j->settings.cma.dimension);
    }
done:
    free(config);
    return status;
}

/* Without a run: z = 0 under the data set's own prompt mode and length. */
static fbt_status use_no_prompt(job *j)
{
    j->settings.prompt.mode = (int)j->inputs.dataset.prompt_mode;
    j->settings.prompt.tokens = j->inputs.dataset.n_prompt_tokens;
    j->d = j->settings.cma.dimension;
    return fbt_memory_alloc(&j->z, j->d, sizeof *j->z);
}

static fbt_status find_split(job *j, const char *name)
{
    const fbt_dataset *dataset = &j->inputs.dataset;
    const struct {
        const char *name;
        const fbt_split *split;
    } splits[] = {{"train", &dataset->train}, {"dev", &dataset->dev}, {"test", &dataset->test}};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, splits[i].name) == 0) {
            j->split = splits[i].split;
        }
    }
    if (j->split->n_samples == 0) {
        return fbt_fail(FBT_ERR_DATA, "%s has no %s split", j->settings.data.path, name);
    }
    return FBT_OK;
}

/* Which rows of the split: *rows is NULL when they are simply the first j->n. */
static fbt_status choose_rows(job *j, const arguments *a, const int64_t **rows)
{
    fbt_status status = FBT_OK;
    int64_t limit = j->settings.data.test_limit;
    bool is_test = strcmp(j->split_name, "test") == 0;
    *rows = NULL;
    if (is_test || a->run == NULL || a->data != NULL) {
        FBT_TRY(find_split(j, j->split_name));
        j->n = is_test && limit > 0 && limit < j->split->n_samples ? limit : j->split->n_samples;
        goto done;
    }
    const fbt_partition *p = &j->partition;
    FBT_TRY(fbt_inputs_partition(&j->inputs, &j->settings, &j->partition));
    bool is_dev = strcmp(j->split_name, "dev") == 0;
    j->split = is_dev ? p->dev_split : &j->inputs.dataset.train;
    j->n = is_dev ? p->n_dev : p->sample_offsets[p->n_clients];
    *rows = is_dev ? p->dev_index : p->sample_index;
    if (j->n == 0) {
        FBT_FAIL(FBT_ERR_DATA, "%s has no %s samples", a->run, j->split_name);
    }
done:
    return status;
}

static fbt_status list_items(job *j, const int64_t *rows)
{
    fbt_status status = FBT_OK;
    const fbt_split *split = j->split;
    FBT_TRY(fbt_memory_alloc(&j->items, j->n, sizeof *j->items));
    FBT_TRY(fbt_memory_alloc(&j->labels, j->n, sizeof *j->labels));
    FBT_TRY(fbt_memory_alloc(&j->losses, j->n, sizeof *j->losses));
    FBT_TRY(fbt_memory_alloc(&j->predictions, j->n, sizeof *j->predictions));
    FBT_TRY(fbt_memory_alloc(&j->logits, j->n * j->inputs.dataset.n_labels, sizeof *j->logits));
    for (int64_t i = 0; i < j->n; i++) {
        int64_t row = rows == NULL ? i : rows[i];
        j->labels[i] = split->labels[row];
        j->items[i] = fbt_item_of(split, row);
    }
done:
    return status;
}

/* Rank 0: finds out before the work whether its result can be written. */
static fbt_status check_logits(const arguments *a, const fbt_comm *world)
{
    fbt_output_file *file = NULL;
    if (a->logits == NULL || fbt_comm_rank(world) != 0) {
        return FBT_OK;
    }
    fbt_status status = fbt_output_file_open(a->logits, a->overwrite, &file);
    fbt_output_file_close(file);
    return status;
}

static fbt_status open_job(job *j, const arguments *a, const fbt_comm *world)
{
    fbt_status status = FBT_OK;
    const int64_t *rows;
    j->split_name = a->split == NULL ? "test" : a->split;
    if (strcmp(j->split_name, "train") != 0 && strcmp(j->split_name, "dev") != 0 &&
        strcmp(j->split_name, "test") != 0) {
        FBT_FAIL(FBT_ERR_USAGE, "--split is '%s'; it must be train, dev or test", j->split_name);
    }
    FBT_TRY(read_settings(j, a));
    FBT_TRY(check_logits(a, world));
    FBT_TRY(fbt_inputs_open_dataset(&j->inputs, &j->settings));
    if (a->run == NULL) {
        FBT_TRY(use_no_prompt(j));
    }
    FBT_TRY(fbt_inputs_check(&j->inputs, &j->settings));
    FBT_TRY(choose_rows(j, a, &rows));
    FBT_TRY(list_items(j, rows));
done:
    return status;
}

static fbt_status write_logits(const job *j, const arguments *a)
{
    fbt_status status = FBT_OK;
    int64_t n = j->n;
    int64_t n_labels = j->inputs.dataset.n_labels;
    float *logits = NULL;
    int32_t *predictions = NULL;
    FBT_TRY(fbt_memory_alloc(&logits, n * n_labels, sizeof *logits));
    FBT_TRY(fbt_memory_alloc(&predictions, n, sizeof *predictions));
    for (int64_t i = 0; i < n * n_labels; i++) {
        logits[i] = (float)j->logits[i];
    }
    for (int64_t i = 0; i < n; i++) {
        predictions[i] = (int32_t)j->predictions[i];
    }
    FBT_TRY(
        fbt_scores_write(a->logits, a->overwrite, logits, predictions, j->labels, n, n_labels, j->settings.data.path));
done:
    free(logits);
    free(predictions);
    return status;
}

static void print_json(const job *j, const arguments *a, const fbt_metrics *m)
{
    json_t *object = json_pack("{s:s?, s:o, s:s, s:s, s:s, s:I, s:f, s:f, s:f}", "run", a->run, "round",
                               j->round < 0 ? json_null() : json_integer(j->round), "model", j->settings.model.path,
                               "data", j->settings.data.path, "split", j->split_name, "samples", (json_int_t)j->n,
                               "loss", m->loss, "accuracy", m->accuracy, "f1", m->f1);
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    printf("\n");
    json_decref(object);
}

static void print_scores(const job *j, const arguments *a)
{
    fbt_metrics m = fbt_metrics_compute(j->losses, j->predictions, j->labels, j->n, j->inputs.dataset.n_labels);
    if (a->json) {
        print_json(j, a, &m);
        return;
    }
    if (j->round >= 0) {
        printf("prompt: round %lld of %s\n", (long long)j->round, a->run);
    } else {
        printf("prompt: none (z = 0)\n");
    }
    printf("data: %s, %s split, %lld samples\nloss %.6f\naccuracy %.6f\nF1 %.6f\n", j->settings.data.path,
           j->split_name, (long long)j->n, m.loss, m.accuracy, m.f1);
}

static fbt_status evaluate(job *j, const arguments *a, const fbt_comm *world)
{
    fbt_status status = FBT_OK;
    fbt_evaluator *evaluator = NULL;
    fbt_model_limits limits;
    fbt_limits_of_items(&j->settings, j->items, j->n, &limits);
    FBT_TRY(fbt_inputs_open_model(&j->inputs, &j->settings, &limits, &fbt_cli_console, world));
    status = fbt_evaluator_new(j->inputs.model, (fbt_loss)j->settings.objective.loss, j->settings.backend.batch_tokens,
                               &evaluator);
    FBT_TRY(fbt_comm_agree(world, status));
    FBT_TRY(fbt_evaluator_run(
        evaluator, &(fbt_evaluation){.items = j->items,
                                     .n_items = j->n,
                                     .z = j->z,
                                     .n_candidates = 1,
                                     .d = j->d,
                                     .share = world,
                                     .scores = {j->losses, j->predictions, a->logits == NULL ? NULL : j->logits}}));
    if (fbt_comm_rank(world) == 0) {
        print_scores(j, a);
        if (a->logits != NULL) {
            status = write_logits(j, a);
        }
    }
    status = fbt_comm_agree(world, status);
done:
    fbt_evaluator_free(evaluator);
    return status;
}

static void close_job(job *j)
{
    fbt_partition_clear(&j->partition);
    fbt_inputs_close(&j->inputs);
    fbt_settings_clear(&j->settings);
    free(j->z);
    free(j->items);
    free(j->labels);
    free(j->losses);
    free(j->predictions);
    free(j->logits);
}

int fbt_cli_evaluate(int argc, char **argv)
{
    arguments a = {0};
    job j = {0};
    fbt_comm *world = NULL;
    fbt_status status;
    argp_parse(&parser, argc, argv, 0, NULL, &a);
    FBT_TRY(fbt_comm_start(&argc, &argv, &world));
    fbt_log_set_rank(fbt_comm_rank(world));
    FBT_TRY(fbt_comm_agree(world, open_job(&j, &a, world)));
    FBT_TRY(evaluate(&j, &a, world));
done:
    close_job(&j);
    status = fbt_cli_report(world, status);
    return status == FBT_OK ? FBT_EXIT_OK : FBT_EXIT_FAILURE;
}
