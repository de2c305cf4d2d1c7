/* Named arrays of one type each, for what is kept in files. */
#ifndef FBT_BASE_TYPED_ARRAY_H
#define FBT_BASE_TYPED_ARRAY_H

#include "base/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fbt_array_type { FBT_ARRAY_FLOAT64, FBT_ARRAY_INT64 } fbt_array_type;

enum { FBT_ARRAY_VALUE_BYTES = 8 }; /* of either type */

/* A list of arrays ends with name == NULL. */
typedef struct fbt_array {
    const char *name;
    fbt_array_type type;
    int64_t n_values;
    const void *values;    /* [n_values] of the type                 */
    const char *long_name; /* one line on what it is; NULL: the name */
} fbt_array;

/* The array called `name` in a list, or NULL. */
const fbt_array *fbt_array_find(const fbt_array *arrays, const char *name);

/* The same for an array that a checkpoint must have. Errors: FBT_ERR_DATA. */
fbt_status fbt_array_get(const fbt_array *arrays, const char *name, const fbt_array **array);

/* The same for one of finite real numbers. Errors: FBT_ERR_DATA. */
fbt_status fbt_array_get_reals(const fbt_array *arrays, const char *name, const fbt_array **array);

/* A list that owns its arrays. Zero-initialise; free with fbt_array_list_clear. */
typedef struct fbt_array_list {
    fbt_array *items; /* [n + 1], the last with name == NULL; NULL: none yet */
    int64_t n;
} fbt_array_list;

/* Appends a copy. values NULL: zeros, which the caller may fill in. Errors: FBT_ERR_MEMORY, after which the list is as
 * it was. */
fbt_status fbt_array_list_add(fbt_array_list *list, const fbt_array *array);
void fbt_array_list_clear(fbt_array_list *list);

#ifdef __cplusplus
}
#endif

#endif
