/* fedbpt: federated black-box prompt tuning over MPI. */
#include "base/build_info.h"
#include "cli/cli.h"
#include "cli/streams.h"

#include <argp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} command;

static const command commands[] = {
    {"run", fbt_cli_run, "run a federated experiment (alone, under mpirun or under srun)"},
    {"sweep", fbt_cli_sweep, "make many runs: one configuration and settings that vary"},
    {"rerun", fbt_cli_rerun, "make a recorded run again and compare the results bit for bit"},
    {"evaluate", fbt_cli_evaluate, "score a recorded prompt, or none, on a data set"},
    {"export", fbt_cli_export, "write a recorded prompt for PEFT, NumPy or any reader of safetensors"},
    {"show", fbt_cli_show, "print a run file: settings, environment, rounds, or its digest"},
    {"bench", fbt_cli_bench, "time a population batch against the machine's own peak"},
    {"info", fbt_cli_info, "print version, backends and processor, or what a model folder holds"},
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

void fbt_cli_assign(fbt_cli_assignments *assignments, const char *value, const struct argp_state *state)
{
    if (assignments->n == FBT_CLI_MAX_ASSIGNMENTS) {
        argp_error(state, "more than %d --set", FBT_CLI_MAX_ASSIGNMENTS);
    }
    assignments->items[assignments->n++] = value;
}

fbt_status fbt_cli_beside(const char *run, const char *ending, char **path)
{
    const size_t n = strlen(run);
    const size_t n_kept = n > 3 && strcmp(run + n - 3, ".h5") == 0 && run[n - 4] != '/' ? n - 3 : n;
    if (asprintf(path, "%.*s%s", (int)n_kept, run, ending) < 0) {
        *path = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: a path beside the run file");
    }
    return FBT_OK;
}

fbt_status fbt_cli_report(fbt_comm *world, fbt_status status)
{
    if (world == NULL) {
        fprintf(stderr, "fedbpt: error: %s\n", fbt_error_message());
        return status;
    }
    status = fbt_comm_report(world, status);
    fbt_comm_stop(world);
    return status;
}

/* An argument like "-x.h5" that names a file is that file, and not options (none has a dot): "./-x.h5". */
static fbt_status name_files(int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] != '-' && strchr(argv[i], '.') != NULL && access(argv[i], F_OK) == 0) {
            char *path;
            if (asprintf(&path, "./%s", argv[i]) < 0) {
                return fbt_fail(FBT_ERR_MEMORY, "out of memory: the command line");
            }
            argv[i] = path; /* for the program's life */
        }
    }
    return FBT_OK;
}

static void print_usage(FILE *stream)
{
    fprintf(stream, "Usage: fedbpt COMMAND [ARGUMENT...]\n\n"
                    "Federated black-box prompt tuning (Sun et al. 2023) over MPI.\n\nCommands:\n");
    for (int i = 0; i < N_COMMANDS; i++) {
        fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    fprintf(stream, "\nExamples:\n"
                    "  fedbpt run configs/quickstart.yaml --dry-run\n"
                    "  mpirun -n 4 fedbpt run configs/quickstart.yaml --set run.output=runs/a.h5\n"
                    "  fedbpt show runs/a.h5\n\n"
                    "'fedbpt COMMAND --help' explains one command. A file whose name begins with '-' is given as "
                    "./-NAME or after --.\n");
}

int main(int argc, char **argv)
{
    fbt_cli_watch_streams();
    if (argc < 2) {
        print_usage(stderr);
        return FBT_EXIT_FAILURE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return FBT_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("fedbpt %s (%s)\n", fbt_build_version, fbt_build_commit);
        return FBT_EXIT_OK;
    }
    argp_err_exit_status = FBT_EXIT_FAILURE;
    if (name_files(argc, argv) != FBT_OK) {
        fprintf(stderr, "fedbpt: error: %s\n", fbt_error_message());
        return FBT_EXIT_FAILURE;
    }
    for (int i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            char name[32]; /* what --help and usage errors call the command */
            snprintf(name, sizeof name, "fedbpt %s", argv[1]);
            argv[1] = name;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "fedbpt: error: there is no command '%s'; 'fedbpt --help' lists them\n", argv[1]);
    return FBT_EXIT_FAILURE;
}
