#include "run/repeat.h"

#include "base/build_info.h"
#include "base/memory.h"
#include "record/run_compare.h"
#include "record/run_reader.h"
#include "run/experiment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LABEL "rerun"
enum { N_OWN_ASSIGNMENTS = 5, N_TEXTS = 3 };

/* Run that is made again. */
typedef struct job {
    const fbt_repeat_plan *p;
    const fbt_comm *world;
    fbt_run_restored restored; /* rank 0: all; others: settings and precision */
    int64_t last_round;        /* of the run file, when it was read           */
    char *default_output;
    char *texts[N_TEXTS];     /* of assignments that are made here           */
    const char **assignments; /* [n_assignments], room for N_OWN_ASSIGNMENTS more than the plan's */
    int n_assignments;
    char *output;
    bool keeps;     /* the new file, also if the results are the same                        */
    char **changes; /* [restored.n_makers] what was not as it is now; NULL: not known            */
} job;

/* By rank 0 alone, so that all ranks see the same of a file that is being written. */
static fbt_status read_restored(job *j)
{
    fbt_status status = FBT_OK;
    if (fbt_comm_rank(j->world) == 0) {
        status = fbt_run_restored_read(j->p->run, &j->restored);
    }
    FBT_TRY(fbt_comm_agree(j->world, status));
    j->last_round = j->restored.last_round;
    fbt_comm_broadcast(j->world, &j->last_round, sizeof j->last_round);
    FBT_TRY(fbt_comm_broadcast_text(j->world, &j->restored.config_resolved));
    FBT_TRY(fbt_comm_broadcast_text(j->world, &j->restored.precision));
done:
    return status;
}

/* The default output: "runs/a.h5" makes "runs/a.rerun.h5". */
static fbt_status name_beside(const char *run, char **path)
{
    const size_t n = strlen(run);
    const size_t n_kept = n > 3 && strcmp(run + n - 3, ".h5") == 0 && run[n - 4] != '/' ? n - 3 : n;
    if (asprintf(path, "%.*s.rerun.h5", (int)n_kept, run) < 0) {
        *path = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: a path beside the run file");
    }
    return FBT_OK;
}

static fbt_status assign_text(job *j, char **text, const char *key, const char *value)
{
    if (asprintf(text, "%s=%s", key, value) < 0) {
        *text = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: the rerun's settings");
    }
    j->assignments[j->n_assignments++] = *text;
    return FBT_OK;
}

/* The recorded path, and the time limit that may have ended the run, are not taken over. */
static fbt_status assign(job *j)
{
    fbt_status status = FBT_OK;
    const fbt_repeat_plan *p = j->p;
    FBT_TRY(fbt_memory_alloc(&j->assignments, p->n_assignments + N_OWN_ASSIGNMENTS, sizeof *j->assignments));
    FBT_TRY(name_beside(p->run, &j->default_output));
    if (p->output == NULL) {
        FBT_TRY(assign_text(j, &j->texts[0], "run.output", j->default_output));
    }
    j->assignments[j->n_assignments++] = "run.max_seconds=0";
    for (int i = 0; i < p->n_assignments; i++) {
        j->assignments[j->n_assignments++] = p->assignments[i];
    }
    if (p->output != NULL) {
        FBT_TRY(assign_text(j, &j->texts[1], "run.output", p->output));
    }
    j->assignments[j->n_assignments++] = p->overwrite ? "run.overwrite=true" : "run.overwrite=false";
done:
    return status;
}

static fbt_status check_settings(const job *j, const fbt_settings *now, const fbt_settings *before)
{
    fbt_status status = FBT_OK;
    const char *precision = now->backend.precision;
    fbt_settings_difference d;
    FBT_TRY(fbt_settings_find_difference(now, before, &d));
    if (d.key == NULL && now->fed.rounds != before->fed.rounds) {
        d.key = "fed.rounds";
        snprintf(d.now, sizeof d.now, "%" PRId64, now->fed.rounds);
        snprintf(d.before, sizeof d.before, "%" PRId64, before->fed.rounds);
    }
    if (d.key == NULL && strcmp(precision, "auto") != 0 && strcmp(precision, j->restored.precision) != 0) {
        d.key = "backend.precision";
        snprintf(d.now, sizeof d.now, "%s", precision);
        snprintf(d.before, sizeof d.before, "%s", j->restored.precision);
    }
    if (d.key != NULL) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "%s is %s, but %.300s was run with %s; a rerun takes the settings that decide numbers as they were",
                 d.key, d.now, j->p->run, d.before);
    }
