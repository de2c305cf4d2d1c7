/* The rounds of a run, and when it stops. */
#include "run/experiment_internal.h"

#include "base/build_info.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/timer.h"
#include "fed/federation.h"
#include "run/energy.h"
#include "run/guard.h"
#include "run/limits.h"
#include "run/probe.h"
#include "run/recorder.h"
#include "run/run_header.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Causes that end a run before its last round. */
typedef enum stop { STOP_NONE, STOP_MAX_SECONDS, STOP_JOB_END, STOP_OBSERVER } stop;
enum { TEXT_BYTES = 2048 };

typedef struct session {
    fbt_experiment *e;
    fbt_federation *f;
    fbt_guard guard;
    fbt_energy energy;
    fbt_recorder recorder;        /* of rank 0 */
    bool records;                 /* this is rank 0 */
    const fbt_run_observer *told; /* the plan's, on rank 0 alone */
    float *prompt;                /* [P, H]: scratch of rank 0 */
    double start_s;               /* of the first round                                       */
    int64_t n_made;               /* rounds that this session has made                        */
    double round_s, score_s;      /* longest so far: a round but for its scores, its scores   */
    fbt_progress progress;
    stop stop;  /* as agreed on last */
    int reason; /* of STOP_OBSERVER: the observer's */
} session;

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

/* ", 8 of 13 reported (2 dropped, 3 late), 84.2 s simulated": nothing where all report at once. */
static void describe_reports(const session *s, const fbt_round_row *row, char *text, size_t n_bytes)
{
    const int64_t n_chosen = row->n_reported + row->n_dropped + row->n_late;
    int used = 0;
    text[0] = '\0';
    if (n_chosen > 0 && fbt_settings_have_faults(&s->e->settings)) {
        used = snprintf(text, n_bytes, ", %" PRId64 " of %" PRId64 " reported (%" PRId64 " dropped, %" PRId64 " late)",
                        row->n_reported, n_chosen, row->n_dropped, row->n_late);
    }
    if (used > 0 && !isnan(row->simulated_s)) {
        snprintf(text + used, n_bytes - (size_t)used, ", %.1f s simulated", row->simulated_s);
    }
}

static void tell_round(const session *s, const fbt_round_row *row, double seconds)
{
    const int64_t n_rounds = fbt_experiment_last_round(s->e);
    char scores[160], left[64], check[48] = "", reports[160], text[TEXT_BYTES];
    describe_scores(row, scores, sizeof scores);
    if (fbt_guard_is_low(&s->e->settings, row)) {
        snprintf(check, sizeof check, ", ranks as fp32 tau %.2f", row->precision_tau);
    }
    describe_reports(s, row, reports, sizeof reports);
    describe_time_left(s, row->index, left, sizeof left);
    snprintf(text, sizeof text, "round %3" PRId64 "/%" PRId64 ": %s, sigma %.3f%s%s, %.2f s%s", row->index, n_rounds,
             scores, row->step_size_local, check, reports, seconds, left);
    fbt_observer_tell(s->told, &(fbt_run_event){.kind = FBT_RUN_EVENT_ROUND,
                                                .label = fbt_experiment_label(s->e),
                                                .text = text,
                                                .row = row,
                                                .n_rounds = n_rounds,
                                                .seconds = seconds});
}

static const char *name_stop(const session *s)
{
    const fbt_run_observer *o = s->told;
    return s->stop == STOP_MAX_SECONDS ? "run.max_seconds"
           : s->stop == STOP_JOB_END   ? "the end of the batch job"
           : o->name_reason != NULL    ? o->name_reason(o->user, s->reason)
                                       : "its caller";
}

static void tell_end(const session *s, int64_t last_round)
{
    char how[128] = "finished with", best[48] = "";
    const char *then = s->stop == STOP_NONE ? "" : "; --resume goes on";
    if (s->recorder.best.index >= 0) {
        snprintf(best, sizeof best, ", best on dev: round %" PRId64, s->recorder.best.index);
    }
    if (s->stop != STOP_NONE && s->told != NULL) {
        snprintf(how, sizeof how, "stopped by %.100s after", name_stop(s));
    }
    fbt_observer_note(s->told, FBT_RUN_EVENT_END, fbt_experiment_label(s->e),
                      "%s round %" PRId64 " of %" PRId64 " in %.0f s%s; run file %s%s", how, last_round,
                      fbt_experiment_last_round(s->e), fbt_timer_now_s() - s->start_s, best, s->e->settings.run.output,
                      then);
}

