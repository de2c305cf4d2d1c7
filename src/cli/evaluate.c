/* fedbpt evaluate */
#include "base/memory.h"
#include "cli/command.h"
#include "cli/console.h"
#include "record/output_file.h"
#include "record/run_reader.h"
#include "run/scoring.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct arguments {
    const char *model;
    const char *data;
    const char *split;
    const char *run;
    const char *round;
    const char *logits;
    fbt_cli_assignments assignments;
    bool overwrite;
    bool json;
} arguments;

static const fbt_cli_option options[] = {
    FBT_OPTION_TEXT(model, "model", 'm', "FOLDER", "the model; default: the run's"),
    FBT_OPTION_TEXT(data, "data", 'd', "FILE", "the data set file; default: the run's"),
    FBT_OPTION_TEXT(split, "split", 'p', "NAME",
                    "train, dev or test (default); of a run without --data: the samples that the run itself scored"),
    FBT_OPTION_TEXT(run, "run", 'r', "RUN.h5", "score a prompt of this run; default: no prompt"),
    FBT_OPTION_TEXT(round, "round", 'n', "N|best|last",
                    "which round of the run (default: best, chosen on its dev samples)"),
    FBT_OPTION_TEXT(logits, "logits", 'l', "OUT.h5",
                    "write logits [n, n_labels], predictions and labels [n] to this file"),
    FBT_OPTION_FLAG(json, "json", 'j', "print one JSON object, with all digits"),
    FBT_OPTION_FLAG(overwrite, "overwrite", 'f', "replace an existing --logits file"),
    FBT_OPTION_SET("change one setting, such as backend.precision; may be repeated"),
    {.about = {0}},
};

static void check(void *given, const struct argp_state *state)
{
    const arguments *a = given;
    if (a->run == NULL && (a->model == NULL || a->data == NULL)) {
        argp_error(state, "name --run, or --model and --data");
    }
    if (a->run == NULL && a->round != NULL) {
        argp_error(state, "--round needs --run");
    }
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

static fbt_status write_logits(const arguments *a, const fbt_prompt_scoring *s)
{
    fbt_status status = FBT_OK;
    int64_t n = s->n;
    int64_t n_labels = s->inputs.dataset.n_labels;
    float *logits = NULL;
    int32_t *predictions = NULL;
    FBT_TRY(fbt_memory_alloc(&logits, n * n_labels, sizeof *logits));
    FBT_TRY(fbt_memory_alloc(&predictions, n, sizeof *predictions));
    for (int64_t i = 0; i < n * n_labels; i++) {
        logits[i] = (float)s->logits[i];
    }
    for (int64_t i = 0; i < n; i++) {
        predictions[i] = (int32_t)s->predictions[i];
    }
    FBT_TRY(
        fbt_scores_write(a->logits, a->overwrite, logits, predictions, s->labels, n, n_labels, s->settings.data.path));
done:
    free(logits);
    free(predictions);
    return status;
}

static void print_json(const arguments *a, const fbt_prompt_scoring *s)
{
    const fbt_metrics *m = &s->metrics;
    json_t *object = json_pack("{s:s?, s:o, s:s, s:s, s:s, s:I, s:f, s:f, s:f}", "run", a->run, "round",
                               s->round < 0 ? json_null() : json_integer(s->round), "model", s->settings.model.path,
                               "data", s->settings.data.path, "split", s->split_name, "samples", (json_int_t)s->n,
                               "loss", m->loss, "accuracy", m->accuracy, "f1", m->f1);
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    printf("\n");
    json_decref(object);
}

static void print_scores(const arguments *a, const fbt_prompt_scoring *s)
{
    const fbt_metrics *m = &s->metrics;
    if (a->json) {
        print_json(a, s);
        return;
    }
    if (s->round >= 0) {
        printf("prompt: round %lld of %s\n", (long long)s->round, a->run);
    } else {
        printf("prompt: none\n");
    }
    printf("data: %s, %s split, %lld samples\nloss %.6f\naccuracy %.6f\nF1 %.6f\n", s->settings.data.path,
           s->split_name, (long long)s->n, m->loss, m->accuracy, m->f1);
}

/* Every rank by itself, with the same result; rank 0 looks at the output, too. */
static fbt_status open_scoring(const arguments *a, const fbt_comm *world, const fbt_prompt_scoring_plan *plan,
                               fbt_prompt_scoring *s)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_prompt_scoring_open(s, plan));
    FBT_TRY(check_logits(a, world));
done:
    return status;
}

static fbt_status evaluate(void *given, const fbt_comm *world, int *code)
{
    fbt_status status = FBT_OK;
    const arguments *a = given;
    fbt_prompt_scoring s = {0};
    const fbt_prompt_scoring_plan plan = {.run = a->run,
                                          .round = a->round,
                                          .model = a->model,
                                          .data = a->data,
                                          .split = a->split,
                                          .assignments = a->assignments.items,
                                          .n_assignments = a->assignments.n,
                                          .with_logits = a->logits != NULL,
                                          .observer = &fbt_cli_console};
    (void)code;
    FBT_TRY(fbt_comm_agree(world, open_scoring(a, world, &plan, &s)));
    FBT_TRY(fbt_prompt_scoring_run(&s, world));
    if (fbt_comm_rank(world) == 0) {
        print_scores(a, &s);
        status = a->logits != NULL ? write_logits(a, &s) : FBT_OK;
    }
    FBT_TRY(fbt_comm_agree(world, status));
done:
    fbt_prompt_scoring_close(&s);
    return status;
}

const fbt_command fbt_command_evaluate = {
    .name = "evaluate",
    .summary = "score a recorded prompt, or none, on a data set",
    .options = options,
    .file = {.instead = "a run file goes behind --run"},
    .arguments_bytes = sizeof(arguments),
    .check = check,
    .uses_mpi = true,
    .run = evaluate,
    .doc = "Scores a prompt that a run found, or none, on a labelled split: loss, accuracy, F1."
           "\vExamples:\n"
           "  fedbpt evaluate --run runs/quickstart.h5\n"
           "  fedbpt evaluate --run runs/quickstart.h5 --round last --split dev\n"
           "  fedbpt evaluate --model models/minilm --data datasets/bbc.h5 --logits s.h5\n\n"
           "Without a run the texts are scored without any prompt; --run RUN.h5 --round 0 is z = 0, where that run "
           "started. 'data.test_limit' of the run counts here too; --set data.test_limit=0 scores all test samples.",
};
