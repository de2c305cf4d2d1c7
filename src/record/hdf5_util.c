#include "record/hdf5_util.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "record/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MEMORY_STEP_BYTES = 1 << 20, /* by which a file in memory grows */
    EXPANSION_MAX = 1100,        /* deflate makes nothing smaller than about 1/1032 of its size */
    DEFLATE_LEVEL = 1,           /* higher levels gain next to nothing on floating point numbers */
    RANK_MAX = 4,
};

void fbt_hdf5_silence(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* The walk goes from the innermost call outwards: the first entry is the cause. */
static herr_t keep_innermost(unsigned n, const H5E_error2_t *error, void *reason)
{
    if (n == 0 && error->desc != NULL) {
        snprintf(reason, FBT_HDF5_REASON_BYTES, "%s", error->desc);
    }
    return 0;
}

fbt_status fbt_hdf5_fail(const char *format, ...)
{
    char reason[FBT_HDF5_REASON_BYTES] = "no reason given", sentence[640];
    va_list arguments;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, reason);
    reason[strcspn(reason, "\n")] = '\0';
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    H5Eclear2(H5E_DEFAULT);
    return fbt_fail(FBT_ERR_IO, "%s (HDF5: %s)", sentence, reason);
}

fbt_status fbt_hdf5_name_file(const char *path, fbt_status status)
{
    if (status == FBT_OK || strstr(fbt_error_message(), path) != NULL) {
        return status;
    }
    return fbt_refail(status, "%.400s: %.599s", path, fbt_error_message());
}

void fbt_hdf5_close(hid_t id)
{
    if (id < 0) {
        return;
    }
    if (H5Iget_type(id) == H5I_FILE) {
        H5Fclose(id);
    } else {
        H5Idec_ref(id);
    }
}

/* HDF5's own message for a missing file is a paragraph, and a damaged one may crash it: ask the system and the seal
 * first. */
static fbt_status check_readable(const char *path)
{
    fbt_status status = FBT_OK;
    struct stat info;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return fbt_fail(fbt_status_of_system(errno), "%.400s cannot be opened: %s", path, strerror(errno));
    }
    if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
        FBT_FAIL(FBT_ERR_IO, "%.400s is not a regular file; give the path of an HDF5 file", path);
    }
    status = fbt_seal_check(path, descriptor);
done:
    close(descriptor);
    return status;
}

fbt_status fbt_hdf5_open(const char *path, hid_t *file)
{
    fbt_status status = FBT_OK;
    hid_t access = -1;
    *file = -1;
    FBT_TRY(check_readable(path));
    FBT_HDF5(access = H5Pcreate(H5P_FILE_ACCESS), "%.400s cannot be opened", path);
    FBT_HDF5(H5Pset_file_locking(access, false, true), "%.400s cannot be opened", path);
    *file = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (*file < 0 && H5Fis_hdf5(path) <= 0) {
        H5Eclear2(H5E_DEFAULT);
        FBT_FAIL(FBT_ERR_IO, "%.400s is not an HDF5 file, or its beginning is damaged", path);
    }
    FBT_HDF5(*file, "%.400s cannot be opened: it is truncated or damaged; make or copy it again", path);
done:
    fbt_hdf5_close(access);
    return status;
}

fbt_status fbt_hdf5_new_in_memory(hid_t *file)
{
    fbt_status status = FBT_OK;
    hid_t access = -1, creation = -1;
    *file = -1;
    FBT_HDF5(access = H5Pcreate(H5P_FILE_ACCESS), "a file in memory cannot be made");
    FBT_HDF5(H5Pset_fapl_core(access, MEMORY_STEP_BYTES, false), "a file in memory cannot be made");
    FBT_HDF5(creation = H5Pcreate(H5P_FILE_CREATE), "a file in memory cannot be made");
    FBT_HDF5(H5Pset_userblock(creation, FBT_SEAL_BYTES), "a file in memory cannot be made");
    FBT_HDF5(*file = H5Fcreate("fedbpt-in-memory.h5", H5F_ACC_TRUNC, creation, access),
             "a file in memory cannot be made");
done:
    fbt_hdf5_close(creation);
    fbt_hdf5_close(access);
    return status;
}