done:
    return status;
}

/* The run file must survive whatever the new one is called. */
static fbt_status check_output(const job *j)
{
    struct stat run, output;
    if (stat(j->p->run, &run) == 0 && stat(j->output, &output) == 0 && run.st_dev == output.st_dev &&
        run.st_ino == output.st_ino) {
        return fbt_fail(FBT_ERR_USAGE,
                        "%.400s is the run file itself, which a rerun only reads; choose another --output", j->output);
    }
    return FBT_OK;
}

/* The same on every rank. */
static fbt_status plan_run(job *j)
{
    fbt_status status = FBT_OK;
    fbt_settings now = {0}, before = {0};
    FBT_TRY(assign(j));
    FBT_TRY(fbt_settings_defaults(&before));
    FBT_TRY(fbt_settings_read_recorded(&before, j->restored.config_resolved, j->p->run));
    FBT_TRY(fbt_settings_defaults(&now));
    FBT_TRY(fbt_settings_read_recorded(&now, j->restored.config_resolved, j->p->run));
    for (int i = 0; i < j->n_assignments; i++) {
        FBT_TRY(fbt_settings_set(&now, j->assignments[i]));
    }
    FBT_TRY(check_settings(j, &now, &before));
    FBT_TRY(assign_text(j, &j->texts[2], "backend.precision", j->restored.precision)); /* what came of `auto` then */
    FBT_TRY(fbt_memory_strdup(&j->output, now.run.output));
    FBT_TRY(check_output(j));
    j->keeps = j->p->output != NULL || strcmp(j->output, j->default_output) != 0;
done:
    fbt_settings_clear(&now);
    fbt_settings_clear(&before);
    return status;
}

/* "git commit 0123456 (here 89abcde), device X (here Y)"; "" where all that the file tells is as it was. */
static fbt_status describe_changes(const fbt_run_maker *maker, const fbt_backend_info *info, char **text)
{
    const struct {
        const char *name, *then, *now;
    } facts[] = {
        {"program version", maker->program_version, fbt_build_version},
        {"git commit", maker->git_commit, fbt_build_commit},
        {"compiler", maker->compiler, fbt_build_compiler},
        {"backend", maker->backend, info->name},
        {"device", maker->device, info->device},
        {"instruction set", maker->instruction_set, info->isa},
        {"libraries", maker->libraries, info->libraries},
    };
    size_t n_bytes = 0;
    FILE *out = open_memstream(text, &n_bytes);
    if (out == NULL) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: what has changed since the run");
    }
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (facts[i].then[0] != '\0' && strcmp(facts[i].then, facts[i].now) != 0) {
            fprintf(out, "%s%s %s (here %s)", ftell(out) > 0 ? ", " : "", facts[i].name, facts[i].then, facts[i].now);
        }
    }
    fclose(out);
    return FBT_OK;
}

/* fbt_experiment_plan.opened: before the first round. */
static fbt_status tell_changes(const fbt_backend_info *info, void *user)
{
    fbt_status status = FBT_OK;
    job *j = user;
    FBT_TRY(fbt_memory_alloc(&j->changes, j->restored.n_makers, sizeof *j->changes));
    for (int64_t i = 0; i < j->restored.n_makers; i++) { /* on rank 0; the others have read none */
        const fbt_run_maker *maker = &j->restored.makers[i];
        FBT_TRY(describe_changes(maker, info, &j->changes[i]));
        if (j->changes[i][0] != '\0') {
            fbt_observer_note(j->p->observer, FBT_RUN_EVENT_NOTE, LABEL,
                              "%s was made, from round %" PRId64 " on, with %s: results may differ", j->p->run,
                              maker->first_round, j->changes[i]);
        }
    }
done:
    return status;
}

/* Differences between now and when a round was made; NULL: not known. */
static const char *changes_at(const job *j, int64_t round)
{
    const char *changes = NULL;
    for (int64_t i = 0; j->changes != NULL && i < j->restored.n_makers; i++) {
        changes = j->restored.makers[i].first_round <= round ? j->changes[i] : changes;
    }
    return changes;
}

