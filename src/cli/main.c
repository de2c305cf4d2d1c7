/* fedbpt: federated black-box prompt tuning over MPI. */
#include "base/build_info.h"
#include "cli/command.h"
#include "cli/streams.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const fbt_command *const commands[] = {
    &fbt_command_run,    &fbt_command_sweep, &fbt_command_rerun, &fbt_command_evaluate,
    &fbt_command_export, &fbt_command_show,  &fbt_command_bench, &fbt_command_info,
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

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
        fprintf(stream, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
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
        if (strcmp(argv[1], commands[i]->name) == 0) {
            char name[32]; /* what --help and usage errors call the command */
            snprintf(name, sizeof name, "fedbpt %s", argv[1]);
            argv[1] = name;
            return fbt_command_main(commands[i], argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "fedbpt: error: there is no command '%s'; 'fedbpt --help' lists them\n", argv[1]);
    return FBT_EXIT_FAILURE;
}
