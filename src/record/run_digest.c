/* The digest of a run file's results.
 *
 * It is taken over what a file of version 1 holds, whatever the file's own version, so that one run has one digest:
 * with a place for each client in every round, and with 64-bit numbers of samples. Version 1 had fewer than 65,536
 * clients; files of more are hashed as they are. */
#include "record/run_reader.h"

#include "base/memory.h"
#include "record/run_file_internal.h"
#include "record/run_ledger.h"
#include "record/run_rounds.h"
#include "record/run_wide.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 22 }; /* rows are read about so many bytes at a time */

/* Where result data sets live, in alphabetical order ... */
static const char *const groups[] = {"checkpoint", "partition", "result", "rounds"};
/* ... and which of them do not count: they differ from run to run, or files of earlier versions lack them. */
static const char *const excluded[] = {"rounds/cost/energy_cpu", "rounds/cost/energy_gpu", "rounds/cost/peak_memory",
                                       "rounds/cost/seconds",    "rounds/epsilon",         "rounds/resets"};

typedef struct walk {
    hid_t file;
    fbt_digest *digest;
    const char *group;
    int64_t value_bytes; /* run_ledger.h */
    bool widens;         /* run_wide.h   */
    fbt_status status;
} walk;

/* Text with its terminating zero, so that names cannot run into each other. */
static fbt_status add_text(fbt_digest *digest, const char *text)
{
    return fbt_digest_add(digest, text, strlen(text) + 1);
}

static bool is_in(const char *path, const char *folder)
{
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* The type as which a data set counts. Files of earlier versions keep the checkpoint's counters as doubles: they count
 * as such in every file. */
static hid_t type_of(const char *path, hid_t dataset)
{
    return is_in(path, "checkpoint/")  ? H5Tcopy(H5T_NATIVE_DOUBLE)
           : is_in(path, "partition/") ? H5Tcopy(H5T_NATIVE_INT64)
                                       : H5Dget_type(dataset);
}

/* The type in which values are hashed: the file's own class, size and sign in this machine's byte order. */
static fbt_status add_type(fbt_digest *digest, const char *path, hid_t type, size_t *n_bytes)
{
    fbt_status status = FBT_OK;
    char text[64];
    H5T_class_t class = H5Tget_class(type);
    *n_bytes = H5Tget_size(type);
    if ((class != H5T_INTEGER && class != H5T_FLOAT) || *n_bytes > 8) {
        FBT_FAIL(FBT_ERR_DATA, "%s is neither integer nor floating point", path);
    }
    snprintf(text, sizeof text, "%s%zu",
             class == H5T_FLOAT               ? "float"
             : H5Tget_sign(type) == H5T_SGN_2 ? "int"
                                              : "uint",
             8 * *n_bytes);
    status = add_text(digest, text);
done:
    return status;
}

/* All NaNs count as one value: their sign and payload depend on the instruction that made them. */
static void canonical_nans(char *values, size_t n_values, size_t value_bytes)
{
    for (size_t i = 0; i < n_values; i++) {
        double wide = NAN;
        float narrow = NAN;
        if (value_bytes == sizeof wide) {
            memcpy(&wide, values + i * value_bytes, sizeof wide);
            wide = isnan(wide) ? (double)NAN : wide;
            memcpy(values + i * value_bytes, &wide, sizeof wide);
        } else if (value_bytes == sizeof narrow) {
            memcpy(&narrow, values + i * value_bytes, sizeof narrow);
            narrow = isnan(narrow) ? NAN : narrow;
            memcpy(values + i * value_bytes, &narrow, sizeof narrow);
        }
    }
}

static void canonical_bytes(int64_t *n_bytes, size_t n, int64_t value_bytes)
{
    for (size_t i = 0; i < n; i++) {
        n_bytes[i] = fbt_run_ledger_convert(n_bytes[i], value_bytes, FBT_RUN_LEDGER_VALUE_BYTES);
    }
}

/* Hashes rows [first, first + n) of a data set. */
static fbt_status add_rows(walk *w, const char *path, hid_t dataset, hid_t type, const hsize_t *dims, int rank,
                           hsize_t first, hsize_t n, char *values)
{
    fbt_status status = FBT_OK;
    hid_t space = -1, memory = -1;
    hsize_t start[H5S_MAX_RANK] = {first}, count[H5S_MAX_RANK];
    size_t n_values = (size_t)n;
    memcpy(count, dims, (size_t)rank * sizeof *count);
    count[0] = n;
    for (int i = 1; i < rank; i++) {
        n_values *= (size_t)dims[i];
    }
    FBT_HDF5(space = H5Dget_space(dataset), "%s is damaged", path);
    FBT_HDF5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), "%s is damaged", path);
    FBT_HDF5(memory = H5Screate_simple(rank, count, NULL), "%s is damaged", path);
    FBT_HDF5(H5Dread(dataset, type, memory, space, H5P_DEFAULT, values), "%s cannot be read", path);
    if (H5Tget_class(type) == H5T_FLOAT) {
        canonical_nans(values, n_values, H5Tget_size(type));
    } else if (fbt_run_ledger_has(path) && H5Tget_size(type) == sizeof(int64_t)) {
        canonical_bytes((int64_t *)values, n_values, w->value_bytes);
    }
    status = fbt_digest_add(w->digest, values, n_values * H5Tget_size(type));
