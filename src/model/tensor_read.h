/* Reads a rule's slice of a tensor as the backend wants it: rows of a matrix one behind the other. */
#ifndef FBT_MODEL_TENSOR_READ_H
#define FBT_MODEL_TENSOR_READ_H

#include "base/half.h"
#include "base/status.h"
#include "model/safetensors.h"
#include "model/tensor_table.h"

#include <stdint.h>

/* A slice of a matrix or vector. */
typedef struct fbt_tensor_slice {
    fbt_tensor_layout layout;
    int64_t index, n; /* number `index` of n slices */
    int64_t rows, columns;
    int64_t head_dim; /* FBT_LAYOUT_HEADS */
} fbt_tensor_slice;

/* values[at] = value, rounded to dtype (F32 or BF16). */
static inline void fbt_tensor_store(fbt_dtype dtype, void *values, int64_t at, float value)
{
    if (dtype == FBT_BF16) {
        ((uint16_t *)values)[at] = fbt_bf16_from_float(value);
    } else {
        ((float *)values)[at] = value;
    }
}

/* The slice that rule number i of a step takes. */
fbt_tensor_slice fbt_tensor_slice_of(const fbt_tensor_walk *walk, int64_t i);

/* values: [rows, columns] of type dtype (F32 or BF16, rounded to nearest). The numbers are converted in small pieces,
 * and the tensor's pages are let go. Errors: as fbt_tensor_floats. */
fbt_status fbt_tensor_read_matrix(const fbt_tensor *tensor, const fbt_tensor_slice *slice, fbt_dtype dtype,
                                  void *values);

/* The slice's part of a bias: [rows]. */
fbt_status fbt_tensor_read_bias(const fbt_tensor *tensor, const fbt_tensor_slice *slice, float *values);

#endif
