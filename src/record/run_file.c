#include "record/run_file.h"

#include "base/build_info.h"
#include "base/memory.h"
#include "base/timer.h"
#include "record/run_file_internal.h"
#include "record/run_ledger.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_BYTES = 8192,   /* about so many bytes of a column's rows share a chunk ... */
    CHUNK_ROWS_MAX = 256, /* ... so that a short run does not carry empty chunks      */
};

hid_t fbt_run_file_type(fbt_run_type type)
{
    return type == FBT_RUN_REAL ? H5T_NATIVE_DOUBLE : type == FBT_RUN_INTEGER ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT8;
}

static size_t type_bytes(fbt_run_type type)
{
    return type == FBT_RUN_BYTE ? 1 : 8;
}

fbt_status fbt_run_file_group(hid_t parent, const char *name, hid_t *group)
{
    fbt_status status = FBT_OK;
    *group = fbt_hdf5_has(parent, name) ? H5Gopen2(parent, name, H5P_DEFAULT)
                                        : H5Gcreate2(parent, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    FBT_HDF5(*group, "group %s cannot be made", name);
done:
    return status;
}

static fbt_status write_root(hid_t file)
{
    fbt_status status = FBT_OK;
    char created[FBT_RUN_TIME_BYTES];
    fbt_run_file_utc_now(created);
    FBT_TRY(fbt_hdf5_write_int(file, "format_version", FBT_RUN_FORMAT_VERSION));
    FBT_TRY(fbt_hdf5_write_text(file, "program_version", fbt_build_version));
    FBT_TRY(fbt_hdf5_write_text(file, "git_commit", fbt_build_commit));
    FBT_TRY(fbt_hdf5_write_text(file, "created", created));
done:
    return status;
}

static fbt_status write_inputs(hid_t file, const fbt_run_header *header)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    FBT_TRY(fbt_run_file_group(file, "inputs", &group));
    for (const fbt_run_text *text = header->inputs; text != NULL && text->name != NULL; text++) {
        FBT_TRY(fbt_hdf5_write_text(group, text->name, text->value));
    }
    if (header->label_words != NULL) {
        FBT_TRY(fbt_hdf5_write_texts(group, "label_words", header->label_words, header->n_labels));
    }
done:
    fbt_hdf5_close(group);
    return status;
}

void fbt_run_file_partition(const fbt_run_header *header, fbt_run_partition_array arrays[FBT_RUN_PARTITION_ARRAYS])
{
    const hsize_t k = (hsize_t)header->n_clients;
    const fbt_run_partition_array filled[FBT_RUN_PARTITION_ARRAYS] = {
        {"sample_offsets",
         "samples of client k: sample_index[sample_offsets[k]:sample_offsets[k + 1]]",
         1,
         {k + 1},
         header->sample_offsets},
        {"sample_index",
         "rows of the data set's train split, client by client",
         1,
         {(hsize_t)header->sample_offsets[k]},
         header->sample_index},
        {"dev_index",
         "rows of the dev samples, in the dev split, or in the train split where there is none",
         1,
         {(hsize_t)header->n_dev},
         header->n_dev == 0 ? NULL : header->dev_index},
        {"class_count", "training samples by client and class", 2, {k, (hsize_t)header->n_labels}, header->class_count},
    };
    memcpy(arrays, filled, sizeof filled);
}

static fbt_status write_partition(hid_t file, const fbt_run_header *header)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    fbt_run_partition_array arrays[FBT_RUN_PARTITION_ARRAYS];
    fbt_run_file_partition(header, arrays);
    FBT_TRY(fbt_run_file_group(file, "partition", &group));
    for (int i = 0; i < FBT_RUN_PARTITION_ARRAYS; i++) {
        fbt_hdf5_array array = {.name = arrays[i].name,
                                .type = H5T_NATIVE_INT64,
                                .rank = arrays[i].rank,
                                .dims = arrays[i].dims,
                                .long_name = arrays[i].long_name};
        FBT_TRY(fbt_hdf5_create(group, &array, arrays[i].dims[0] == 0 ? NULL : arrays[i].values, NULL));
    }
done:
    fbt_hdf5_close(group);
    return status;
}