done:
    fbt_hdf5_close(memory);
    fbt_hdf5_close(space);
    return status;
}

static fbt_status add_values(walk *w, const char *path, hid_t dataset, hid_t type, const hsize_t *dims, int rank)
{
    fbt_status status = FBT_OK;
    char *values = NULL;
    size_t row_bytes = H5Tget_size(type);
    for (int i = 1; i < rank; i++) {
        row_bytes *= (size_t)dims[i];
    }
    hsize_t n_rows = row_bytes == 0 ? 0 : dims[0];
    hsize_t n_block = row_bytes == 0 || row_bytes > BLOCK_BYTES ? 1 : BLOCK_BYTES / row_bytes;
    FBT_TRY(fbt_memory_alloc(&values, (int64_t)(n_block < n_rows ? n_block : n_rows), row_bytes));
    for (hsize_t first = 0; first < n_rows; first += n_block) {
        hsize_t n = n_rows - first < n_block ? n_rows - first : n_block;
        FBT_TRY(add_rows(w, path, dataset, type, dims, rank, first, n, values));
    }
done:
    free(values);
    return status;
}

static fbt_status add_dataset(walk *w, const char *path)
{
    fbt_status status = FBT_OK;
    hid_t dataset = -1, space = -1, file_type = -1, type = -1;
    hsize_t dims[H5S_MAX_RANK] = {1};
    char shape[32];
    size_t n_bytes;
    int64_t n;
    FBT_HDF5(dataset = H5Dopen2(w->file, path, H5P_DEFAULT), "%s is damaged", path);
    FBT_TRY(fbt_hdf5_count(dataset, path, &n)); /* so that rows and their sizes multiply without overflow */
    FBT_HDF5(space = H5Dget_space(dataset), "%s is damaged", path);
    FBT_HDF5(file_type = type_of(path, dataset), "%s is damaged", path);
    FBT_TRY(add_text(w->digest, path));
    FBT_TRY(add_type(w->digest, path, file_type, &n_bytes));
    FBT_HDF5(type = H5Tget_native_type(file_type, H5T_DIR_ASCEND), "%s has an unknown type", path);
    int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    FBT_HDF5(rank, "%s is damaged", path);
    for (int i = 0; i < rank; i++) {
        snprintf(shape, sizeof shape, "%llu", (unsigned long long)dims[i]);
        FBT_TRY(add_text(w->digest, shape));
    }
    if (rank > 0) {
        FBT_TRY(add_values(w, path, dataset, type, dims, rank));
    }
done:
    fbt_hdf5_close(type);
    fbt_hdf5_close(file_type);
    fbt_hdf5_close(space);
    fbt_hdf5_close(dataset);
    return status;
}

/* path, type and shape of a column as version 1 has it. */
static fbt_status add_wide_head(walk *w, const char *path, const fbt_run_wide_reader *reader)
{
    fbt_status status = FBT_OK;
    char shape[32];
    size_t n_bytes;
    const fbt_run_narrow *n = &reader->narrow;
    const int64_t dims[] = {reader->n_rows, n->n_clients, n->n_each};
    const fbt_run_type type = fbt_run_column_type(n->column, FBT_RUN_FORMAT_WIDE);
    FBT_TRY(add_text(w->digest, path));
    FBT_TRY(add_type(w->digest, path, fbt_run_file_type(type), &n_bytes));
    for (int i = 0; i < (n->column->shape == FBT_RUN_SLOTS ? 2 : 3); i++) {
        snprintf(shape, sizeof shape, "%" PRId64, dims[i]);
        FBT_TRY(add_text(w->digest, shape));
    }
done:
    return status;
}

static fbt_status add_piece(void *user, const void *bytes, int64_t n_bytes)
{
    return fbt_digest_add(user, bytes, (size_t)n_bytes);
}

