#include "sweep/sweep_workers.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/timer.h"
#include "record/real_path.h"
#include "run/experiment.h"
#include "sweep/sweep_queue.h"
#include "sweep/sweep_state.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SENTENCE_BYTES = 1024 + FBT_SWEEP_NAME_BYTES };

/* A rank's knowledge of the sweep and of its group. */
typedef struct workers {
    const fbt_sweep_job *job;
    const fbt_comm *group;
    fbt_inputs inputs;     /* kept over the runs */
    fbt_sweep_queue queue; /* of the group's first rank */
    double start_s;
} workers;

/* Seconds until run.max_seconds of the whole call; INFINITY without a limit. */
static double seconds_left(const workers *w)
{
    double limit_s = w->job->sweep->max_seconds;
    return limit_s > 0 ? limit_s - (fbt_timer_now_s() - w->start_s) : INFINITY;
}

/* Tells whether anything keeps this rank from beginning another run. */
static bool must_stop(void *user)
{
    const workers *w = user;
    const fbt_sweep *sweep = w->job->sweep;
    const fbt_run_observer *observer = w->job->observer;
    return fbt_observer_should_stop(observer) != 0 || seconds_left(w) <= 0 ||
           fbt_observer_seconds_left(observer) <= sweep->stop_margin_seconds;
}

/* Which rank tells the group's failure: the lowest that has a cause of its own. */
typedef struct failure {
    int speaker;
    bool storage; /* the file system is to blame: then every other run would fail as well */
    bool lost;    /* the run is another process's by now */
} failure;

/* Collective over the group, with the same result. claim: of the first rank. */
static failure agree_on_failure(const workers *w, const fbt_claim *claim, fbt_status status)
{
    const int rank = fbt_comm_rank(w->group), size = fbt_comm_size(w->group);
    const bool has_cause = status != FBT_OK && status != FBT_ERR_PEER;
    double agreed[3] = {has_cause ? size - rank : 0, claim != NULL && fbt_claim_check(claim) != FBT_OK,
                        status == FBT_ERR_STORAGE};
    fbt_comm_max(w->group, agreed, 3);
    return (failure){
        .speaker = agreed[0] > 0 ? size - (int)agreed[0] : 0, .lost = agreed[1] > 0, .storage = agreed[2] > 0};
}

static void tell_sentence(const workers *w, const fbt_sweep_run *run, const char *sentence, bool ends_sweep)
{
    char text[SENTENCE_BYTES];
    snprintf(text, sizeof text, "%s%s%s", run == NULL ? "" : run->name, run == NULL ? "" : ": ", sentence);
    fbt_observer_tell(w->job->observer, &(fbt_run_event){.kind = FBT_RUN_EVENT_FAILURE,
                                                         .label = run == NULL ? "sweep" : run->name,
                                                         .text = text,
                                                         .ends_sweep = ends_sweep});
}

/* Tells a failure once. Where it is the run's own, it is noted beside the run file, unless that is another process's by
 * now. run: NULL: none had been chosen. Returns whether the file system is to blame. Collective over the group, with
 * the same result. */
static bool tell_failure(const workers *w, const fbt_sweep_run *run, const fbt_claim *claim, fbt_status status)
{
    const failure f = agree_on_failure(w, claim, status);
    if (fbt_comm_rank(w->group) == f.speaker) {
        const bool has_cause = status != FBT_OK && status != FBT_ERR_PEER;
        const char *sentence = has_cause ? fbt_error_message() : fbt_status_text(status);
        tell_sentence(w, run, sentence, f.storage);
        if (run != NULL && !f.storage && !f.lost) {
            fbt_sweep_note_failure(run, sentence);
        }
    }
    fbt_error_clear();
    fbt_comm_wait(w->group); /* noted before the claim is given back */
    return f.storage;
}

/* Whether the group could not choose a run because the file system takes no data: that is told here. Collective over
 * the group. */
static bool cannot_choose(const workers *w, fbt_status status)
{
    double storage = status == FBT_ERR_STORAGE;
    fbt_comm_max(w->group, &storage, 1);
    return storage > 0 && tell_failure(w, NULL, NULL, status);
}

/* The run's assignments, and the time that is left for it. */
static fbt_status assign(const fbt_sweep_run *run, double left_s, char limit[64], const char ***assignments)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_memory_alloc(assignments, run->n_assignments + 1, sizeof **assignments));
    memcpy(*assignments, run->assignments, (size_t)run->n_assignments * sizeof **assignments);
    /* 0 is no limit; a run makes a round even in a millisecond */
    snprintf(limit, 64, "run.max_seconds=%.3f", isinf(left_s) ? 0 : fmax(left_s, 1e-3));
    (*assignments)[run->n_assignments] = limit;
done:
    return status;
}

/* One run from its settings to its file. Collective over the group. *interrupted: the time is up. */
static fbt_status make_run(workers *w, const fbt_sweep_run *run, double left_s, bool *interrupted)
{
    fbt_status status = FBT_OK;
    const fbt_sweep *sweep = w->job->sweep;
    fbt_experiment *experiment = NULL;
    char limit[64];
    const char **assignments = NULL;
    FBT_TRY(fbt_comm_agree(w->group, assign(run, left_s, limit, &assignments)));
    const fbt_experiment_plan plan = {.config_path = sweep->base_path,
                                      .config_text = sweep->base_text,
                                      .assignments = assignments,
                                      .n_assignments = run->n_assignments + 1,
                                      .resume = true,
                                      .observer = w->job->observer,
                                      .label = run->name,
                                      .sweep_name = sweep->name,
                                      .sweep_run = run->name,
                                      .sweep_axes = run->axes};
    status = fbt_experiment_open(&plan, &w->inputs, w->group, &experiment);
    if (status == FBT_OK) {
        status = fbt_experiment_run(experiment, interrupted);
    }
    fbt_experiment_close(experiment);
done:
    free(assignments);
    return status;
}

