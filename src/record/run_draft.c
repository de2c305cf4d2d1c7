#include "record/run_draft.h"

#include "base/memory.h"
#include "record/hdf5_util.h"
#include "record/run_changes.h"
#include "record/run_file_internal.h"
#include "record/run_layout.h"

#include <stdlib.h>
#include <string.h>

void fbt_run_draft_init(fbt_run_draft *draft)
{
    *draft = (fbt_run_draft){.file = -1};
    for (int i = 0; i < FBT_RUN_COLUMNS_MAX; i++) {
        draft->columns[i] = -1;
    }
}

fbt_status fbt_run_draft_close(fbt_run_draft *draft)
{
    fbt_status status = FBT_OK;
    for (int i = 0; i < FBT_RUN_COLUMNS_MAX; i++) {
        fbt_hdf5_close(draft->columns[i]);
    }
    if (draft->file >= 0 && H5Fclose(draft->file) < 0) {
        status = fbt_hdf5_fail("the run file cannot be completed");
    }
    fbt_run_draft_init(draft);
    return status;
}

static fbt_status row_count(hid_t column, int64_t *n_rows, int64_t *n_row_values)
{
    fbt_status status = FBT_OK;
    hid_t space = -1;
    hsize_t dims[H5S_MAX_RANK] = {0};
    int rank;
    FBT_HDF5(space = H5Dget_space(column), "a column of /rounds is damaged");
    FBT_HDF5(rank = H5Sget_simple_extent_dims(space, dims, NULL), "a column of /rounds is damaged");
    *n_rows = (int64_t)dims[0];
    *n_row_values = 1;
    for (int i = 1; i < rank; i++) {
        *n_row_values *= (int64_t)dims[i];
    }
done:
    fbt_hdf5_close(space);
    return status;
}

fbt_status fbt_run_draft_open_columns(fbt_run_draft *draft)
{
    fbt_status status = FBT_OK;
    int64_t n, n_row_values;
    char path[FBT_RUN_COLUMN_PATH_BYTES];
    const fbt_run_column *columns = fbt_run_columns(&n);
    for (int64_t i = 0; i < n; i++) {
        fbt_run_column_path(&columns[i], path);
        if (fbt_hdf5_has(draft->file, path)) {
            FBT_HDF5(draft->columns[i] = H5Dopen2(draft->file, path, H5P_DEFAULT), "%s is damaged", path);
        }
    }
    FBT_HDF5(draft->columns[0], "rounds/index is missing"); /* the first column is the index */
    status = row_count(draft->columns[0], &draft->n_rows, &n_row_values);
done:
    return status;
}

static fbt_status fail_version(const char *path)
{
    return fbt_fail(FBT_ERR_DATA,
                    "its journal has %s otherwise than the run file: it is from another version of this program; go on "
                    "with the version that wrote it",
                    path);
}

static hid_t type_of(const fbt_run_change *change)
{
    return change->type == FBT_RUN_CHANGE_REAL      ? H5T_NATIVE_DOUBLE
           : change->type == FBT_RUN_CHANGE_INTEGER ? H5T_NATIVE_INT64
           : change->type == FBT_RUN_CHANGE_FLOAT32 ? H5T_NATIVE_FLOAT
                                                    : H5T_NATIVE_UINT8;
}

/* In the file's version. */
static bool has_type(hid_t column, hid_t type)
{
    const hid_t own = H5Dget_type(column);
    const bool same = H5Tequal(own, type) > 0;
    fbt_hdf5_close(own);
    return same;
}

static fbt_status add_to_column(fbt_run_draft *draft, const fbt_run_change *change, const void *values)
{
    fbt_status status = FBT_OK;
    int64_t n_rows = 0, n_row_values = 0;
    const int64_t i = fbt_run_column_find(change->path);
    if (i < 0 || draft->columns[i] < 0 || !has_type(draft->columns[i], type_of(change))) {
        FBT_TRY(fail_version(change->path));
    }
    FBT_TRY(row_count(draft->columns[i], &n_rows, &n_row_values));
    draft->n_rows += i == 0; /* the index begins a row */
    if (n_row_values != fbt_run_change_values(change) || n_rows != draft->n_rows - 1) {
        FBT_TRY(fail_version(change->path));
    }
    status = fbt_hdf5_append(draft->columns[i], (hsize_t)draft->n_rows, values);
done:
    return status;
}

