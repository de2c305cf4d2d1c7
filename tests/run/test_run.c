/* Runs through the library, as a program that links it makes them: what is told and asked, stopping and going on,
 * refusals, scores of a population, a run made again. Failures are counted, and the job's count is every rank's exit
 * status. */
#include "mpi/mpi_test.h"
#include "record/run_reader.h"
#include "run/experiment.h"
#include "run/repeat.h"
#include "run/scoring.h"
#include "study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[STUDY_PATH_BYTES], config[STUDY_PATH_BYTES];

/* Observations of an observer, and its answers. */
typedef struct witness {
    int n_events[FBT_RUN_EVENT_FAILURE + 1];
    char end[512];
    int64_t last_round;
    double dev_loss;
    int stop_at; /* asks to stop at the so-many-th question; 0: never */
    int n_asked;
    double seconds_left;
} witness;

static void tell(void *user, const fbt_run_event *event)
{
    witness *w = user;
    w->n_events[event->kind]++;
    CHECK(event->text != NULL && event->text[0] != '\0' && event->label != NULL, "an event without words");
    CHECK((event->kind == FBT_RUN_EVENT_ROUND) == (event->row != NULL), "rows come with rounds");
    if (event->kind == FBT_RUN_EVENT_ROUND) {
        w->last_round = event->row->index;
        w->dev_loss = event->row->dev_loss;
        CHECK(event->n_rounds == STUDY_ROUNDS, "of %lld rounds", (long long)event->n_rounds);
    } else if (event->kind == FBT_RUN_EVENT_END) {
        snprintf(w->end, sizeof w->end, "%s", event->text);
    }
}

static int should_stop(void *user)
{
    witness *w = user;
    return ++w->n_asked == w->stop_at ? 7 : 0;
}

static const char *name_reason(void *user, int reason)
{
    (void)user;
    return reason == 7 ? "lunch" : "?";
}

static double seconds_left(void *user)
{
    return ((witness *)user)->seconds_left;
}

static fbt_run_observer observe(witness *w)
{
    return (fbt_run_observer){
        .tell = tell, .should_stop = should_stop, .name_reason = name_reason, .seconds_left = seconds_left, .user = w};
}

/* Runs the study into folder/name. */
static fbt_status run_study(const char *name, bool resume, witness *w, const fbt_comm *comm, bool *interrupted)
{
    fbt_status status = FBT_OK;
    fbt_inputs inputs = {0};
    fbt_experiment *experiment = NULL;
    char output[STUDY_PATH_BYTES + 16];
    snprintf(output, sizeof output, "run.output=%s/%s", folder, name);
    const fbt_run_observer observer = observe(w);
    const fbt_experiment_plan plan = {.config_path = config,
                                      .assignments = (const char *const[]){output},
                                      .n_assignments = 1,
                                      .resume = resume,
                                      .observer = w == NULL ? NULL : &observer};
    *interrupted = false;
    fbt_error_clear();
    FBT_TRY(fbt_experiment_open(&plan, &inputs, comm, &experiment));
    FBT_TRY(fbt_experiment_run(experiment, interrupted));
done:
    fbt_experiment_close(experiment);
    fbt_inputs_close(&inputs);
    return status;
}

static void check_digest(const char *name, const char *other)
{
    char path[2][STUDY_PATH_BYTES], digest[2][FBT_DIGEST_TEXT_BYTES] = {"a", "b"};
    if (rank == 0) {
        const fbt_status first = fbt_run_reader_digest(study_path(folder, name, path[0]), digest[0]);
        const fbt_status second = fbt_run_reader_digest(study_path(folder, other, path[1]), digest[1]);
        CHECK(first == FBT_OK && second == FBT_OK, "%s", fbt_error_message());
        CHECK(strcmp(digest[0], digest[1]) == 0, "%s and %s are different runs", name, other);
    }
}

/* Broken by events that are lost, told twice or told on other ranks, and by numbers that depend on the ranks. */
static void a_run_tells_its_rounds(const fbt_comm *world, const fbt_comm *self)
{
    bool interrupted = true;
    witness w = {.seconds_left = INFINITY};
    CHECK(run_study("whole.h5", false, &w, world, &interrupted) == FBT_OK, "%s", fbt_error_message());
    CHECK(!interrupted, "it was not stopped");
    const int first = rank == 0;
    CHECK(w.n_events[FBT_RUN_EVENT_BEGIN] == first && w.n_events[FBT_RUN_EVENT_END] == first &&
              w.n_events[FBT_RUN_EVENT_ROUND] == first * (STUDY_ROUNDS + 1) && w.n_events[FBT_RUN_EVENT_FAILURE] == 0,
          "%d, %d, %d", w.n_events[FBT_RUN_EVENT_BEGIN], w.n_events[FBT_RUN_EVENT_END],
          w.n_events[FBT_RUN_EVENT_ROUND]);
    CHECK(!first || (w.last_round == STUDY_ROUNDS && strncmp(w.end, "finished with round 3 of 3", 26) == 0), "%s",
          w.end);
    if (rank == 0) { /* deaf and mute, and alone */
        CHECK(run_study("alone.h5", false, NULL, self, &interrupted) == FBT_OK && !interrupted, "%s",
              fbt_error_message());
    }
    check_digest("whole.h5", "alone.h5");
}

