#include "record/run_compare.h"

#include "base/memory.h"
#include "record/hdf5_util.h"
#include "record/run_ledger.h"
#include "record/run_rounds.h"
#include "record/run_wide.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_FILES = 2, RANK_MAX = 3 };

/* A column in both files. */
typedef struct column {
    char path[FBT_RUN_COLUMN_PATH_BYTES];
    hid_t datasets[N_FILES];
    int rank;
    hsize_t dims[RANK_MAX]; /* of one row: the first is 1 */
    int64_t n_values;       /* of one row */
    double *rows[N_FILES];
    fbt_run_wide_reader wide[N_FILES]; /* of a file of version 2, where the other is of version 1 */
    bool is_wide[N_FILES];
} column;

typedef struct comparison {
    const char *paths[N_FILES];
    hid_t files[N_FILES];
    int64_t value_bytes[N_FILES]; /* run_ledger.h */
    int64_t version[N_FILES];
    column *columns;
    int64_t n_columns;
} comparison;

/* Whether a file's rows are compared in the form of version 1, which the other file has. */
static bool must_widen(const comparison *c, const fbt_run_column *entry, int which)
{
    return c->version[which] != FBT_RUN_FORMAT_WIDE && c->version[1 - which] == FBT_RUN_FORMAT_WIDE &&
           fbt_run_column_is_of_participants(entry);
}

static fbt_status open_dataset(const comparison *c, const fbt_run_column *entry, column *col, int which, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    hid_t space = -1;
    hsize_t dims[H5S_MAX_RANK] = {0};
    int64_t n;
    FBT_HDF5(col->datasets[which] = H5Dopen2(c->files[which], col->path, H5P_DEFAULT), "%.400s: %s is missing",
             c->paths[which], col->path);
    FBT_HDF5(space = H5Dget_space(col->datasets[which]), "%.400s: %s is damaged", c->paths[which], col->path);
    FBT_TRY(fbt_hdf5_name_file(c->paths[which], fbt_hdf5_count(col->datasets[which], col->path, &n)));
    const int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    if (rank < 1 || rank > RANK_MAX || dims[0] < (hsize_t)n_rows) {
        FBT_FAIL(FBT_ERR_DATA, "%.400s: %s has the wrong shape", c->paths[which], col->path);
    }
    dims[0] = 1;
    if (must_widen(c, entry, which)) {
        col->is_wide[which] = true;
        FBT_TRY(fbt_hdf5_name_file(c->paths[which], fbt_run_wide_open(c->files[which], entry, &col->wide[which])));
        dims[1] = (hsize_t)col->wide[which].narrow.n_clients;
    }
    if (which > 0 && (rank != col->rank || memcmp(dims, col->dims, (size_t)rank * sizeof *dims) != 0)) {
        FBT_FAIL(FBT_ERR_DATA, "%.400s: %s has another shape than in %.400s", c->paths[which], col->path, c->paths[0]);
    }
    col->rank = rank;
    memcpy(col->dims, dims, (size_t)rank * sizeof *dims);
done:
    fbt_hdf5_close(space);
    return status;
}

static fbt_status open_column(comparison *c, const fbt_run_column *entry, column *col, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    for (int which = 0; which < N_FILES; which++) {
        FBT_TRY(open_dataset(c, entry, col, which, n_rows));
    }
    col->n_values = 1;
    for (int i = 0; i < col->rank; i++) {
        col->n_values *= (int64_t)col->dims[i];
    }
    for (int which = 0; which < N_FILES; which++) {
        FBT_TRY(fbt_memory_alloc(&col->rows[which], col->n_values, sizeof *col->rows[which]));
    }
done:
    return status;
}

/* Columns that neither file keeps (the clients' means) or that differ from run to run are left out. */
static fbt_status open_columns(comparison *c, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    int64_t n;
    const fbt_run_column *table = fbt_run_columns(&n);
    FBT_TRY(fbt_memory_alloc(&c->columns, n, sizeof *c->columns));
    for (int64_t i = 0; i < n; i++) {
        column *col = &c->columns[c->n_columns];
        *col = (column){.datasets = {-1, -1}, .wide = {FBT_RUN_WIDE_READER, FBT_RUN_WIDE_READER}};
        fbt_run_column_path(&table[i], col->path);
        if (fbt_run_digest_excludes(col->path) ||
            (!fbt_hdf5_has(c->files[0], col->path) && !fbt_hdf5_has(c->files[1], col->path))) {
            continue;
        }
        c->n_columns++;
        FBT_TRY(open_column(c, &table[i], col, n_rows));
    }
done:
    return status;
}

