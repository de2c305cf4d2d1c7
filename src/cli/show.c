/* fedbpt show */
#include "cli/cli.h"
#include "record/run_reader.h"

#include <argp.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct arguments {
    const char *run;
    bool digest;
    bool json;
} arguments;

static const struct argp_option options[] = {
    {"digest", 'd', NULL, 0, "print one SHA-256 over all results: equal for runs that computed the same numbers", 0},
    {"json", 'j', NULL, 0, "print everything as one JSON object", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 'd':
        a->digest = true;
        return 0;
    case 'j':
        a->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->run != NULL) {
            argp_error(state, "one run file at a time; '%s' is one too many", value);
        }
        a->run = value;
        return 0;
    case ARGP_KEY_END:
        if (a->run == NULL) {
            argp_error(state, "the run file is missing");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RUN.h5",
    .doc = "Prints a run file, finished or not: settings, environment and a table of rounds."
           "\vExamples:\n"
           "  fedbpt show runs/quickstart.h5\n"
           "  fedbpt show --digest runs/quickstart.h5\n"
           "  fedbpt show --json runs/quickstart.h5 | python3 -m json.tool",
};

static fbt_status show(const arguments *a)
{
    if (a->digest) {
        char text[FBT_DIGEST_TEXT_BYTES];
        fbt_status status = fbt_run_reader_digest(a->run, text);
        if (status == FBT_OK) {
            printf("%s\n", text);
        }
        return status;
    }
    return a->json ? fbt_run_reader_show_json(a->run, stdout) : fbt_run_reader_show(a->run, stdout);
}

int fbt_cli_show(int argc, char **argv)
{
    arguments a = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &a);
    if (show(&a) != FBT_OK) {
        fprintf(stderr, "fedbpt: error: %s\n", fbt_error_message());
        return FBT_EXIT_FAILURE;
    }
    return FBT_EXIT_OK;
}
