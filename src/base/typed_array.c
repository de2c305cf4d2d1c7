#include "base/typed_array.h"

#include "base/memory.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const fbt_array *fbt_array_find(const fbt_array *arrays, const char *name)
{
    while (arrays->name != NULL && strcmp(arrays->name, name) != 0) {
        arrays++;
    }
    return arrays->name == NULL ? NULL : arrays;
}

fbt_status fbt_array_get(const fbt_array *arrays, const char *name, const fbt_array **array)
{
    *array = fbt_array_find(arrays, name);
    return *array != NULL ? FBT_OK : fbt_fail(FBT_ERR_DATA, "the checkpoint has no %s: the file is damaged", name);
}

fbt_status fbt_array_get_reals(const fbt_array *arrays, const char *name, const fbt_array **array)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_array_get(arrays, name, array));
    const double *values = (*array)->values;
    bool sound = (*array)->type == FBT_ARRAY_FLOAT64;
    for (int64_t i = 0; sound && i < (*array)->n_values; i++) {
        sound = isfinite(values[i]);
    }
    if (!sound) {
        FBT_FAIL(FBT_ERR_DATA, "the checkpoint's %s hold what is no number: the file is damaged", name);
    }
done:
    return status;
}

static void free_array(fbt_array *array)
{
    free((void *)(uintptr_t)array->name);
    free((void *)(uintptr_t)array->values);
    free((void *)(uintptr_t)array->long_name);
}

static fbt_status copy_text(const char *text, const char **copy)
{
    char *made = NULL;
    const fbt_status status = fbt_memory_strdup(&made, text);
    *copy = made;
    return status;
}

static fbt_status copy_array(const fbt_array *array, fbt_array *copy)
{
    fbt_status status = FBT_OK;
    void *values = NULL;
    *copy = (fbt_array){.type = array->type, .n_values = array->n_values};
    FBT_TRY(copy_text(array->name, &copy->name));
    if (array->long_name != NULL) {
        FBT_TRY(copy_text(array->long_name, &copy->long_name));
    }
    FBT_TRY(fbt_memory_alloc(&values, array->n_values, FBT_ARRAY_VALUE_BYTES));
    if (array->values != NULL && array->n_values > 0) {
        memcpy(values, array->values, (size_t)(array->n_values * FBT_ARRAY_VALUE_BYTES));
    }
    copy->values = values;
done:
    return status;
}

fbt_status fbt_array_list_add(fbt_array_list *list, const fbt_array *array)
{
    fbt_status status = FBT_OK;
    fbt_array copy = {0};
    fbt_array *items = NULL;
    FBT_TRY(copy_array(array, &copy));
    FBT_TRY(fbt_memory_alloc(&items, list->n + 2, sizeof *items));
    if (list->n > 0) {
        memcpy(items, list->items, (size_t)list->n * sizeof *items);
    }
    items[list->n] = copy;
    copy = (fbt_array){0};
    free(list->items);
    list->items = items;
    list->n++;
done:
    free_array(&copy);
    return status;
}

void fbt_array_list_clear(fbt_array_list *list)
{
    for (int64_t i = 0; i < list->n; i++) {
        free_array(&list->items[i]);
    }
    free(list->items);
    *list = (fbt_array_list){0};
}
