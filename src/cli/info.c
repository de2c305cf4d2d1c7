/* fedbpt info */
#include "base/build_info.h"
#include "cli/command.h"
#include "cli/info_model.h"
#include "comm/comm.h"
#include "kernels/backend.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DEVICES = 64, ID_BYTES = 64 };

typedef fbt_info_model_request arguments;

static const fbt_cli_option options[] = {
    FBT_OPTION_TEXT(folder, "model", 'm', "FOLDER",
                    "look at this model folder instead: what it is, and whether it can be run"),
    FBT_OPTION_TEXT(readout, "readout", 'r', "NAME", "fail unless the model can be read so: mask or embedding"),
    FBT_OPTION_FLAG(config_only, "config-only", 'c', "leave the model's weights out of the check"),
    FBT_OPTION_FLAG(json, "json", 'j', "print the model's description as one JSON object"),
    {.about = {0}},
};

static void check(void *given, const struct argp_state *state)
{
    const arguments *a = given;
    if (a->folder == NULL && (a->readout != NULL || a->config_only || a->json)) {
        argp_error(state, "--readout, --config-only and --json go with --model");
    }
}

/* The backend as local rank `rank` of one more would get it; no other has this rank's device when there are enough. */
static fbt_status open_backend(const char *name, int rank, fbt_backend **b)
{
    return fbt_backend_open(
        &(fbt_backend_options){.name = name, .precision = "auto", .local_rank = rank, .n_local_ranks = rank + 1}, b);
}

static void print_processor(const fbt_backend_info *info)
{
    printf("backend: %s on %s\ninstruction set: %s\nprecision (auto): %s\nthreads: %d\nlibraries: %s\n", info->name,
           info->device, info->isa, info->types->name, info->n_threads, info->libraries);
}

static void print_device(fbt_backend *b, const fbt_backend_info *info, int number)
{
    fbt_backend_memory memory = {0, 0};
    if (number == 0) {
        printf("backend: %s\nlibraries: %s\n", info->name, info->libraries);
    }
    printf("device %d: %s (%s), %s, precision (auto): %s", number, info->device, info->device_id, info->isa,
           info->types->name);
    if (fbt_backend_get_memory(b, &memory) == FBT_OK) {
        printf(", %.1f of %.1f GB free", 1e-9 * (double)memory.free, 1e-9 * (double)memory.total);
    }
    fbt_error_clear();
    printf("\n");
}

/* Prints what local rank `rank` gets; *is_last: no other rank gets anything new. `first`: the id of rank 0's device, as
 * local ranks get the devices in turn: the first that gets one again has seen them all. */
static fbt_status print_rank(const char *name, int rank, char first[ID_BYTES], bool *is_last)
{
    fbt_status status = FBT_OK;
    fbt_backend *b = NULL;
    fbt_backend_info info;
    FBT_TRY(open_backend(name, rank, &b));
    fbt_backend_get_info(b, &info);
    *is_last = rank > 0 && strcmp(info.device_id, first) == 0;
    if (info.device_id[0] == '\0') {
        print_processor(&info);
        *is_last = true;
    } else if (!*is_last) {
        print_device(b, &info, rank);
    }
    if (rank == 0) {
        snprintf(first, ID_BYTES, "%s", info.device_id);
    }
    fbt_backend_close(b);
done:
    return status;
}

static void print_backend(const fbt_backend_driver *driver)
{
    char first[ID_BYTES] = "";
    bool is_last = false;
    fbt_status status = fbt_backend_probe(driver);
    int rank = 0;
    for (; rank < MAX_DEVICES && status == FBT_OK && !is_last; rank++) {
        status = print_rank(driver->name, rank, first, &is_last);
    }
    if (status != FBT_OK) {
        printf("%s%s: not available: %s\n", rank <= 1 ? "backend: " : "a device of ", driver->name, fbt_error_take());
    }
}

static void print_machine(void)
{
    const fbt_backend_driver *driver;
    printf("fedbpt %s (commit %s)\ncompiler: %s\nMPI: %s\n", fbt_build_version, fbt_build_commit, fbt_build_compiler,
           fbt_comm_library());
    for (int i = 0; (driver = fbt_backend_driver_at(i)) != NULL; i++) {
        print_backend(driver);
    }
}

static fbt_status info(void *given, const fbt_comm *world, int *code)
{
    const arguments *a = given;
    (void)world;
    (void)code;
    if (a->folder != NULL) {
        return fbt_info_model(a);
    }
    print_machine();
    return FBT_OK;
}

const fbt_command fbt_command_info = {
    .name = "info",
    .summary = "print version, backends and processor, or what a model folder holds",
    .options = options,
    .arguments_bytes = sizeof(arguments),
    .check = check,
    .run = info,
    .doc =
        "Prints version, compiler, MPI library, and what each backend would compute with on this machine, or why it "
        "cannot. With --model: what a model folder holds, and which readouts it can be run with; exit code 1 and the "
        "reason if it cannot be run."
        "\vExamples:\n  fedbpt info\n  fedbpt info --model models/roberta-large\n"
        "  fedbpt info --model models/all-MiniLM-L6-v2 --readout embedding --json",
};
