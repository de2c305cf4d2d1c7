/* HDF5 with the project's errors, for the files of this folder. */
#ifndef FBT_RECORD_HDF5_UTIL_H
#define FBT_RECORD_HDF5_UTIL_H

#include "base/status.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

enum { FBT_HDF5_REASON_BYTES = 200 };

/* Fails with the name of what was tried and HDF5's innermost reason when an HDF5 call returns a negative number. */
#define FBT_HDF5(expression, ...)                                                                                      \
    do {                                                                                                               \
        if ((expression) < 0) {                                                                                        \
            status = fbt_hdf5_fail(__VA_ARGS__);                                                                       \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

/* Keeps HDF5 from printing its error stack. Call at the start of every public function that uses HDF5. */
void fbt_hdf5_silence(void);

/* FBT_ERR_IO: the sentence, then HDF5's innermost reason in brackets. */
fbt_status fbt_hdf5_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Puts `path: ` before the kept sentence of a failure that does not name the file yet. Returns status. */
fbt_status fbt_hdf5_name_file(const char *path, fbt_status status);

/* Closes an identifier of any kind; negative ones are fine. */
void fbt_hdf5_close(hid_t id);

/* Opens an existing file for reading, without a lock (files are replaced as a whole, and some cluster file systems have
 * no locks), after its seal has been checked (seal.h); a missing, an unreadable, a truncated and a damaged file are
 * told apart. Errors: FBT_ERR_IO, FBT_ERR_STORAGE. */
fbt_status fbt_hdf5_open(const char *path, hid_t *file);

/* A file that lives in memory alone, with room for a seal. */
fbt_status fbt_hdf5_new_in_memory(hid_t *file);

/* Copies all that the file `from` has (attributes of its root must be texts or numbers) to an empty one, but not the
 * holes that rewriting has left there. */
fbt_status fbt_hdf5_copy(hid_t from, hid_t to);

/* The bytes that a file would have on disk, sealed. Zero-initialise; keep it for the next image of a growing file,
 * whose memory is then used again; release `bytes` with free(). */
typedef struct fbt_hdf5_bytes {
    void *bytes;
    int64_t n_bytes;
    int64_t capacity;
} fbt_hdf5_bytes;

fbt_status fbt_hdf5_image(hid_t file, fbt_hdf5_bytes *image);

/* Attributes, written as variable-length UTF-8 (h5py gives str; bytes that are not UTF-8 become U+FFFD) or as the given
 * number type; an older one is replaced. */
fbt_status fbt_hdf5_write_text(hid_t object, const char *name, const char *text);
fbt_status fbt_hdf5_write_texts(hid_t object, const char *name, const char *const *texts, int64_t n);
fbt_status fbt_hdf5_write_int(hid_t object, const char *name, int64_t value);
fbt_status fbt_hdf5_write_real(hid_t object, const char *name, double value);

/* Attributes read: texts of fixed or variable length, and integers of any size. Release texts with free() (each, and
 * the list). Errors: FBT_ERR_DATA when the attribute is missing or of another type. */
fbt_status fbt_hdf5_read_text(hid_t object, const char *name, char **text);
fbt_status fbt_hdf5_read_texts(hid_t object, const char *name, char ***texts, int64_t *n);
fbt_status fbt_hdf5_read_int(hid_t object, const char *name, int64_t *value);
fbt_status fbt_hdf5_read_real(hid_t object, const char *name, double *value);
void fbt_hdf5_free_texts(char **texts, int64_t n);

/* Whether the group or data set `path` exists below `object`. */
bool fbt_hdf5_has(hid_t object, const char *path);

/* How a new data set is kept. */
typedef struct fbt_hdf5_array {
    const char *name;
    hid_t type; /* on disk and in memory                                             */
    int rank;
    const hsize_t *dims;   /* [rank]; the first is 0 for an extendible one                      */
    hsize_t chunk_rows;    /* > 0: extendible along the first dimension, chunks of so many rows */
    bool deflate;          /* shuffle and deflate the chunks                                    */
    const char *long_name; /* attribute                                                         */
    const char *unit;      /* attribute; NULL: "1"                                              */
} fbt_hdf5_array;

/* Creates a data set; values may be NULL (none are written). *dataset is the caller's to close; dataset may be NULL. */
fbt_status fbt_hdf5_create(hid_t group, const fbt_hdf5_array *array, const void *values, hid_t *dataset);

/* Number of a data set's values. A damaged header may claim any: FBT_ERR_IO where they are more than the bytes that the
 * file keeps of it can be. `name` is for the message. */
fbt_status fbt_hdf5_count(hid_t dataset, const char *name, int64_t *n);

/* Makes an extendible data set n_rows long; writes the last row when row is not NULL. */
fbt_status fbt_hdf5_append(hid_t dataset, hsize_t n_rows, const void *row);

#endif