fbt_status fbt_run_file_make_column(hid_t rounds, const fbt_run_column *column, const fbt_run_header *header,
                                    hid_t *dataset)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    int64_t sizes[2], n_row_bytes = (int64_t)type_bytes(column->type);
    hsize_t dims[3] = {0};
    int n_dims = fbt_run_shape_dims(column->shape, header, sizes);
    for (int i = 0; i < n_dims; i++) {
        dims[1 + i] = (hsize_t)sizes[i];
        n_row_bytes *= sizes[i];
    }
    int64_t n_rows = n_row_bytes > 0 ? CHUNK_BYTES / n_row_bytes : 1;
    n_rows = n_rows < 1 ? 1 : n_rows > CHUNK_ROWS_MAX ? CHUNK_ROWS_MAX : n_rows;
    fbt_hdf5_array array = {.name = column->name,
                            .type = fbt_run_file_type(column->type),
                            .rank = 1 + n_dims,
                            .dims = dims,
                            .chunk_rows = column->deflate ? 1 : (hsize_t)n_rows,
                            .deflate = column->deflate,
                            .long_name = column->long_name,
                            .unit = column->unit};
    FBT_HDF5(group = H5Gopen2(rounds, column->group[0] == '\0' ? "." : column->group, H5P_DEFAULT),
             "group rounds/%s cannot be opened", column->group);
    status = fbt_hdf5_create(group, &array, NULL, dataset);
done:
    fbt_hdf5_close(group);
    return status;
}

static fbt_status make_rounds(fbt_run_file *file, const fbt_run_header *header)
{
    fbt_status status = FBT_OK;
    hid_t rounds = -1, client = -1, cost = -1;
    int64_t n;
    const fbt_run_column *columns = fbt_run_columns(&n);
    FBT_TRY(fbt_run_file_group(file->file, "rounds", &rounds));
    FBT_TRY(fbt_run_file_group(rounds, "client", &client));
    FBT_TRY(fbt_run_file_group(rounds, "cost", &cost));
    FBT_TRY(fbt_run_ledger_write(cost, header->value_bytes));
    for (int64_t i = 0; i < n; i++) {
        if (columns[i].shape == FBT_RUN_CLIENTS_DIMENSION && !header->client_means) {
            continue;
        }
        FBT_TRY(fbt_run_file_make_column(rounds, &columns[i], header, &file->columns[i]));
        if (columns[i].shape == FBT_RUN_PHASES) {
            FBT_TRY(fbt_hdf5_write_texts(file->columns[i], "phases", header->phases, header->n_phases));
        }
    }
done:
    fbt_hdf5_close(cost);
    fbt_hdf5_close(client);
    fbt_hdf5_close(rounds);
    return status;
}

static fbt_status check_header(const fbt_run_header *header)
{
    bool ok = header->n_clients > 0 && header->dimension > 0 && header->n_generations > 0 && header->n_labels > 0 &&
              header->n_phases > 0 && header->value_bytes > 0 && header->n_prompt_values[0] >= 0 &&
              header->n_prompt_values[1] >= 0 && header->n_dev >= 0 && header->sample_offsets[0] == 0;
    for (int64_t k = 0; ok && k < header->n_clients; k++) {
        ok = header->sample_offsets[k + 1] >= header->sample_offsets[k];
    }
    return ok ? FBT_OK : fbt_fail(FBT_ERR_ARG, "the run file's header has impossible sizes");
}

static fbt_status fill_new(fbt_run_file *file, const fbt_run_header *header)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_hdf5_new_in_memory(&file->file));
    FBT_TRY(write_root(file->file));
    FBT_TRY(fbt_run_file_begin_session(file, header, 0));
    FBT_TRY(write_inputs(file->file, header));
    FBT_TRY(write_partition(file->file, header));
    FBT_TRY(make_rounds(file, header));
done:
    return status;
}

fbt_status fbt_run_file_check(const char *path, bool overwrite)
{
    fbt_output_file *output = NULL;
    fbt_status status = fbt_output_file_open(path, overwrite, &output);
    fbt_output_file_close(output);
    return status;
}

