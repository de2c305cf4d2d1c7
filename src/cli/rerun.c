/* fedbpt rerun */
#include "base/build_info.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/console.h"
#include "cli/stop.h"
#include "record/run_compare.h"
#include "record/run_reader.h"
#include "run/experiment.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct arguments {
    const char *run;
    const char *output;
    fbt_cli_assignments assignments;
    bool overwrite, resume;
} arguments;

enum { KEY_SET = 's', KEY_OUTPUT = 'o', KEY_OVERWRITE = 'f', KEY_RESUME = 'r' };

static const struct argp_option options[] = {
    {"set", KEY_SET, "SECTION.KEY=VALUE", 0, "change one setting that decides no number; may be repeated", 0},
    {"output", KEY_OUTPUT, "FILE", 0, "the new run file, which is then kept: short for --set run.output=FILE", 0},
    {"overwrite", KEY_OVERWRITE, NULL, 0, "replace an existing run file at that path", 0},
    {"resume", KEY_RESUME, NULL, 0, "go on with the new run file of a rerun that was stopped", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_SET:
        fbt_cli_assign(&a->assignments, value, state);
        return 0;
    case KEY_OUTPUT:
        a->output = value;
        return 0;
    case KEY_OVERWRITE:
        a->overwrite = true;
        return 0;
    case KEY_RESUME:
        a->resume = true;
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
    .args_doc = "RUN.h5",
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

enum { N_OWN_ASSIGNMENTS = 5, N_TEXTS = 3 };

/* What is made again. */
typedef struct job {
    const arguments *a;
    const fbt_comm *world;
    fbt_run_past past;  /* rank 0: all; others: settings and precision */
    int64_t last_round; /* of the run file, when it was read           */
    char *default_output;
    char *texts[N_TEXTS]; /* of assignments that are made here           */
    const char *assignments[FBT_CLI_MAX_ASSIGNMENTS + N_OWN_ASSIGNMENTS];
    int n_assignments;
    char *output;
    bool keeps;     /* the new file, also if the results are the same                        */
    char **changes; /* [past.n_makers] what was not as it is now; NULL: not known            */
} job;

static fbt_status share_text(const fbt_comm *world, char **text)
{
    fbt_status status = FBT_OK;
    int64_t n_bytes = *text == NULL ? 0 : (int64_t)strlen(*text) + 1;
    fbt_comm_broadcast(world, &n_bytes, sizeof n_bytes);
    if (fbt_comm_rank(world) != 0) {
        status = fbt_memory_alloc(text, n_bytes, 1);
    }
    FBT_TRY(fbt_comm_agree(world, status));
    fbt_comm_broadcast(world, *text, n_bytes);
done:
    return status;
}

/* By rank 0 alone, so that all ranks see the same of a file that is being written. */
static fbt_status read_past(job *j)
{
    fbt_status status = FBT_OK;
    if (fbt_comm_rank(j->world) == 0) {
        status = fbt_run_past_read(j->a->run, &j->past);
    }
    FBT_TRY(fbt_comm_agree(j->world, status));
    j->last_round = j->past.last_round;
    fbt_comm_broadcast(j->world, &j->last_round, sizeof j->last_round);
    FBT_TRY(share_text(j->world, &j->past.config_resolved));
    FBT_TRY(share_text(j->world, &j->past.precision));
done:
    return status;
}

static fbt_status assign_text(job *j, char **text, const char *key, const char *value)
{
    if (asprintf(text, "%s=%s", key, value) < 0) {
        *text = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: the rerun's settings");
    }
    j->assignments[j->n_assignments++] = *text;
    return FBT_OK;
}

/* The recorded path, and the time limit that may have ended the run, are not taken over. */
static fbt_status assign(job *j)
{
    fbt_status status = FBT_OK;
    const arguments *a = j->a;
    FBT_TRY(fbt_cli_beside(a->run, ".rerun.h5", &j->default_output));
    if (a->output == NULL) {
        FBT_TRY(assign_text(j, &j->texts[0], "run.output", j->default_output));
    }
    j->assignments[j->n_assignments++] = "run.max_seconds=0";
    for (int i = 0; i < a->assignments.n; i++) {
        j->assignments[j->n_assignments++] = a->assignments.items[i];
    }
    if (a->output != NULL) {
        FBT_TRY(assign_text(j, &j->texts[1], "run.output", a->output));
    }
    j->assignments[j->n_assignments++] = a->overwrite ? "run.overwrite=true" : "run.overwrite=false";
done:
    return status;
}

static fbt_status check_settings(const job *j, const fbt_settings *now, const fbt_settings *before)
{
    fbt_status status = FBT_OK;
    const char *precision = now->backend.precision;
    fbt_settings_difference d;
    FBT_TRY(fbt_settings_find_difference(now, before, &d));
    if (d.key == NULL && now->fed.rounds != before->fed.rounds) {
        d.key = "fed.rounds";
        snprintf(d.now, sizeof d.now, "%lld", (long long)now->fed.rounds);
        snprintf(d.before, sizeof d.before, "%lld", (long long)before->fed.rounds);
    }
    if (d.key == NULL && strcmp(precision, "auto") != 0 && strcmp(precision, j->past.precision) != 0) {
        d.key = "backend.precision";
        snprintf(d.now, sizeof d.now, "%s", precision);
        snprintf(d.before, sizeof d.before, "%s", j->past.precision);
    }
    if (d.key != NULL) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "%s is %s, but %.300s was run with %s; a rerun takes the settings that decide numbers as they were",
                 d.key, d.now, j->a->run, d.before);
    }
done:
    return status;
}

