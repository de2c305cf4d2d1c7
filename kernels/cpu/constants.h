/* Matrices and tables in the order in which they were made, and one copy of them for the processes of a node.
 *
 * The copy is a file without a name (memfd_create) that the exporting process fills and the others map from its list of
 * open files: it takes no place in a file system and is gone with the last process that has it. */
#ifndef FBT_CPU_CONSTANTS_H
#define FBT_CPU_CONSTANTS_H

#include "kernels/backend.h"

#include <stdint.h>

/* Kind and size of a matrix or table; equal members mean the same number of bytes on every process of a node. */
typedef struct fbt_cpu_shape {
    int64_t n_rows, n_columns; /* a matrix's n_out, n_in                    */
    int32_t type;              /* a matrix's fbt_compute, a table's dtype */
    int16_t is_table, has_bias;
} fbt_cpu_shape;

/* One of them. The pointers that are behind `weights` and `bias` are its owner's: exporting moves what they point to.
 */
typedef struct fbt_cpu_constant {
    fbt_cpu_shape shape;
    void **weights, **bias; /* bias NULL: none */
    int64_t weight_bytes, bias_bytes;
} fbt_cpu_constant;

/* Zero-initialise. */
typedef struct fbt_cpu_constants {
    fbt_cpu_constant *items; /* [n] of [capacity] */
    int64_t n, capacity;
    int has_freed;
    char *mapped; /* the copy, read-only; NULL: none */
    int64_t mapped_bytes;
    int file; /* of the exporting process */
    int is_imported;
    int64_t n_shared; /* constants in the copy */
} fbt_cpu_constants;

/* Adds one that was just made. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_cpu_constants_add(fbt_cpu_constants *c, const fbt_cpu_constant *constant);

/* Where the copy has what is made next, or NULL: it is to be made here. bias: NULL where there is none. Errors:
 * FBT_ERR_ARG (the copy has another). */
fbt_status fbt_cpu_constants_find(const fbt_cpu_constants *c, const fbt_cpu_shape *shape, int64_t weight_bytes,
                                  int64_t bias_bytes, void **weights, void **bias);

/* Forgets the one whose weights these are. *is_mapped: they lie in the copy, and are not to be freed. */
void fbt_cpu_constants_remove(fbt_cpu_constants *c, void **weights, int *is_mapped);

void fbt_cpu_constants_clear(fbt_cpu_constants *c);

/* share_export and share_import of backend.h. */
fbt_status fbt_cpu_constants_export(fbt_cpu_constants *c, fbt_share *share);
fbt_status fbt_cpu_constants_import(fbt_cpu_constants *c, const fbt_share *share);

#endif
