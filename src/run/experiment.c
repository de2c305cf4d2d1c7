/* The rounds of a run, and when it stops. */
#include "run/experiment.h"

#include "base/build_info.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/timer.h"
#include "fed/federation.h"
#include "run/device.h"
#include "run/limits.h"
#include "run/recorder.h"
#include "run/stop.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What ends a run before its last round; 0: nothing. A signal's number stands for itself. */
enum { STOP_MAX_SECONDS = 1000, STOP_JOB_END };

typedef struct session {
    fbt_experiment *e;
    fbt_federation *f;
    fbt_recorder recorder;
    double start_s;          /* of the first round                                       */
    int64_t n_made;          /* rounds that this session has made                        */
    double round_s, score_s; /* longest so far: a round but for its scores, its scores   */
    fbt_progress progress;
    int stop; /* as agreed on last                                        */
} session;

static const char *label(const session *s)
{
    return s->e->plan->label == NULL ? "run" : s->e->plan->label;
}

/* "loss train 1.2345 dev 1.3456, accuracy dev 0.500": a run without dev or test samples has no such numbers. */
static void describe_scores(const fbt_round_row *row, char *text, size_t n_bytes)
{
    const struct {
        const char *format;
        double value;
    } parts[] = {{"loss train %.4f", row->train_loss}, {" dev %.4f", row->dev_loss},
                 {" test %.4f", row->test_loss},       {", accuracy train %.3f", row->train_accuracy},
                 {" dev %.3f", row->dev_accuracy},     {" test %.3f", row->test_accuracy}};
    size_t used = 0;
    if (isnan(row->train_loss)) {
        snprintf(text, n_bytes, "not scored");
        return;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && used < n_bytes; i++) {
        if (!isnan(parts[i].value)) {
            used += (size_t)snprintf(text + used, n_bytes - used, parts[i].format, parts[i].value);
        }
    }
}

/* ", 40 s left"; where run.max_seconds ends the run before its last round, ", 40 s left for about 5 more rounds". */
static void describe_time_left(const session *s, int64_t round, char *text, size_t n_bytes)
{
    const double max_s = s->e->settings.run.max_seconds;
    const double now_s = fbt_timer_now_s();
    if (s->n_made == 0) {
        text[0] = '\0';
        return;
    }
    const double round_s = (now_s - s->start_s) / (double)s->n_made;
    const int64_t n_left = fbt_experiment_last_round(s->e) - round;
    const double left_s = fbt_progress_left_s(&s->progress, n_left, n_left + 1);
    const double allowed_s = fmax(max_s - (now_s - s->e->start_s), 0);
    if (max_s > 0 && allowed_s < left_s) {
        snprintf(text, n_bytes, ", %.0f s left for about %.0f more rounds", allowed_s, floor(allowed_s / round_s));
    } else {
        snprintf(text, n_bytes, ", %.0f s left", left_s);
    }
}

static void log_round(const session *s, const fbt_round_row *row, double seconds)
{
    const int64_t n_rounds = fbt_experiment_last_round(s->e);
    char scores[160];
    char left[64];
    describe_scores(row, scores, sizeof scores);
    describe_time_left(s, row->index, left, sizeof left);
    fbt_log_info(label(s), "round %3lld/%lld: %s, sigma %.3f, %.2f s%s", (long long)row->index, (long long)n_rounds,
                 scores, row->step_size_local, seconds, left);
}

static void log_end(const session *s, int64_t last_round)
{
    const fbt_settings *settings = &s->e->settings;
    char how[64] = "finished with", best[48] = "";
    const char *then = s->stop == 0 ? "" : "; --resume goes on";
    if (s->recorder.best_round >= 0) {
        snprintf(best, sizeof best, ", best on dev: round %lld", (long long)s->recorder.best_round);
    }
    if (s->stop != 0) {
        snprintf(how, sizeof how, "stopped by %s%s after", s->stop < STOP_MAX_SECONDS ? "SIG" : "",
                 s->stop == STOP_MAX_SECONDS ? "run.max_seconds"
                 : s->stop == STOP_JOB_END   ? "the end of the batch job"
                                             : sigabbrev_np(s->stop));
    }
    fbt_log_info(label(s), "%s round %lld of %lld in %.0f s%s; run file %s%s", how, (long long)last_round,
                 (long long)fbt_experiment_last_round(s->e), fbt_timer_now_s() - s->start_s, best, settings->run.output,
                 then);
}