/* Turns the values of a widened row into doubles, from the last on: in place. */
static void make_real(const fbt_run_column *entry, double *row, int64_t n)
{
    const fbt_run_type type = fbt_run_column_type(entry, FBT_RUN_FORMAT_WIDE);
    for (int64_t i = n - 1; i >= 0 && type != FBT_RUN_REAL; i--) {
        int64_t integer = ((const uint8_t *)row)[i];
        if (type == FBT_RUN_INTEGER) {
            memcpy(&integer, row + i, sizeof integer);
        }
        row[i] = (double)integer;
    }
}

static fbt_status read_wide_row(column *col, int which, int64_t row)
{
    fbt_status status = FBT_OK;
    const fbt_run_narrow *narrow = &col->wide[which].narrow;
    FBT_TRY(fbt_run_wide_read(&col->wide[which], row));
    FBT_TRY(fbt_run_widen_into(narrow, col->rows[which]));
    make_real(narrow->column, col->rows[which], col->n_values);
done:
    return status;
}

/* Integers are far below 2^53, so that double holds them. */
static fbt_status read_row(const comparison *c, column *col, int which, int64_t row)
{
    fbt_status status = FBT_OK;
    if (col->is_wide[which]) {
        return read_wide_row(col, which, row);
    }
    hid_t space = -1, memory = -1;
    const hsize_t start[RANK_MAX] = {(hsize_t)row};
    FBT_HDF5(space = H5Dget_space(col->datasets[which]), "%s is damaged", col->path);
    FBT_HDF5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, col->dims, NULL), "%s is damaged", col->path);
    FBT_HDF5(memory = H5Screate_simple(col->rank, col->dims, NULL), "%s is damaged", col->path);
    FBT_HDF5(H5Dread(col->datasets[which], H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, col->rows[which]),
             "%s cannot be read", col->path);
    if (fbt_run_ledger_has(col->path)) {
        col->rows[which][0] = (double)fbt_run_ledger_convert((int64_t)col->rows[which][0], c->value_bytes[which],
                                                             FBT_RUN_LEDGER_VALUE_BYTES);
    }
done:
    fbt_hdf5_close(memory);
    fbt_hdf5_close(space);
    return status;
}

static bool same(double a, double b)
{
    /* Bits are what is compared. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-exp42-c,cert-flp37-c) */
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0; /* 0 and -0 are two */
}

static fbt_status compare_row(const comparison *c, int64_t row, fbt_run_difference *difference)
{
    fbt_status status = FBT_OK;
    double index = (double)row;
    for (int64_t i = 0; i < c->n_columns && !difference->found; i++) {
        column *col = &c->columns[i];
        for (int which = 0; which < N_FILES; which++) {
            status = fbt_hdf5_name_file(c->paths[which], read_row(c, col, which, row));
            FBT_TRY(status);
        }
        index = i == 0 ? col->rows[0][0] : index; /* the first column is rounds/index */
        for (int64_t v = 0; v < col->n_values && !difference->found; v++) {
            if (!same(col->rows[0][v], col->rows[1][v])) {
                *difference = (fbt_run_difference){.found = true,
                                                   .round = (int64_t)index,
                                                   .position = col->rank == 1 ? -1 : v,
                                                   .values = {col->rows[0][v], col->rows[1][v]}};
                memcpy(difference->column, col->path, sizeof col->path);
            }
        }
    }
done:
    return status;
}

static void close_all(comparison *c)
{
    for (int64_t i = 0; c->columns != NULL && i < c->n_columns; i++) {
        for (int which = 0; which < N_FILES; which++) {
            fbt_hdf5_close(c->columns[i].datasets[which]);
            fbt_run_wide_close(&c->columns[i].wide[which]);
            free(c->columns[i].rows[which]);
        }
    }
    free(c->columns);
    for (int which = 0; which < N_FILES; which++) {
        fbt_hdf5_close(c->files[which]);
    }
}

fbt_status fbt_run_compare(const char *path, const char *other, int64_t n_rows, fbt_run_difference *difference)
{
    fbt_status status = FBT_OK;
    comparison c = {.paths = {path, other}, .files = {-1, -1}};
    *difference = (fbt_run_difference){0};
    for (int which = 0; which < N_FILES; which++) {
        FBT_TRY(fbt_run_rounds_open(c.paths[which], &c.files[which]));
        FBT_TRY(fbt_hdf5_name_file(c.paths[which], fbt_run_ledger_read(c.files[which], &c.value_bytes[which])));
        FBT_TRY(fbt_hdf5_read_int(c.files[which], "format_version", &c.version[which]));
    }
    FBT_TRY(open_columns(&c, n_rows));
    for (int64_t row = 0; row < n_rows && !difference->found; row++) {
        FBT_TRY(compare_row(&c, row, difference));
    }
done:
    close_all(&c);
    return status;
}
