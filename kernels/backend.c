/* From a backend's name to the backend, and small facts about types. */
#include "backend.h"

#include "cpu/cpu.h"

#include <string.h>

size_t fbt_dtype_bytes(fbt_dtype dtype)
{
    return dtype == FBT_F32 || dtype == FBT_I32 ? 4 : 2;
}

fbt_dtype fbt_precision_dtype(fbt_precision precision)
{
    return precision == FBT_PRECISION_BF16 ? FBT_BF16 : FBT_F32;
}

const char *fbt_precision_name(fbt_precision precision)
{
    return precision == FBT_PRECISION_BF16 ? "bf16" : "fp32";
}

fbt_status fbt_backend_open(const fbt_backend_options *options, fbt_backend **b)
{
    *b = NULL;
    if (options->n_threads < 0 || options->n_local_ranks < 1 || options->local_rank < 0 ||
        options->local_rank >= options->n_local_ranks) {
        return fbt_fail(FBT_ERR_ARG, "a backend cannot have %d threads on local rank %d of %d", options->n_threads,
                        options->local_rank, options->n_local_ranks);
    }
    if (strcmp(options->precision, "auto") != 0 && strcmp(options->precision, "fp32") != 0 &&
        strcmp(options->precision, "bf16") != 0) {
        return fbt_fail(FBT_ERR_CONFIG, "backend.precision is '%s': it must be auto, fp32 or bf16", options->precision);
    }
    if (strcmp(options->name, "cpu") == 0) {
        return fbt_cpu_open(options, b);
    }
    return fbt_fail(FBT_ERR_CONFIG, "backend.name is '%s', which this build does not have: it has cpu", options->name);
}