/* The run file must survive whatever the new one is called. */
static fbt_status check_output(const job *j)
{
    struct stat run, output;
    if (stat(j->a->run, &run) == 0 && stat(j->output, &output) == 0 && run.st_dev == output.st_dev &&
        run.st_ino == output.st_ino) {
        return fbt_fail(FBT_ERR_USAGE,
                        "%.400s is the run file itself, which a rerun only reads; choose another --output", j->output);
    }
    return FBT_OK;
}

/* The same on every rank. */
static fbt_status plan(job *j)
{
    fbt_status status = FBT_OK;
    fbt_settings now = {0}, before = {0};
    FBT_TRY(assign(j));
    FBT_TRY(fbt_settings_defaults(&before));
    FBT_TRY(fbt_settings_read_recorded(&before, j->past.config_resolved, j->a->run));
    FBT_TRY(fbt_settings_defaults(&now));
    FBT_TRY(fbt_settings_read_recorded(&now, j->past.config_resolved, j->a->run));
    for (int i = 0; i < j->n_assignments; i++) {
        FBT_TRY(fbt_settings_set(&now, j->assignments[i]));
    }
    FBT_TRY(check_settings(j, &now, &before));
    FBT_TRY(assign_text(j, &j->texts[2], "backend.precision", j->past.precision)); /* what came of `auto` then */
    FBT_TRY(fbt_memory_strdup(&j->output, now.run.output));
    FBT_TRY(check_output(j));
    j->keeps = j->a->output != NULL || strcmp(j->output, j->default_output) != 0;
done:
    fbt_settings_clear(&now);
    fbt_settings_clear(&before);
    return status;
}

/* "git commit 0123456 (here 89abcde), device X (here Y)"; "" where all that the file tells is as it was. */
static fbt_status describe_changes(const fbt_run_maker *maker, const fbt_backend_info *info, char **text)
{
    const struct {
        const char *name, *then, *now;
    } facts[] = {
        {"program version", maker->program_version, fbt_build_version},
        {"git commit", maker->git_commit, fbt_build_commit},
        {"compiler", maker->compiler, fbt_build_compiler},
        {"backend", maker->backend, info->name},
        {"device", maker->device, info->device},
        {"instruction set", maker->instruction_set, info->isa},
        {"libraries", maker->libraries, info->libraries},
    };
    size_t n_bytes = 0;
    FILE *out = open_memstream(text, &n_bytes);
    if (out == NULL) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: what has changed since the run");
    }
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (facts[i].then[0] != '\0' && strcmp(facts[i].then, facts[i].now) != 0) {
            fprintf(out, "%s%s %s (here %s)", ftell(out) > 0 ? ", " : "", facts[i].name, facts[i].then, facts[i].now);
        }
    }
    fclose(out);
    return FBT_OK;
}

/* fbt_experiment_plan.opened: before the first round. */
static fbt_status tell_changes(const fbt_backend_info *info, void *user)
{
    fbt_status status = FBT_OK;
    job *j = user;
    FBT_TRY(fbt_memory_alloc(&j->changes, j->past.n_makers, sizeof *j->changes));
    for (int64_t i = 0; i < j->past.n_makers; i++) { /* on rank 0; the others have read none */
        const fbt_run_maker *maker = &j->past.makers[i];
        FBT_TRY(describe_changes(maker, info, &j->changes[i]));
        if (j->changes[i][0] != '\0') {
            fbt_log_info("rerun", "%s was made, from round %lld on, with %s: results may differ", j->a->run,
                         (long long)maker->first_round, j->changes[i]);
        }
    }
done:
    return status;
}

/* What was not as it is now when a round was made; NULL: not known. */
static const char *changes_at(const job *j, int64_t round)
{
    const char *changes = NULL;
    for (int64_t i = 0; j->changes != NULL && i < j->past.n_makers; i++) {
        changes = j->past.makers[i].first_round <= round ? j->changes[i] : changes;
    }
    return changes;
}