/* Broken by a stop that one rank alone hears, and by a resumed run that is another. */
static void an_observer_stops_a_run_which_goes_on(const fbt_comm *world)
{
    bool interrupted = false;
    witness w = {.seconds_left = INFINITY, .stop_at = rank == size - 1 ? 2 : 0};
    CHECK(run_study("stopped.h5", false, &w, world, &interrupted) == FBT_OK, "%s", fbt_error_message());
    CHECK(interrupted, "the last rank asked to stop after round 1");
    CHECK(rank != 0 || strstr(w.end, "stopped by lunch after round 1 of 3") == w.end, "%s", w.end);
    w = (witness){.seconds_left = 0}; /* no time for another round, but one is always made */
    CHECK(run_study("stopped.h5", true, &w, world, &interrupted) == FBT_OK, "%s", fbt_error_message());
    CHECK(interrupted, "the job ends");
    CHECK(rank != 0 || strstr(w.end, "stopped by the end of the batch job after round 2 of 3") == w.end, "%s", w.end);
    w = (witness){.seconds_left = INFINITY};
    CHECK(run_study("stopped.h5", true, &w, world, &interrupted) == FBT_OK && !interrupted, "%s", fbt_error_message());
    CHECK(w.n_events[FBT_RUN_EVENT_ROUND] == (rank == 0), "one round was left");
    check_digest("whole.h5", "stopped.h5");
    CHECK(run_study("stopped.h5", true, &w, world, &interrupted) == FBT_OK && !interrupted, "%s", fbt_error_message());
    CHECK(rank != 0 || strstr(w.end, "finished already") == w.end, "%s", w.end);
}

/* Broken by a refusal that leaves something open, or that one rank does not hear of. */
static void a_run_is_refused_on_all_ranks(const fbt_comm *world)
{
    bool interrupted;
    witness w = {.seconds_left = INFINITY};
    const fbt_status status = run_study("whole.h5", false, &w, world, &interrupted);
    CHECK(status == (rank == 0 ? FBT_ERR_IO : FBT_ERR_PEER), "%d: %s", status, fbt_error_message());
    CHECK(rank != 0 || strstr(fbt_error_message(), "exists") != NULL, "%s", fbt_error_message());
    CHECK(w.n_events[FBT_RUN_EVENT_BEGIN] == 0, "nothing has begun");
    fbt_error_clear();
}

static fbt_status refuse(const fbt_backend_info *info, void *user)
{
    CHECK(strcmp(info->name, "cpu") == 0 && strcmp(info->types->name, "fp32") == 0, "%s", info->name);
    return rank == *(const int *)user ? fbt_fail(FBT_ERR_USAGE, "not on this machine") : FBT_OK;
}

/* Broken by a plan's own failure that is lost, and by a run file that is written all the same. */
static void what_is_known_before_the_first_round(const fbt_comm *world)
{
    fbt_inputs inputs = {0};
    fbt_experiment *experiment = NULL;
    fbt_experiment_view view;
    fbt_experiment_memory memory;
    bool interrupted;
    int last = size - 1;
    const char *devices = NULL;
    const fbt_experiment_plan plan = {.config_path = config, .opened = refuse, .user = &last};
    fbt_error_clear();
    CHECK(fbt_experiment_open(&plan, &inputs, world, &experiment) == FBT_OK, "%s", fbt_error_message());
    fbt_experiment_look(experiment, &view);
    CHECK(view.partition->n_clients == STUDY_CLIENTS && view.settings->fed.rounds == STUDY_ROUNDS, "the settings'");
    CHECK(!view.resumed && !view.finished && view.past_round == 0 && view.work[0] > 0, "nothing was run");
    CHECK(fbt_experiment_plan_memory(experiment, &memory) == FBT_OK, "%s", fbt_error_message());
    CHECK(memory.n_ranks == size && memory.plan.weights > 0 && memory.device.constants >= memory.plan.weights &&
              memory.device.free > 0 && strcmp(memory.precision, "fp32") == 0,
          "%d ranks", memory.n_ranks);
    CHECK(fbt_experiment_list_devices(experiment, &devices) == FBT_OK && strstr(devices, "rank 0: ") == devices, "%s",
          devices);
    const fbt_status status = fbt_experiment_run(experiment, &interrupted);
    CHECK(status == (rank == last ? FBT_ERR_USAGE : FBT_ERR_PEER), "%d: %s", status, fbt_error_message());
    CHECK(access(view.settings->run.output, F_OK) != 0, "no round was made");
    fbt_experiment_close(experiment);
    fbt_inputs_close(&inputs);
    fbt_error_clear();
}

