/* fedbpt info */
#include "backend.h"
#include "build_info.h"
#include "cli.h"
#include "comm.h"

#include <argp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEVICES = 64, ID_BYTES = 64 };

static const struct argp parser = {
    .doc = "Prints version, compiler, MPI library, and what each backend would compute with on this machine, or why it "
           "cannot."
           "\vExample:\n  fedbpt info",
};

/* The backend as local rank `rank` of one more would get it; no other has this rank's device when there are enough. */
static fbt_status open_backend(const char *name, int rank, fbt_backend **b)
{
    return fbt_backend_open(
        &(fbt_backend_options){.name = name, .precision = "auto", .local_rank = rank, .n_local_ranks = rank + 1}, b);
}

static fbt_status print_cpu(void)
{
    fbt_status status = FBT_OK;
    fbt_backend *b = NULL;
    fbt_backend_info info;
    FBT_TRY(open_backend("cpu", 0, &b));
    b->ops->info(b, &info);
    printf("backend: %s on %s\ninstruction set: %s\nprecision (auto): %s\nthreads: %d\nlibraries: %s\n", info.name,
           info.device, info.isa, fbt_precision_name(info.precision), info.n_threads, info.libraries);
    b->ops->close(b);
done:
    return status;
}

static void print_cuda_device(fbt_backend *b, int number)
{
    fbt_backend_info info;
    fbt_backend_memory memory = {0, 0};
    b->ops->info(b, &info);
    if (number == 0) {
        printf("backend: %s\nlibraries: %s\n", info.name, info.libraries);
    }
    printf("device %d: %s (%s), %s, precision (auto): %s", number, info.device, info.device_id, info.isa,
           fbt_precision_name(info.precision));
    if (b->ops->memory(b, &memory) == FBT_OK) {
        printf(", %.1f of %.1f GB free", 1e-9 * (double)memory.free, 1e-9 * (double)memory.total);
    }
    fbt_error_clear();
    printf("\n");
}

/* Local ranks get the devices in turn: the first that gets one again has seen them all. */
static void print_cuda(void)
{
    char first[ID_BYTES] = "";
    for (int i = 0; i < MAX_DEVICES; i++) {
        fbt_backend *b = NULL;
        fbt_backend_info info;
        if (open_backend("cuda", i, &b) != FBT_OK) {
            printf("%s: not available: %s\n", i == 0 ? "backend: cuda" : "a device", fbt_error_message());
            fbt_error_clear();
            return;
        }
        b->ops->info(b, &info);
        const bool seen = i > 0 && strcmp(info.device_id, first) == 0;
        if (i == 0) {
            snprintf(first, sizeof first, "%s", info.device_id);
        }
        if (!seen) {
            print_cuda_device(b, i);
        }
        b->ops->close(b);
        if (seen) {
            return;
        }
    }
}

int fbt_cli_info(int argc, char **argv)
{
    argp_parse(&parser, argc, argv, 0, NULL, NULL);
    printf("fedbpt %s (commit %s)\ncompiler: %s\nMPI: %s\n", fbt_build_version, fbt_build_commit, fbt_build_compiler,
           fbt_comm_library());
    if (print_cpu() != FBT_OK) {
        fprintf(stderr, "fedbpt: error: %s\n", fbt_error_message());
        return FBT_EXIT_FAILURE;
    }
    print_cuda();
    return FBT_EXIT_OK;
}
