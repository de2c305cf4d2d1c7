/* fedbpt run */
#include "base/log.h"
#include "cli/cli.h"
#include "cli/console.h"
#include "cli/describe.h"
#include "cli/stop.h"
#include "run/experiment.h"

#include <argp.h>
#include <stdlib.h>

typedef struct arguments {
    const char *config;
    fbt_cli_assignments assignments;
    bool dry_run, overwrite, resume;
} arguments;

enum { KEY_SET = 's', KEY_DRY_RUN = 'n', KEY_OVERWRITE = 'f', KEY_RESUME = 'r', KEY_OPTIONS = 1000 };

static const struct argp_option options[] = {
    {"set", KEY_SET, "SECTION.KEY=VALUE", 0, "change one setting; may be repeated", 0},
    {"dry-run", KEY_DRY_RUN, NULL, 0,
     "check everything, print the settings in force, the clients and their ranks, and stop", 0},
    {"overwrite", KEY_OVERWRITE, NULL, 0, "replace an existing run file: short for --set run.overwrite=true", 0},
    {"resume", KEY_RESUME, NULL, 0,
     "go on with the run file at run.output; start anew where there is none; nothing to do where it is finished", 0},
    {"options", KEY_OPTIONS, NULL, 0, "print every setting with its type, range, default and meaning, and stop", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_SET:
        fbt_cli_assign(&a->assignments, value, state);
        return 0;
    case KEY_OVERWRITE:
        a->overwrite = true;
        fbt_cli_assign(&a->assignments, "run.overwrite=true", state);
        return 0;
    case KEY_RESUME:
        a->resume = true;
        return 0;
    case KEY_DRY_RUN:
        a->dry_run = true;
        return 0;
    case KEY_OPTIONS:
        fbt_settings_print_reference(stdout);
        exit(FBT_EXIT_OK);
    case ARGP_KEY_ARG:
        if (a->config != NULL) {
            argp_error(state, "one configuration at a time; '%s' is one too many", value);
        }
        a->config = value;
        return 0;
    case ARGP_KEY_END:
        if (a->config == NULL) {
            argp_error(state, "the configuration file is missing");
        }
        if (a->overwrite && a->resume) {
            argp_error(state, "--overwrite and --resume exclude each other");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "CONFIG.yaml",
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

int fbt_cli_run(int argc, char **argv)
{
    arguments a = {0};
    fbt_comm *world = NULL;
    fbt_inputs inputs = {0};
    fbt_experiment *experiment = NULL;
    bool interrupted = false;
    fbt_status status;
    argp_parse(&parser, argc, argv, 0, NULL, &a);
    const fbt_experiment_plan plan = {.config_path = a.config,
                                      .assignments = a.assignments.items,
                                      .n_assignments = a.assignments.n,
                                      .resume = a.resume,
                                      .observer = &fbt_cli_console};
    fbt_stop_watch();
    FBT_TRY(fbt_comm_start(&argc, &argv, &world));
    fbt_log_set_rank(fbt_comm_rank(world));
    FBT_TRY(fbt_experiment_open(&plan, &inputs, world, &experiment));
    status = a.dry_run ? fbt_cli_describe(experiment, world) : fbt_experiment_run(experiment, &interrupted);
done:
    fbt_experiment_close(experiment);
    fbt_inputs_close(&inputs);
    status = fbt_cli_report(world, status);
    if (status != FBT_OK) {
        return FBT_EXIT_FAILURE;
    }
    return interrupted ? FBT_EXIT_INTERRUPTED : FBT_EXIT_OK;
}
