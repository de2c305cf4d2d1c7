#include "record/run_wide.h"

#include "base/memory.h"
#include "record/hdf5_util.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PARTICIPANTS = 1, VALUE_BYTES = 8, RANK_MAX = 3 };

/* Strictly rising, and then nobody. */
static bool has_participants(const fbt_run_narrow *n)
{
    int64_t i = 0;
    for (int64_t before = -1; i < n->n_slots && n->participants[i] != -1; before = n->participants[i++]) {
        if (n->participants[i] <= before || n->participants[i] >= n->n_clients) {
            return false;
        }
    }
    for (; i < n->n_slots; i++) {
        if (n->participants[i] != -1) {
            return false;
        }
    }
    return true;
}

/* Values of n_clients clients that take no part, a block at a time. */
static fbt_status give_empty(const fbt_run_narrow *n, int64_t n_clients, fbt_run_piece take, void *user)
{
    enum { BLOCK = 1024 };
    fbt_status status = FBT_OK;
    double block[BLOCK];
    const bool is_flag = fbt_run_column_is_participants(n->column);
    for (int i = 0; i < BLOCK; i++) {
        block[i] = n->column->type == FBT_RUN_REAL ? NAN : 0; /* 0 is 0 as an integer, too */
    }
    for (int64_t left = n_clients * n->n_each; left > 0; left -= BLOCK) {
        FBT_TRY(take(user, block, (left < BLOCK ? left : BLOCK) * (is_flag ? 1 : VALUE_BYTES)));
    }
done:
    return status;
}

fbt_status fbt_run_widen(const fbt_run_narrow *narrow, fbt_run_piece take, void *user)
{
    static const uint8_t took_part = 1;
    fbt_status status = FBT_OK;
    const bool is_flag = fbt_run_column_is_participants(narrow->column);
    const int64_t n_bytes = is_flag ? 1 : narrow->n_each * VALUE_BYTES;
    int64_t next = 0; /* client */
    if (!has_participants(narrow)) {
        FBT_FAIL(FBT_ERR_DATA, "rounds/participants does not rise, or names a client that the run does not have: it is "
                               "damaged");
    }
    for (int64_t i = 0; i < narrow->n_slots && narrow->participants[i] >= 0; i++) {
        FBT_TRY(give_empty(narrow, narrow->participants[i] - next, take, user));
        FBT_TRY(take(user, is_flag ? (const void *)&took_part : (const char *)narrow->values + i * n_bytes, n_bytes));
        next = narrow->participants[i] + 1;
    }
    status = give_empty(narrow, narrow->n_clients - next, take, user);
done:
    return status;
}

static fbt_status append(void *user, const void *bytes, int64_t n_bytes)
{
    char **end = user;
    memcpy(*end, bytes, (size_t)n_bytes);
    *end += n_bytes;
    return FBT_OK;
}

fbt_status fbt_run_widen_into(const fbt_run_narrow *narrow, void *wide)
{
    char *end = wide;
    return fbt_run_widen(narrow, append, &end);
}

fbt_status fbt_run_wide_clients(hid_t file, int64_t *n_clients)
{
    fbt_status status = FBT_OK;
    hid_t offsets = -1;
    FBT_HDF5(offsets = H5Dopen2(file, "partition/sample_offsets", H5P_DEFAULT), "partition/sample_offsets is missing");
    FBT_TRY(fbt_hdf5_count(offsets, "partition/sample_offsets", n_clients));
    *n_clients -= 1;
    if (*n_clients < 1) {
        FBT_FAIL(FBT_ERR_DATA, "partition/sample_offsets names no client: the file is damaged");
    }
done:
    fbt_hdf5_close(offsets);
    return status;
}

