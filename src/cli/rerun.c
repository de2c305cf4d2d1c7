/* fedbpt rerun */
#include "cli/command.h"
#include "cli/console.h"
#include "run/repeat.h"

#include <inttypes.h>
#include <stdio.h>

typedef struct arguments {
    const char *run;
    const char *output;
    fbt_cli_assignments assignments;
    bool overwrite, resume;
} arguments;

static const fbt_cli_option options[] = {
    FBT_OPTION_SET("change one setting that decides no number; may be repeated"),
    FBT_OPTION_TEXT(output, "output", 'o', "FILE",
                    "the new run file, which is then kept: short for --set run.output=FILE"),
    FBT_OPTION_FLAG(overwrite, "overwrite", 'f', "replace an existing run file at that path"),
    FBT_OPTION_FLAG(resume, "resume", 'r', "go on with the new run file of a rerun that was stopped"),
    {.about = {0}},
};

static void check(void *given, const struct argp_state *state)
{
    const arguments *a = given;
    if (a->overwrite && a->resume) {
        argp_error(state, "--overwrite and --resume exclude each other");
    }
}

static fbt_status rerun(void *given, const fbt_comm *world, int *code)
{
    fbt_status status = FBT_OK;
    const arguments *a = given;
    fbt_repeat_result result;
    const fbt_repeat_plan plan = {.run = a->run,
                                  .output = a->output,
                                  .assignments = a->assignments.items,
                                  .n_assignments = a->assignments.n,
                                  .overwrite = a->overwrite,
                                  .resume = a->resume,
                                  .observer = &fbt_cli_console};
    FBT_TRY(fbt_repeat_run(&plan, world, &result));
    *code = result.interrupted ? FBT_EXIT_INTERRUPTED : FBT_EXIT_OK;
    if (fbt_comm_rank(world) == 0 && !result.interrupted) {
        printf("%s: the same results again, rounds 0 to %" PRId64 ", digest %s\n", a->run, result.last_round,
               result.digest);
    }
done:
    return status;
}

const fbt_command fbt_command_rerun = {
    .name = "rerun",
    .summary = "make a recorded run again and compare the results bit for bit",
    .options = options,
    .file = {"RUN.h5", "run file", "the run file is missing", NULL, offsetof(arguments, run)},
    .arguments_bytes = sizeof(arguments),
    .check = check,
    .uses_mpi = true,
    .stops = true,
    .run = rerun,
    .doc =
        "Makes the run of a run file again, from what the file holds, and says whether the results are the same, bit "
        "for bit."
        "\vExamples:\n"
        "  fedbpt rerun runs/a.h5\n"
        "  mpirun -n 4 fedbpt rerun runs/a.h5 --output runs/again.h5\n"
        "  fedbpt rerun runs/a.h5 --set model.path=/data/minilm --set backend.threads=4\n\n"
        "The settings are the recorded ones. The number of ranks is free, and --set may change what decides no "
        "number: run.output, run.max_seconds, run.stop_margin_seconds, backend.threads, backend.batch_tokens, and "
        "model.path and data.path for inputs that were moved; their SHA-256 must be the recorded ones. As many "
        "rounds are made as the file has, so that one of an interrupted or running run can be checked too. RUN.h5 "
        "itself is only read.\n\n"
        "The new run goes to RUN.rerun.h5, which is removed again if the results are the same, or to --output, "
        "which is kept. Results are bound to backend, precision and kind of processor; where these, the program or "
        "its libraries are not those that RUN.h5 records, a line says so.\n\n"
        "Exit codes: 0 the same results; 1 other results (the sentence names the first round that differs), or "
        "failed; 75 stopped as 'fedbpt run' is, and --resume goes on.",
};
