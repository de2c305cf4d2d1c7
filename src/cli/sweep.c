/* fedbpt sweep */
#include "sweep/sweep.h"
#include "base/memory.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/sweep_table.h"
#include "sweep/sweep_workers.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct arguments {
    const char *sweep;
    fbt_cli_assignments assignments;
    bool list, status, retry_failed;
    int64_t index;         /* -1: all */
    int64_t ranks_per_run; /* 0: not given */
} arguments;

enum { MAX_COUNT = 999999999 };

static const fbt_cli_option options[] = {
    FBT_OPTION_FLAG(list, "list", 'l', "print a table of the runs and stop"),
    FBT_OPTION_FLAG(status, "status", 't', "print where the runs stand and stop"),
    FBT_OPTION_COUNT(index, "index", 'i', "I", "make this run alone, on all ranks: its number in the list, from 0", 0,
                     MAX_COUNT),
    FBT_OPTION_COUNT(ranks_per_run, "ranks-per-run", 'r', "R",
                     "make each run on so many ranks (default 1), several runs at once", 1, MAX_COUNT),
    FBT_OPTION_FLAG(retry_failed, "retry-failed", 1000, "try failed runs again, too"),
    FBT_OPTION_SET("change one setting in all runs; may be repeated"),
    {.about = {0}},
};

static const arguments defaults = {.index = -1};

static void check(void *given, const struct argp_state *state)
{
    const arguments *a = given;
    if (a->list && a->status) {
        argp_error(state, "--list and --status exclude each other");
    }
    if ((a->list || a->status) && (a->index >= 0 || a->ranks_per_run > 0 || a->retry_failed)) {
        argp_error(state, "%s makes no runs: leave --index, --ranks-per-run and --retry-failed out",
                   a->list ? "--list" : "--status");
    }
    if (a->index >= 0 && a->ranks_per_run > 0) {
        argp_error(state, "--index makes its run on all ranks: leave --ranks-per-run out");
    }
}

/* The runs that the call is about. */
static fbt_status choose_runs(const arguments *a, const fbt_sweep *sweep, int64_t **indices, int64_t *n)
{
    fbt_status status = FBT_OK;
    if (a->index >= sweep->n_runs) {
        FBT_FAIL(FBT_ERR_USAGE, "--index %lld: the sweep has %lld runs, 0 to %lld", (long long)a->index,
                 (long long)sweep->n_runs, (long long)sweep->n_runs - 1);
    }
    *n = a->index >= 0 ? 1 : sweep->n_runs;
    FBT_TRY(fbt_memory_alloc(indices, *n, sizeof **indices));
    for (int64_t i = 0; i < *n; i++) {
        (*indices)[i] = a->index >= 0 ? a->index : i;
    }
done:
    return status;
}

/* Ranks to a run. */
static fbt_status choose_ranks(const arguments *a, const fbt_comm *world, int *ranks_per_run)
{
    const int size = fbt_comm_size(world);
    *ranks_per_run = a->index >= 0 ? size : a->ranks_per_run > 0 ? (int)a->ranks_per_run : 1;
    if (size % *ranks_per_run != 0) {
        return fbt_fail(FBT_ERR_USAGE,
                        "--ranks-per-run %d: %d ranks cannot be split into groups of %d; start a multiple",
                        *ranks_per_run, size, *ranks_per_run);
    }
    return FBT_OK;
}

/* All that every rank finds out by itself, with the same result. */
static fbt_status prepare(const arguments *a, const fbt_comm *world, fbt_sweep *sweep, fbt_sweep_job *job)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_sweep_read(a->sweep, a->assignments.items, a->assignments.n, sweep));
    FBT_TRY(choose_runs(a, sweep, &job->indices, &job->n));
    FBT_TRY(choose_ranks(a, world, &job->ranks_per_run));
    job->sweep = sweep;
    job->retry_failed = a->retry_failed;
    job->observer = &fbt_cli_console;
done:
    return status;
}

