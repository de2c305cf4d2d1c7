/* Sizes of arrays, for the writers of this folder. */
#ifndef FBT_EXPORT_ARRAY_H
#define FBT_EXPORT_ARRAY_H

#include "export/export.h"

static inline int64_t fbt_export_item_bytes(const fbt_export_array *array)
{
    return array->is_double ? 8 : 4;
}

static inline int64_t fbt_export_array_bytes(const fbt_export_array *array)
{
    int64_t n_bytes = fbt_export_item_bytes(array);
    for (int i = 0; i < array->n_dims; i++) {
        n_bytes *= array->shape[i];
    }
    return n_bytes;
}

#endif
