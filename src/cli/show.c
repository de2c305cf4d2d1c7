/* fedbpt show */
#include "cli/command.h"
#include "record/run_reader.h"

#include <stdio.h>

typedef struct arguments {
    const char *run;
    bool digest;
    bool json;
} arguments;

static const fbt_cli_option options[] = {
    FBT_OPTION_FLAG(digest, "digest", 'd',
                    "print one SHA-256 over all results: equal for runs that computed the same numbers"),
    FBT_OPTION_FLAG(json, "json", 'j', "print everything as one JSON object"),
    {.about = {0}},
};

static fbt_status show(void *given, const fbt_comm *world, int *code)
{
    fbt_status status = FBT_OK;
    const arguments *a = given;
    char text[FBT_DIGEST_TEXT_BYTES];
    (void)world;
    (void)code;
    if (!a->digest) {
        return a->json ? fbt_run_reader_show_json(a->run, stdout) : fbt_run_reader_show(a->run, stdout);
    }
    FBT_TRY(fbt_run_reader_digest(a->run, text));
    printf("%s\n", text);
done:
    return status;
}

const fbt_command fbt_command_show = {
    .name = "show",
    .summary = "print a run file: settings, environment, rounds, or its digest",
    .options = options,
    .file = {"RUN.h5", "run file", "the run file is missing", NULL, offsetof(arguments, run)},
    .arguments_bytes = sizeof(arguments),
    .run = show,
    .doc = "Prints a run file, finished or not: settings, environment and a table of rounds."
           "\vExamples:\n"
           "  fedbpt show runs/quickstart.h5\n"
           "  fedbpt show --digest runs/quickstart.h5\n"
           "  fedbpt show --json runs/quickstart.h5 | python3 -m json.tool",
};
