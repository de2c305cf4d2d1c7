#include "record/dataset_file.h"

#include "base/memory.h"
#include "base/rng_block.h"
#include "record/dataset_check.h"
#include "record/hdf5_util.h"
#include "record/vocabulary_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FORMAT_VERSION = 1,
    LABELS_MAX = 65536,
};

/* One file being read. */
typedef struct reader {
    const char *path;
    hid_t file;
    fbt_dataset *dataset;
} reader;

/* Explains an attribute that is missing by its likeliest cause. */
static fbt_status made_by(const reader *r, fbt_status status)
{
    if (status == FBT_ERR_DATA) {
        fbt_refail(status, "%.300s: %.599s; was it made by jobs/prepare_data.py of this version?", r->path,
                   fbt_error_message());
    }
    return status;
}

/* A text attribute that is one of the names; *index is which. */
static fbt_status read_word(const reader *r, const char *name, const char *const *names, int *index)
{
    fbt_status status = FBT_OK;
    char *text = NULL;
    FBT_TRY(made_by(r, fbt_hdf5_read_text(r->file, name, &text)));
    *index = fbt_choice_find(names, text);
    if (*index < 0) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: attribute %s is '%.64s', which this program does not know", r->path, name,
                 text);
    }
done:
    free(text);
    return status;
}

static fbt_status read_int(const reader *r, const char *name, int64_t smallest, int64_t largest, int64_t *value)
{
    fbt_status status = FBT_OK;
    FBT_TRY(made_by(r, fbt_hdf5_read_int(r->file, name, value)));
    if (*value < smallest || *value > largest) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: attribute %s is %" PRId64 ", outside of %" PRId64 " to %" PRId64, r->path, name,
                 *value, smallest, largest);
    }
done:
    return status;
}

static fbt_status read_id(const reader *r, const char *name, int32_t *value)
{
    int64_t wide = 0;
    fbt_status status = read_int(r, name, -1, INT32_MAX, &wide);
    *value = (int32_t)wide;
    return status;
}

static fbt_status read_sha256(const reader *r, const char *name, char digest[FBT_DIGEST_TEXT_BYTES])
{
    char *text = NULL;
    fbt_status status = made_by(r, fbt_hdf5_read_text(r->file, name, &text));
    if (status == FBT_OK) {
        snprintf(digest, FBT_DIGEST_TEXT_BYTES, "%s", strlen(text) == FBT_DIGEST_TEXT_BYTES - 1 ? text : "");
    }
    free(text);
    return status;
}

static fbt_status read_words(reader *r)
{
    fbt_status status = FBT_OK;
    fbt_dataset *dataset = r->dataset;
    int index = 0;
    FBT_TRY(made_by(r, fbt_hdf5_read_text(r->file, "task", &dataset->task)));
    FBT_TRY(made_by(r, fbt_hdf5_read_text(r->file, "template", &dataset->template_text)));
    FBT_TRY(made_by(r, fbt_hdf5_read_text(r->file, "source", &dataset->source)));
    FBT_TRY(read_sha256(r, "tokenizer_sha256", dataset->tokenizer_sha256));
    FBT_TRY(read_sha256(r, "source_sha256", dataset->source_sha256));
    FBT_TRY(read_word(r, "readout", fbt_readout_names, &index));
    dataset->readout = (fbt_readout)index;
    FBT_TRY(read_word(r, "metric", fbt_metric_names, &index));
    dataset->metric = (fbt_metric)index;
    FBT_TRY(read_word(r, "prompt_mode", fbt_prompt_mode_names, &index));
    dataset->prompt_mode = (fbt_prompt_mode)index;
    FBT_TRY(made_by(r, fbt_hdf5_read_texts(r->file, "label_words", &dataset->label_words, &dataset->n_labels)));
    if (dataset->n_labels < 2 || dataset->n_labels > LABELS_MAX) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: label_words has %" PRId64 " entries; a task has 2 to %d labels", r->path,
                 dataset->n_labels, LABELS_MAX);
    }
done:
    return status;
}

static fbt_status read_numbers(reader *r)
{
    fbt_status status = FBT_OK;
    fbt_dataset *dataset = r->dataset;
    int64_t version = 0;
    FBT_TRY(read_int(r, "format_version", 0, INT32_MAX, &version));
    if (version != FORMAT_VERSION) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%.300s has format version %" PRId64 ", this program reads %d; prepare the data again with "
                 "jobs/prepare_data.py",
                 r->path, version, FORMAT_VERSION);
    }
    FBT_TRY(read_int(r, "prompt_tokens", 0, INT32_MAX, &dataset->n_prompt_tokens));
    FBT_TRY(read_int(r, "vocab_size", 1, INT32_MAX, &dataset->vocab_size));
    FBT_TRY(read_id(r, "bos_id", &dataset->bos_id));
    FBT_TRY(read_id(r, "eos_id", &dataset->eos_id));
    FBT_TRY(read_id(r, "mask_id", &dataset->mask_id));
    FBT_TRY(read_id(r, "pad_id", &dataset->pad_id));
    FBT_TRY(read_id(r, "unk_id", &dataset->unk_id));