/* Asks rank 0's clocks about another round. At least one is made: a chain of short jobs gets on. */
static stop out_of_time(const session *s)
{
    const fbt_settings *settings = &s->e->settings;
    const double next_s = s->round_s + s->score_s;
    if (s->n_made == 0) {
        return STOP_NONE;
    }
    if (settings->run.max_seconds > 0 && fbt_timer_now_s() - s->e->start_s + next_s > settings->run.max_seconds) {
        return STOP_MAX_SECONDS;
    }
    const double left_s = fbt_observer_seconds_left(s->e->plan->observer) - settings->run.stop_margin_seconds;
    return next_s > left_s ? STOP_JOB_END : STOP_NONE;
}

/* Whether the rounds end here: any rank's observer, or rank 0's clock. The same answer on all ranks. Collective. */
static void agree_to_stop(session *s, int64_t round)
{
    double found[2] = {fbt_observer_should_stop(s->e->plan->observer), s->records ? (double)out_of_time(s) : STOP_NONE};
    fbt_comm_max(s->e->comm, found, 2);
    s->reason = found[0] > 0 ? (int)found[0] : 0;
    s->stop = s->reason > 0 ? STOP_OBSERVER : (stop)found[1];
    if (round >= fbt_experiment_last_round(s->e)) {
        s->stop = STOP_NONE; /* nothing is left to be stopped */
    }
}

static fbt_run_status status_after(const session *s, int64_t round)
{
    if (round == s->e->settings.fed.rounds) {
        return FBT_RUN_FINISHED;
    }
    return s->stop != STOP_NONE || round >= fbt_experiment_last_round(s->e) ? FBT_RUN_INTERRUPTED : FBT_RUN_RUNNING;
}

static void note_time(session *s, const fbt_round_row *row, double seconds)
{
    const double score_s = row->phase_s[FBT_PHASE_SCORE];
    s->round_s = fmax(s->round_s, seconds - score_s);
    s->score_s = fmax(s->score_s, score_s);
}

/* Rank 0: the round in the run file. Its time goes into the next row. */
static fbt_status record_round(session *s, const fbt_round_row *row)
{
    fbt_status status = FBT_OK;
    fbt_model *model = s->e->inputs->model;
    fbt_recorder_round round = {.row = row, .prompt = s->prompt};
    const double start_s = fbt_timer_now_s();
    FBT_TRY(fbt_model_set_prompts(model, row->z, 1));
    FBT_TRY(fbt_model_get_prompt(model, 0, s->prompt));
    FBT_TRY(fbt_federation_checkpoint(s->f, &round.checkpoint));
    FBT_TRY(fbt_recorder_add(&s->recorder, &round));
    FBT_TRY(fbt_recorder_commit(&s->recorder, status_after(s, row->index)));
    fbt_progress_add_write(&s->progress, fbt_timer_now_s() - start_s);
done:
    fbt_federation_add_phase(s->f, FBT_PHASE_RECORD, fbt_timer_now_s() - start_s);
    return status;
}

/* Does what follows a round, the one before the first included. Collective. */
static fbt_status end_round(session *s, const fbt_round_row *row, double start_s)
{
    fbt_status status = FBT_OK;
    const double round_s = fbt_timer_now_s() - start_s;
    note_time(s, row, round_s);
    if (s->n_made > 0) {
        fbt_progress_add_round(&s->progress, round_s);
    }
    tell_round(s, row, round_s);
    fbt_guard_tell(&s->guard, s->e, s->told, row);
    agree_to_stop(s, row->index);
    FBT_TRY(fbt_comm_agree(s->e->comm, s->records ? record_round(s, row) : FBT_OK));
    note_time(s, row, fbt_timer_now_s() - start_s); /* with the writing */
done:
    return status;
}

/* Rank 0 of a run that goes on: says so in the file on the disk, before its first round. */
static fbt_status record_begin(session *s)
{
    return fbt_recorder_commit(&s->recorder, status_after(s, s->e->restored.last_round));
}

/* Round 0, or the state of the last round that is in the file. Collective. */
static fbt_status begin(session *s)
{
    fbt_status status = FBT_OK;
    fbt_round_row row;
    const double start_s = fbt_timer_now_s();
    if (!s->e->resumed) {
        FBT_TRY(fbt_federation_start(s->f, &row));
        fbt_energy_fill(&s->energy, &row);
        return end_round(s, &row, start_s);
    }
    FBT_TRY(fbt_federation_restore(s->f, s->e->restored.checkpoint, &s->e->restored.best));
    agree_to_stop(s, s->e->restored.last_round);
    FBT_TRY(fbt_comm_agree(s->e->comm, s->records ? record_begin(s) : FBT_OK));
done:
    return status;
}