fbt_status fbt_run_file_new(const char *path, bool overwrite, fbt_run_file **file)
{
    fbt_status status = FBT_OK;
    *file = NULL;
    fbt_hdf5_silence();
    FBT_TRY(fbt_memory_alloc(file, 1, sizeof **file));
    (*file)->file = -1;
    (*file)->last_index = -1;
    for (int i = 0; i < FBT_RUN_COLUMNS_MAX; i++) {
        (*file)->columns[i] = -1;
    }
    status = fbt_output_file_open(path, overwrite, &(*file)->output);
done:
    return status;
}

void fbt_run_file_set_header(fbt_run_file *file, const fbt_run_header *header)
{
    file->start_s = fbt_timer_now_s();
    file->dimension = header->dimension;
    memcpy(file->n_prompt_values, header->n_prompt_values, sizeof file->n_prompt_values);
    file->value_bytes[0] = file->value_bytes[1] = header->value_bytes;
}

fbt_status fbt_run_file_create(const char *path, bool overwrite, const fbt_run_header *header, fbt_run_file **file)
{
    fbt_status status = FBT_OK;
    fbt_run_file *made = NULL;
    *file = NULL;
    FBT_TRY(check_header(header));
    FBT_TRY(fbt_run_file_new(path, overwrite, &made));
    fbt_run_file_set_header(made, header);
    FBT_TRY(fill_new(made, header));
    *file = made;
    made = NULL;
done:
    fbt_run_file_free(made);
    return status;
}

/* The values of a column in a round, or NULL when the caller gave none. */
static const void *column_values(const fbt_run_column *column, const fbt_round_row *round)
{
    const char *member = (const char *)round + column->offset;
    return column->shape == FBT_RUN_SCALAR ? (const void *)member : *(const void *const *)member;
}

static fbt_status append_columns(fbt_run_file *file, const fbt_round_row *round)
{
    fbt_status status = FBT_OK;
    int64_t n;
    const fbt_run_column *columns = fbt_run_columns(&n);
    for (int64_t i = 0; i < n; i++) {
        const void *values = column_values(&columns[i], round);
        if (file->columns[i] < 0) {
            continue;
        }
        if (values == NULL) {
            FBT_FAIL(FBT_ERR_ARG, "round %" PRId64 " has no values for rounds/%s/%s", round->index, columns[i].group,
                     columns[i].name);
        }
        FBT_TRY(fbt_hdf5_append(file->columns[i], (hsize_t)file->n_rounds + 1, values));
    }
done:
    return status;
}

fbt_status fbt_run_file_add_round(fbt_run_file *file, const fbt_round_row *round)
{
    fbt_hdf5_silence();
    if (round->index <= file->last_index) {
        return fbt_fail(FBT_ERR_ARG, "round %" PRId64 " cannot follow round %" PRId64 " in the run file", round->index,
                        file->last_index);
    }
    fbt_round_row row = *round;
    row.bytes_up = fbt_run_ledger_convert(row.bytes_up, file->value_bytes[0], file->value_bytes[1]);
    row.bytes_down = fbt_run_ledger_convert(row.bytes_down, file->value_bytes[0], file->value_bytes[1]);
    fbt_status status = append_columns(file, &row);
    if (status != FBT_OK) {
        /* Half a round must never be written: take back what was added. */
        for (int i = 0; i < FBT_RUN_COLUMNS_MAX; i++) {
            if (file->columns[i] >= 0 && fbt_hdf5_append(file->columns[i], (hsize_t)file->n_rounds, NULL) != FBT_OK) {
                file->incomplete = true;
            }
        }
        return status;
    }
    file->n_rounds++;
    file->last_index = round->index;
    return FBT_OK;
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

/* Removes the data sets of an earlier checkpoint that the new one does not have. */
static fbt_status remove_others(hid_t group, const fbt_array *arrays)
{
    fbt_status status = FBT_OK;
    char name[256];
    H5G_info_t info;
    FBT_HDF5(H5Gget_info(group, &info), "group checkpoint cannot be read");
    for (hsize_t i = info.nlinks; i-- > 0;) {
        FBT_HDF5(H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT),
                 "group checkpoint cannot be read");
        if (fbt_array_find(arrays, name) == NULL) {
            FBT_HDF5(H5Ldelete(group, name, H5P_DEFAULT), "data set checkpoint/%s cannot be removed", name);
        }
    }
done:
    return status;
}

