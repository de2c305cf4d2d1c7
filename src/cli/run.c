/* fedbpt run */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/dry_run.h"
#include "run/experiment.h"

#include <stdio.h>

typedef struct arguments {
    const char *config;
    fbt_cli_assignments assignments;
    bool dry_run, overwrite, resume;
} arguments;

static void print_reference(void)
{
    fbt_settings_print_reference(stdout);
}

static const fbt_cli_option options[] = {
    FBT_OPTION_SET("change one setting; may be repeated"),
    FBT_OPTION_FLAG(dry_run, "dry-run", 'n',
                    "check everything, print the settings in force, the clients and their ranks, and stop"),
    FBT_OPTION_SHORT(overwrite, "overwrite", 'f', "run.overwrite=true",
                     "replace an existing run file: short for --set run.overwrite=true"),
    FBT_OPTION_FLAG(resume, "resume", 'r',
                    "go on with the run file at run.output; start anew where there is none; nothing to do where it is "
                    "finished"),
    FBT_OPTION_PRINT(print_reference, "options", 1000,
                     "print every setting with its type, range, default and meaning, and stop"),
    {.about = {0}},
};

static void check(void *given, const struct argp_state *state)
{
    const arguments *a = given;
    if (a->overwrite && a->resume) {
        argp_error(state, "--overwrite and --resume exclude each other");
    }
}

static fbt_status run(void *given, const fbt_comm *world, int *code)
{
    fbt_status status = FBT_OK;
    const arguments *a = given;
    fbt_inputs inputs = {0};
    fbt_experiment *experiment = NULL;
    bool interrupted = false;
    const fbt_experiment_plan plan = {.config_path = a->config,
                                      .assignments = a->assignments.items,
                                      .n_assignments = a->assignments.n,
                                      .resume = a->resume,
                                      .observer = &fbt_cli_console};
    FBT_TRY(fbt_experiment_open(&plan, &inputs, world, &experiment));
    FBT_TRY(a->dry_run ? fbt_cli_describe(experiment, world) : fbt_experiment_run(experiment, &interrupted));
    *code = interrupted ? FBT_EXIT_INTERRUPTED : FBT_EXIT_OK;
done:
    fbt_experiment_close(experiment);
    fbt_inputs_close(&inputs);
    return status;
}

const fbt_command fbt_command_run = {
    .name = "run",
    .summary = "run a federated experiment (alone, under mpirun or under srun)",
    .options = options,
    .file = {"CONFIG.yaml", "configuration", "the configuration file is missing", NULL, offsetof(arguments, config)},
    .arguments_bytes = sizeof(arguments),
    .check = check,
    .uses_mpi = true,
    .stops = true,
    .run = run,
    .doc =
        "Runs a federated experiment and writes its run file (HDF5), complete after every round."
        "\vExamples:\n"
        "  fedbpt run configs/quickstart.yaml --dry-run\n"
        "  mpirun -n 4 fedbpt run my.yaml --set run.output=runs/a.h5\n"
        "  srun --mpi=pmix fedbpt run my.yaml --resume\n\n"
        "The result does not depend on the number of ranks or threads, nor on how often the run was stopped and "
        "resumed. "
        "A resumed run must have the settings, data and model that it began with, as far as they decide numbers; "
        "others "
        "may change: run.output (a moved file), run.max_seconds, run.stop_margin_seconds, backend.threads, "
        "backend.batch_tokens, model.path and data.path (moved inputs), and fed.rounds may grow.\n\n"
        "SIGTERM, SIGINT or SIGUSR1 to any rank, run.max_seconds, and the end of a batch job (SLURM_JOB_END_TIME) stop "
        "a "
        "run between two rounds; the last two before a round that would not end in time. mpirun passes SIGUSR1 on; "
        "SIGTERM and SIGINT to mpirun itself end all ranks within two seconds, which costs the round in progress.\n\n"
        "Exit codes: 0 finished, also when it was so already; 75 stopped; 1 failed. Whatever the end, the run file "
        "holds "
        "all rounds up to it, and --resume goes on.",
};