static int exit_code(const int64_t *counts)
{
    if (counts[FBT_SWEEP_TO_DO] + counts[FBT_SWEEP_RUNNING] + counts[FBT_SWEEP_INTERRUPTED] > 0) {
        return FBT_EXIT_INTERRUPTED;
    }
    return counts[FBT_SWEEP_FAILED] + counts[FBT_SWEEP_OTHER] > 0 ? FBT_EXIT_FAILURE : FBT_EXIT_OK;
}

/* Collective. *code: what the program ends with, the same on all ranks. */
static fbt_status sweep_all(const arguments *a, const fbt_comm *world, const fbt_sweep_job *job, int *code)
{
    fbt_status status = FBT_OK;
    int64_t counts[FBT_SWEEP_N_STATES] = {0}, *in_file_order = NULL, n = 0;
    const bool speaks = fbt_comm_rank(world) == 0;
    if (!a->list && !a->status) {
        FBT_TRY(fbt_sweep_make_runs(job, world));
    }
    if (speaks) {
        status = choose_runs(a, job->sweep, &in_file_order, &n);
    }
    if (speaks && status == FBT_OK) {
        status =
            a->list ? fbt_sweep_print_list(job->sweep) : fbt_sweep_print_status(job->sweep, in_file_order, n, counts);
    }
    FBT_TRY(fbt_comm_agree(world, status));
    if (speaks && !a->list && !a->status) {
        *code = exit_code(counts);
    }
    fbt_comm_broadcast(world, code, sizeof *code);
done:
    free(in_file_order);
    return status;
}

static fbt_status sweep_runs(void *given, const fbt_comm *world, int *code)
{
    fbt_status status = FBT_OK;
    const arguments *a = given;
    fbt_sweep sweep = {0};
    fbt_sweep_job job = {0};
    FBT_TRY(fbt_comm_agree(world, prepare(a, world, &sweep, &job)));
    fbt_sweep_warn(&sweep);
    FBT_TRY(sweep_all(a, world, &job, code));
done:
    free(job.indices);
    fbt_sweep_clear(&sweep);
    return status;
}

const fbt_command fbt_command_sweep = {
    .name = "sweep",
    .summary = "make many runs: one configuration and settings that vary",
    .options = options,
    .file = {"SWEEP.yaml", "sweep", "the sweep file is missing", NULL, offsetof(arguments, sweep)},
    .arguments_bytes = sizeof(arguments),
    .defaults = &defaults,
    .check = check,
    .uses_mpi = true,
    .stops = true,
    .goes_on_storage = true,
    .run = sweep_runs,
    .doc = "Makes the runs of a sweep: one base configuration and settings that vary (configs/sweeps has examples)."
           "\vExamples:\n"
           "  fedbpt sweep configs/sweeps/quickstart.yaml --list\n"
           "  mpirun -n 8 fedbpt sweep configs/sweeps/quickstart.yaml --ranks-per-run 2\n"
           "  srun fedbpt sweep configs/sweeps/quickstart.yaml --index $SLURM_ARRAY_TASK_ID\n"
           "  fedbpt sweep configs/sweeps/quickstart.yaml --status\n\n"
           "Without --list, --status and --index all runs are made, the longest first, on as many groups of ranks at a "
           "time as there are. "
           "A finished run is never made again; a stopped or killed one goes on after its last round; a failed one is "
           "told, does not "
           "stop the others, and is tried again only with --retry-failed. So the same command can be given any number "
           "of times, and "
           "by several jobs at once: they share the runs, each run is one job's.\n\n"
           "run.max_seconds, in the base or by --set, limits the whole call. That, a signal (SIGTERM, SIGINT, SIGUSR1) "
           "and the "
           "end of a batch job stop the runs between two rounds, as in fedbpt run.\n\n"
           "A full disk, a quota or a file system that is lost is no run's fault: it stops the sweep, with exit code "
           "75 and without "
           "marking runs as failed.\n\n"
           "Exit codes: 0 all runs are finished; 75 some are not, and the same command goes on with them; 1 all others "
           "have failed, or nothing "
           "could be done.",
};
