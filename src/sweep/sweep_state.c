#include "sweep/sweep_state.h"

#include "base/memory.h"
#include "record/run_summary.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const fbt_sweep_state_names[FBT_SWEEP_N_STATES] = {"to do",    "running", "interrupted",
                                                               "finished", "failed",  "other settings"};

enum { SENTENCE_BYTES = 1024 };

/* `name.failed` beside `name.h5`. */
static const char *note_path(const fbt_sweep_run *run, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%.*s.failed", (int)(strrchr(run->output, '.') - run->output), run->output);
    return path;
}

void fbt_sweep_note_failure(const fbt_sweep_run *run, const char *sentence)
{
    char path[PATH_MAX];
    FILE *file = fopen(note_path(run, path), "we");
    if (file != NULL) {
        fprintf(file, "%s\n", sentence);
        fclose(file);
    }
}

fbt_status fbt_sweep_forget_failure(const fbt_sweep_run *run)
{
    char path[PATH_MAX];
    if (unlink(note_path(run, path)) != 0 && errno != ENOENT) {
        return fbt_fail(fbt_status_of_system(errno), "%.400s cannot be removed: %s", path, strerror(errno));
    }
    return FBT_OK;
}

/* The sentence of a failed run, or NULL. */
static fbt_status read_note(const fbt_sweep_run *run, char **sentence)
{
    fbt_status status = FBT_OK;
    char path[PATH_MAX], text[SENTENCE_BYTES];
    FILE *file = fopen(note_path(run, path), "re");
    *sentence = NULL;
    if (file == NULL) {
        return FBT_OK;
    }
    size_t n = fread(text, 1, sizeof text - 1, file);
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    status = fbt_memory_strdup(sentence, text);
    fclose(file);
    return status;
}

/* Makes the sentence kept of a failure that concerns this run alone its reason. */
static fbt_status take_reason(fbt_sweep_standing *standing, fbt_sweep_state state)
{
    standing->state = state;
    return fbt_memory_strdup(&standing->reason, fbt_error_take());
}

/* Judges a run by its file. */
static fbt_status judge_file(const fbt_sweep *sweep, const fbt_sweep_run *run, const fbt_run_summary *summary,
                             fbt_sweep_standing *standing)
{
    fbt_status status = FBT_OK;
    fbt_settings before = {0}, now = {0};
    standing->last_round = summary->last_round;
    standing->best_round = summary->best_round;
    standing->dev_accuracy = summary->dev_accuracy;
    standing->test_accuracy = summary->test_accuracy;
    standing->state = summary->last_round >= standing->n_rounds ? FBT_SWEEP_FINISHED : FBT_SWEEP_INTERRUPTED;
    status = fbt_settings_defaults(&before);
    if (status == FBT_OK) {
        status = fbt_settings_read_recorded(&before, summary->config_resolved, run->output);
    }
    if (status == FBT_OK) {
        status = fbt_sweep_settings_after(sweep, run, summary->config_resolved, &now);
    }
    if (status == FBT_OK) {
        status = fbt_settings_check_same(&now, &before, now.run.output);
    }
    if (status == FBT_ERR_CONFIG) {
        status = take_reason(standing, FBT_SWEEP_OTHER);
    }
    fbt_settings_clear(&before);
    fbt_settings_clear(&now);
    return status;
}

static fbt_status look_at_claim(const fbt_sweep *sweep, const fbt_sweep_run *run, fbt_sweep_standing *standing)
{
    fbt_status status = FBT_OK;
    if (access(sweep->output, F_OK) != 0) {
        return FBT_OK; /* no run has ever begun */
    }
    FBT_TRY(fbt_claim_look(run->output, &standing->holder));
    if (standing->holder.alive) {
        standing->state = FBT_SWEEP_RUNNING;
    }
done:
    return status;
}

fbt_status fbt_sweep_look(const fbt_sweep *sweep, const fbt_sweep_run *run, bool with_claim,
                          fbt_sweep_standing *standing)
{
    fbt_status status = FBT_OK;
    fbt_settings settings = {0};
    fbt_run_summary summary = {0};
    *standing = (fbt_sweep_standing){.last_round = -1, .best_round = -1, .dev_accuracy = NAN, .test_accuracy = NAN};
    FBT_TRY(fbt_sweep_settings(sweep, run, &settings));
    standing->n_rounds = settings.fed.rounds;
    status = fbt_run_summary_read(run->output, &summary);
    if (status == FBT_ERR_IO || status == FBT_ERR_DATA) {
        FBT_TRY(take_reason(standing, FBT_SWEEP_FAILED));
    }
    FBT_TRY(status);
    if (summary.exists && standing->reason == NULL) {
        FBT_TRY(judge_file(sweep, run, &summary, standing));
    }
    if (standing->state == FBT_SWEEP_TO_DO || standing->state == FBT_SWEEP_INTERRUPTED) {
        FBT_TRY(read_note(run, &standing->reason));
        standing->state = standing->reason == NULL ? standing->state : FBT_SWEEP_FAILED;
        if (with_claim) {
            FBT_TRY(look_at_claim(sweep, run, standing));
        }
    }
done:
    fbt_run_summary_clear(&summary);
    fbt_settings_clear(&settings);
    return status;
}

void fbt_sweep_standing_clear(fbt_sweep_standing *standing)
{
    free(standing->reason);
    *standing = (fbt_sweep_standing){0};
}