/* Computes the rounds that follow in fp32. Collective. */
static fbt_status fall_back(session *s)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_guard_switch(&s->guard, s->e));
    FBT_TRY(fbt_comm_agree(s->e->comm, fbt_federation_use_model(s->f, s->e->inputs->model)));
done:
    return status;
}

/* One round and what follows it. Collective. */
static fbt_status make_round(session *s, int64_t round)
{
    fbt_status status = FBT_OK;
    fbt_round_row row;
    const fbt_settings *settings = &s->e->settings;
    const double start_s = fbt_timer_now_s();
    if (s->guard.must_switch) {
        FBT_TRY(fall_back(s));
    }
    FBT_TRY(fbt_federation_round(s->f, (uint32_t)round, fbt_settings_scores_round(settings, round), &row));
    fbt_energy_fill(&s->energy, &row);
    s->n_made++;
    fbt_guard_judge(&s->guard, settings, &row);
    FBT_TRY(end_round(s, &row, start_s));
done:
    return status;
}

static fbt_status run_rounds(session *s)
{
    fbt_status status = FBT_OK;
    int64_t round = s->e->resumed ? s->e->restored.last_round : 0;
    s->start_s = fbt_timer_now_s();
    FBT_TRY(begin(s));
    while (round < fbt_experiment_last_round(s->e) && s->stop == STOP_NONE) {
        FBT_TRY(make_round(s, ++round));
    }
    tell_end(s, round);
done:
    return status;
}

/* A resumed run on another kind of processor than its last rounds. */
static void tell_other_machine(const session *s, const fbt_backend_info *info)
{
    const fbt_run_restored *restored = &s->e->restored;
    if (s->records && s->e->resumed &&
        (strcmp(restored->instruction_set, info->isa) != 0 || strcmp(restored->device, info->device) != 0)) {
        fbt_observer_note(
            s->told, FBT_RUN_EVENT_NOTE, fbt_experiment_label(s->e),
            "its last rounds were computed on %s (%s): the next may differ in their last bits from those of a run "
            "on one kind of processor",
            restored->device, restored->instruction_set);
    }
}

/* Where test samples are scored less often than train and dev samples, and nobody asked for it. */
static void tell_test_every(const session *s)
{
    char text[FBT_COST_TEXT_BYTES];
    if (s->e->found_test_every && s->e->settings.eval.test_every > 1) {
        fbt_cost_describe_test(&s->e->settings, &s->e->shares, text);
        fbt_observer_note(s->told, FBT_RUN_EVENT_NOTE, fbt_experiment_label(s->e), "%s", text);
    }
}

static void tell_start(const session *s, const fbt_backend_info *info)
{
    const fbt_experiment *e = s->e;
    const fbt_settings *settings = &e->settings;
    const int n_ranks = fbt_comm_size(e->comm);
    fbt_observer_note(s->told, FBT_RUN_EVENT_BEGIN, fbt_experiment_label(s->e),
                      "fedbpt %s (%s): %s, %" PRId64 " clients on %d rank%s of %d thread%s, backend %s %s (%s, %s)",
                      fbt_build_version, fbt_build_commit,
                      fbt_settings_choice_name("fed.protocol", settings->fed.protocol), settings->fed.clients, n_ranks,
                      n_ranks > 1 ? "s" : "", info->n_threads, info->n_threads > 1 ? "s" : "", info->name,
                      info->types->name, info->device, info->isa);
    const char *idle = fbt_settings_idle(settings, "cma.sigma");
    if (idle != NULL && settings->cma.sigma != 1 && e->plan->sweep_name == NULL) { /* the sweep has told */
        fbt_observer_note(s->told, FBT_RUN_EVENT_NOTE, fbt_experiment_label(s->e),
                          "warning: cma.sigma %g changes nothing: %s", settings->cma.sigma, idle);
    }
    tell_test_every(s);
    if (e->resumed) {
        fbt_observer_note(s->told, FBT_RUN_EVENT_NOTE, fbt_experiment_label(s->e),
                          "goes on after round %" PRId64 " of %" PRId64 ": %s", e->restored.last_round,
                          settings->fed.rounds, settings->run.output);
    }
    tell_other_machine(s, info);
}

/* backend.precision may be auto: what came of it must be what it was. Of a run that has fallen back, fp32 comes of it,
 * but what is asked for must still be what it began with. */
static fbt_status check_backend(const fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    const char *asked = e->settings.backend.precision;
    const char *precision = e->restored.fell_back ? asked : fbt_backend_types(e->inputs->backend)->name;
    if (e->restored.fell_back && strcmp(asked, "auto") == 0) {
        return FBT_OK;
    }
    if (strcmp(precision, e->restored.precision) != 0) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "backend.precision is %s here, but %.300s was run with %s; to go on with it set "
                 "backend.precision to that, on a machine that has it",
                 precision, e->settings.run.output, e->restored.precision);
    }