/* dims: [RANK_MAX], 1 where there are fewer. */
static fbt_status open_dataset(hid_t file, const fbt_run_column *column, hid_t *dataset, hsize_t dims[RANK_MAX])
{
    fbt_status status = FBT_OK;
    hid_t space = -1;
    char path[FBT_RUN_COLUMN_PATH_BYTES];
    int64_t n, sizes[2];
    fbt_run_column_path(column, path);
    dims[2] = 1;
    FBT_HDF5(*dataset = H5Dopen2(file, path, H5P_DEFAULT), "%s is missing", path);
    FBT_TRY(fbt_hdf5_count(*dataset, path, &n));
    FBT_HDF5(space = H5Dget_space(*dataset), "%s is damaged", path);
    const int rank = 1 + fbt_run_shape_dims(column->shape, &(fbt_run_header){0}, sizes);
    if (H5Sget_simple_extent_ndims(space) != rank || H5Sget_simple_extent_dims(space, dims, NULL) < 0) {
        FBT_FAIL(FBT_ERR_DATA, "%s has the wrong shape", path);
    }
done:
    fbt_hdf5_close(space);
    return status;
}

fbt_status fbt_run_wide_open(hid_t file, const fbt_run_column *column, fbt_run_wide_reader *reader)
{
    fbt_status status = FBT_OK;
    int64_t n;
    hsize_t dims[RANK_MAX] = {0}, of_participants[RANK_MAX] = {0};
    const fbt_run_column *participants = fbt_run_columns(&n) + fbt_run_column_find("rounds/participants");
    FBT_TRY(fbt_run_wide_clients(file, &reader->narrow.n_clients));
    FBT_TRY(open_dataset(file, column, &reader->datasets[0], dims));
    FBT_TRY(open_dataset(file, participants, &reader->datasets[PARTICIPANTS], of_participants));
    if (dims[0] != of_participants[0] || dims[1] != of_participants[1]) {
        FBT_FAIL(FBT_ERR_DATA, "rounds/participants has another shape than the clients' values: the file is damaged");
    }
    reader->n_rows = (int64_t)dims[0];
    reader->narrow.column = column;
    reader->narrow.n_slots = (int64_t)dims[1];
    reader->narrow.n_each = (int64_t)dims[2];
    FBT_TRY(fbt_memory_alloc(&reader->participants, (int64_t)dims[1], sizeof *reader->participants));
    FBT_TRY(fbt_memory_alloc(&reader->values, (int64_t)(dims[1] * dims[2]), VALUE_BYTES));
    reader->narrow.participants = reader->participants;
    reader->narrow.values = reader->values;
done:
    return status;
}

static fbt_status read_row(hid_t dataset, hid_t type, int64_t row, void *values)
{
    fbt_status status = FBT_OK;
    hid_t space = -1, memory = -1;
    hsize_t count[RANK_MAX];
    const hsize_t start[RANK_MAX] = {(hsize_t)row};
    FBT_HDF5(space = H5Dget_space(dataset), "a column of /rounds is damaged");
    FBT_HDF5(H5Sget_simple_extent_dims(space, count, NULL), "a column of /rounds is damaged");
    count[0] = 1;
    FBT_HDF5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), "a column of /rounds is damaged");
    FBT_HDF5(memory = H5Screate_simple(H5Sget_simple_extent_ndims(space), count, NULL), "/rounds is damaged");
    FBT_HDF5(H5Dread(dataset, type, memory, space, H5P_DEFAULT, values), "a column of /rounds cannot be read");
done:
    fbt_hdf5_close(memory);
    fbt_hdf5_close(space);
    return status;
}

fbt_status fbt_run_wide_read(fbt_run_wide_reader *reader, int64_t row)
{
    fbt_status status = FBT_OK;
    const bool is_real = reader->narrow.column->type == FBT_RUN_REAL;
    FBT_TRY(read_row(reader->datasets[PARTICIPANTS], H5T_NATIVE_INT64, row, reader->participants));
    status = read_row(reader->datasets[0], is_real ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64, row, reader->values);
done:
    return status;
}

void fbt_run_wide_close(fbt_run_wide_reader *reader)
{
    fbt_hdf5_close(reader->datasets[0]);
    fbt_hdf5_close(reader->datasets[PARTICIPANTS]);
    free(reader->participants);
    free(reader->values);
    *reader = (fbt_run_wide_reader)FBT_RUN_WIDE_READER;
}