/* Losses of the dev samples under n candidates from z on, by a process that has just begun. */
static void score(const double *z, int64_t n, const fbt_comm *comm, double *losses)
{
    fbt_status status = FBT_OK;
    fbt_settings settings = {0};
    fbt_inputs inputs = {0};
    fbt_partition partition = {0};
    fbt_item items[STUDY_DEV];
    char *text = NULL;
    const fbt_prompts prompts = {.z = z, .n_candidates = n, .d = STUDY_DIMENSION};
    FBT_TRY(fbt_settings_defaults(&settings));
    FBT_TRY(fbt_settings_read_file(&settings, config, &text));
    FBT_TRY(fbt_inputs_open_dataset(&inputs, &settings));
    FBT_TRY(fbt_inputs_check(&inputs, &settings));
    FBT_TRY(fbt_inputs_partition(&inputs, &settings, &partition));
    for (int i = 0; i < STUDY_DEV; i++) {
        items[i] = fbt_item_of(partition.dev_split, partition.dev_index[i]);
    }
    status =
        fbt_score_prompts(&inputs, &settings, items, STUDY_DEV, &prompts, NULL, comm, &(fbt_scores){.losses = losses});
done:
    CHECK(status == FBT_OK, "%s", fbt_error_message());
    CHECK(partition.n_dev == STUDY_DEV, "%lld", (long long)partition.n_dev);
    fbt_partition_clear(&partition);
    fbt_inputs_close(&inputs);
    fbt_settings_clear(&settings);
    free(text);
}

/* Broken by candidates that are mixed up, and by shares of the work that change a number. */
static void a_population_is_scored(const fbt_comm *world, const fbt_comm *self)
{
    enum { N = 3 };
    double z[N * STUDY_DIMENSION] = {0}, together[N * STUDY_DEV] = {0}, alone[STUDY_DEV] = {0};
    for (int i = STUDY_DIMENSION; i < N * STUDY_DIMENSION; i++) {
        z[i] = sin(i);
    }
    score(z, N, world, together);
    for (int c = N - 1; c >= 0; c--) {
        score(z + c * STUDY_DIMENSION, 1, self, alone);
        CHECK(memcmp(alone, together + c * STUDY_DEV, sizeof alone) == 0, "candidate %d", c);
    }
    CHECK(together[0] != together[STUDY_DEV] && isfinite(together[0]), "prompts change losses");
}

/* Broken by samples or a prompt that are not those of the run. */
static void a_recorded_prompt_is_scored(const fbt_comm *world)
{
    char run[STUDY_PATH_BYTES];
    witness w = {.seconds_left = INFINITY};
    bool interrupted;
    fbt_prompt_scoring s = {0};
    const fbt_prompt_scoring_plan plan = {
        .run = study_path(folder, "scored.h5", run), .round = "last", .split = "dev", .with_logits = true};
    CHECK(run_study("scored.h5", false, &w, world, &interrupted) == FBT_OK, "%s", fbt_error_message());
    CHECK(fbt_prompt_scoring_open(&s, &plan) == FBT_OK, "%s", fbt_error_message());
    CHECK(fbt_prompt_scoring_run(&s, world) == FBT_OK, "%s", fbt_error_message());
    CHECK(s.round == STUDY_ROUNDS && s.n == STUDY_DEV && isfinite(s.logits[0]), "%lld", (long long)s.round);
    CHECK(rank != 0 || s.metrics.loss == w.dev_loss, "%.17g, the run had %.17g", s.metrics.loss, w.dev_loss);
    fbt_prompt_scoring_close(&s);
}

