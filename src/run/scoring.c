#include "run/scoring.h"

#include "base/memory.h"
#include "record/run_reader.h"
#include "run/limits.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The samples under every candidate, the first candidate's first. */
static fbt_status repeat_items(const fbt_item *items, int64_t n, int64_t n_candidates, fbt_item **all)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_memory_alloc(all, n * n_candidates, sizeof **all));
    for (int64_t i = 0; i < n * n_candidates; i++) {
        (*all)[i] = items[i % n];
        (*all)[i].candidate = (int32_t)(i / n);
    }
done:
    return status;
}

fbt_status fbt_score_prompts(fbt_inputs *inputs, const fbt_settings *settings, const fbt_item *items, int64_t n,
                             const fbt_prompts *prompts, const fbt_run_observer *observer, const fbt_comm *comm,
                             const fbt_scores *scores)
{
    fbt_status status = FBT_OK;
    fbt_evaluator *evaluator = NULL;
    fbt_item *all = NULL;
    fbt_model_limits limits;
    FBT_TRY(fbt_comm_agree(comm, repeat_items(items, n, prompts->n_candidates, &all)));
    fbt_limits_of_items(settings, &inputs->dataset, all, n * prompts->n_candidates, prompts->n_candidates, &limits);
    FBT_TRY(fbt_inputs_open_model(inputs, settings, &limits, observer, comm));
    status =
        fbt_evaluator_new(inputs->model, (fbt_loss)settings->objective.loss, fbt_batch_tokens(settings), &evaluator);
    FBT_TRY(fbt_comm_agree(comm, status));
    FBT_TRY(fbt_evaluator_run(evaluator, &(fbt_evaluation){.items = all,
                                                           .n_items = n * prompts->n_candidates,
                                                           .z = prompts->z,
                                                           .n_candidates = prompts->n_candidates,
                                                           .d = prompts->d,
                                                           .share = comm,
                                                           .scores = *scores}));
done:
    fbt_evaluator_free(evaluator);
    free(all);
    return status;
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
static fbt_status read_settings(fbt_prompt_scoring *s, const fbt_prompt_scoring_plan *p)
{
    fbt_status status = FBT_OK;
    char *config = NULL;
    s->round = -1;
    FBT_TRY(fbt_settings_defaults(&s->settings));
    if (p->run != NULL) {
        FBT_TRY(fbt_run_reader_load_z(p->run, p->round == NULL ? "best" : p->round, &config, &s->z, &s->d, &s->round));
        FBT_TRY(fbt_settings_read_recorded(&s->settings, config, p->run));
    }
    FBT_TRY(fbt_memory_replace_text(&s->settings.model.path, p->model));
    FBT_TRY(fbt_memory_replace_text(&s->settings.data.path, p->data));
    for (int i = 0; i < p->n_assignments; i++) {
        if (p->run != NULL) {
            FBT_TRY(check_assignment(p->assignments[i]));
        }
        FBT_TRY(fbt_settings_set(&s->settings, p->assignments[i]));
    }
    FBT_TRY(fbt_settings_check(&s->settings));
    if (p->run != NULL && s->d != s->settings.cma.dimension) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%s: its z has %" PRId64 " entries, its setting cma.dimension is %" PRId64 "; the file is damaged",
                 p->run, s->d, s->settings.cma.dimension);
    }
done:
    free(config);
    return status;
}

/* Without a run: the texts as they are. z = 0, where runs start, is no prompt in mode add alone: in cat and input its
 * zero vectors are seen. */
static fbt_status use_no_prompt(fbt_prompt_scoring *s)
{
    s->settings.prompt.mode = FBT_PROMPT_NONE;
    s->settings.prompt.tokens = 0;
    s->d = s->settings.cma.dimension;
    return fbt_memory_alloc(&s->z, s->d, sizeof *s->z);
}

/* z numbers the words of the run's own vocabulary, whatever data set is scored. */
static fbt_status use_words_of_run(fbt_prompt_scoring *s)
{
    fbt_word_list *vocabulary = &s->inputs.dataset.vocabulary;
    fbt_word_list_clear(vocabulary);
    return fbt_run_reader_load_vocabulary(s->plan->run, vocabulary);
}

static fbt_status find_split(fbt_prompt_scoring *s, const char *name)
{
    const fbt_dataset *dataset = &s->inputs.dataset;
    const struct {
        const char *name;
        const fbt_split *split;
    } splits[] = {{"train", &dataset->train}, {"dev", &dataset->dev}, {"test", &dataset->test}};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, splits[i].name) == 0) {
            s->split = splits[i].split;
        }
    }
    if (s->split->n_samples == 0) {
        return fbt_fail(FBT_ERR_DATA, "%s has no %s split", s->settings.data.path, name);
    }
    return FBT_OK;
}

