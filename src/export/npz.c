#include "export/export.h"

#include "base/memory.h"
#include "export/array.h"

#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

/* The .npy format, version 1.0: magic, length of the header (2 bytes), the header (a Python dictionary, blanks and a
 * newline up to a multiple of 64 bytes from the start), the values.
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
enum {
    NPY_MAGIC_BYTES = 8,
    NPY_LENGTH_BYTES = 2,
    NPY_ALIGNMENT = 64,
    NPY_HEADER_MAX = 256,
    NAME_BYTES = 128,
    CHARACTER_BYTES = 4
};
/* Every entry bears the first date that a zip archive can tell. */
enum { DOS_TIME = 0, DOS_DATE = (1 << 5) | 1 };

/* An entry before its values: descr as NumPy writes it. */
typedef struct entry {
    const char *descr;
    int n_dims;
    int64_t shape[2];
    const void *values;
    int64_t n_bytes;
} entry;

static fbt_status zip_failure(zip_error_t *error)
{
    const fbt_status status = fbt_fail(FBT_ERR_IO, "the NumPy archive cannot be made: %s", zip_error_strerror(error));
    zip_error_fini(error);
    return status;
}

static fbt_status npy_of(const entry *e, fbt_export_bytes *file)
{
    char shape[64] = "()", header[NPY_HEADER_MAX];
    unsigned char *bytes = NULL;
    if (e->n_dims == 1) {
        snprintf(shape, sizeof shape, "(%lld,)", (long long)e->shape[0]);
    } else if (e->n_dims == 2) {
        snprintf(shape, sizeof shape, "(%lld, %lld)", (long long)e->shape[0], (long long)e->shape[1]);
    }
    const int n_text =
        snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", e->descr, shape);
    const int n_before = NPY_MAGIC_BYTES + NPY_LENGTH_BYTES;
    const int n_head = (n_before + n_text + 1 + NPY_ALIGNMENT - 1) / NPY_ALIGNMENT * NPY_ALIGNMENT;
    const fbt_status status = fbt_memory_alloc(&bytes, n_head + e->n_bytes, 1);
    if (status != FBT_OK) {
        return status;
    }
    memcpy(bytes, "\x93NUMPY\x01\x00", NPY_MAGIC_BYTES);
    bytes[NPY_MAGIC_BYTES] = (unsigned char)(n_head - n_before);
    bytes[NPY_MAGIC_BYTES + 1] = (unsigned char)((n_head - n_before) >> 8);
    memset(bytes + n_before, ' ', (size_t)(n_head - n_before));
    memcpy(bytes + n_before, header, (size_t)n_text);
    bytes[n_head - 1] = '\n';
    memcpy(bytes + n_head, e->values, (size_t)e->n_bytes);
    *file = (fbt_export_bytes){.bytes = bytes, .n_bytes = n_head + e->n_bytes};
    return FBT_OK;
}