/* Rows that lack a column would shift all later ones. */
static fbt_status check_columns(const fbt_run_draft *draft)
{
    fbt_status status = FBT_OK;
    int64_t n_rows = 0, n_row_values = 0;
    for (int i = 0; i < FBT_RUN_COLUMNS_MAX; i++) {
        if (draft->columns[i] >= 0) {
            FBT_TRY(row_count(draft->columns[i], &n_rows, &n_row_values));
            if (n_rows != draft->n_rows) {
                FBT_TRY(fail_version("a column of /rounds"));
            }
        }
    }
done:
    return status;
}

/* Whether a one- or two-dimensional data set has the array's type and size. */
static bool is_like(hid_t space, hid_t own_type, const fbt_hdf5_array *array)
{
    hsize_t dims[4] = {0};
    return H5Sget_simple_extent_ndims(space) == array->rank && H5Sget_simple_extent_dims(space, dims, NULL) >= 0 &&
           memcmp(dims, array->dims, (size_t)array->rank * sizeof *dims) == 0 && H5Tequal(own_type, array->type) > 0;
}

/* Writes a data set that may be there from an earlier call: in place when its type and size are the same, anew
 * otherwise. */
static fbt_status put_array(hid_t group, const fbt_hdf5_array *array, const void *values)
{
    fbt_status status = FBT_OK;
    hid_t dataset = -1, space = -1, own_type = -1;
    if (!fbt_hdf5_has(group, array->name)) {
        return fbt_hdf5_create(group, array, values, NULL);
    }
    FBT_HDF5(dataset = H5Dopen2(group, array->name, H5P_DEFAULT), "data set %s cannot be opened", array->name);
    FBT_HDF5(space = H5Dget_space(dataset), "data set %s cannot be opened", array->name);
    FBT_HDF5(own_type = H5Dget_type(dataset), "data set %s cannot be opened", array->name);
    if (is_like(space, own_type, array)) {
        FBT_HDF5(H5Dwrite(dataset, array->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), "data set %s cannot be written",
                 array->name);
    } else {
        FBT_HDF5(H5Ldelete(group, array->name, H5P_DEFAULT), "data set %s cannot be replaced", array->name);
        FBT_TRY(fbt_hdf5_create(group, array, values, NULL));
    }
done:
    fbt_hdf5_close(own_type);
    fbt_hdf5_close(space);
    fbt_hdf5_close(dataset);
    return status;
}

/* Contiguous: a covariance is written anew each round, and compressing it would take ten times longer. */
static fbt_status put_change(hid_t group, const fbt_run_change *change, const void *values)
{
    const hsize_t dims[2] = {(hsize_t)change->dims[0], (hsize_t)change->dims[1]};
    const char *name = strrchr(change->path, '/') + 1;
    const fbt_hdf5_array array = {.name = name,
                                  .type = type_of(change),
                                  .rank = (int)change->rank,
                                  .dims = dims,
                                  .long_name = change->long_name[0] == '\0' ? name : change->long_name};
    return put_array(group, &array, fbt_run_change_values(change) == 0 ? NULL : values);
}

/* Removes the data sets of an earlier checkpoint that the new one does not have. wanted: its names [n_wanted]. */
static fbt_status remove_others(hid_t group, const char *const *wanted, int64_t n_wanted)
{
    fbt_status status = FBT_OK;
    char name[256];
    H5G_info_t info;
    FBT_HDF5(H5Gget_info(group, &info), "group checkpoint cannot be read");
    for (hsize_t i = info.nlinks; i-- > 0;) {
        FBT_HDF5(H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT),
                 "group checkpoint cannot be read");
        bool keep = false;
        for (int64_t k = 0; k < n_wanted && !keep; k++) {
            keep = strcmp(wanted[k], name) == 0;
        }
        if (!keep) {
            FBT_HDF5(H5Ldelete(group, name, H5P_DEFAULT), "data set checkpoint/%s cannot be removed", name);
        }
    }
