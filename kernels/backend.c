/* From a backend's name to the backend, and small facts about types. */
#include "kernels/backend.h"

#include "kernels/cpu/cpu.h"
#ifdef FBT_HAVE_CUDA
#include "kernels/cuda/open.h"
#endif

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
    return fbt_precision_names[precision];
}

static fbt_status check_precision(const fbt_backend_options *options)
{
    const char *precision = options->precision;
    if (strcmp(precision, "auto") != 0 && fbt_choice_find(fbt_precision_names, precision) < 0) {
        return fbt_fail(FBT_ERR_CONFIG, "backend.precision is '%s': it must be auto, fp32, tf32 or bf16", precision);
    }
    if (strcmp(precision, "tf32") == 0 && strcmp(options->name, "cuda") != 0) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "backend.precision is tf32, which only backend.name cuda has: set it to auto, fp32 or "
                        "bf16");
    }
    return FBT_OK;
}

fbt_status fbt_backend_open(const fbt_backend_options *options, fbt_backend **b)
{
    *b = NULL;
    if (options->n_threads < 0 || options->n_local_ranks < 1 || options->local_rank < 0 ||
        options->local_rank >= options->n_local_ranks) {
        return fbt_fail(FBT_ERR_ARG, "a backend cannot have %d threads on local rank %d of %d", options->n_threads,
                        options->local_rank, options->n_local_ranks);
    }
    const fbt_status status = check_precision(options);
    if (status != FBT_OK) {
        return status;
    }
    if (strcmp(options->name, "cpu") == 0) {
        return fbt_cpu_open(options, b);
    }
    if (strcmp(options->name, "cuda") == 0) {
#ifdef FBT_HAVE_CUDA
        return fbt_cuda_open(options, b);
#else
        return fbt_fail(FBT_ERR_CONFIG,
                        "backend.name is cuda, which this build does not have: configure with the preset cuda");
#endif
    }
    return fbt_fail(FBT_ERR_CONFIG, "backend.name is '%s': it must be cpu or cuda", options->name);
}
