/* The subcommands of the program. Each parses its own arguments (argp), does its work and returns the exit code. */
#ifndef FBT_CLI_CLI_H
#define FBT_CLI_CLI_H

#include "base/status.h"
#include "comm/comm.h"

#include <argp.h>

enum {
    FBT_EXIT_OK = 0,
    FBT_EXIT_FAILURE = 1,      /* wrong command lines too */
    FBT_EXIT_INTERRUPTED = 75, /* EX_TEMPFAIL: the run stopped early and can go on */
};

/* The values of --set, in their order; borrowed from the command line. */
enum { FBT_CLI_MAX_ASSIGNMENTS = 256 };
typedef struct fbt_cli_assignments {
    const char *items[FBT_CLI_MAX_ASSIGNMENTS];
    int n;
} fbt_cli_assignments;

/* Appends one; too many is a usage error, which ends the program. */
void fbt_cli_assign(fbt_cli_assignments *assignments, const char *value, const struct argp_state *state);

/* A path beside a run file: "runs/a.h5" and ".npz" make "runs/a.npz". Release *path with free(). Errors:
 * FBT_ERR_MEMORY. */
fbt_status fbt_cli_beside(const char *run, const char *ending, char **path);

/* Ends a collective command: prints the sentence of a failure once, and stops MPI. world is NULL when MPI could not be
 * started. Collective over world; all ranks get the same class of status. */
fbt_status fbt_cli_report(fbt_comm *world, fbt_status status);

int fbt_cli_run(int argc, char **argv);
int fbt_cli_sweep(int argc, char **argv);
int fbt_cli_rerun(int argc, char **argv);
int fbt_cli_evaluate(int argc, char **argv);
int fbt_cli_export(int argc, char **argv);
int fbt_cli_show(int argc, char **argv);
int fbt_cli_bench(int argc, char **argv);
int fbt_cli_info(int argc, char **argv);

#endif
