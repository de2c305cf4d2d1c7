/* fedbpt info */
#include "backend.h"
#include "build_info.h"
#include "cli.h"
#include "comm.h"

#include <argp.h>
#include <stdio.h>

static const struct argp parser = {
    .doc = "Prints version, compiler, MPI library, and the backend that this machine would use.\vExample:\n  fedbpt info",
};

int fbt_cli_info(int argc, char **argv)
{
    fbt_backend *b = NULL;
    fbt_backend_info info;
    const fbt_backend_options options = {.name = "cpu", .precision = "auto", .n_local_ranks = 1};
    argp_parse(&parser, argc, argv, 0, NULL, NULL);
    printf("fedbpt %s (commit %s)\ncompiler: %s\nMPI: %s\n", fbt_build_version, fbt_build_commit, fbt_build_compiler,
           fbt_comm_library());
    if (fbt_backend_open(&options, &b) != FBT_OK) {
        fprintf(stderr, "fedbpt: error: %s\n", fbt_error_message());
        return FBT_EXIT_FAILURE;
    }
    b->ops->info(b, &info);
    printf("backend: %s on %s\ninstruction set: %s\nprecision (auto): %s\nthreads: %d\nlibraries: %s\n", info.name, info.device,
           info.isa, fbt_precision_name(info.precision), info.n_threads, info.libraries);
    b->ops->close(b);
    return FBT_EXIT_OK;
}
