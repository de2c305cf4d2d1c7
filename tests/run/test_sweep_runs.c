/* A sweep through the library: its runs are made once, by groups of ranks, and told run by run; an observer stops it.
 * Failures are counted, and the job's count is every rank's exit status. */
#include "mpi/mpi_test.h"
#include "study.h"
#include "sweep/sweep_state.h"
#include "sweep/sweep_workers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_RUNS = 4, N_ROUNDS = 2 };

static char folder[STUDY_PATH_BYTES];

/* Observations of this rank's observer. */
typedef struct witness {
    int64_t n_rounds, n_ends, n_failures;
    int64_t n_of_run[N_RUNS]; /* rounds of the run with this label */
    const fbt_sweep *sweep;
    bool stops;
} witness;

static void tell(void *user, const fbt_run_event *event)
{
    witness *w = user;
    w->n_rounds += event->kind == FBT_RUN_EVENT_ROUND;
    w->n_ends += event->kind == FBT_RUN_EVENT_END;
    w->n_failures += event->kind == FBT_RUN_EVENT_FAILURE;
    if (event->kind == FBT_RUN_EVENT_FAILURE) {
        CHECK(!event->ends_sweep && strstr(event->text, event->label) == event->text, "%s", event->text);
    }
    for (int i = 0; i < N_RUNS && event->kind == FBT_RUN_EVENT_ROUND; i++) {
        w->n_of_run[i] += strcmp(w->sweep->runs[i].name, event->label) == 0;
    }
}

static int should_stop(void *user)
{
    return ((witness *)user)->stops;
}

static void read_sweep(const fbt_comm *world, fbt_sweep *sweep)
{
    char path[STUDY_PATH_BYTES];
    study_path(folder, "sweep.yaml", path);
    if (rank == 0) {
        FILE *file = fopen(path, "w");
        CHECK(file != NULL, "%s", path);
        fprintf(file,
                "name: s\nbase: base.yaml\noutput: %s/runs\nsettings: {fed.rounds: %d}\n"
                "grid: {fed.protocol: [nvflare, synchronous], cma.alpha: [1, 2]}\n",
                folder, N_ROUNDS);
        fclose(file);
    }
    fbt_comm_wait(world);
    CHECK(fbt_sweep_read(path, NULL, 0, sweep) == FBT_OK, "%s", fbt_error_message());
    CHECK(sweep->n_runs == N_RUNS, "%lld", (long long)sweep->n_runs);
}

/* Makes what is left of the sweep; *w: the sums over all ranks. */
static fbt_status make_runs(const fbt_sweep *sweep, int ranks_per_run, bool stops, const fbt_comm *world, witness *w)
{
    int64_t indices[N_RUNS] = {0, 1, 2, 3};
    *w = (witness){.sweep = sweep, .stops = stops};
    const fbt_run_observer observer = {.tell = tell, .should_stop = should_stop, .user = w};
    const fbt_sweep_job job = {
        .sweep = sweep, .indices = indices, .n = N_RUNS, .ranks_per_run = ranks_per_run, .observer = &observer};
    fbt_error_clear();
    const fbt_status status = fbt_sweep_make_runs(&job, world);
    int64_t sums[3 + N_RUNS] = {w->n_rounds, w->n_ends, w->n_failures};
    memcpy(sums + 3, w->n_of_run, sizeof w->n_of_run);
    fbt_comm_sum_int(world, sums, 3 + N_RUNS);
    w->n_rounds = sums[0];
    w->n_ends = sums[1];
    w->n_failures = sums[2];
    memcpy(w->n_of_run, sums + 3, sizeof w->n_of_run);
    return status;
}

/* How many runs stand so. */
static int count(const fbt_sweep *sweep, fbt_sweep_state state)
{
    int n = 0;
    for (int64_t i = 0; i < sweep->n_runs; i++) {
        fbt_sweep_standing standing = {0};
        CHECK(fbt_sweep_look(sweep, &sweep->runs[i], true, &standing) == FBT_OK, "%s", fbt_error_message());
        n += standing.state == state;
        fbt_sweep_standing_clear(&standing);
    }
    return n;
}

/* Broken by runs that are made twice or not at all, by groups that take the same run, and by events of no run. */
static void runs_are_made_once(const fbt_comm *world, const fbt_sweep *sweep, int ranks_per_run)
{
    witness w;
    CHECK(make_runs(sweep, ranks_per_run, true, world, &w) == FBT_OK, "%s", fbt_error_message());
    CHECK(w.n_rounds == 0 && w.n_ends == 0 && count(sweep, FBT_SWEEP_TO_DO) == N_RUNS, "it was stopped at once");
    CHECK(make_runs(sweep, ranks_per_run, false, world, &w) == FBT_OK, "%s", fbt_error_message());
    CHECK(w.n_ends == N_RUNS && w.n_rounds == N_RUNS * (N_ROUNDS + 1) && w.n_failures == 0, "%lld runs, %lld rounds",
          (long long)w.n_ends, (long long)w.n_rounds);
    for (int i = 0; i < N_RUNS; i++) {
        CHECK(w.n_of_run[i] == N_ROUNDS + 1, "run %d: %lld", i, (long long)w.n_of_run[i]);
    }
    CHECK(count(sweep, FBT_SWEEP_FINISHED) == N_RUNS, "all are finished");
    CHECK(make_runs(sweep, ranks_per_run, false, world, &w) == FBT_OK, "%s", fbt_error_message());
    CHECK(w.n_rounds == 0, "nothing was left");
}

static void check_sweeps(fbt_comm *world, fbt_comm *self)
{
    (void)self;
    for (int ranks_per_run = 1; ranks_per_run <= size && ranks_per_run <= 2; ranks_per_run++) {
        fbt_sweep sweep = {0};
        study_make(world, folder);
        read_sweep(world, &sweep);
        runs_are_made_once(world, &sweep, ranks_per_run);
        fbt_sweep_clear(&sweep);
        study_remove(world, folder);
    }
}

int main(int argc, char **argv)
{
    return run_checks(argc, argv, check_sweeps);
}
