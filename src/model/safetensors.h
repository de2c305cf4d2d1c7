/* Tensors of a Hugging Face folder, mapped into memory, from the files that weight_files.h tells.
 *
 * A file is 8 bytes of header length (little-endian), a JSON header, and the tensors' bytes. What is checked on
 * opening: that an index and its shards hold the same tensors, the header's length and syntax, no name twice, known
 * types, every tensor's place = product of its shape * its type's size, and tensors that fill the rest of the file with
 * neither gaps nor overlaps, in any order of the header. So a truncated or extended file and nearly every damaged
 * header are found here, the rest when a tensor turns out to be missing or misshapen. Damage to the tensors' bytes is
 * found only if it makes a value that is not finite (fbt_tensor_floats, fbt_tensor_check_finite): the format has no
 * checksum. A file cut short while it is mapped ends the program (SIGBUS), as with any mapped file. Format:
 * https://huggingface.co/docs/safetensors.
 */
#ifndef FBT_MODEL_SAFETENSORS_H
#define FBT_MODEL_SAFETENSORS_H

#include "base/status.h"
#include "kernels/backend.h"

#include <stdint.h>

enum { FBT_TENSOR_MAX_DIMS = 8 };

/* One tensor; row-major, little-endian. Strings and data live as long as the fbt_safetensors. */
typedef struct fbt_tensor {
    const char *name;
    const char *path; /* file that holds it                                                                      */
    const char *type; /* as the file says: "F32", "I64", ...                                                      */
    int n_dims;
    int64_t shape[FBT_TENSOR_MAX_DIMS];
    int64_t n_items;
    int64_t n_bytes;
    const void *data; /* mapped; aligned to its type only by chance                                               */
} fbt_tensor;

typedef struct fbt_safetensors fbt_safetensors;

/* Maps a folder's weights. Synchronous, rank-local. Errors: FBT_ERR_IO (no such file, not readable), FBT_ERR_MODEL (not
 * what the format asks for), FBT_ERR_MEMORY. */
fbt_status fbt_safetensors_open(const char *folder, fbt_safetensors **files);
void fbt_safetensors_close(fbt_safetensors *files);

/* A tensor by its name; NULL: there is none. */
const fbt_tensor *fbt_safetensors_find(const fbt_safetensors *files, const char *name);

/* All tensors in the order of their names, i < n_tensors; the files' names within the folder, i < n_files. */
int64_t fbt_safetensors_n_tensors(const fbt_safetensors *files);
const fbt_tensor *fbt_safetensors_tensor(const fbt_safetensors *files, int64_t i);
int64_t fbt_safetensors_n_files(const fbt_safetensors *files);
const char *fbt_safetensors_file(const fbt_safetensors *files, int64_t i);

/* Where the names are listed, for error messages: the single file or the index. */
const char *fbt_safetensors_path(const fbt_safetensors *files);

/* The backend's type for the tensor's. Errors: FBT_ERR_MODEL (neither F32, F16 nor BF16). */
fbt_status fbt_tensor_dtype(const fbt_tensor *tensor, fbt_dtype *dtype);

/* Items first .. first + n - 1 as floats: exact for all three types. Errors: FBT_ERR_MODEL (type; a value that is not
 * finite). */
fbt_status fbt_tensor_floats(const fbt_tensor *tensor, int64_t first, int64_t n, float *values);

/* Errors: FBT_ERR_MODEL (type; a value that is not finite). */
fbt_status fbt_tensor_check_finite(const fbt_tensor *tensor);

/* Tells the system that the tensor's pages will not be read soon; they can still be read. Keeps the resident set small
 * while a large model is handed over to a backend. */
void fbt_tensor_release_pages(const fbt_tensor *tensor);

#endif