/* What rank 0's clocks say about another round. At least one is made: a chain of short jobs gets on. */
static int out_of_time(const session *s)
{
    const fbt_settings *settings = &s->e->settings;
    const double next_s = s->round_s + s->score_s;
    if (s->n_made == 0) {
        return 0;
    }
    if (settings->run.max_seconds > 0 && fbt_timer_now_s() - s->e->start_s + next_s > settings->run.max_seconds) {
        return STOP_MAX_SECONDS;
    }
    return next_s > fbt_stop_job_left_s() - settings->run.stop_margin_seconds ? STOP_JOB_END : 0;
}

/* Whether the rounds end here: a signal on any rank, or rank 0's clock. The same answer on all ranks. Collective. */
static void agree_to_stop(session *s, int64_t round)
{
    double found[2] = {fbt_stop_signal(), fbt_comm_rank(s->e->comm) == 0 ? out_of_time(s) : 0};
    fbt_comm_max(s->e->comm, found, 2);
    s->stop = (int)(found[0] > 0 ? found[0] : found[1]);
    if (round >= fbt_experiment_last_round(s->e)) {
        s->stop = 0; /* nothing is left to be stopped */
    }
}

static fbt_run_status status_after(const session *s, int64_t round)
{
    if (round == s->e->settings.fed.rounds) {
        return FBT_RUN_FINISHED;
    }
    return s->stop != 0 || round >= fbt_experiment_last_round(s->e) ? FBT_RUN_INTERRUPTED : FBT_RUN_RUNNING;
}

static void note_time(session *s, const fbt_round_row *row, double seconds)
{
    const double score_s = row->phase_s[FBT_PHASE_SCORE];
    s->round_s = fmax(s->round_s, seconds - score_s);
    s->score_s = fmax(s->score_s, score_s);
}

/* What follows a round, the one before the first included. Collective. */
static fbt_status end_round(session *s, const fbt_round_row *row, double start_s)
{
    fbt_status status = FBT_OK;
    const double round_s = fbt_timer_now_s() - start_s;
    note_time(s, row, round_s);
    if (s->n_made > 0) {
        fbt_progress_add_round(&s->progress, round_s);
    }
    log_round(s, row, round_s);
    agree_to_stop(s, row->index);
    const double write_s = fbt_timer_now_s();
    status = fbt_recorder_add(&s->recorder, s->f, row, status_after(s, row->index));
    FBT_TRY(fbt_comm_agree(s->e->comm, status));
    if (s->recorder.writes) {
        fbt_progress_add_write(&s->progress, fbt_timer_now_s() - write_s, fbt_run_file_bytes(s->e->file));
    }
    note_time(s, row, fbt_timer_now_s() - start_s); /* with the writing */
done:
    return status;
}

/* Round 0, or the state of the last round that is in the file. Collective. */
static fbt_status begin(session *s)
{
    fbt_status status = FBT_OK;
    fbt_round_row row;
    const double start_s = fbt_timer_now_s();
    if (!s->e->resumed) {
        FBT_TRY(fbt_federation_start(s->f, &row));
        return end_round(s, &row, start_s);
    }
    FBT_TRY(fbt_federation_restore(s->f, s->e->past.checkpoint));
    agree_to_stop(s, s->e->past.last_round);
    status = fbt_recorder_begin(&s->recorder, status_after(s, s->e->past.last_round));
    FBT_TRY(fbt_comm_agree(s->e->comm, status));
done:
    return status;
}