static fbt_status tell_difference(const job *j)
{
    fbt_status status = FBT_OK;
    fbt_run_difference d;
    char position[32] = "";
    FBT_TRY(fbt_run_compare(j->a->run, j->output, j->last_round + 1, &d));
    if (!d.found) {
        FBT_FAIL(FBT_ERR_NUMERIC,
                 "%.300s is not %.300s again: all rounds are the same, but not the clients' samples, the result or the "
                 "checkpoint",
                 j->output, j->a->run);
    }
    const char *changes = changes_at(j, d.round);
    if (d.position >= 0) {
        snprintf(position, sizeof position, "[%lld]", (long long)d.position);
    }
    FBT_FAIL(FBT_ERR_NUMERIC,
             "%.200s is not %.200s again: round %lld is the first that differs (%s%s is %.17g, it was %.17g)%s%.300s",
             j->output, j->a->run, (long long)d.round, d.column, position, d.values[1], d.values[0],
             changes == NULL      ? ""
             : changes[0] == '\0' ? "; program version, libraries and processor are those recorded"
                                  : "; it was made with ",
             changes == NULL ? "" : changes);
done:
    return status;
}

/* Rank 0: the new file against the run's results as they were read at the beginning. */
static fbt_status compare(const job *j)
{
    fbt_status status = FBT_OK;
    char digest[FBT_DIGEST_TEXT_BYTES];
    FBT_TRY(fbt_run_reader_digest(j->output, digest));
    if (strcmp(digest, j->past.digest) != 0) {
        FBT_TRY(tell_difference(j));
    }
    if (!j->keeps && unlink(j->output) != 0) {
        FBT_FAIL(FBT_ERR_IO, "%.400s, which has the same results as %.400s, cannot be removed: %s", j->output,
                 j->a->run, strerror(errno));
    }
    printf("%s: the same results again, rounds 0 to %lld, digest %s\n", j->a->run, (long long)j->last_round, digest);
done:
    return status;
}

/* Rank 0: what only the opened inputs and the new file can tell. */
static fbt_status check_prepared(const job *j, const fbt_experiment *e, fbt_inputs *inputs)
{
    fbt_status status = FBT_OK;
    fbt_experiment_view view;
    fbt_experiment_look(e, &view);
    FBT_TRY(fbt_inputs_check_same(inputs, view.settings, &j->past, j->a->run,
                                  "a rerun needs the same; --set model.path or data.path tells where they are"));
    if (view.resumed && view.past_round > j->last_round) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%.300s has %lld rounds, more than the %lld of %.300s: it is no rerun of it; choose another --output",
                 j->output, (long long)view.past_round, (long long)j->last_round, j->a->run);
    }
    fbt_log_info("rerun", "rounds 0 to %lld of %s again, into %s", (long long)j->last_round, j->a->run, j->output);
done:
    return status;
}

static fbt_status rerun(job *j, bool *interrupted)
{
    fbt_status status = FBT_OK;
    fbt_inputs inputs = {0};
    fbt_experiment *experiment = NULL;
    const fbt_experiment_plan p = {.config_path = j->a->run,
                                   .config_text = j->past.config_resolved,
                                   .assignments = j->assignments,
                                   .n_assignments = j->n_assignments,
                                   .resume = j->a->resume,
                                   .observer = &fbt_cli_console,
                                   .label = "rerun",
                                   .rerun_of = j->a->run,
                                   .n_rows = j->last_round + 1,
                                   .opened = tell_changes,
                                   .user = j};
    FBT_TRY(fbt_experiment_open(&p, &inputs, j->world, &experiment));
    if (fbt_comm_rank(j->world) == 0) {
        status = check_prepared(j, experiment, &inputs);
    }
    FBT_TRY(fbt_comm_agree(j->world, status));
    FBT_TRY(fbt_experiment_run(experiment, interrupted));
done:
    fbt_experiment_close(experiment);
    fbt_inputs_close(&inputs);
    return status;
}

static void close_job(job *j)
{
    for (int64_t i = 0; j->changes != NULL && i < j->past.n_makers; i++) {
        free(j->changes[i]);
    }
    free(j->changes);
    fbt_run_past_clear(&j->past);
    for (int i = 0; i < N_TEXTS; i++) {
        free(j->texts[i]);
    }
    free(j->default_output);
    free(j->output);
}

int fbt_cli_rerun(int argc, char **argv)
{
    arguments a = {0};
    fbt_comm *world = NULL;
    job j = {.a = &a};
    bool interrupted = false;
    fbt_status status;
    argp_parse(&parser, argc, argv, 0, NULL, &a);
    fbt_stop_watch();
    FBT_TRY(fbt_comm_start(&argc, &argv, &world));
    fbt_log_set_rank(fbt_comm_rank(world));
    j.world = world;
    FBT_TRY(read_past(&j));
    FBT_TRY(fbt_comm_agree(world, plan(&j)));
    FBT_TRY(rerun(&j, &interrupted));
    if (fbt_comm_rank(world) == 0 && !interrupted) {
        status = compare(&j);
    }
    status = fbt_comm_agree(world, status);
done:
    close_job(&j);
    status = fbt_cli_report(world, status);
    if (status != FBT_OK) {
        return FBT_EXIT_FAILURE;
    }
    return interrupted ? FBT_EXIT_INTERRUPTED : FBT_EXIT_OK;
}