/* Broken by a comparison that takes anything, and by settings that decide numbers and are let through. */
static void a_run_is_made_again(const fbt_comm *world)
{
    char run[STUDY_PATH_BYTES], again[STUDY_PATH_BYTES];
    witness w = {.seconds_left = INFINITY};
    const fbt_run_observer observer = observe(&w);
    fbt_repeat_result result;
    fbt_repeat_plan plan = {.run = study_path(folder, "whole.h5", run), .observer = &observer};
    CHECK(fbt_repeat_run(&plan, world, &result) == FBT_OK, "%s", fbt_error_message());
    CHECK(!result.interrupted && result.last_round == STUDY_ROUNDS, "%lld", (long long)result.last_round);
    CHECK((result.digest[0] != '\0') == (rank == 0), "%s", result.digest);
    CHECK(access(study_path(folder, "whole.rerun.h5", again), F_OK) != 0, "it is removed");
    CHECK(w.n_events[FBT_RUN_EVENT_ROUND] == (rank == 0 ? STUDY_ROUNDS + 1 : 0), "its rounds are told");
    plan.assignments = (const char *const[]){"cma.alpha=3"};
    plan.n_assignments = 1;
    CHECK(fbt_repeat_run(&plan, world, &result) == FBT_ERR_CONFIG, "another alpha is another run");
    CHECK(strstr(fbt_error_message(), "cma.alpha is 3, but ") == fbt_error_message(), "%s", fbt_error_message());
    fbt_error_clear();
}

enum { JOULES_RANGE = 1000 };

/* A tree of one package whose counter goes from 0 to JOULES_RANGE microjoules. */
static void make_powercap(const char *root)
{
    static const char *const texts[][2] = {{"name", "package-0"}, {"max_energy_range_uj", "1000"}, {"energy_uj", "0"}};
    char zone[STUDY_PATH_BYTES + 16], path[STUDY_PATH_BYTES + 64];
    snprintf(zone, sizeof zone, "%s/intel-rapl:0", root);
    CHECK(mkdir(root, 0700) == 0 && mkdir(zone, 0700) == 0, "%s", zone);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", zone, texts[i][0]);
        FILE *file = fopen(path, "w");
        CHECK(file != NULL && fprintf(file, "%s\n", texts[i][1]) > 0 && fclose(file) == 0, "%s", path);
    }
}

/* Sees the joules of each round; the package then takes 300 more, so that it wraps around in the fourth. */
static void tell_joules(void *user, const fbt_run_event *event)
{
    const char *root = user;
    char path[STUDY_PATH_BYTES + 64];
    if (event->kind == FBT_RUN_EVENT_NOTE) {
        CHECK(strstr(event->text, "energy") == NULL, "%s", event->text);
    } else if (event->kind == FBT_RUN_EVENT_ROUND) {
        const int64_t index = event->row->index;
        CHECK(fabs(event->row->energy_cpu - (index == 0 ? 0 : 300e-6)) < 1e-9, "%g", event->row->energy_cpu);
        CHECK(isnan(event->row->energy_gpu), "the processor is no GPU");
        snprintf(path, sizeof path, "%s/intel-rapl:0/energy_uj", root);
        FILE *file = fopen(path, "r+");
        CHECK(file != NULL && fprintf(file, "%lld\n\n", (long long)(300 * (index + 1) % JOULES_RANGE)) > 0, "%s", path);
        fclose(file);
    }
}

/* Broken by a node whose processors every rank counts, by a rank that none has told of, and by a round that is given
 * the energy of those before it. */
static void a_run_counts_its_joules(const fbt_comm *world)
{
    fbt_inputs inputs = {0};
    fbt_experiment *experiment = NULL;
    bool interrupted;
    char root[STUDY_PATH_BYTES], output[STUDY_PATH_BYTES + 32];
    study_path(folder, "powercap", root);
    if (rank == 0) {
        make_powercap(root);
    }
    fbt_comm_wait(world);
    snprintf(output, sizeof output, "run.output=%s/joules.h5", folder);
    const fbt_run_observer observer = {.tell = tell_joules, .user = root};
    const fbt_experiment_plan plan = {.config_path = config,
                                      .assignments = (const char *const[]){output},
                                      .n_assignments = 1,
                                      .observer = &observer,
                                      .powercap = root};
    CHECK(fbt_experiment_open(&plan, &inputs, world, &experiment) == FBT_OK, "%s", fbt_error_message());
    CHECK(fbt_experiment_run(experiment, &interrupted) == FBT_OK, "%s", fbt_error_message());
    fbt_experiment_close(experiment);
    fbt_inputs_close(&inputs);
    check_digest("whole.h5", "joules.h5");
}

static void check_runs(fbt_comm *world, fbt_comm *self)
{
    study_make(world, folder);
    study_path(folder, "base.yaml", config);
    a_run_tells_its_rounds(world, self);
    an_observer_stops_a_run_which_goes_on(world);
    a_run_is_refused_on_all_ranks(world);
    what_is_known_before_the_first_round(world);
    a_population_is_scored(world, self);
    a_recorded_prompt_is_scored(world);
    a_run_is_made_again(world);
    a_run_counts_its_joules(world);
    study_remove(world, folder);
}

int main(int argc, char **argv)
{
    return run_checks(argc, argv, check_runs);
}