static fbt_status copy_attribute(hid_t from, const char *name, hid_t to)
{
    fbt_status status = FBT_OK;
    hid_t attribute = -1, type = -1, space = -1, made = -1;
    void *value = NULL;
    bool has_value = false;
    FBT_HDF5(attribute = H5Aopen(from, name, H5P_DEFAULT), "attribute %s cannot be read", name);
    FBT_HDF5(type = H5Aget_type(attribute), "attribute %s cannot be read", name);
    FBT_HDF5(space = H5Aget_space(attribute), "attribute %s cannot be read", name);
    FBT_TRY(fbt_memory_alloc(&value, H5Sget_simple_extent_npoints(space), H5Tget_size(type)));
    FBT_HDF5(H5Aread(attribute, type, value), "attribute %s cannot be read", name);
    has_value = true;
    FBT_HDF5(made = H5Acreate2(to, name, type, space, H5P_DEFAULT, H5P_DEFAULT), "attribute %s cannot be made", name);
    FBT_HDF5(H5Awrite(made, type, value), "attribute %s cannot be written", name);
done:
    if (has_value) {
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, value); /* texts of variable length */
    }
    free(value);
    fbt_hdf5_close(made);
    fbt_hdf5_close(space);
    fbt_hdf5_close(type);
    fbt_hdf5_close(attribute);
    return status;
}

fbt_status fbt_hdf5_copy(hid_t from, hid_t to)
{
    fbt_status status = FBT_OK;
    char name[256];
    H5O_info_t root;
    H5G_info_t links;
    FBT_HDF5(H5Oget_info2(from, &root, H5O_INFO_NUM_ATTRS), "the file's root is damaged");
    for (hsize_t i = 0; i < root.num_attrs; i++) {
        FBT_HDF5(H5Aget_name_by_idx(from, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT),
                 "the file's root is damaged");
        FBT_TRY(copy_attribute(from, name, to));
    }
    FBT_HDF5(H5Gget_info(from, &links), "the file's root is damaged");
    for (hsize_t i = 0; i < links.nlinks; i++) {
        FBT_HDF5(H5Lget_name_by_idx(from, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT),
                 "the file's root is damaged");
        FBT_HDF5(H5Ocopy(from, name, to, name, H5P_DEFAULT, H5P_DEFAULT), "%s cannot be read", name);
    }
done:
    return status;
}

/* Room for n_bytes, with some to spare. Not fbt_memory_alloc: its zeroing would touch each byte once more. */
static fbt_status make_room(fbt_hdf5_bytes *image, int64_t n_bytes)
{
    if (n_bytes <= image->capacity) {
        return FBT_OK;
    }
    int64_t capacity = n_bytes + n_bytes / 4;
    free(image->bytes);
    image->bytes = malloc((size_t)capacity);
    image->capacity = image->bytes == NULL ? 0 : capacity;
    if (image->bytes == NULL) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: a copy of the file of %" PRId64 " bytes", n_bytes);
    }
    return FBT_OK;
}

fbt_status fbt_hdf5_image(hid_t file, fbt_hdf5_bytes *image)
{
    fbt_status status = FBT_OK;
    ssize_t size;
    FBT_HDF5(H5Fflush(file, H5F_SCOPE_GLOBAL), "the file in memory cannot be completed");
    FBT_HDF5(size = H5Fget_file_image(file, NULL, 0), "the file in memory cannot be measured");
    FBT_TRY(make_room(image, FBT_SEAL_BYTES + size));
    char *rest = (char *)image->bytes + FBT_SEAL_BYTES; /* HDF5 gives what follows the user block */
    FBT_HDF5(H5Fget_file_image(file, rest, (size_t)size), "the file in memory cannot be copied");
    FBT_TRY(fbt_seal_make(rest, size, image->bytes));
    image->n_bytes = FBT_SEAL_BYTES + size;
done:
    return status;
}

static hid_t text_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && (H5Tset_size(type, H5T_VARIABLE) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        fbt_hdf5_close(type);
        return -1;
    }
    return type;
}

/* An existing attribute is written in place where that is possible, i.e. where type and size cannot have changed. */
static fbt_status write_attribute(hid_t object, const char *name, hid_t type, hid_t space, const void *value,
                                  bool in_place)
{
    fbt_status status = FBT_OK;
    hid_t attribute = -1;
    bool exists = H5Aexists(object, name) > 0;
    if (exists && !in_place) {
        FBT_HDF5(H5Adelete(object, name), "attribute %s cannot be replaced", name);
        exists = false;
    }
    attribute =
        exists ? H5Aopen(object, name, H5P_DEFAULT) : H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    FBT_HDF5(attribute, "attribute %s cannot be made", name);
    FBT_HDF5(H5Awrite(attribute, type, value), "attribute %s cannot be written", name);
done:
    fbt_hdf5_close(attribute);
    return status;
}