fbt_status fbt_run_file_set_checkpoint(fbt_run_file *file, const fbt_array *arrays)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    fbt_hdf5_silence();
    FBT_TRY(fbt_run_file_group(file->file, "checkpoint", &group));
    FBT_TRY(remove_others(group, arrays));
    for (const fbt_array *a = arrays; a->name != NULL; a++) {
        /* Contiguous: a covariance is written anew each round, and compressing it would take ten times longer. */
        fbt_hdf5_array array = {.name = a->name,
                                .type = a->type == FBT_ARRAY_INT64 ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE,
                                .rank = 1,
                                .dims = &(hsize_t){(hsize_t)a->n_values},
                                .long_name = a->long_name == NULL ? a->name : a->long_name};
        FBT_TRY(put_array(group, &array, a->n_values == 0 ? NULL : a->values));
    }
    FBT_TRY(fbt_hdf5_write_int(group, "round", file->last_index));
done:
    file->incomplete = file->incomplete || status != FBT_OK;
    fbt_hdf5_close(group);
    return status;
}

fbt_status fbt_run_file_set_result(fbt_run_file *file, const fbt_run_result *result)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    const hsize_t z_dims[] = {(hsize_t)file->dimension};
    const hsize_t prompt_dims[] = {(hsize_t)file->n_prompt_values[0], (hsize_t)file->n_prompt_values[1]};
    const struct {
        const char *name;
        const void *values;
        bool is_prompt;
        const char *long_name;
    } arrays[] = {
        {"best_z", result->best_z, false, "z of the round that is best on the dev samples"},
        {"last_z", result->last_z, false, "z of the last round"},
        {"best_prompt", result->best_prompt, true, "soft prompt of the round that is best on the dev samples"},
        {"last_prompt", result->last_prompt, true, "soft prompt of the last round"},
    };
    fbt_hdf5_silence();
    FBT_TRY(fbt_run_file_group(file->file, "result", &group));
    FBT_TRY(fbt_hdf5_write_int(group, "best_round", result->best_round));
    FBT_TRY(fbt_hdf5_write_int(group, "last_round", result->last_round));
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        fbt_hdf5_array array = {.name = arrays[i].name,
                                .type = arrays[i].is_prompt ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE,
                                .rank = arrays[i].is_prompt ? 2 : 1,
                                .dims = arrays[i].is_prompt ? prompt_dims : z_dims,
                                .long_name = arrays[i].long_name};
        if (arrays[i].values != NULL) {
            FBT_TRY(put_array(group, &array, arrays[i].values));
        }
    }
done:
    file->incomplete = file->incomplete || status != FBT_OK;
    fbt_hdf5_close(group);
    return status;
}

fbt_status fbt_run_file_commit(fbt_run_file *file, fbt_run_status run_status)
{
    fbt_status status = FBT_OK;
    fbt_hdf5_silence();
    if (file->incomplete) {
        FBT_FAIL(FBT_ERR_IO,
                 "the run file is not written: an earlier change of it failed half way; what was saved before "
                 "is kept");
    }
    if (!file->has_status || file->run_status != run_status) {
        FBT_TRY(fbt_hdf5_write_text(file->file, "status", fbt_run_status_name(run_status)));
        file->has_status = true;
        file->run_status = run_status;
    }
    FBT_TRY(
        fbt_hdf5_write_real(file->file, "wall_time_s", file->wall_time_before_s + fbt_timer_now_s() - file->start_s));
    FBT_TRY(fbt_hdf5_image(file->file, &file->image));
    status = fbt_output_file_replace(file->output, file->image.bytes, file->image.n_bytes);
done:
    return status;
}

int64_t fbt_run_file_bytes(const fbt_run_file *file)
{
    return file->image.n_bytes;
}

void fbt_run_file_free(fbt_run_file *file)
{
    if (file == NULL) {
        return;
    }
    for (int i = 0; i < FBT_RUN_COLUMNS_MAX; i++) {
        fbt_hdf5_close(file->columns[i]);
    }
    fbt_hdf5_close(file->file);
    fbt_output_file_close(file->output);
    free(file->image.bytes);
    free(file);
}
