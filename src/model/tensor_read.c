#include "model/tensor_read.h"

#include <stdbool.h>

enum { PIECE = 4096 }; /* numbers converted at a time */

fbt_tensor_slice fbt_tensor_slice_of(const fbt_tensor_walk *walk, int64_t i)
{
    const fbt_tensor_rule *rule = &walk->rules[i];
    return (fbt_tensor_slice){.layout = rule->layout,
                              .index = rule->slice,
                              .n = rule->n_slices > 0 ? rule->n_slices : 1,
                              .rows = fbt_tensor_walk_rows(walk, i),
                              .columns = walk->columns,
                              .head_dim = walk->shape->head_dim};
}

/* Items of a tensor, to every stride-th place of the values from place `at` on. */
static fbt_status copy(const fbt_tensor *tensor, int64_t first, int64_t n, fbt_dtype dtype, void *values, int64_t at,
                       int64_t stride)
{
    fbt_status status = FBT_OK;
    float piece[PIECE];
    for (int64_t done = 0; done < n; done += PIECE) {
        const int64_t m = n - done < PIECE ? n - done : PIECE;
        FBT_TRY(fbt_tensor_floats(tensor, first + done, m, piece));
        for (int64_t i = 0; i < m; i++) {
            fbt_tensor_store(dtype, values, at + (done + i) * stride, piece[i]);
        }
    }
done:
    return status;
}

/* Rows that lie together in the file, of `columns` items each; a slice is whole blocks of them. */
static fbt_status copy_blocks(const fbt_tensor *tensor, const fbt_tensor_slice *slice, int64_t columns, fbt_dtype dtype,
                              void *values)
{
    fbt_status status = FBT_OK;
    const int64_t block = slice->layout == FBT_LAYOUT_HEADS ? slice->head_dim : slice->rows;
    for (int64_t i = 0; i < slice->rows / block; i++) {
        const int64_t first = (i * slice->n + slice->index) * block;
        FBT_TRY(copy(tensor, first * columns, block * columns, dtype, values, i * block * columns, 1));
    }
done:
    return status;
}

static fbt_status copy_transposed(const fbt_tensor *tensor, const fbt_tensor_slice *slice, fbt_dtype dtype,
                                  void *values)
{
    fbt_status status = FBT_OK;
    for (int64_t k = 0; k < slice->columns; k++) {
        const int64_t first = (k * slice->n + slice->index) * slice->rows;
        FBT_TRY(copy(tensor, first, slice->rows, dtype, values, k, slice->columns));
    }
done:
    return status;
}

fbt_status fbt_tensor_read_matrix(const fbt_tensor *tensor, const fbt_tensor_slice *slice, fbt_dtype dtype,
                                  void *values)
{
    const fbt_status status = slice->layout == FBT_LAYOUT_COLUMNS
                                  ? copy_transposed(tensor, slice, dtype, values)
                                  : copy_blocks(tensor, slice, slice->columns, dtype, values);
    fbt_tensor_release_pages(tensor);
    return status;
}

fbt_status fbt_tensor_read_bias(const fbt_tensor *tensor, const fbt_tensor_slice *slice, float *values)
{
    return copy_blocks(tensor, slice, 1, FBT_F32, values);
}
