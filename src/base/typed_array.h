/* Named arrays of one type each, for what is kept in files. */
#ifndef FBT_BASE_TYPED_ARRAY_H
#define FBT_BASE_TYPED_ARRAY_H

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
    const void *values;    /* [n_values] of the type            */
    const char *long_name; /* one line on what it is; NULL: the name */
} fbt_array;

/* The array called `name` in a list, or NULL. */
const fbt_array *fbt_array_find(const fbt_array *arrays, const char *name);

#ifdef __cplusplus
}
#endif

#endif
