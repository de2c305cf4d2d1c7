/* JSON files of a model folder, read strictly: UTF-8, no key twice, numbers that are numbers. jobs/staging/model.py
 * (read_json) refuses the same texts. */
#ifndef FBT_MODEL_JSON_FILE_H
#define FBT_MODEL_JSON_FILE_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* A file being read: whose values are asked for, and what error messages call it. */
typedef struct fbt_json_file {
    char *path;
    json_t *value;
} fbt_json_file;

/* Reads FOLDER/NAME, which must hold an object or, where is_list, a list. Zero-initialise; close after a failure too.
 * Errors: FBT_ERR_IO (cannot be read), FBT_ERR_MODEL (not JSON, or of another type), FBT_ERR_MEMORY. */
fbt_status fbt_json_file_open(const char *folder, const char *name, bool is_list, fbt_json_file *file);
void fbt_json_file_close(fbt_json_file *file);

/* FOLDER/NAME; release with free(). Errors: FBT_ERR_MEMORY. */
fbt_status fbt_json_file_path(const char *folder, const char *name, char **path);

/* Values of the file's object by their key. null is as good as no value. All: FBT_ERR_MODEL for another type.
 * count: a whole number within [low, high]; without one `fallback`, which must not be given as less than low: then the
 *   key is required.
 * number: any number within [low, high]; without one `fallback`, which may be NAN: then the key is required.
 * text: borrowed from the file; without one `fallback`; NULL: the key is required.
 * flag: true or false; without one `fallback`. */
fbt_status fbt_json_file_count(const fbt_json_file *file, const char *key, int64_t low, int64_t high, int64_t fallback,
                               int64_t *value);
fbt_status fbt_json_file_number(const fbt_json_file *file, const char *key, double low, double high, double fallback,
                                double *value);
fbt_status fbt_json_file_text(const fbt_json_file *file, const char *key, const char *fallback, const char **value);
fbt_status fbt_json_file_flag(const fbt_json_file *file, const char *key, bool fallback, bool *value);

/* The value of a key; NULL: there is none, or null. */
const json_t *fbt_json_file_find(const fbt_json_file *file, const char *key);

#endif