done:
    return status;
}

/* A list being read. */
typedef struct reading {
    const char *bytes;
    int64_t n_bytes, place;
} reading;

static fbt_status next(reading *r, const fbt_run_change **change, const void **values)
{
    return fbt_run_changes_next(r->bytes, r->n_bytes, &r->place, change, values);
}

static bool is_in(const fbt_run_change *change, const char *folder)
{
    return strncmp(change->path, folder, strlen(folder)) == 0;
}

/* The integers of a change that is no data set. */
static fbt_status integers_of(const fbt_run_change *change, const void *values, int64_t integers[2])
{
    if (change->type != FBT_RUN_CHANGE_INTEGER || fbt_run_change_values(change) != 2) {
        return fail_version(change->path);
    }
    memcpy(integers, values, 2 * sizeof *integers);
    return FBT_OK;
}

static fbt_status put_checkpoint(fbt_run_draft *draft, reading *r, const int64_t about[2])
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    const char **names = NULL;
    const void *values;
    const int64_t n = about[1];
    if (n < 0 || n > r->n_bytes) {
        return fail_version("checkpoint");
    }
    FBT_TRY(fbt_memory_alloc(&names, n, sizeof *names));
    FBT_TRY(fbt_run_file_group(draft->file, "checkpoint", &group));
    for (int64_t i = 0; i < n; i++) {
        const fbt_run_change *change;
        FBT_TRY(next(r, &change, &values));
        if (change == NULL || !is_in(change, "checkpoint/")) {
            FBT_TRY(fail_version("checkpoint"));
        }
        names[i] = strrchr(change->path, '/') + 1;
        FBT_TRY(put_change(group, change, values));
    }
    FBT_TRY(remove_others(group, names, n));
    status = fbt_hdf5_write_int(group, "round", about[0]);
done:
    free(names);
    fbt_hdf5_close(group);
    return status;
}

/* change: an array, or the two rounds. */
static fbt_status put_result(fbt_run_draft *draft, const fbt_run_change *change, const void *values)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    int64_t rounds[2];
    FBT_TRY(fbt_run_file_group(draft->file, "result", &group));
    if (is_in(change, "result/")) {
        FBT_TRY(put_change(group, change, values));
    } else {
        FBT_TRY(integers_of(change, values, rounds));
        FBT_TRY(fbt_hdf5_write_int(group, "best_round", rounds[0]));
        FBT_TRY(fbt_hdf5_write_int(group, "last_round", rounds[1]));
    }
done:
    fbt_hdf5_close(group);
    return status;
}

static fbt_status apply_one(fbt_run_draft *draft, reading *r, const fbt_run_change *change, const void *values)
{
    int64_t about[2];
    if (is_in(change, "rounds/")) {
        return add_to_column(draft, change, values);
    }
    if (is_in(change, "result")) {
        return put_result(draft, change, values);
    }
    if (strcmp(change->path, "wall_time_s") == 0 && change->type == FBT_RUN_CHANGE_REAL) {
        return fbt_hdf5_write_real(draft->file, change->path, *(const double *)values);
    }
    if (strcmp(change->path, "checkpoint") == 0 && integers_of(change, values, about) == FBT_OK) {
        return put_checkpoint(draft, r, about);
    }
    return fail_version(change->path);
}

fbt_status fbt_run_draft_apply(fbt_run_draft *draft, const char *bytes, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    reading r = {.bytes = bytes, .n_bytes = n_bytes};
    const fbt_run_change *change;
    const void *values;
    for (;;) {
        FBT_TRY(next(&r, &change, &values));
        if (change == NULL) {
            break;
        }
        FBT_TRY(apply_one(draft, &r, change, values));
    }
    status = check_columns(draft);
done:
    return status;
}