done:
    return status;
}

/* Values outside the C type would otherwise be clipped by HDF5's conversion without a word. */
static fbt_status check_fits(const reader *r, const char *where, const int64_t *wide, int64_t n, int64_t low,
                             int64_t high)
{
    for (int64_t i = 0; i < n; i++) {
        if (wide[i] < low || wide[i] > high) {
            return fbt_fail(FBT_ERR_DATA,
                            "%.300s: %s: entry %" PRId64 " is %" PRId64 ", outside of %" PRId64 " to %" PRId64, r->path,
                            where, i, wide[i], low, high);
        }
    }
    return FBT_OK;
}

/* Opens a one-dimensional integer data set and tells its length. */
static fbt_status open_integers(const reader *r, const char *where, hid_t *dataset, int64_t *n)
{
    fbt_status status = FBT_OK;
    hid_t space = -1, type = -1;
    *n = 0;
    if (!fbt_hdf5_has(r->file, where)) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: data set %s is missing; was it made by jobs/prepare_data.py of this version?",
                 r->path, where);
    }
    FBT_HDF5(*dataset = H5Dopen2(r->file, where, H5P_DEFAULT),
             "%.300s: %s is damaged, or in the format of a newer HDF5", r->path, where);
    FBT_HDF5(space = H5Dget_space(*dataset), "%.300s: %s is damaged, or in the format of a newer HDF5", r->path, where);
    FBT_HDF5(type = H5Dget_type(*dataset), "%.300s: %s is damaged, or in the format of a newer HDF5", r->path, where);
    if (H5Sget_simple_extent_ndims(space) != 1 || H5Tget_class(type) != H5T_INTEGER) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: data set %s must be a one-dimensional array of integers", r->path, where);
    }
    FBT_TRY(fbt_hdf5_count(*dataset, where, n)); /* the caller names the file */
done:
    fbt_hdf5_close(type);
    fbt_hdf5_close(space);
    return status;
}

/* Reads integers of any width as int64. */
static fbt_status read_wide(const reader *r, const char *where, int64_t **values, int64_t *n)
{
    fbt_status status = FBT_OK;
    hid_t dataset = -1;
    *values = NULL;
    FBT_TRY(open_integers(r, where, &dataset, n));
    FBT_TRY(fbt_memory_alloc(values, *n, sizeof **values));
    FBT_HDF5(H5Dread(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, *values),
             "%.300s: %s cannot be read; the file is damaged", r->path, where);
done:
    fbt_hdf5_close(dataset);
    return status;
}

static fbt_status read_int32(const reader *r, const char *where, int32_t **values, int64_t *n)
{
    fbt_status status = FBT_OK;
    int64_t *wide = NULL;
    FBT_TRY(read_wide(r, where, &wide, n));
    FBT_TRY(check_fits(r, where, wide, *n, INT32_MIN, INT32_MAX));
    FBT_TRY(fbt_memory_alloc(values, *n, sizeof **values));
    for (int64_t i = 0; i < *n; i++) {
        (*values)[i] = (int32_t)wide[i];
    }
done:
    free(wide);
    return status;
}

static fbt_status read_uint8(const reader *r, const char *where, uint8_t **values, int64_t *n)
{
    fbt_status status = FBT_OK;
    int64_t *wide = NULL;
    FBT_TRY(read_wide(r, where, &wide, n));
    FBT_TRY(check_fits(r, where, wide, *n, 0, UINT8_MAX));
    FBT_TRY(fbt_memory_alloc(values, *n, sizeof **values));
    for (int64_t i = 0; i < *n; i++) {
        (*values)[i] = (uint8_t)wide[i];
    }
done:
    free(wide);
    return status;
}

static fbt_status expect_length(const reader *r, const char *where, int64_t n, int64_t expected, const char *rule)
{
    if (n != expected) {
        return fbt_fail(FBT_ERR_DATA, "%.300s: %s has %" PRId64 " entries instead of %" PRId64 ", %s", r->path, where,
                        n, expected, rule);
    }
    return FBT_OK;
}