static fbt_status run_rounds(session *s)
{
    fbt_status status = FBT_OK;
    const fbt_settings *settings = &s->e->settings;
    fbt_round_row row;
    int64_t round = s->e->resumed ? s->e->past.last_round : 0;
    s->start_s = fbt_timer_now_s();
    FBT_TRY(begin(s));
    while (round < fbt_experiment_last_round(s->e) && s->stop == 0) {
        const double start_s = fbt_timer_now_s();
        round++;
        const bool scored = round % settings->eval.every == 0 || round == settings->fed.rounds;
        FBT_TRY(fbt_federation_round(s->f, (uint32_t)round, scored, &row));
        s->n_made++;
        FBT_TRY(end_round(s, &row, start_s));
    }
    log_end(s, round);
done:
    return status;
}

static void log_start(const session *s)
{
    fbt_backend_info info;
    const fbt_experiment *e = s->e;
    const fbt_settings *settings = &e->settings;
    const int n_ranks = fbt_comm_size(e->comm);
    fbt_backend_get_info(e->inputs->backend, &info);
    fbt_log_info(label(s), "fedbpt %s (%s): %s, %lld clients on %d rank%s of %d thread%s, backend %s %s (%s, %s)",
                 fbt_build_version, fbt_build_commit, fbt_settings_choice_name("fed.protocol", settings->fed.protocol),
                 (long long)settings->fed.clients, n_ranks, n_ranks > 1 ? "s" : "", info.n_threads,
                 info.n_threads > 1 ? "s" : "", info.name, fbt_precision_name(info.precision), info.device, info.isa);
    const char *idle = fbt_settings_idle(settings, "cma.sigma");
    if (idle != NULL && settings->cma.sigma != 1 && e->plan->sweep_name == NULL) { /* the sweep has told */
        fbt_log_info(label(s), "warning: cma.sigma %g changes nothing: %s", settings->cma.sigma, idle);
    }
    if (e->resumed) {
        fbt_log_info(label(s), "goes on after round %lld of %lld: %s", (long long)e->past.last_round,
                     (long long)settings->fed.rounds, settings->run.output);
    }
    if (e->resumed && fbt_comm_rank(e->comm) == 0 &&
        (strcmp(e->past.instruction_set, info.isa) != 0 || strcmp(e->past.device, info.device) != 0)) {
        fbt_log_info(
            label(s),
            "its last rounds were computed on %s (%s): the next may differ in their last bits from those of a run "
            "on one kind of processor",
            e->past.device, e->past.instruction_set);
    }
}

fbt_status fbt_experiment_run(fbt_experiment *experiment, bool *interrupted)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = experiment;
    const fbt_comm *comm = e->comm;
    session s = {.e = e};
    fbt_model_limits limits;
    *interrupted = false;
    if (e->finished) {
        fbt_log_info(label(&s), "finished already: %s has all %lld rounds", e->settings.run.output,
                     (long long)fbt_experiment_last_round(e));
        return FBT_OK;
    }
    fbt_limits_of_run(&e->settings, &e->inputs->dataset, &e->partition, &e->placement, fbt_comm_rank(comm), &limits);
    FBT_TRY(fbt_inputs_open_model(e->inputs, &e->settings, &limits, comm));
    FBT_TRY(fbt_comm_hosts(comm, &e->hosts));
    FBT_TRY(fbt_device_list(comm, e->inputs->backend, &e->devices));
    FBT_TRY(fbt_comm_agree(comm, fbt_recorder_open(&s.recorder, e)));
    log_start(&s);
    if (e->plan->opened != NULL) {
        FBT_TRY(fbt_comm_agree(comm, e->plan->opened(e, e->plan->user)));
    }
    fbt_federation_parts parts = {.settings = &e->settings,
                                  .dataset = &e->inputs->dataset,
                                  .partition = &e->partition,
                                  .placement = &e->placement,
                                  .world = comm,
                                  .model = e->inputs->model};
    FBT_TRY(fbt_federation_new(&parts, &s.f));
    FBT_TRY(run_rounds(&s));
    *interrupted = s.stop != 0;
done:
    fbt_recorder_close(&s.recorder, status);
    fbt_federation_free(s.f);
    return status;
}