/* n < 0: one text that is no list. */
static fbt_status write_texts(hid_t object, const char *name, const char *const *texts, int64_t n)
{
    fbt_status status = FBT_OK;
    const int64_t n_texts = n < 0 ? 1 : n;
    hid_t type = -1, space = -1;
    char **sound = NULL;
    FBT_TRY(fbt_memory_alloc(&sound, n_texts, sizeof *sound));
    for (int64_t i = 0; i < n_texts; i++) {
        FBT_TRY(fbt_utf8_repair(texts[i], &sound[i]));
    }
    FBT_HDF5(type = text_type(), "attribute %s cannot be made", name);
    space = n < 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &(hsize_t){(hsize_t)n}, NULL);
    FBT_HDF5(space, "attribute %s cannot be made", name);
    status = write_attribute(object, name, type, space, sound, false);
done:
    fbt_hdf5_free_texts(sound, n_texts);
    fbt_hdf5_close(space);
    fbt_hdf5_close(type);
    return status;
}

fbt_status fbt_hdf5_write_text(hid_t object, const char *name, const char *text)
{
    return write_texts(object, name, &text, -1);
}

fbt_status fbt_hdf5_write_texts(hid_t object, const char *name, const char *const *texts, int64_t n)
{
    return write_texts(object, name, texts, n);
}

static fbt_status write_number(hid_t object, const char *name, hid_t type, const void *value)
{
    fbt_status status = FBT_OK;
    hid_t space = -1;
    FBT_HDF5(space = H5Screate(H5S_SCALAR), "attribute %s cannot be made", name);
    status = write_attribute(object, name, type, space, value, true);
done:
    fbt_hdf5_close(space);
    return status;
}

fbt_status fbt_hdf5_write_int(hid_t object, const char *name, int64_t value)
{
    return write_number(object, name, H5T_NATIVE_INT64, &value);
}

fbt_status fbt_hdf5_write_real(hid_t object, const char *name, double value)
{
    return write_number(object, name, H5T_NATIVE_DOUBLE, &value);
}

bool fbt_hdf5_has(hid_t object, const char *path)
{
    char part[256];
    /* H5Lexists fails, rather than saying no, when a group on the way is missing. */
    for (size_t n = strcspn(path, "/");; n += 1 + strcspn(path + n + 1, "/")) {
        if (n >= sizeof part) {
            return false;
        }
        memcpy(part, path, n);
        part[n] = '\0';
        if (n > 0 && H5Lexists(object, part, H5P_DEFAULT) <= 0) {
            H5Eclear2(H5E_DEFAULT);
            return false;
        }
        if (path[n] == '\0') {
            return true;
        }
    }
}

/* Opens an attribute with its type and number of values. */
static fbt_status open_attribute(hid_t object, const char *name, H5T_class_t class, hid_t *attribute, hid_t *type,
                                 int64_t *n)
{
    fbt_status status = FBT_OK;
    hid_t space = -1;
    if (H5Aexists(object, name) <= 0) {
        H5Eclear2(H5E_DEFAULT);
        FBT_FAIL(FBT_ERR_DATA, "attribute %s is missing", name);
    }
    FBT_HDF5(*attribute = H5Aopen(object, name, H5P_DEFAULT), "attribute %s cannot be read", name);
    FBT_HDF5(*type = H5Aget_type(*attribute), "attribute %s cannot be read", name);
    FBT_HDF5(space = H5Aget_space(*attribute), "attribute %s cannot be read", name);
    FBT_HDF5(*n = H5Sget_simple_extent_npoints(space), "attribute %s cannot be read", name);
    if (H5Tget_class(*type) != class) {
        FBT_FAIL(FBT_ERR_DATA, "attribute %s is not %s", name, class == H5T_STRING ? "a text" : "a number of its kind");
    }
done:
    fbt_hdf5_close(space);
    return status;
}

static fbt_status read_number(hid_t object, const char *name, H5T_class_t class, hid_t memory_type, void *value)
{
    fbt_status status = FBT_OK;
    hid_t attribute = -1, type = -1;
    int64_t n = 0;
    FBT_TRY(open_attribute(object, name, class, &attribute, &type, &n));
    if (n != 1) {
        FBT_FAIL(FBT_ERR_DATA, "attribute %s has %" PRId64 " values instead of one", name, n);
    }
    FBT_HDF5(H5Aread(attribute, memory_type, value), "attribute %s cannot be read", name);
done:
    fbt_hdf5_close(type);
    fbt_hdf5_close(attribute);
    return status;
}

fbt_status fbt_hdf5_read_int(hid_t object, const char *name, int64_t *value)
{
    return read_number(object, name, H5T_INTEGER, H5T_NATIVE_INT64, value);
}