/* The group's next run, the same on all of its ranks, and the time left for it; -1: none. The first rank holds the
 * claim. */
static fbt_status choose(workers *w, int64_t *index, double *left_s, fbt_claim **claim)
{
    fbt_status status = FBT_OK;
    double stop = must_stop(w);
    fbt_comm_max(w->group, &stop, 1);
    *index = -1;
    *claim = NULL;
    if (stop > 0) {
        return FBT_OK;
    }
    if (fbt_comm_rank(w->group) == 0) {
        status = fbt_sweep_queue_next(&w->queue, must_stop, w, index, claim);
    }
    fbt_comm_wait(w->group); /* the first rank may be waiting for another job's claim */
    FBT_TRY(fbt_comm_agree(w->group, status));
    *left_s = seconds_left(w);
    fbt_comm_broadcast(w->group, index, sizeof *index);
    fbt_comm_broadcast(w->group, left_s, sizeof *left_s);
done:
    return status;
}

/* Runs until there is none left for this group. Collective over the group. */
static fbt_status work(workers *w)
{
    fbt_status status = FBT_OK;
    bool interrupted = false;
    while (!interrupted) {
        int64_t index;
        double left_s = 0;
        fbt_claim *claim;
        status = choose(w, &index, &left_s, &claim);
        if (status != FBT_OK && cannot_choose(w, status)) {
            status = FBT_OK;
            break;
        }
        if (status != FBT_OK || index < 0) {
            break;
        }
        const fbt_sweep_run *run = &w->job->sweep->runs[index];
        fbt_status made = make_run(w, run, left_s, &interrupted);
        if (made != FBT_OK) {
            interrupted = tell_failure(w, run, claim, made);
        }
        fbt_claim_release(claim);
    }
    return status;
}

/* Makes `folder` and the folders above it. */
static fbt_status make_folder(const char *folder)
{
    fbt_status status = FBT_OK;
    char *path = NULL;
    FBT_TRY(fbt_memory_strdup(&path, folder));
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777); /* what cannot be made shows in the end */
        *slash = '/';
    }
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        FBT_FAIL(fbt_status_of_system(errno), "the sweep's output folder %.400s cannot be made: %s", folder,
                 strerror(errno));
    }
    FBT_TRY(fbt_path_check_folder(path));
done:
    free(path);
    return status;
}

/* Does one rank's work for all before the groups begin. */
static fbt_status open_sweep(const fbt_sweep_job *job)
{
    fbt_status status = FBT_OK;
    fbt_inputs inputs = {0}; /* of its own: what a rank keeps for the runs is the same on all ranks */
    FBT_TRY(fbt_sweep_plan(job->sweep, &inputs, job->indices, job->n));
    FBT_TRY(make_folder(job->sweep->output));
    for (int64_t i = 0; job->retry_failed && i < job->n; i++) {
        FBT_TRY(fbt_sweep_forget_failure(&job->sweep->runs[job->indices[i]]));
    }
done:
    fbt_inputs_close(&inputs);
    return status;
}

/* The queue of this rank. The group's first looks at all claims at once: at names that are too long for claims, which
 * are errors, and at holders elsewhere, which it must have seen silent for a while before it may succeed them. */
static fbt_status open_queue(workers *w)
{
    fbt_status status = FBT_OK;
    const fbt_sweep_job *job = w->job;
    fbt_claim_holder holder;
    FBT_TRY(fbt_sweep_queue_open(&w->queue, job->sweep, job->indices, job->n));
    for (int64_t i = 0; fbt_comm_rank(w->group) == 0 && i < job->n; i++) {
        FBT_TRY(fbt_claim_look(job->sweep->runs[job->indices[i]].output, &holder));
    }
done:
    return status;
}

fbt_status fbt_sweep_make_runs(const fbt_sweep_job *job, const fbt_comm *world)
{
    fbt_status status = FBT_OK;
    fbt_comm *group = NULL;
    workers w = {.job = job, .start_s = fbt_timer_now_s()};
    if (fbt_comm_rank(world) == 0) {
        status = open_sweep(job);
    }
    FBT_TRY(fbt_comm_agree(world, status));
    fbt_comm_broadcast(world, job->indices, job->n * (int64_t)sizeof *job->indices);
    FBT_TRY(fbt_comm_split(world, fbt_comm_rank(world) / job->ranks_per_run, &group));
    w.group = group;
    fbt_log_set_rank(fbt_comm_rank(group));
    FBT_TRY(fbt_comm_agree(world, open_queue(&w)));
    status = work(&w);
    fbt_comm_wait(world); /* for the groups that are still at work */
    FBT_TRY(fbt_comm_agree(world, status));
done:
    fbt_log_set_rank(fbt_comm_rank(world));
    fbt_sweep_queue_close(&w.queue);
    fbt_inputs_close(&w.inputs);
    fbt_comm_free(group);
    return status;
}
