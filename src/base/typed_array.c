#include "base/typed_array.h"

#include <stddef.h>
#include <string.h>

const fbt_array *fbt_array_find(const fbt_array *arrays, const char *name)
{
    while (arrays->name != NULL && strcmp(arrays->name, name) != 0) {
        arrays++;
    }
    return arrays->name == NULL ? NULL : arrays;
}