fbt_status fbt_hdf5_read_real(hid_t object, const char *name, double *value)
{
    return read_number(object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, value);
}

void fbt_hdf5_free_texts(char **texts, int64_t n)
{
    for (int64_t i = 0; texts != NULL && i < n; i++) {
        free(texts[i]);
    }
    free(texts);
}

/* Texts of fixed length: HDF5 pads them with zeros or, as Fortran does, with blanks. */
static fbt_status read_fixed_texts(hid_t attribute, hid_t type, const char *name, char **texts, int64_t n)
{
    fbt_status status = FBT_OK;
    size_t size = H5Tget_size(type);
    char *block = NULL;
    FBT_TRY(fbt_memory_alloc(&block, n, size + 1));
    FBT_HDF5(H5Aread(attribute, type, block), "attribute %s cannot be read", name);
    for (int64_t i = 0; i < n; i++) {
        size_t length = strnlen(block + (size_t)i * size, size);
        while (H5Tget_strpad(type) == H5T_STR_SPACEPAD && length > 0 && block[(size_t)i * size + length - 1] == ' ') {
            length--;
        }
        texts[i] = strndup(block + (size_t)i * size, length);
        if (texts[i] == NULL) {
            FBT_FAIL(FBT_ERR_MEMORY, "out of memory: attribute %s", name);
        }
    }
done:
    free(block);
    return status;
}

static fbt_status read_variable_texts(hid_t attribute, hid_t type, const char *name, char **texts, int64_t n)
{
    fbt_status status = FBT_OK;
    char **pointers = NULL;
    FBT_TRY(fbt_memory_alloc(&pointers, n, sizeof *pointers));
    FBT_HDF5(H5Aread(attribute, type, pointers), "attribute %s cannot be read", name);
    for (int64_t i = 0; i < n; i++) {
        FBT_TRY(fbt_memory_strdup(&texts[i], pointers[i] == NULL ? "" : pointers[i]));
    }
done:
    for (int64_t i = 0; pointers != NULL && i < n; i++) {
        H5free_memory(pointers[i]);
    }
    free(pointers);
    return status;
}

fbt_status fbt_hdf5_read_texts(hid_t object, const char *name, char ***texts, int64_t *n)
{
    fbt_status status = FBT_OK;
    hid_t attribute = -1, type = -1;
    *texts = NULL;
    *n = 0;
    FBT_TRY(open_attribute(object, name, H5T_STRING, &attribute, &type, n));
    FBT_TRY(fbt_memory_alloc(texts, *n, sizeof **texts));
    status = H5Tis_variable_str(type) > 0 ? read_variable_texts(attribute, type, name, *texts, *n)
                                          : read_fixed_texts(attribute, type, name, *texts, *n);
done:
    if (status != FBT_OK) {
        fbt_hdf5_free_texts(*texts, *n);
        *texts = NULL;
        *n = 0;
    }
    fbt_hdf5_close(type);
    fbt_hdf5_close(attribute);
    return status;
}

fbt_status fbt_hdf5_read_text(hid_t object, const char *name, char **text)
{
    char **texts = NULL;
    int64_t n = 0;
    fbt_status status = FBT_OK;
    *text = NULL;
    FBT_TRY(fbt_hdf5_read_texts(object, name, &texts, &n));
    if (n != 1) {
        FBT_FAIL(FBT_ERR_DATA, "attribute %s has %" PRId64 " texts instead of one", name, n);
    }
    *text = texts[0];
    texts[0] = NULL;
done:
    fbt_hdf5_free_texts(texts, n);
    return status;
}

/* Contiguous, or in chunks that may be compressed. */
static fbt_status creation_list(const fbt_hdf5_array *array, hid_t *list)
{
    fbt_status status = FBT_OK;
    hsize_t chunk[RANK_MAX];
    FBT_HDF5(*list = H5Pcreate(H5P_DATASET_CREATE), "data set %s cannot be made", array->name);
    if (array->chunk_rows > 0) {
        memcpy(chunk, array->dims, (size_t)array->rank * sizeof *chunk);
        chunk[0] = array->chunk_rows;
        FBT_HDF5(H5Pset_chunk(*list, array->rank, chunk), "data set %s cannot be made", array->name);
        if (array->deflate) {
            FBT_HDF5(H5Pset_shuffle(*list), "data set %s cannot be made", array->name);
            FBT_HDF5(H5Pset_deflate(*list, DEFLATE_LEVEL), "data set %s cannot be made", array->name);
        }
    }
done:
    return status;
}

