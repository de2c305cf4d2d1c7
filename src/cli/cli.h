/* The subcommands of the program. Each parses its own arguments (argp), does its work and returns the exit code. */
#ifndef FBT_CLI_CLI_H
#define FBT_CLI_CLI_H

#include "comm.h"
#include "status.h"

enum {
    FBT_EXIT_OK = 0,
    FBT_EXIT_FAILURE = 1,      /* wrong command lines too */
    FBT_EXIT_INTERRUPTED = 75, /* EX_TEMPFAIL: the run stopped early and can go on */
};

/* Ends a collective command: prints the sentence of a failure once, and stops MPI. world is NULL when MPI could not be started.
 * Collective over world; all ranks get the same class of status. */
fbt_status fbt_cli_report(fbt_comm *world, fbt_status status);

int fbt_cli_run(int argc, char **argv);
int fbt_cli_evaluate(int argc, char **argv);
int fbt_cli_show(int argc, char **argv);
int fbt_cli_bench(int argc, char **argv);
int fbt_cli_info(int argc, char **argv);

#endif
