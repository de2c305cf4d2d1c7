/* Types of computations, by name, and sizes of types. */
#include "kernels/backend.h"

#include <string.h>

enum { INT8_WITH_FP32 = FBT_PRECISION_INT8 + 1 };

static const fbt_types rows[] = {
    [FBT_PRECISION_FP32] = {"fp32", FBT_F32, FBT_COMPUTE_FP32, FBT_F32, FBT_F32},
    [FBT_PRECISION_TF32] = {"tf32", FBT_F32, FBT_COMPUTE_TF32, FBT_F32, FBT_F32},
    [FBT_PRECISION_BF16] = {"bf16", FBT_BF16, FBT_COMPUTE_BF16, FBT_BF16, FBT_F32},
    [FBT_PRECISION_INT8] = {"int8", FBT_I8, FBT_COMPUTE_I8, FBT_BF16, FBT_F32},
    [INT8_WITH_FP32] = {"int8", FBT_I8, FBT_COMPUTE_I8, FBT_F32, FBT_F32},
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

const fbt_types *fbt_types_int8(int has_bf16)
{
    return &rows[has_bf16 ? (int)FBT_PRECISION_INT8 : (int)INT8_WITH_FP32];
}

const fbt_types *fbt_types_unquantised(const fbt_types *types)
{
    if (types->compute != FBT_COMPUTE_I8) {
        return types;
    }
    return &rows[types->activations == FBT_BF16 ? FBT_PRECISION_BF16 : FBT_PRECISION_FP32];
}

size_t fbt_dtype_bytes(fbt_dtype dtype)
{
    switch (dtype) {
    case FBT_F32:
    case FBT_I32:
        return 4;
    case FBT_I8:
        return 1;
    default:
        return 2;
    }
}
