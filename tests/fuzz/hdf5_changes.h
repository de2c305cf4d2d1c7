/* Valid HDF5 with wrong contents: a sound file, changed as an input says. Fuzzing the bytes of a file would test the
 * HDF5 library, which is none of ours; what is tested here is who reads the file's objects.
 */
#ifndef FBT_FUZZ_HDF5_CHANGES_H
#define FBT_FUZZ_HDF5_CHANGES_H

#include "fuzz.h"

#include <stdint.h>

/* An object, or one of its attributes. */
typedef struct fuzz_hdf5_node {
    char path[96];      /* "." is the root        */
    char attribute[48]; /* "": the object itself  */
} fuzz_hdf5_node;

enum { FUZZ_HDF5_NODES_MAX = 512 };

/* A sound file. Lives until the process ends. */
typedef struct fuzz_hdf5_base {
    void *image;
    size_t n_bytes;
    fuzz_hdf5_node nodes[FUZZ_HDF5_NODES_MAX];
    int64_t n_nodes;
} fuzz_hdf5_base;

/* Takes up the file at `path`. */
void fuzz_hdf5_load(const char *path, fuzz_hdf5_base *base);

/* Writes the base as the file `name`, with the changes that the input asks for: any number, each of three bytes and
 * what it takes more. Returns its path. */
const char *fuzz_hdf5_change(const fuzz_hdf5_base *base, fuzz_input *input, const char *name);

/* Nothing that HDF5 has opened is still open. */
void fuzz_hdf5_check_closed(void);

#endif
