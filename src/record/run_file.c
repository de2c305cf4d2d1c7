#include "record/run_file.h"

#include "base/build_info.h"
#include "base/memory.h"
#include "base/timer.h"
#include "record/run_file_internal.h"
#include "record/run_ledger.h"
#include "record/run_wide.h"
#include "record/vocabulary_file.h"

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
    if (header->n_words > 0) {
        FBT_TRY(fbt_vocabulary_write(group, header->vocabulary, header->n_words));
    }
done:
    fbt_hdf5_close(group);
    return status;
}

/* Rows of a chunk. */
static int64_t chunk_rows(const fbt_run_column *column, int64_t n_row_bytes)
{
    const int64_t n_rows = n_row_bytes > 0 ? CHUNK_BYTES / n_row_bytes : 1;
    return column->deflate || n_rows < 1 ? 1 : n_rows > CHUNK_ROWS_MAX ? CHUNK_ROWS_MAX : n_rows;
}

int64_t fbt_run_file_growth(const fbt_run_column *column, const int64_t row_dims[2], int64_t n_rows, int64_t n_added)
{
    const int64_t n_row_bytes = (int64_t)type_bytes(column->type) * row_dims[0] * row_dims[1];
    const int64_t n_chunk = chunk_rows(column, n_row_bytes);
    return ((n_rows + n_added + n_chunk - 1) / n_chunk - (n_rows + n_chunk - 1) / n_chunk) * n_chunk * n_row_bytes;
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
    fbt_hdf5_array array = {.name = column->name,
                            .type = fbt_run_file_type(column->type),
                            .rank = 1 + n_dims,
                            .dims = dims,
                            .chunk_rows = (hsize_t)chunk_rows(column, n_row_bytes),
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
    FBT_TRY(fbt_run_file_group(file->draft.file, "rounds", &rounds));
    FBT_TRY(fbt_run_file_group(rounds, "client", &client));
    FBT_TRY(fbt_run_file_group(rounds, "cost", &cost));
    FBT_TRY(fbt_run_ledger_write(cost, header->value_bytes));
    for (int64_t i = 0; i < n; i++) {
        if (!fbt_run_column_is_kept(&columns[i], header)) {
            continue;
        }
        FBT_TRY(fbt_run_file_make_column(rounds, &columns[i], header, &file->draft.columns[i]));
        if (columns[i].shape == FBT_RUN_PHASES) {
            FBT_TRY(fbt_hdf5_write_texts(file->draft.columns[i], "phases", header->phases, header->n_phases));
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
    bool ok = header->n_clients > 0 && header->n_slots > 0 && header->n_slots <= header->n_clients &&
              header->dimension > 0 && header->n_generations > 0 && header->n_labels > 0 && header->n_phases > 0 &&
              header->value_bytes > 0 && header->n_prompt_values[0] >= 0 && header->n_prompt_values[1] >= 0 &&
              header->n_dev >= 0 && header->sample_offsets[0] == 0;
    for (int64_t k = 0; ok && k < header->n_clients; k++) {
        ok = header->sample_offsets[k + 1] >= header->sample_offsets[k];
    }
    return ok ? FBT_OK : fbt_fail(FBT_ERR_ARG, "the run file's header has impossible sizes");
}

static fbt_status fill_new(fbt_run_file *file, const fbt_run_header *header)
{
    fbt_status status = FBT_OK;
    hid_t *made = &file->draft.file;
    file->draft.in_memory = true;
    FBT_TRY(fbt_hdf5_new_in_memory(made));
    FBT_TRY(write_root(*made));
    FBT_TRY(fbt_run_file_begin_session(file, header, 0));
    FBT_TRY(write_inputs(*made, header));
    FBT_TRY(fbt_run_file_write_partition(*made, header));
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
    fbt_run_draft_init(&(*file)->draft);
    (*file)->last_index = -1;
    FBT_TRY(fbt_output_file_open(path, overwrite, &(*file)->output));
    status = fbt_journal_new(fbt_output_file_path((*file)->output), path, &(*file)->journal);
done:
    return status;
}

void fbt_run_file_set_header(fbt_run_file *file, const fbt_run_header *header)
{
    int64_t n;
    const fbt_run_column *columns = fbt_run_columns(&n);
    file->start_s = fbt_timer_now_s();
    file->dimension = header->dimension;
    file->n_clients = header->n_clients;
    file->n_slots = header->n_slots;
    memcpy(file->n_prompt_values, header->n_prompt_values, sizeof file->n_prompt_values);
    file->value_bytes[0] = file->value_bytes[1] = header->value_bytes;
    for (int64_t i = 0; i < n; i++) {
        int64_t *dims = file->row_dims[i];
        const int n_dims = fbt_run_shape_dims(columns[i].shape, header, dims);
        for (int k = n_dims; k < 2; k++) {
            dims[k] = 1;
        }
        if (!fbt_run_column_is_kept(&columns[i], header)) {
            dims[0] = 0;
        }
    }
}

fbt_status fbt_run_file_create(const char *path, bool overwrite, const fbt_run_header *header, fbt_run_file **file)
{
    fbt_status status = FBT_OK;
    fbt_run_file *made = NULL;
    *file = NULL;
    FBT_TRY(check_header(header));
    FBT_TRY(fbt_run_file_new(path, overwrite, &made));
    made->version = FBT_RUN_FORMAT_VERSION;
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

/* values: as the file holds them. */
static fbt_status add_values(fbt_run_file *file, int64_t i, const void *values)
{
    int64_t n;
    char path[FBT_RUN_COLUMN_PATH_BYTES];
    const fbt_run_column *column = &fbt_run_columns(&n)[i];
    fbt_run_column_path(column, path);
    return fbt_run_changes_add(&file->pending, path, NULL,
                               (fbt_run_change_type)fbt_run_column_type(column, file->version), 2, file->row_dims[i],
                               values);
}

/* Of a file of version 1, which has a place for every client. */
static fbt_status add_wide_values(fbt_run_file *file, int64_t i, const fbt_round_row *round, const void *values)
{
    fbt_status status = FBT_OK;
    void *wide = NULL;
    int64_t n;
    const fbt_run_narrow narrow = {.column = &fbt_run_columns(&n)[i],
                                   .n_clients = file->n_clients,
                                   .n_slots = round->n_participants,
                                   .n_each = file->row_dims[i][1],
                                   .participants = round->participants,
                                   .values = values};
    FBT_TRY(fbt_memory_alloc(&wide, file->row_dims[i][0] * file->row_dims[i][1], sizeof(double)));
    FBT_TRY(fbt_run_widen_into(&narrow, wide));
    status = add_values(file, i, wide);
done:
    free(wide);
    return status;
}

static fbt_status add_columns(fbt_run_file *file, const fbt_round_row *round)
{
    fbt_status status = FBT_OK;
    int64_t n;
    char path[FBT_RUN_COLUMN_PATH_BYTES];
    const fbt_run_column *columns = fbt_run_columns(&n);
    for (int64_t i = 0; i < n; i++) {
        const void *values = column_values(&columns[i], round);
        if (file->row_dims[i][0] == 0) {
            continue;
        }
        if (values == NULL) {
            fbt_run_column_path(&columns[i], path);
            FBT_FAIL(FBT_ERR_ARG, "round %" PRId64 " has no values for %s", round->index, path);
        }
        FBT_TRY(file->version == FBT_RUN_FORMAT_WIDE && fbt_run_column_is_of_participants(&columns[i])
                    ? add_wide_values(file, i, round, values)
                    : add_values(file, i, values));
    }
done:
    return status;
}

fbt_status fbt_run_file_add_round(fbt_run_file *file, const fbt_round_row *round)
{
    if (round->index <= file->last_index) {
        return fbt_fail(FBT_ERR_ARG, "round %" PRId64 " cannot follow round %" PRId64 " in the run file", round->index,
                        file->last_index);
    }
    if (file->version != FBT_RUN_FORMAT_WIDE && round->n_participants != file->n_slots) {
        return fbt_fail(FBT_ERR_ARG,
                        "round %" PRId64 " has %" PRId64 " participants, the run file's rounds have %" PRId64,
                        round->index, round->n_participants, file->n_slots);
    }
    const int64_t n_bytes = file->pending.n_bytes;
    fbt_round_row row = *round;
    row.bytes_up = fbt_run_ledger_convert(row.bytes_up, file->value_bytes[0], file->value_bytes[1]);
    row.bytes_down = fbt_run_ledger_convert(row.bytes_down, file->value_bytes[0], file->value_bytes[1]);
    fbt_status status = add_columns(file, &row);
    if (status != FBT_OK) {
        file->pending.n_bytes = n_bytes; /* half a round must never be written */
        return status;
    }
    file->last_index = round->index;
    file->n_added++;
    return FBT_OK;
}

static fbt_status add_integers(fbt_run_file *file, const char *path, int64_t first, int64_t second)
{
    return fbt_run_changes_add(&file->pending, path, NULL, FBT_RUN_CHANGE_INTEGER, 1, &(int64_t){2},
                               (int64_t[]){first, second});
}

fbt_status fbt_run_file_set_checkpoint(fbt_run_file *file, const fbt_array *arrays)
{
    fbt_status status = FBT_OK;
    const int64_t n_bytes = file->pending.n_bytes;
    char path[sizeof((fbt_run_change *)NULL)->path];
    int64_t n = 0;
    while (arrays[n].name != NULL) {
        n++;
    }
    FBT_TRY(add_integers(file, "checkpoint", file->last_index, n));
    for (const fbt_array *a = arrays; a->name != NULL; a++) {
        snprintf(path, sizeof path, "checkpoint/%s", a->name);
        FBT_TRY(fbt_run_changes_add(&file->pending, path, a->long_name,
                                    a->type == FBT_ARRAY_INT64 ? FBT_RUN_CHANGE_INTEGER : FBT_RUN_CHANGE_REAL, 1,
                                    &a->n_values, a->values));
    }
done:
    file->pending.n_bytes = status == FBT_OK ? file->pending.n_bytes : n_bytes;
    return status;
}

fbt_status fbt_run_file_set_result(fbt_run_file *file, const fbt_run_result *result)
{
    fbt_status status = FBT_OK;
    const int64_t n_bytes = file->pending.n_bytes;
    const struct {
        const char *path;
        const void *values;
        bool is_prompt;
        const char *long_name;
    } arrays[] = {
        {"result/best_z", result->best_z, false, "z of the round that is best on the dev samples"},
        {"result/last_z", result->last_z, false, "z of the last round"},
        {"result/best_prompt", result->best_prompt, true, "soft prompt of the round that is best on the dev samples"},
        {"result/last_prompt", result->last_prompt, true, "soft prompt of the last round"},
    };
    FBT_TRY(add_integers(file, "result", result->best_round, result->last_round));
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        const bool is_prompt = arrays[i].is_prompt;
        if (arrays[i].values != NULL) {
            FBT_TRY(fbt_run_changes_add(&file->pending, arrays[i].path, arrays[i].long_name,
                                        is_prompt ? FBT_RUN_CHANGE_FLOAT32 : FBT_RUN_CHANGE_REAL, is_prompt ? 2 : 1,
                                        is_prompt ? file->n_prompt_values : &file->dimension, arrays[i].values));
        }
    }
done:
    file->pending.n_bytes = status == FBT_OK ? file->pending.n_bytes : n_bytes;
    return status;
}

int64_t fbt_run_file_bytes(const fbt_run_file *file)
{
    return file->n_bytes;
}

void fbt_run_file_free(fbt_run_file *file)
{
    if (file == NULL) {
        return;
    }
    const bool drops = file->draft.file >= 0 && !file->draft.in_memory;
    fbt_run_draft_close(&file->draft);
    if (drops) {
        fbt_output_file_drop(file->output);
    }
    fbt_journal_free(file->journal);
    fbt_output_file_close(file->output);
    free(file->pending.bytes);
    free(file);
}
