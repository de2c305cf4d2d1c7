#include "cli/command.h"

#include "base/choices.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli/stop.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 32 };

/* A command line being parsed. */
typedef struct parse {
    const fbt_command *command;
    char *arguments;
} parse;

static void *field_of(const parse *p, size_t offset)
{
    return p->arguments + offset;
}

static const char *take_choice(const fbt_cli_option *o, const char *value, const struct argp_state *state)
{
    char choices[80];
    if (o->choices != NULL && fbt_choice_find(o->choices, value) < 0) {
        fbt_choice_list(o->choices, choices, sizeof choices);
        argp_error(state, "--%s is '%s', not %s", o->about.name, value, choices);
    }
    return value;
}

static int64_t take_count(const fbt_cli_option *o, const char *value, const struct argp_state *state)
{
    char *end;
    errno = 0;
    const long long number = strtoll(value, &end, 10);
    const bool is_number = errno == 0 && value[strspn(value, "0123456789")] == '\0' && *value != '\0';
    if (!is_number || number < o->least || number > o->most) {
        argp_error(state, "--%s is '%s', not a number from %" PRId64 " to %" PRId64, o->about.name, value, o->least,
                   o->most);
    }
    return number;
}

static void take_assignment(fbt_cli_assignments *assignments, const char *value, const struct argp_state *state)
{
    if (assignments->n == FBT_CLI_MAX_ASSIGNMENTS) {
        argp_error(state, "more than %d --set", FBT_CLI_MAX_ASSIGNMENTS);
    }
    assignments->items[assignments->n++] = value;
}

static void take_option(const parse *p, const fbt_cli_option *o, const char *value, const struct argp_state *state)
{
    void *field = field_of(p, o->offset);
    switch (o->kind) {
    case FBT_CLI_FLAG:
        *(bool *)field = true;
        if (o->assigns != NULL) {
            take_assignment(field_of(p, o->assigns_offset), o->assigns, state);
        }
        break;
    case FBT_CLI_TEXT:
        *(const char **)field = take_choice(o, value, state);
        break;
    case FBT_CLI_COUNT:
        *(int64_t *)field = take_count(o, value, state);
        break;
    case FBT_CLI_ASSIGN:
        take_assignment(field, value, state);
        break;
    case FBT_CLI_PRINT:
        o->print();
        exit(FBT_EXIT_OK);
    }
}

static error_t take_file(const parse *p, const char *value, const struct argp_state *state)
{
    const fbt_cli_file *file = &p->command->file;
    if (file->shown == NULL && file->instead == NULL) {
        return ARGP_ERR_UNKNOWN;
    }
    if (file->shown == NULL) {
        argp_error(state, "'%s' is not expected; %s", value, file->instead);
        return 0;
    }
    const char **field = field_of(p, file->offset);
    if (*field != NULL) {
        argp_error(state, "one %s at a time; '%s' is one too many", file->what, value);
    }
    *field = value;
    return 0;
}

static void check_end(const parse *p, const struct argp_state *state)
{
    const fbt_cli_file *file = &p->command->file;
    if (file->missing != NULL && *(const char **)field_of(p, file->offset) == NULL) {
        argp_error(state, "%s", file->missing);
    }
    if (p->command->check != NULL) {
        p->command->check(p->arguments, state);
    }
}

static error_t take(int key, char *value, struct argp_state *state)
{
    const parse *p = state->input;
    if (key == ARGP_KEY_ARG) {
        return take_file(p, value, state);
    }
    if (key == ARGP_KEY_END) {
        check_end(p, state);
        return 0;
    }
    for (const fbt_cli_option *o = p->command->options; o->about.name != NULL; o++) {
        if (o->about.key == key) {
            take_option(p, o, value, state);
            return 0;
        }
    }
    return ARGP_ERR_UNKNOWN;
}

static void parse_line(const fbt_command *command, int argc, char **argv, char *arguments)
{
    struct argp_option options[OPTIONS_MAX] = {{0}};
    parse p = {command, arguments};
    for (int i = 0; i < OPTIONS_MAX - 1 && command->options[i].about.name != NULL; i++) {
        options[i] = command->options[i].about;
    }
    const struct argp parser = {
        .options = options, .parser = take, .args_doc = command->file.shown, .doc = command->doc};
    argp_parse(&parser, argc, argv, 0, NULL, &p);
}

/* Prints the sentence of a failure once, and stops MPI. Collective over world; all ranks get the same class of status.
 * world: NULL: MPI does not run. */
static fbt_status report(fbt_comm *world, fbt_status status)
{
    if (world != NULL) {
        status = fbt_comm_report(world, status);
        fbt_comm_stop(world);
    } else if (status != FBT_OK) {
        fprintf(stderr, "fedbpt: error: %s\n", fbt_error_message());
    }
    return status;
}

int fbt_command_main(const fbt_command *command, int argc, char **argv)
{
    fbt_status status = FBT_OK;
    fbt_comm *world = NULL;
    char *arguments = NULL;
    int code = FBT_EXIT_OK;
    FBT_TRY(fbt_memory_alloc(&arguments, (int64_t)command->arguments_bytes, 1));
    if (command->defaults != NULL) {
        memcpy(arguments, command->defaults, command->arguments_bytes);
    }
    parse_line(command, argc, argv, arguments);
    if (command->stops) {
        fbt_stop_watch();
    }
    if (command->uses_mpi) {
        FBT_TRY(fbt_comm_start(&argc, &argv, &world));
        fbt_log_set_rank(fbt_comm_rank(world));
    }
    status = command->run(arguments, world, &code);
done:
    status = report(world, status);
    free(arguments);
    if (status == FBT_ERR_STORAGE && command->goes_on_storage) {
        return FBT_EXIT_INTERRUPTED;
    }
    return status == FBT_OK ? code : FBT_EXIT_FAILURE;
}
