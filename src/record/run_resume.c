/* Going on with a run file: where it stands, and whether what goes on fits it. */
#include "record/run_file_internal.h"

#include "base/memory.h"
#include "record/run_ledger.h"
#include "record/run_rounds.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

fbt_status fbt_run_file_check_dataset(hid_t dataset, const char *path, hid_t type, int rank, const hsize_t *dims)
{
    fbt_status status = FBT_OK;
    hsize_t found[H5S_MAX_RANK] = {0};
    hid_t space = -1, own = -1;
    FBT_HDF5(space = H5Dget_space(dataset), "%s is damaged", path);
    FBT_HDF5(own = H5Dget_type(dataset), "%s is damaged", path);
    if (H5Sget_simple_extent_ndims(space) != rank || H5Sget_simple_extent_dims(space, found, NULL) != rank ||
        memcmp(found, dims, (size_t)rank * sizeof *dims) != 0 || H5Tequal(own, type) <= 0) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%s has another shape or type than this run's: the file is damaged, or from another "
                 "version of this program",
                 path);
    }
done:
    fbt_hdf5_close(own);
    fbt_hdf5_close(space);
    return status;
}

/* ---- Where it stands ---- */

static fbt_status read_one_array(hid_t group, const char *name, fbt_array *array)
{
    fbt_status status = FBT_OK;
    hid_t dataset = -1, own = -1;
    int64_t n = 0;
    void *values = NULL;
    char *copy = NULL;
    FBT_HDF5(dataset = H5Dopen2(group, name, H5P_DEFAULT), "checkpoint/%s is damaged", name);
    FBT_TRY(fbt_hdf5_count(dataset, name, &n));
    FBT_HDF5(own = H5Dget_type(dataset), "checkpoint/%s is damaged", name);
    const bool is_integer = H5Tget_class(own) == H5T_INTEGER;
    const hid_t type = is_integer ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE;
    FBT_TRY(fbt_run_file_check_dataset(dataset, name, type, 1, &(hsize_t){(hsize_t)n}));
    FBT_TRY(fbt_memory_alloc(&values, n, FBT_ARRAY_VALUE_BYTES));
    FBT_TRY(fbt_memory_strdup(&copy, name));
    if (n > 0) {
        FBT_HDF5(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), "checkpoint/%s cannot be read", name);
    }
    *array = (fbt_array){
        .name = copy, .type = is_integer ? FBT_ARRAY_INT64 : FBT_ARRAY_FLOAT64, .values = values, .n_values = n};
    copy = NULL;
    values = NULL;
done:
    free(copy);
    free(values);
    fbt_hdf5_close(own);
    fbt_hdf5_close(dataset);
    return status;
}

static fbt_status read_checkpoint(hid_t file, fbt_run_restored *restored)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    H5G_info_t info;
    int64_t round = -1;
    char name[256];
    FBT_HDF5(group = H5Gopen2(file, "checkpoint", H5P_DEFAULT), "group checkpoint is missing");
    FBT_TRY(fbt_hdf5_read_int(group, "round", &round));
    if (round != restored->last_round) {
        FBT_FAIL(FBT_ERR_DATA,
                 "the checkpoint is of round %" PRId64 ", but the last round is %" PRId64 ": the file is damaged",
                 round, restored->last_round);
    }
    FBT_HDF5(H5Gget_info(group, &info), "group checkpoint is damaged");
    FBT_TRY(fbt_memory_alloc(&restored->checkpoint, (int64_t)info.nlinks + 1, sizeof *restored->checkpoint));
    for (hsize_t i = 0; i < info.nlinks; i++) {
        FBT_HDF5(H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT),
                 "group checkpoint is damaged");
        FBT_TRY(read_one_array(group, name, &restored->checkpoint[i]));
    }
done:
    fbt_hdf5_close(group);
    return status;
}

static fbt_status load(const char *path, fbt_run_file *file, fbt_run_restored *restored)
{
    fbt_status status = FBT_OK;
    hid_t on_disk = -1;
    FBT_TRY(fbt_run_rounds_open(path, &on_disk));
    FBT_TRY(fbt_run_restored_of(on_disk, restored));
    FBT_TRY(read_checkpoint(on_disk, restored));
    FBT_TRY(fbt_hdf5_read_int(on_disk, "format_version", &file->version));
    FBT_TRY(fbt_hdf5_read_real(on_disk, "wall_time_s", &file->wall_time_before_s));
    file->last_index = restored->last_round;
done:
    fbt_hdf5_close(on_disk);
    return fbt_hdf5_name_file(path, status);
}

/* Notes the rows of a journal's record, so that the room for them is known. */
static fbt_status measure(void *user, const char *bytes, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    fbt_run_file *file = user;
    int64_t place = 0;
    const fbt_run_change *change;
    const void *values;
    for (;;) {
        FBT_TRY(fbt_run_changes_next(bytes, n_bytes, &place, &change, &values));
        if (change == NULL) {
            return FBT_OK;
        }
        const int64_t i = fbt_run_column_find(change->path);
        if (i >= 0 && change->rank == 2) {
            memcpy(file->row_dims[i], change->dims, sizeof change->dims);
        }
        if (strcmp(change->path, "rounds/index") == 0 && change->type == FBT_RUN_CHANGE_INTEGER) {
            file->n_rows = file->n_added++ == 0 ? *(const int64_t *)values : file->n_rows; /* rounds count from 0 */
        }
    }
done:
    return status;
}