static fbt_status add_wide(walk *w, const char *path, const fbt_run_column *column)
{
    fbt_status status = FBT_OK;
    fbt_run_wide_reader reader = FBT_RUN_WIDE_READER;
    FBT_TRY(fbt_run_wide_open(w->file, column, &reader));
    FBT_TRY(add_wide_head(w, path, &reader));
    for (int64_t r = 0; r < reader.n_rows; r++) {
        FBT_TRY(fbt_run_wide_read(&reader, r));
        if (column->type == FBT_RUN_REAL) {
            canonical_nans(reader.values, (size_t)(reader.narrow.n_slots * reader.narrow.n_each), sizeof(double));
        }
        FBT_TRY(fbt_run_widen(&reader.narrow, add_piece, w->digest));
    }
done:
    fbt_run_wide_close(&reader);
    return status;
}

static fbt_status add_member(walk *w, const char *path)
{
    int64_t n;
    const fbt_run_column *columns = fbt_run_columns(&n);
    const int64_t i = fbt_run_column_find(path);
    return w->widens && i >= 0 && fbt_run_column_is_of_participants(&columns[i]) ? add_wide(w, path, &columns[i])
                                                                                 : add_dataset(w, path);
}

static fbt_status find_form(walk *w)
{
    fbt_status status = FBT_OK;
    int64_t version, n_clients;
    FBT_TRY(fbt_hdf5_read_int(w->file, "format_version", &version));
    if (version != FBT_RUN_FORMAT_WIDE) {
        FBT_TRY(fbt_run_wide_clients(w->file, &n_clients));
        w->widens = n_clients <= FBT_RUN_WIDE_CLIENTS_MAX;
    }
done:
    return status;
}

bool fbt_run_digest_excludes(const char *path)
{
    for (size_t i = 0; i < sizeof excluded / sizeof excluded[0]; i++) {
        if (strcmp(excluded[i], path) == 0) {
            return true;
        }
    }
    return false;
}

/* HDF5 calls this in the alphabetical order of each group. A negative return ends the walk. */
static herr_t visit(hid_t group, const char *name, const H5O_info_t *info, void *user)
{
    walk *w = user;
    char path[512];
    (void)group;
    snprintf(path, sizeof path, "%s/%s", w->group, name);
    if (info->type == H5O_TYPE_DATASET && !fbt_run_digest_excludes(path)) {
        w->status = add_member(w, path);
    }
    return w->status == FBT_OK ? 0 : -1;
}

static fbt_status add_group(walk *w, const char *group)
{
    fbt_status status = FBT_OK;
    if (!fbt_hdf5_has(w->file, group)) {
        return FBT_OK;
    }
    w->group = group;
    herr_t walked =
        H5Ovisit_by_name2(w->file, group, H5_INDEX_NAME, H5_ITER_INC, visit, w, H5O_INFO_BASIC, H5P_DEFAULT);
    FBT_TRY(w->status);
    FBT_HDF5(walked, "group %s is damaged", group);
done:
    return status;
}

/* Which rounds were chosen: attributes, hence not among the data sets. */
static fbt_status add_chosen(walk *w)
{
    fbt_status status = FBT_OK;
    hid_t result = -1;
    int64_t chosen[2];
    if (!fbt_hdf5_has(w->file, "result")) {
        return FBT_OK;
    }
    FBT_HDF5(result = H5Gopen2(w->file, "result", H5P_DEFAULT), "group result is damaged");
    FBT_TRY(fbt_hdf5_read_int(result, "best_round", &chosen[0]));
    FBT_TRY(fbt_hdf5_read_int(result, "last_round", &chosen[1]));
    status = fbt_digest_add(w->digest, chosen, sizeof chosen);
done:
    fbt_hdf5_close(result);
    return status;
}

fbt_status fbt_run_digest_of(hid_t file, char text[FBT_DIGEST_TEXT_BYTES])
{
    fbt_status status = FBT_OK;
    walk w = {.file = file};
    FBT_TRY(fbt_run_ledger_read(file, &w.value_bytes));
    FBT_TRY(find_form(&w));
    FBT_TRY(fbt_digest_new(&w.digest));
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        FBT_TRY(add_group(&w, groups[i]));
    }
    FBT_TRY(add_chosen(&w));
    status = fbt_digest_end(w.digest, text);
    w.digest = NULL;
done:
    fbt_digest_free(w.digest);
    return status;
}

fbt_status fbt_run_reader_digest(const char *path, char text[FBT_DIGEST_TEXT_BYTES])
{
    fbt_status status = FBT_OK;
    hid_t file = -1;
    FBT_TRY(fbt_run_rounds_open(path, &file));
    status = fbt_run_digest_of(file, text);
done:
    fbt_hdf5_close(file);
    return fbt_hdf5_name_file(path, status);
}
