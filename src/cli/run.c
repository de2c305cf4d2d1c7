/* fedbpt run */
#include "cli.h"
#include "experiment.h"
#include "log.h"
#include "run_file.h"

#include <argp.h>
#include <stdlib.h>

typedef struct arguments {
    const char *config;
    fbt_cli_assignments assignments;
    bool dry_run;
} arguments;

enum { KEY_SET = 's', KEY_DRY_RUN = 'n', KEY_OVERWRITE = 'f', KEY_OPTIONS = 1000 };

static const struct argp_option options[] = {
    {"set", KEY_SET, "SECTION.KEY=VALUE", 0, "change one setting; may be repeated", 0},
    {"dry-run", KEY_DRY_RUN, NULL, 0, "check everything, print the settings in force, the clients and their ranks, and stop", 0},
    {"overwrite", KEY_OVERWRITE, NULL, 0, "replace an existing run file: short for --set run.overwrite=true", 0},
    {"options", KEY_OPTIONS, NULL, 0, "print every setting with its type, range, default and meaning, and stop", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_SET:
    case KEY_OVERWRITE:
        fbt_cli_assign(&a->assignments, key == KEY_SET ? value : "run.overwrite=true", state);
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
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "CONFIG.yaml",
    .doc = "Runs a federated experiment and writes its run file (HDF5), complete after every round."
           "\vExamples:\n"
           "  fedbpt run configs/quickstart.yaml --dry-run\n"
           "  mpirun -n 4 fedbpt run my.yaml --set run.output=runs/a.h5\n"
           "  srun --mpi=pmix -N 2 fedbpt run my.yaml --set run.seed=2\n\n"
           "The result does not depend on the number of ranks or threads.\n\n"
           "Exit codes: 0 finished; 75 stopped by run.max_seconds, all rounds so far are in the run file; 1 failed.",
};

int fbt_cli_run(int argc, char **argv)
{
    arguments a = {0};
    fbt_comm *world = NULL;
    fbt_experiment experiment = {0};
    bool interrupted = false;
    fbt_status status;
    argp_parse(&parser, argc, argv, 0, NULL, &a);
    FBT_TRY(fbt_comm_start(&argc, &argv, &world));
    fbt_log_set_rank(fbt_comm_rank(world));
    status = fbt_experiment_prepare(&experiment, a.config, a.assignments.items, a.assignments.n, fbt_comm_size(world));
    if (status == FBT_OK && fbt_comm_rank(world) == 0) {
        status = fbt_run_file_check(experiment.settings.run.output, experiment.settings.run.overwrite);
    }
    FBT_TRY(fbt_comm_agree(world, status));
    if (a.dry_run) {
        FBT_TRY(fbt_experiment_describe(&experiment, world));
    } else {
        FBT_TRY(fbt_experiment_run(&experiment, world, &interrupted));
    }
done:
    fbt_experiment_close(&experiment);
    status = fbt_cli_report(world, status);
    if (status != FBT_OK) {
        return FBT_EXIT_FAILURE;
    }
    return interrupted ? FBT_EXIT_INTERRUPTED : FBT_EXIT_OK;
}
