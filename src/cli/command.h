/* A subcommand as a table: its options, and what it does. What all subcommands repeat stands once, in command.c:
 * parsing, starting and stopping MPI, reporting a failure, the exit code. */
#ifndef FBT_CLI_COMMAND_H
#define FBT_CLI_COMMAND_H

#include "base/status.h"
#include "comm/comm.h"

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* Effect of an option on its field. */
typedef enum fbt_cli_kind {
    FBT_CLI_FLAG,   /* bool: true                                                    */
    FBT_CLI_TEXT,   /* const char *: the value; one of `choices` where there are any */
    FBT_CLI_COUNT,  /* int64_t: a number from least to most                          */
    FBT_CLI_ASSIGN, /* fbt_cli_assignments: the value is appended                    */
    FBT_CLI_PRINT,  /* no field: calls print and ends the program                    */
} fbt_cli_kind;

typedef struct fbt_cli_option {
    struct argp_option about; /* what --help says */
    fbt_cli_kind kind;
    size_t offset; /* of the field in the command's arguments */
    int64_t least, most;
    const char *const *choices; /* ended by NULL; or NULL */
    void (*print)(void);
    const char *assigns;   /* of a FLAG: an assignment that it is short for; or NULL */
    size_t assigns_offset; /* of the fbt_cli_assignments that it is appended to */
} fbt_cli_option;

/* A row of a table of options, whose command keeps its arguments in a struct of type `arguments`. */
#define FBT_OPTION_FLAG(field, name, key, help)                                                                        \
    {                                                                                                                  \
        .about = {name, key, NULL, 0, help, 0}, .kind = FBT_CLI_FLAG, .offset = offsetof(arguments, field)             \
    }
#define FBT_OPTION_SHORT(field, name, key, assignment, help)                                                           \
    {                                                                                                                  \
        .about = {name, key, NULL, 0, help, 0}, .kind = FBT_CLI_FLAG, .offset = offsetof(arguments, field),            \
        .assigns = assignment, .assigns_offset = offsetof(arguments, assignments)                                      \
    }
#define FBT_OPTION_TEXT(field, name, key, value, help)                                                                 \
    {                                                                                                                  \
        .about = {name, key, value, 0, help, 0}, .kind = FBT_CLI_TEXT, .offset = offsetof(arguments, field)            \
    }
#define FBT_OPTION_CHOICE(field, name, key, value, help, names)                                                        \
    {                                                                                                                  \
        .about = {name, key, value, 0, help, 0}, .kind = FBT_CLI_TEXT, .offset = offsetof(arguments, field),           \
        .choices = names                                                                                               \
    }
#define FBT_OPTION_COUNT(field, name, key, value, help, from, to)                                                      \
    {                                                                                                                  \
        .about = {name, key, value, 0, help, 0}, .kind = FBT_CLI_COUNT, .offset = offsetof(arguments, field),          \
        .least = from, .most = to                                                                                      \
    }
#define FBT_OPTION_SET(help)                                                                                           \
    {                                                                                                                  \
        .about = {"set", 's', "SECTION.KEY=VALUE", 0, help, 0}, .kind = FBT_CLI_ASSIGN,                                \
        .offset = offsetof(arguments, assignments)                                                                     \
    }
#define FBT_OPTION_PRINT(function, name, key, help)                                                                    \
    {                                                                                                                  \
        .about = {name, key, NULL, 0, help, 0}, .kind = FBT_CLI_PRINT, .print = function                               \
    }

/* The one argument that is no option. */
typedef struct fbt_cli_file {
    const char *shown;   /* in --help: "RUN.h5"; NULL: there is none */
    const char *what;    /* "run file": "one run file at a time; ..." */
    const char *missing; /* the sentence where it is not given; NULL: it need not be */
    const char *instead; /* where there is none: what to do about one that is given; NULL: argp's own words */
    size_t offset;       /* of the const char * */
} fbt_cli_file;

typedef struct fbt_command {
    const char *name, *summary;    /* for `fedbpt --help` */
    const char *doc;               /* for its own --help: sentence, \v, examples and more */
    const fbt_cli_option *options; /* ended by a row of zeros */
    fbt_cli_file file;
    size_t arguments_bytes;
    const void *defaults; /* of the arguments; NULL: zeros */

    /* Ends the program by argp_error where options do not go together; may complete the arguments. NULL: nothing. */
    void (*check)(void *arguments, const struct argp_state *state);

    bool uses_mpi;        /* `run` is collective over world; else world is NULL */
    bool stops;           /* signals ask it to stop (stop.h) instead of ending the process */
    bool goes_on_storage; /* FBT_ERR_STORAGE ends it with FBT_EXIT_INTERRUPTED */

    /* Does the work. *code: the exit code of a success, FBT_EXIT_OK unless set. */
    fbt_status (*run)(void *arguments, const fbt_comm *world, int *code);
} fbt_command;

/* Parses, runs and reports; returns the exit code. */
int fbt_command_main(const fbt_command *command, int argc, char **argv);

extern const fbt_command fbt_command_run, fbt_command_sweep, fbt_command_rerun, fbt_command_evaluate,
    fbt_command_export, fbt_command_show, fbt_command_bench, fbt_command_info;

#endif