static fbt_status read_split_arrays(const reader *r, const char *name, fbt_split *split)
{
    fbt_status status = FBT_OK;
    char where[64];
    int64_t n_tokens, n;
#define FBT_AT(array) (snprintf(where, sizeof where, "%s/%s", name, array), where)
    FBT_TRY(read_int32(r, FBT_AT("tokens"), &split->tokens, &n_tokens));
    FBT_TRY(read_int32(r, FBT_AT("labels"), &split->labels, &split->n_samples));
    FBT_TRY(read_wide(r, FBT_AT("offsets"), &split->offsets, &n));
    FBT_TRY(expect_length(r, where, n, split->n_samples + 1, "one more than samples"));
    FBT_TRY(fbt_dataset_check_offsets(r->path, name, "sample", split->offsets, split->n_samples, n_tokens));
    FBT_TRY(read_int32(r, FBT_AT("readout"), &split->readout, &n));
    FBT_TRY(expect_length(r, where, n, split->n_samples, "one per sample"));
    FBT_TRY(read_uint8(r, FBT_AT("frozen"), &split->frozen, &n));
    FBT_TRY(expect_length(r, where, n, n_tokens, "one per token"));
#undef FBT_AT
done:
    return status;
}

static fbt_status read_split(const reader *r, const char *name, fbt_split *split)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    FBT_HDF5(group = H5Gopen2(r->file, name, H5P_DEFAULT), "%.300s: group %s cannot be read", r->path, name);
    FBT_TRY(made_by(r, fbt_hdf5_read_int(group, "n_truncated", &split->n_truncated)));
    FBT_TRY(read_split_arrays(r, name, split));
    if (split->n_truncated < 0 || split->n_truncated > split->n_samples) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: %s: n_truncated is %" PRId64 ", but there are %" PRId64 " samples", r->path,
                 name, split->n_truncated, split->n_samples);
    }
done:
    fbt_hdf5_close(group);
    return status;
}

static fbt_status read_label_ids(const reader *r)
{
    fbt_status status = FBT_OK;
    fbt_dataset *dataset = r->dataset;
    hid_t attribute = -1, space = -1, type = -1;
    if (H5Aexists(r->file, "label_token_ids") <= 0) {
        H5Eclear2(H5E_DEFAULT);
        FBT_FAIL(FBT_ERR_DATA, "%.300s: attribute label_token_ids is missing", r->path);
    }
    FBT_HDF5(attribute = H5Aopen(r->file, "label_token_ids", H5P_DEFAULT), "%.300s: label_token_ids", r->path);
    FBT_HDF5(space = H5Aget_space(attribute), "%.300s: label_token_ids", r->path);
    FBT_HDF5(type = H5Aget_type(attribute), "%.300s: label_token_ids", r->path);
    if (H5Tget_class(type) != H5T_INTEGER) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: attribute label_token_ids is not a list of integers", r->path);
    }
    FBT_TRY(expect_length(r, "label_token_ids", H5Sget_simple_extent_npoints(space), dataset->n_labels,
                          "one per label word"));
    FBT_TRY(fbt_memory_alloc(&dataset->label_token_ids, dataset->n_labels, sizeof *dataset->label_token_ids));
    FBT_HDF5(H5Aread(attribute, H5T_NATIVE_INT32, dataset->label_token_ids), "%.300s: label_token_ids", r->path);
done:
    fbt_hdf5_close(type);
    fbt_hdf5_close(space);
    fbt_hdf5_close(attribute);
    return status;
}

static fbt_status read_label_tokens(const reader *r)
{
    fbt_status status = FBT_OK;
    fbt_dataset *dataset = r->dataset;
    int64_t n_tokens, n;
    FBT_TRY(read_int32(r, "labels/tokens", &dataset->label_tokens, &n_tokens));
    FBT_TRY(read_wide(r, "labels/offsets", &dataset->label_offsets, &n));
    FBT_TRY(expect_length(r, "labels/offsets", n, dataset->n_labels + 1, "one more than label words"));
    FBT_TRY(fbt_dataset_check_offsets(r->path, "labels", "label", dataset->label_offsets, dataset->n_labels, n_tokens));
done:
    return status;
}

/* Files from before labels could be several tokens have none but the words' ids. */
static fbt_status make_label_tokens(const reader *r)
{
    fbt_status status = FBT_OK;
    fbt_dataset *dataset = r->dataset;
    FBT_TRY(fbt_memory_alloc(&dataset->label_tokens, dataset->n_labels, sizeof *dataset->label_tokens));
    FBT_TRY(fbt_memory_alloc(&dataset->label_offsets, dataset->n_labels + 1, sizeof *dataset->label_offsets));
    for (int64_t c = 0; c < dataset->n_labels; c++) {
        dataset->label_tokens[c] = dataset->label_token_ids[c];
        dataset->label_offsets[c + 1] = c + 1;
    }
done:
    return status;
}

