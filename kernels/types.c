/* Types of computations, by name, and sizes of types. */
#include "kernels/backend.h"

#include <string.h>

static const fbt_types rows[] = {
    [FBT_PRECISION_FP32] = {"fp32", FBT_F32, FBT_COMPUTE_FP32, FBT_F32},
    [FBT_PRECISION_TF32] = {"tf32", FBT_F32, FBT_COMPUTE_TF32, FBT_F32},
    [FBT_PRECISION_BF16] = {"bf16", FBT_BF16, FBT_COMPUTE_BF16, FBT_BF16},
};

const fbt_types *fbt_types_find(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

size_t fbt_dtype_bytes(fbt_dtype dtype)
{
    return dtype == FBT_F32 || dtype == FBT_I32 ? 4 : 2;
}