done:
    return status;
}

/* Rank 0: the run file of a new run, in memory, or that of the run that goes on. */
static fbt_status open_recorder(session *s)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = s->e;
    const fbt_settings *settings = &e->settings;
    fbt_run_header_text text;
    if (e->resumed) {
        FBT_TRY(check_backend(e));
    } else {
        FBT_TRY(fbt_inputs_digest(e->inputs, settings));
    }
    fbt_run_header_make(e, &text);
    FBT_TRY(fbt_memory_alloc(&s->prompt, text.header.n_prompt_values[0] * text.header.n_prompt_values[1],
                             sizeof *s->prompt));
    if (e->resumed) {
        FBT_TRY(fbt_recorder_continue(&s->recorder, &e->file, &e->restored, &text.header));
    } else {
        FBT_TRY(fbt_recorder_create(&s->recorder, settings->run.output, settings->run.overwrite, &text.header));
    }
done:
    return status;
}

/* Makes what prompt.hidden_std=auto has come to the run's setting from here on. */
static fbt_status take_hidden_std(fbt_experiment *e)
{
    fbt_status status = FBT_OK;
    char *resolved = NULL;
    if (e->inputs->hidden_std == NULL) {
        goto done;
    }
    FBT_TRY(fbt_memory_replace_text(&e->settings.prompt.hidden_std, e->inputs->hidden_std));
    FBT_TRY(fbt_settings_print(&e->settings, &resolved));
    free(e->config_resolved);
    e->config_resolved = resolved;
done:
    return status;
}

/* Models, recorder and federation. Collective. */
static fbt_status open_session(session *s)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = s->e;
    const fbt_comm *comm = e->comm;
    fbt_model_limits limits;
    fbt_backend_info info;
    const fbt_settings settings = fbt_guard_settings(e, e->restored.fell_back);
    fbt_limits_of_run(&settings, &e->inputs->dataset, &e->partition, &e->placement, fbt_comm_size(comm),
                      fbt_comm_rank(comm), &limits);
    FBT_TRY(fbt_inputs_open_model(e->inputs, &settings, &limits, e->plan->observer, comm));
    FBT_TRY(fbt_probe_batches(e->inputs, &settings, &e->partition, comm));
    FBT_TRY(fbt_comm_agree(comm, take_hidden_std(e)));
    FBT_TRY(fbt_comm_hosts(comm, &e->hosts));
    FBT_TRY(fbt_experiment_find_devices(e));
    FBT_TRY(fbt_guard_open(&s->guard, e));
    FBT_TRY(fbt_comm_agree(comm, s->records ? open_recorder(s) : FBT_OK));
    fbt_backend_get_info(e->inputs->backend, &info);
    tell_start(s, &info);
    if (e->plan->opened != NULL) {
        FBT_TRY(fbt_comm_agree(comm, e->plan->opened(&info, e->plan->user)));
    }
    const fbt_federation_parts parts = {.settings = &e->settings,
                                        .dataset = &e->inputs->dataset,
                                        .partition = &e->partition,
                                        .work = e->work,
                                        .world = comm,
                                        .model = e->inputs->model,
                                        .reference = s->guard.reference.model};
    FBT_TRY(fbt_federation_new(&parts, &s->f));
    FBT_TRY(fbt_energy_open(&s->energy, e, s->told));
done:
    return status;
}

fbt_status fbt_experiment_run(fbt_experiment *experiment, bool *interrupted)
{
    fbt_status status = FBT_OK;
    fbt_experiment *e = experiment;
    const bool first = fbt_comm_rank(e->comm) == 0;
    session s = {
        .e = e, .records = first, .told = first ? e->plan->observer : NULL, .recorder = {.best = FBT_NO_BEST_ROUND}};
    *interrupted = false;
    if (e->finished) {
        fbt_observer_note(s.told, FBT_RUN_EVENT_END, fbt_experiment_label(e),
                          "finished already: %s has all %" PRId64 " rounds", e->settings.run.output,
                          fbt_experiment_last_round(e));
        return FBT_OK;
    }
    FBT_TRY(open_session(&s));
    FBT_TRY(run_rounds(&s));
    *interrupted = s.stop != STOP_NONE;
done:
    fbt_recorder_close(&s.recorder, status);
    fbt_federation_free(s.f);
    fbt_energy_close(&s.energy);
    fbt_guard_close(&s.guard);
    free(s.prompt);
    return status;
}