/* Which rows of the split: *rows is NULL when they are simply the first s->n. */
static fbt_status choose_rows(fbt_prompt_scoring *s, const fbt_prompt_scoring_plan *p, const int64_t **rows)
{
    fbt_status status = FBT_OK;
    int64_t limit = s->settings.data.test_limit;
    bool is_test = strcmp(s->split_name, "test") == 0;
    *rows = NULL;
    if (is_test || p->run == NULL || p->data != NULL) {
        FBT_TRY(find_split(s, s->split_name));
        s->n = is_test && limit > 0 && limit < s->split->n_samples ? limit : s->split->n_samples;
        goto done;
    }
    FBT_TRY(fbt_inputs_partition(&s->inputs, &s->settings, &s->partition));
    const fbt_partition *dealt = &s->partition;
    const bool is_dev = strcmp(s->split_name, "dev") == 0;
    s->split = is_dev ? dealt->dev_split : &s->inputs.dataset.train;
    s->n = is_dev ? dealt->n_dev : fbt_settings_scored_train(&s->settings, dealt->sample_offsets[dealt->n_clients]);
    *rows = is_dev ? dealt->dev_index : dealt->sample_index;
    if (s->n == 0) {
        FBT_FAIL(FBT_ERR_DATA, "%s has no %s samples", p->run, s->split_name);
    }
done:
    return status;
}

static fbt_status list_items(fbt_prompt_scoring *s, const int64_t *rows)
{
    fbt_status status = FBT_OK;
    const fbt_split *split = s->split;
    FBT_TRY(fbt_memory_alloc(&s->items, s->n, sizeof *s->items));
    FBT_TRY(fbt_memory_alloc(&s->labels, s->n, sizeof *s->labels));
    FBT_TRY(fbt_memory_alloc(&s->losses, s->n, sizeof *s->losses));
    FBT_TRY(fbt_memory_alloc(&s->predictions, s->n, sizeof *s->predictions));
    FBT_TRY(fbt_memory_alloc(&s->logits, s->n * s->inputs.dataset.n_labels, sizeof *s->logits));
    for (int64_t i = 0; i < s->n; i++) {
        int64_t row = rows == NULL ? i : rows[i];
        s->labels[i] = split->labels[row];
        s->items[i] = fbt_item_of(split, row);
    }
done:
    return status;
}

fbt_status fbt_prompt_scoring_open(fbt_prompt_scoring *scoring, const fbt_prompt_scoring_plan *plan)
{
    fbt_status status = FBT_OK;
    fbt_prompt_scoring *s = scoring;
    const int64_t *rows;
    s->plan = plan;
    s->split_name = plan->split == NULL ? "test" : plan->split;
    if (strcmp(s->split_name, "train") != 0 && strcmp(s->split_name, "dev") != 0 &&
        strcmp(s->split_name, "test") != 0) {
        FBT_FAIL(FBT_ERR_USAGE, "--split is '%s'; it must be train, dev or test", s->split_name);
    }
    FBT_TRY(read_settings(s, plan));
    FBT_TRY(fbt_inputs_open_dataset(&s->inputs, &s->settings));
    if (plan->run != NULL && fbt_settings_n_words(&s->settings) > 0) {
        FBT_TRY(use_words_of_run(s));
    }
    if (plan->run == NULL) {
        FBT_TRY(use_no_prompt(s));
    }
    FBT_TRY(fbt_inputs_check(&s->inputs, &s->settings));
    FBT_TRY(choose_rows(s, plan, &rows));
    FBT_TRY(list_items(s, rows));
done:
    return status;
}

fbt_status fbt_prompt_scoring_run(fbt_prompt_scoring *scoring, const fbt_comm *comm)
{
    fbt_status status = FBT_OK;
    fbt_prompt_scoring *s = scoring;
    const fbt_scores wanted = {
        .losses = s->losses, .predictions = s->predictions, .logits = s->plan->with_logits ? s->logits : NULL};
    const fbt_prompts prompts = {.z = s->z, .n_candidates = 1, .d = s->d};
    FBT_TRY(fbt_score_prompts(&s->inputs, &s->settings, s->items, s->n, &prompts, s->plan->observer, comm, &wanted));
    s->metrics = fbt_metrics_compute(s->losses, s->predictions, s->labels, s->n, s->inputs.dataset.n_labels);
done:
    return status;
}

void fbt_prompt_scoring_close(fbt_prompt_scoring *scoring)
{
    fbt_prompt_scoring *s = scoring;
    fbt_partition_clear(&s->partition);
    fbt_inputs_close(&s->inputs);
    fbt_settings_clear(&s->settings);
    free(s->z);
    free(s->items);
    free(s->labels);
    free(s->losses);
    free(s->predictions);
    free(s->logits);
    *s = (fbt_prompt_scoring){0};
}