static fbt_status add(zip_t *archive, const char *name, const entry *e)
{
    fbt_status status = FBT_OK;
    char file_name[NAME_BYTES];
    fbt_export_bytes npy = {0};
    snprintf(file_name, sizeof file_name, "%s.npy", name);
    FBT_TRY(npy_of(e, &npy));
    zip_source_t *source = zip_source_buffer(archive, npy.bytes, (zip_uint64_t)npy.n_bytes, 1);
    if (source == NULL) {
        FBT_FAIL(FBT_ERR_IO, "the NumPy archive cannot be made: %s", zip_strerror(archive));
    }
    npy.bytes = NULL; /* the source's */
    const zip_int64_t index = zip_file_add(archive, file_name, source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
        zip_source_free(source);
        FBT_FAIL(FBT_ERR_IO, "the NumPy archive cannot be made: %s", zip_strerror(archive));
    }
    if (zip_set_file_compression(archive, (zip_uint64_t)index, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(archive, (zip_uint64_t)index, DOS_TIME, DOS_DATE, 0) != 0) {
        FBT_FAIL(FBT_ERR_IO, "the NumPy archive cannot be made: %s", zip_strerror(archive));
    }
done:
    free(npy.bytes);
    return status;
}

static fbt_status add_array(zip_t *archive, const fbt_export_array *array)
{
    const entry e = {.descr = array->is_double ? "<f8" : "<f4",
                     .n_dims = array->n_dims,
                     .shape = {array->shape[0], array->shape[1]},
                     .values = array->values,
                     .n_bytes = fbt_export_array_bytes(array)};
    return add(archive, array->name, &e);
}

/* One text as characters of 4 bytes, for at most n_characters. */
static fbt_status widen(const char *name, iconv_t converter, const char *text, char *to, size_t n_characters)
{
    char *from = (char *)(uintptr_t)text;
    size_t n_from = strlen(text), n_to = CHARACTER_BYTES * n_characters;
    if (iconv(converter, &from, &n_from, &to, &n_to) == (size_t)-1 || n_from > 0) {
        return fbt_fail(FBT_ERR_DATA, "%s is not UTF-8 text, so it cannot be put into a NumPy archive", name);
    }
    return FBT_OK;
}

/* As NumPy's type U: all texts as long as the longest, filled up with zeros. */
static fbt_status add_texts(zip_t *archive, const char *name, const char *const *texts, int64_t n, int n_dims)
{
    fbt_status status = FBT_OK;
    char *characters = NULL;
    size_t longest = 1; /* bytes of UTF-8: as many characters or more; NumPy has no texts of none */
    char descr[32];
    const iconv_t converter = iconv_open("UCS-4LE", "UTF-8");
    if (converter == (iconv_t)-1) {
        FBT_FAIL(FBT_ERR_IO, "the NumPy archive cannot be made: the C library does not convert UTF-8: %s",
                 strerror(errno));
    }
    for (int64_t i = 0; i < n; i++) {
        longest = strlen(texts[i]) > longest ? strlen(texts[i]) : longest;
    }
    FBT_TRY(fbt_memory_alloc(&characters, n * (int64_t)longest, CHARACTER_BYTES));
    for (int64_t i = 0; i < n; i++) {
        FBT_TRY(widen(name, converter, texts[i], characters + (size_t)i * longest * CHARACTER_BYTES, longest));
    }
    snprintf(descr, sizeof descr, "<U%zu", longest);
    const entry e = {.descr = descr,
                     .n_dims = n_dims,
                     .shape = {n},
                     .values = characters,
                     .n_bytes = n * (int64_t)longest * CHARACTER_BYTES};
    status = add(archive, name, &e);
done:
    free(characters);
    if (converter != (iconv_t)-1) {
        iconv_close(converter);
    }
    return status;
}

static fbt_status add_fact(zip_t *archive, const fbt_export_fact *fact)
{
    switch (fact->kind) {
    case FBT_EXPORT_TEXT:
        return add_texts(archive, fact->name, &fact->text, 1, 0);
    case FBT_EXPORT_TEXTS:
        return add_texts(archive, fact->name, fact->texts, fact->n_texts, 1);
    case FBT_EXPORT_INTEGER:
        break;
    }
    const entry e = {.descr = "<i8", .values = &fact->integer, .n_bytes = sizeof fact->integer};
    return add(archive, fact->name, &e);
}

/* Fills and closes the archive, which writes it into `source`. */
static fbt_status fill(zip_source_t *source, const fbt_export_content *content)
{
    fbt_status status = FBT_OK;
    zip_error_t error;
    zip_error_init(&error);
    zip_t *archive = zip_open_from_source(source, ZIP_TRUNCATE, &error);
    if (archive == NULL) {
        return zip_failure(&error);
    }
    zip_source_keep(source); /* closing the archive drops one reference */
    for (int i = 0; i < content->n_arrays; i++) {
        FBT_TRY(add_array(archive, &content->arrays[i]));
    }
    for (int i = 0; i < content->n_facts; i++) {
        FBT_TRY(add_fact(archive, &content->facts[i]));
    }
    if (zip_close(archive) != 0) {
        FBT_FAIL(FBT_ERR_IO, "the NumPy archive cannot be made: %s", zip_strerror(archive));
    }
    archive = NULL;
done:
    if (archive != NULL) {
        zip_discard(archive);
    }
    zip_error_fini(&error);
    return status;
}

static fbt_status read_back(zip_source_t *source, fbt_export_bytes *file)
{
    fbt_status status = FBT_OK;
    zip_stat_t about;
    void *bytes = NULL;
    bool is_open = false;
    zip_stat_init(&about);
    if (zip_source_stat(source, &about) != 0 || (about.valid & ZIP_STAT_SIZE) == 0 || zip_source_open(source) != 0) {
        return zip_failure(zip_source_error(source));
    }
    is_open = true;
    FBT_TRY(fbt_memory_alloc(&bytes, (int64_t)about.size, 1));
    if (zip_source_read(source, bytes, about.size) != (zip_int64_t)about.size) {
        FBT_TRY(zip_failure(zip_source_error(source)));
    }
    *file = (fbt_export_bytes){.bytes = bytes, .n_bytes = (int64_t)about.size};
    bytes = NULL;
done:
    free(bytes);
    if (is_open) {
        zip_source_close(source);
    }
    return status;
}

fbt_status fbt_export_npz(const fbt_export_content *content, fbt_export_bytes *file)
{
    fbt_status status = FBT_OK;
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(NULL, 0, 0, &error);
    if (source == NULL) {
        return zip_failure(&error);
    }
    FBT_TRY(fill(source, content));
    status = read_back(source, file);
done:
    zip_source_free(source);
    zip_error_fini(&error);
    return status;
}
