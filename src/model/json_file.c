#include "model/json_file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

fbt_status fbt_json_file_path(const char *folder, const char *name, char **path)
{
    if (asprintf(path, "%s/%s", folder, name) < 0) {
        *path = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: a path in %s", folder);
    }
    return FBT_OK;
}

fbt_status fbt_json_file_open(const char *folder, const char *name, bool is_list, fbt_json_file *file)
{
    fbt_status status = FBT_OK;
    json_error_t error;
    FILE *stream = NULL;
    FBT_TRY(fbt_json_file_path(folder, name, &file->path));
    stream = fopen(file->path, "rb");
    if (stream == NULL) {
        FBT_FAIL(FBT_ERR_IO, "%s: cannot be read (%s); a model is a folder with config.json and safetensors files",
                 file->path, strerror(errno));
    }
    file->value = json_loadf(stream, JSON_REJECT_DUPLICATES, &error);
    if (file->value == NULL) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: is not valid JSON (line %d: %s)", file->path, error.line, error.text);
    }
    if (is_list ? !json_is_array(file->value) : !json_is_object(file->value)) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: is not a JSON %s", file->path, is_list ? "list" : "object");
    }
done:
    if (stream != NULL) {
        fclose(stream);
    }
    return status;
}

void fbt_json_file_close(fbt_json_file *file)
{
    json_decref(file->value);
    free(file->path);
    *file = (fbt_json_file){0};
}

const json_t *fbt_json_file_find(const fbt_json_file *file, const char *key)
{
    const json_t *item = json_object_get(file->value, key);
    return json_is_null(item) ? NULL : item;
}

fbt_status fbt_json_file_count(const fbt_json_file *file, const char *key, int64_t low, int64_t high, int64_t fallback,
                               int64_t *value)
{
    fbt_status status = FBT_OK;
    const json_t *item = fbt_json_file_find(file, key);
    *value = fallback;
    if (item == NULL) {
        if (fallback < low) {
            FBT_FAIL(FBT_ERR_MODEL, "%s: '%s' is missing", file->path, key);
        }
        goto done;
    }
    if (!json_is_integer(item)) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: '%s' is not a whole number", file->path, key);
    }
    *value = json_integer_value(item);
    if (*value < low || *value > high) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: '%s' is %" PRId64 ", outside %" PRId64 " to %" PRId64, file->path, key, *value,
                 low, high);
    }
done:
    return status;
}

fbt_status fbt_json_file_number(const fbt_json_file *file, const char *key, double low, double high, double fallback,
                                double *value)
{
    const json_t *item = fbt_json_file_find(file, key);
    *value = item == NULL ? fallback : json_number_value(item);
    if (item == NULL && isnan(fallback)) {
        return fbt_fail(FBT_ERR_MODEL, "%s: '%s' is missing", file->path, key);
    }
    if (item != NULL && (!json_is_number(item) || !(*value >= low && *value <= high))) {
        return fbt_fail(FBT_ERR_MODEL, "%s: '%s' is not a number from %g to %g", file->path, key, low, high);
    }
    return FBT_OK;
}

fbt_status fbt_json_file_text(const fbt_json_file *file, const char *key, const char *fallback, const char **value)
{
    const json_t *item = fbt_json_file_find(file, key);
    *value = item == NULL ? fallback : json_string_value(item);
    if (*value == NULL) {
        return fbt_fail(FBT_ERR_MODEL, "%s: '%s' is %s", file->path, key, item == NULL ? "missing" : "not a string");
    }
    return FBT_OK;
}

fbt_status fbt_json_file_flag(const fbt_json_file *file, const char *key, bool fallback, bool *value)
{
    const json_t *item = fbt_json_file_find(file, key);
    *value = item == NULL ? fallback : json_is_true(item);
    if (item != NULL && !json_is_boolean(item)) {
        return fbt_fail(FBT_ERR_MODEL, "%s: '%s' is neither true nor false", file->path, key);
    }
    return FBT_OK;
}