/* The rounds that a killed run left in its journal. */
static fbt_status take_journal(const char *path, fbt_run_file *file)
{
    fbt_status status = FBT_OK;
    int64_t n_bytes;
    FBT_TRY(fbt_journal_find(file->journal, &n_bytes));
    if (n_bytes > 0) {
        FBT_TRY(fbt_journal_read(file->journal, measure, file));
        FBT_TRY(fbt_run_file_begin_draft(file, 0, false));
        status = fbt_run_file_end_draft(file);
    }
done:
    return fbt_hdf5_name_file(path, status);
}

fbt_status fbt_run_file_open(const char *path, fbt_run_file **file, fbt_run_restored *restored)
{
    fbt_status status = FBT_OK;
    struct stat info;
    fbt_run_file *made = NULL;
    *file = NULL;
    if (stat(path, &info) != 0 && errno == ENOENT) {
        return FBT_OK;
    }
    FBT_TRY(fbt_run_file_new(path, true, &made));
    FBT_TRY(take_journal(path, made));
    FBT_TRY(load(path, made, restored));
    fbt_journal_remove(made->journal); /* a void one, which a run killed at its very end left; no commit may follow */
    *file = made;
    made = NULL;
done:
    fbt_run_file_free(made);
    if (status != FBT_OK) {
        fbt_run_restored_clear(restored);
    }
    return status;
}

/* ---- Whether it fits ---- */

/* Appends NaNs for what was not measured. */
static fbt_status append_unmeasured(hid_t dataset, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    const double none = NAN;
    for (int64_t r = 0; r < n_rows; r++) {
        FBT_TRY(fbt_hdf5_append(dataset, (hsize_t)r + 1, &none));
    }
done:
    return status;
}

/* A column that the program which began the file did not have: zeros up to here, or NaNs. */
static fbt_status add_column(fbt_run_file *file, const fbt_run_column *column, const fbt_run_header *header,
                             hid_t *dataset)
{
    fbt_status status = FBT_OK;
    hid_t rounds = -1;
    FBT_HDF5(rounds = H5Gopen2(file->draft.file, "rounds", H5P_DEFAULT), "group rounds is missing");
    FBT_TRY(fbt_run_file_make_column(rounds, column, header, dataset));
    if (column->type == FBT_RUN_REAL && column->shape == FBT_RUN_SCALAR) {
        FBT_TRY(append_unmeasured(*dataset, file->draft.n_rows));
    } else {
        FBT_TRY(fbt_hdf5_append(*dataset, (hsize_t)file->draft.n_rows, NULL));
    }
done:
    fbt_hdf5_close(rounds);
    return status;
}

static fbt_status check_column(fbt_run_file *file, const fbt_run_column *column, const fbt_run_header *header,
                               hid_t *dataset)
{
    fbt_status status = FBT_OK;
    char path[FBT_RUN_COLUMN_PATH_BYTES];
    int64_t sizes[2];
    hsize_t dims[3] = {(hsize_t)file->draft.n_rows};
    int n_dims = fbt_run_shape_dims(column->shape, header, sizes);
    for (int i = 0; i < n_dims; i++) {
        dims[1 + i] = (hsize_t)sizes[i];
    }
    if (*dataset < 0 && column->presence == FBT_RUN_LATER) {
        return add_column(file, column, header, dataset);
    }
    fbt_run_column_path(column, path);
    FBT_HDF5(*dataset, "%s is missing", path);
    FBT_TRY(fbt_run_file_check_dataset(*dataset, path, fbt_run_file_type(fbt_run_column_type(column, file->version)),
                                       1 + n_dims, dims));
done:
    return status;
}

static fbt_status check_columns(fbt_run_file *file, const fbt_run_header *header)
{
    fbt_status status = FBT_OK;
    int64_t n;
    const fbt_run_column *columns = fbt_run_columns(&n);
    fbt_run_rounds rounds = {0};
    FBT_TRY(fbt_run_rounds_read(file->draft.file, &rounds));
    bool same = rounds.n_phases == header->n_phases;
    for (int64_t i = 0; same && i < rounds.n_phases; i++) {
        same = strcmp(rounds.phases[i], header->phases[i]) == 0;
    }
    if (!same) {
        FBT_FAIL(FBT_ERR_DATA,
                 "rounds/cost/seconds has other phases: the file is from another version of this program");
    }
    for (int64_t i = 0; i < n; i++) {
        if (fbt_run_column_is_kept(&columns[i], header)) {
            FBT_TRY(check_column(file, &columns[i], header, &file->draft.columns[i]));
        }
    }
done:
    fbt_run_rounds_clear(&rounds);
    return status;
}

fbt_status fbt_run_file_continue(fbt_run_file *file, const fbt_run_header *header)
{
    enum { A_SESSION = 1 << 16 };
    fbt_status status = FBT_OK;
    fbt_run_header as_begun = *header;
    as_begun.n_slots = file->version == FBT_RUN_FORMAT_WIDE ? header->n_clients : header->n_slots;
    fbt_hdf5_silence();
    FBT_TRY(fbt_run_file_begin_draft(file, A_SESSION, true));
    FBT_TRY(fbt_run_file_check_partition(file->draft.file, header));
    FBT_TRY(check_columns(file, &as_begun));
    fbt_run_file_set_header(file, &as_begun);
    FBT_TRY(fbt_run_ledger_read(file->draft.file, &file->value_bytes[1]));
    FBT_TRY(fbt_run_file_begin_session(file, header, file->last_index + 1));
done:
    return fbt_hdf5_name_file(fbt_output_file_shown(file->output), status);
}