fbt_status fbt_hdf5_create(hid_t group, const fbt_hdf5_array *array, const void *values, hid_t *dataset)
{
    fbt_status status = FBT_OK;
    hid_t space = -1, list = -1, made = -1;
    hsize_t limits[RANK_MAX];
    memcpy(limits, array->dims, (size_t)array->rank * sizeof *limits);
    if (array->chunk_rows > 0) {
        limits[0] = H5S_UNLIMITED;
    }
    FBT_TRY(creation_list(array, &list));
    space = H5Screate_simple(array->rank, array->dims, limits);
    FBT_HDF5(space, "data set %s cannot be made", array->name);
    made = H5Dcreate2(group, array->name, array->type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    FBT_HDF5(made, "data set %s cannot be made", array->name);
    FBT_TRY(fbt_hdf5_write_text(made, "long_name", array->long_name));
    FBT_TRY(fbt_hdf5_write_text(made, "unit", array->unit == NULL ? "1" : array->unit));
    if (values != NULL) {
        FBT_HDF5(H5Dwrite(made, array->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), "data set %s cannot be written",
                 array->name);
    }
done:
    fbt_hdf5_close(list);
    fbt_hdf5_close(space);
    if (dataset != NULL && status == FBT_OK) {
        *dataset = made;
    } else {
        fbt_hdf5_close(made);
    }
    return status;
}

fbt_status fbt_hdf5_append(hid_t dataset, hsize_t n_rows, const void *row)
{
    fbt_status status = FBT_OK;
    hid_t space = -1, memory = -1, type = -1;
    hsize_t dims[RANK_MAX], start[RANK_MAX] = {0};
    int rank;
    FBT_HDF5(space = H5Dget_space(dataset), "a data set cannot be extended");
    FBT_HDF5(rank = H5Sget_simple_extent_dims(space, dims, NULL), "a data set cannot be extended");
    dims[0] = n_rows;
    FBT_HDF5(H5Dset_extent(dataset, dims), "a data set cannot be extended");
    if (row == NULL) {
        goto done;
    }
    fbt_hdf5_close(space);
    FBT_HDF5(space = H5Dget_space(dataset), "a data set cannot be extended");
    start[0] = n_rows - 1;
    dims[0] = 1;
    FBT_HDF5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, dims, NULL), "a data set cannot be extended");
    FBT_HDF5(memory = H5Screate_simple(rank, dims, NULL), "a data set cannot be extended");
    FBT_HDF5(type = H5Dget_type(dataset), "a data set cannot be extended");
    FBT_HDF5(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, row), "a data set cannot be written");
done:
    fbt_hdf5_close(type);
    fbt_hdf5_close(memory);
    fbt_hdf5_close(space);
    return status;
}

/* False: beyond every size. */
static bool count_values(hid_t space, int64_t *n)
{
    hsize_t dims[H5S_MAX_RANK];
    const int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    *n = H5Sget_simple_extent_type(space) == H5S_NULL ? 0 : 1;
    for (int i = 0; i < rank; i++) {
        if (dims[i] > INT64_MAX || __builtin_mul_overflow(*n, (int64_t)dims[i], n)) {
            return false;
        }
    }
    return rank >= 0;
}

fbt_status fbt_hdf5_count(hid_t dataset, const char *name, int64_t *n)
{
    fbt_status status = FBT_OK;
    hid_t space = -1, type = -1, list = -1;
    int64_t n_bytes, limit;
    *n = 0;
    FBT_HDF5(space = H5Dget_space(dataset), "%.200s is damaged, or in the format of a newer HDF5", name);
    FBT_HDF5(type = H5Dget_type(dataset), "%.200s is damaged, or in the format of a newer HDF5", name);
    FBT_HDF5(list = H5Dget_create_plist(dataset), "%.200s is damaged, or in the format of a newer HDF5", name);
    const hsize_t stored = H5Dget_storage_size(dataset);
    if (__builtin_mul_overflow(stored, H5Pget_nfilters(list) > 0 ? EXPANSION_MAX : 1, &limit)) {
        limit = INT64_MAX;
    }
    if (!count_values(space, n)) {
        FBT_FAIL(FBT_ERR_IO, "%.200s claims more values than any file can hold; it is damaged", name);
    }
    if (__builtin_mul_overflow(*n, H5Tget_size(type), &n_bytes) || n_bytes > limit) {
        FBT_FAIL(FBT_ERR_IO,
                 "%.200s claims %" PRId64 " values, more than a file of %llu bytes of them can hold; it is damaged",
                 name, *n, (unsigned long long)stored);
    }
done:
    fbt_hdf5_close(list);
    fbt_hdf5_close(type);
    fbt_hdf5_close(space);
    return status;
}