/* The file has the id of a word that is one token, and -1 for others, so that programs that know no others stop. */
static fbt_status take_first_tokens(const reader *r)
{
    fbt_dataset *dataset = r->dataset;
    for (int64_t c = 0; c < dataset->n_labels; c++) {
        const int64_t n = dataset->label_offsets[c + 1] - dataset->label_offsets[c];
        const int32_t first = dataset->label_tokens[dataset->label_offsets[c]];
        if (dataset->label_token_ids[c] != (n == 1 ? first : -1)) {
            return fbt_fail(FBT_ERR_DATA,
                            "%.300s: label %" PRId64 " ('%.64s') has token id %d, but labels/tokens says %" PRId64
                            " tokens that begin with %d",
                            r->path, c, dataset->label_words[c], dataset->label_token_ids[c], n, first);
        }
        dataset->label_token_ids[c] = first;
    }
    return FBT_OK;
}

static fbt_status read_labels(const reader *r)
{
    fbt_status status = FBT_OK;
    const fbt_readout readout = r->dataset->readout;
    const bool has_tokens =
        readout == FBT_READOUT_EMBEDDING || (readout == FBT_READOUT_LAST && fbt_hdf5_has(r->file, "labels"));
    FBT_TRY(read_label_ids(r));
    FBT_TRY(has_tokens ? read_label_tokens(r) : FBT_OK);
    if (readout == FBT_READOUT_LAST) {
        FBT_TRY(has_tokens ? FBT_OK : make_label_tokens(r));
        FBT_TRY(take_first_tokens(r));
    }
done:
    return status;
}

/* The clients that training samples come from by nature, where the file knows any. */
static fbt_status read_clients(const reader *r)
{
    fbt_status status = FBT_OK;
    fbt_dataset *dataset = r->dataset;
    int64_t n_bytes, n;
    if (!fbt_hdf5_has(r->file, "clients") && !fbt_hdf5_has(r->file, "train/client")) {
        return FBT_OK;
    }
    FBT_TRY(read_uint8(r, "clients/names", &dataset->client_names, &n_bytes));
    FBT_TRY(read_wide(r, "clients/offsets", &dataset->client_offsets, &n));
    if (n < 2 || n > FBT_RNG_N_CLIENTS) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%.300s: clients/offsets has %" PRId64 " entries, one more than clients; expected 2 to %d", r->path, n,
                 FBT_RNG_N_CLIENTS);
    }
    dataset->n_clients = n - 1;
    FBT_TRY(
        fbt_dataset_check_offsets(r->path, "clients", "name", dataset->client_offsets, dataset->n_clients, n_bytes));
    FBT_TRY(read_int32(r, "train/client", &dataset->client, &n));
    FBT_TRY(expect_length(r, "train/client", n, dataset->train.n_samples, "one per sample"));
done:
    return status;
}

static fbt_status read_all(reader *r)
{
    fbt_status status = FBT_OK;
    FBT_TRY(read_numbers(r));
    FBT_TRY(read_words(r));
    FBT_TRY(read_labels(r));
    FBT_TRY(read_split(r, "train", &r->dataset->train));
    if (r->dataset->train.n_samples == 0) {
        FBT_FAIL(FBT_ERR_DATA, "%.300s: the train split has no samples", r->path);
    }
    FBT_TRY(read_clients(r));
    FBT_TRY(fbt_vocabulary_read(r->file, &r->dataset->vocabulary)); /* the caller names the file */
    if (fbt_hdf5_has(r->file, "dev")) {
        FBT_TRY(read_split(r, "dev", &r->dataset->dev));
    }
    if (fbt_hdf5_has(r->file, "test")) {
        FBT_TRY(read_split(r, "test", &r->dataset->test));
    }
    status = fbt_dataset_check(r->path, r->dataset);
done:
    return status;
}

fbt_status fbt_dataset_file_read(const char *path, fbt_dataset *dataset)
{
    fbt_status status = FBT_OK;
    reader r = {.path = path, .file = -1, .dataset = dataset};
    fbt_hdf5_silence();
    FBT_TRY(fbt_hdf5_open(path, &r.file));
    status = read_all(&r);
done:
    fbt_hdf5_close(r.file);
    if (status != FBT_OK) {
        fbt_dataset_clear(dataset);
    }
    return fbt_hdf5_name_file(path, status);
}
