#include "fed/residuals.h"

#include <inttypes.h>
#include <string.h>

static const char name[] = "residuals";

fbt_status fbt_residuals_export(const double *residuals, int64_t n, fbt_array_list *checkpoint)
{
    return n == 0 ? FBT_OK
                  : fbt_array_list_add(checkpoint,
                                       &(fbt_array){.name = name,
                                                    .type = FBT_ARRAY_FLOAT64,
                                                    .n_values = n,
                                                    .values = residuals,
                                                    .long_name = "what quantised messages have left out of each "
                                                                 "client's means, [K, d]"});
}

/* Does rank 0's part. */
static fbt_status read(double *residuals, int64_t n, const fbt_array *checkpoint)
{
    fbt_status status = FBT_OK;
    const fbt_array *array;
    FBT_TRY(fbt_array_get_reals(checkpoint, name, &array));
    if (array->n_values != n) {
        FBT_FAIL(FBT_ERR_DATA, "the checkpoint's %s are not %" PRId64 " real numbers: the file is damaged", name, n);
    }
    memcpy(residuals, array->values, (size_t)n * sizeof *residuals);
done:
    return status;
}

fbt_status fbt_residuals_import(double *residuals, int64_t n, const fbt_comm *world, const fbt_array *checkpoint)
{
    fbt_status status = FBT_OK;
    if (n > 0) {
        FBT_TRY(fbt_comm_agree(world, fbt_comm_rank(world) == 0 ? read(residuals, n, checkpoint) : FBT_OK));
        fbt_comm_broadcast(world, residuals, n * (int64_t)sizeof *residuals);
    }
done:
    return status;
}