static fbt_status tell_difference(const job *j)
{
    fbt_status status = FBT_OK;
    fbt_run_difference d;
    char position[32] = "";
    FBT_TRY(fbt_run_compare(j->p->run, j->output, j->last_round + 1, &d));
    if (!d.found) {
        FBT_FAIL(FBT_ERR_NUMERIC,
                 "%.300s is not %.300s again: all rounds are the same, but not the clients' samples, the result or the "
                 "checkpoint",
                 j->output, j->p->run);
    }
    const char *changes = changes_at(j, d.round);
    if (d.position >= 0) {
        snprintf(position, sizeof position, "[%" PRId64 "]", d.position);
    }
    FBT_FAIL(FBT_ERR_NUMERIC,
             "%.200s is not %.200s again: round %" PRId64
             " is the first that differs (%s%s is %.17g, it was %.17g)%s%.300s",
             j->output, j->p->run, d.round, d.column, position, d.values[1], d.values[0],
             changes == NULL      ? ""
             : changes[0] == '\0' ? "; program version, libraries and processor are those recorded"
                                  : "; it was made with ",
             changes == NULL ? "" : changes);
done:
    return status;
}

/* Rank 0: the new file against the run's results as they were read at the beginning. */
static fbt_status compare(const job *j, char digest[FBT_DIGEST_TEXT_BYTES])
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_run_reader_digest(j->output, digest));
    if (strcmp(digest, j->restored.digest) != 0) {
        FBT_TRY(tell_difference(j));
    }
    if (!j->keeps && unlink(j->output) != 0) {
        FBT_FAIL(FBT_ERR_IO, "%.400s, which has the same results as %.400s, cannot be removed: %s", j->output,
                 j->p->run, strerror(errno));
    }
done:
    return status;
}

/* Rank 0: what only the opened inputs and the new file can tell. */
static fbt_status check_prepared(const job *j, const fbt_experiment *e, fbt_inputs *inputs)
{
    fbt_status status = FBT_OK;
    fbt_experiment_view view;
    fbt_experiment_look(e, &view);
    FBT_TRY(fbt_inputs_check_same(inputs, view.settings, &j->restored, j->p->run,
                                  "a rerun needs the same; --set model.path or data.path tells where they are"));
    if (view.resumed && view.past_round > j->last_round) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%.300s has %" PRId64 " rounds, more than the %" PRId64
                 " of %.300s: it is no rerun of it; choose another --output",
                 j->output, view.past_round, j->last_round, j->p->run);
    }
    fbt_observer_note(j->p->observer, FBT_RUN_EVENT_NOTE, LABEL, "rounds 0 to %" PRId64 " of %s again, into %s",
                      j->last_round, j->p->run, j->output);
done:
    return status;
}

static fbt_status rerun(job *j, bool *interrupted)
{
    fbt_status status = FBT_OK;
    fbt_inputs inputs = {0};
    fbt_experiment *experiment = NULL;
    const fbt_experiment_plan p = {.config_path = j->p->run,
                                   .config_text = j->restored.config_resolved,
                                   .assignments = j->assignments,
                                   .n_assignments = j->n_assignments,
                                   .resume = j->p->resume,
                                   .observer = j->p->observer,
                                   .label = LABEL,
                                   .rerun_of = j->p->run,
                                   .n_rows = j->last_round + 1,
                                   .opened = tell_changes,
                                   .user = j};
    FBT_TRY(fbt_experiment_open(&p, &inputs, j->world, &experiment));
    if (fbt_comm_rank(j->world) == 0) {
        status = check_prepared(j, experiment, &inputs);
    }
    FBT_TRY(fbt_comm_agree(j->world, status));
    FBT_TRY(fbt_experiment_run(experiment, interrupted));
done:
    fbt_experiment_close(experiment);
    fbt_inputs_close(&inputs);
    return status;
}

static void close_job(job *j)
{
    for (int64_t i = 0; j->changes != NULL && i < j->restored.n_makers; i++) {
        free(j->changes[i]);
    }
    free(j->changes);
    fbt_run_restored_clear(&j->restored);
    for (int i = 0; i < N_TEXTS; i++) {
        free(j->texts[i]);
    }
    free(j->assignments);
    free(j->default_output);
    free(j->output);
}

fbt_status fbt_repeat_run(const fbt_repeat_plan *plan, const fbt_comm *comm, fbt_repeat_result *result)
{
    fbt_status status = FBT_OK;
    job j = {.p = plan, .world = comm};
    *result = (fbt_repeat_result){0};
    FBT_TRY(read_restored(&j));
    result->last_round = j.last_round;
    FBT_TRY(fbt_comm_agree(comm, plan_run(&j)));
    FBT_TRY(rerun(&j, &result->interrupted));
    if (fbt_comm_rank(comm) == 0 && !result->interrupted) {
        status = compare(&j, result->digest);
    }
    FBT_TRY(fbt_comm_agree(comm, status));
done:
    close_job(&j);
    return status;
}
