#include "model/safetensors.h"

#include "base/half.h"
#include "base/memory.h"
#include "model/weight_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LENGTH_BYTES = 8, MAX_HEADER_BYTES = 100 * 1000 * 1000 /* the reference implementation's limit */ };

/* One mapped file. */
typedef struct shard {
    char *path;
    char *file_name;
    const unsigned char *bytes;
    int64_t n_bytes;
    json_t *header; /* owns the tensors' names and types */
    fbt_tensor *tensors;
    int64_t n_tensors;
} shard;

struct fbt_safetensors {
    fbt_weight_files files;
    shard *shards;
    int64_t n_shards;
    fbt_tensor *tensors; /* sorted by name */
    int64_t n_tensors;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const fbt_tensor *)a)->name, ((const fbt_tensor *)b)->name);
}

static int compare_places(const void *a, const void *b)
{
    const fbt_tensor *left = a;
    const fbt_tensor *right = b;
    if (left->data != right->data) {
        return left->data < right->data ? -1 : 1;
    }
    return (left->n_bytes > right->n_bytes) - (left->n_bytes < right->n_bytes); /* empty ones first */
}

/* Bytes of one item; 0: unknown type. All of the format's types count, since a file may hold tensors that nobody reads.
 */
static int64_t type_bytes(const char *type)
{
    static const struct {
        const char *name;
        int64_t n_bytes;
    } types[] = {
        {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8},  {"U64", 8},     {"I32", 4},     {"U32", 4},
        {"I16", 2}, {"U16", 2}, {"I8", 1},   {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"C64", 8},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(type, types[i].name) == 0) {
            return types[i].n_bytes;
        }
    }
    return 0;
}

static fbt_status map_file(shard *file)
{
    fbt_status status = FBT_OK;
    struct stat about;
    int descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &about) != 0) {
        FBT_FAIL(FBT_ERR_IO, "%s: cannot be read: %s", file->path, strerror(errno));
    }
    if (!S_ISREG(about.st_mode)) {
        FBT_FAIL(FBT_ERR_IO, "%s: is not a regular file", file->path);
    }
    if (about.st_size < LENGTH_BYTES + 2) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: %lld bytes are too few for a safetensors file; it may be truncated, download it again",
                 file->path, (long long)about.st_size);
    }
    void *bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED) {
        FBT_FAIL(FBT_ERR_IO, "%s: cannot be mapped into memory: %s", file->path, strerror(errno));
    }
    file->bytes = bytes;
    file->n_bytes = about.st_size;
done:
    if (descriptor >= 0) {
        close(descriptor);
    }
    return status;
}

/* The JSON object at the start; *data_start: where the tensors' bytes begin. */
static fbt_status read_header(shard *file, int64_t *data_start)
{
    fbt_status status = FBT_OK;
    json_error_t error;
    uint64_t n_bytes = 0;
    for (int i = 0; i < LENGTH_BYTES; i++) {
        n_bytes |= (uint64_t)file->bytes[i] << (8 * i);
    }
    if (memcmp(file->bytes, "version ", LENGTH_BYTES) == 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: is a Git LFS pointer, not the file itself; fetch it with git lfs pull",
                 file->path);
    }
    if (n_bytes > MAX_HEADER_BYTES || n_bytes > (uint64_t)(file->n_bytes - LENGTH_BYTES)) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: gives its header %" PRIu64 " bytes, the file has %" PRId64
                 ": truncated or not a safetensors file; download it again",
                 file->path, n_bytes, file->n_bytes);
    }
    file->header =
        json_loadb((const char *)file->bytes + LENGTH_BYTES, (size_t)n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (file->header == NULL) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: its header is not valid JSON (byte %d: %s); the file is damaged, download it again", file->path,
                 error.position + LENGTH_BYTES, error.text);
    }
    if (!json_is_object(file->header)) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: its header is not a JSON object; this is not a safetensors file", file->path);
    }
    *data_start = LENGTH_BYTES + (int64_t)n_bytes;
done:
    return status;
}

static fbt_status read_shape(fbt_tensor *tensor, const json_t *shape)
{
    fbt_status status = FBT_OK;
    if (!json_is_array(shape) || json_array_size(shape) > FBT_TENSOR_MAX_DIMS) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: tensor '%s': its shape is not a list of at most %d sizes", tensor->path,
                 tensor->name, FBT_TENSOR_MAX_DIMS);
    }
    tensor->n_dims = (int)json_array_size(shape);
    tensor->n_items = 1;
    for (int i = 0; i < tensor->n_dims; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);
        if (!json_is_integer(size) || json_integer_value(size) < 0) {
            FBT_FAIL(FBT_ERR_MODEL, "%s: tensor '%s': size %d of its shape is not a count", tensor->path, tensor->name,
                     i);
        }
        tensor->shape[i] = json_integer_value(size);
        if (__builtin_mul_overflow(tensor->n_items, tensor->shape[i], &tensor->n_items)) {
            FBT_FAIL(FBT_ERR_MODEL, "%s: tensor '%s': its shape is impossibly large", tensor->path, tensor->name);
        }
    }
done:
    return status;
}

/* One entry: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, offsets counted from data_start. */
static fbt_status read_tensor(const shard *file, int64_t data_start, const char *name, const json_t *entry,
                              fbt_tensor *tensor)
{
    fbt_status status = FBT_OK;
    int64_t n_bytes;
    *tensor =
        (fbt_tensor){.name = name, .path = file->path, .type = json_string_value(json_object_get(entry, "dtype"))};
    int64_t item_bytes = tensor->type == NULL ? 0 : type_bytes(tensor->type);
    if (item_bytes == 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: tensor '%s': type '%s' is not one that this program knows", file->path, name,
                 tensor->type == NULL ? "(none)" : tensor->type);
    }
    FBT_TRY(read_shape(tensor, json_object_get(entry, "shape")));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0);
    const json_t *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last)) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: tensor '%s': data_offsets is not a pair of counts", file->path, name);
    }
    int64_t begin = json_integer_value(first);
    int64_t end = json_integer_value(last);
    int64_t available = file->n_bytes - data_start;
    if (begin < 0 || end < begin || end > available) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: tensor '%s' is at bytes %" PRId64 " to %" PRId64 " of %" PRId64
                 ": the file is truncated or damaged, download it again",
                 file->path, name, begin, end, available);
    }
    if (__builtin_mul_overflow(tensor->n_items, item_bytes, &n_bytes) || n_bytes != end - begin) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: tensor '%s': %" PRId64 " bytes do not fit its shape and type %s", file->path, name,
                 end - begin, tensor->type);
    }
    tensor->n_bytes = n_bytes;
    tensor->data = file->bytes + data_start + begin;
done:
    return status;
}

/* Tensors must fill the file from data_start to its end. Sorts them by place. */
static fbt_status check_cover(shard *file, int64_t data_start)
{
    fbt_status status = FBT_OK;
    const unsigned char *next = file->bytes + data_start;
    qsort(file->tensors, (size_t)file->n_tensors, sizeof *file->tensors, compare_places);
    for (int64_t i = 0; i < file->n_tensors; i++) {
        if (file->tensors[i].data != next) {
            FBT_FAIL(FBT_ERR_MODEL, "%s: tensor '%s' %s; the file is damaged, download it again", file->path,
                     file->tensors[i].name,
                     (const unsigned char *)file->tensors[i].data < next ? "overlaps another one" : "follows a gap");
        }
        next += file->tensors[i].n_bytes;
    }
    int64_t n_left = file->bytes + file->n_bytes - next;
    if (n_left != 0) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: %" PRId64 " bytes at its end belong to no tensor; the file is damaged, download it again",
                 file->path, n_left);
    }
done:
    return status;
}

static fbt_status open_shard(const char *folder, const char *file_name, shard *file)
{
    fbt_status status = FBT_OK;
    int64_t data_start;
    const char *name;
    json_t *entry;
    FBT_TRY(fbt_memory_strdup(&file->file_name, file_name));
    FBT_TRY(fbt_json_file_path(folder, file_name, &file->path));
    FBT_TRY(map_file(file));
    FBT_TRY(read_header(file, &data_start));
    FBT_TRY(fbt_memory_alloc(&file->tensors, (int64_t)json_object_size(file->header), sizeof *file->tensors));
    json_object_foreach(file->header, name, entry)
    {
        if (strcmp(name, "__metadata__") != 0) {
            FBT_TRY(read_tensor(file, data_start, name, entry, &file->tensors[file->n_tensors]));
            file->n_tensors++;
        }
    }
    FBT_TRY(check_cover(file, data_start));
    qsort(file->tensors, (size_t)file->n_tensors, sizeof *file->tensors, compare_names);
done:
    return status;
}

static void close_shard(shard *file)
{
    if (file->bytes != NULL) {
        munmap((void *)(uintptr_t)file->bytes, (size_t)file->n_bytes);
    }
    json_decref(file->header);
    free(file->tensors);
    free(file->file_name);
    free(file->path);
}

static const fbt_tensor *find_name(const fbt_tensor *tensors, int64_t n_tensors, const char *name)
{
    return bsearch(&(fbt_tensor){.name = name}, tensors, (size_t)n_tensors, sizeof *tensors, compare_names);
}

static const shard *find_shard(const fbt_safetensors *files, const char *file_name)
{
    for (int64_t i = 0; i < files->n_shards; i++) {
        if (strcmp(files->shards[i].file_name, file_name) == 0) {
            return &files->shards[i];
        }
    }
    return NULL;
}

/* Every tensor of the index is in the shard that it names, and every tensor of a shard is named. */
static fbt_status check_index(const fbt_safetensors *files)
{
    fbt_status status = FBT_OK;
    const char *name;
    json_t *file_name;
    json_object_foreach(files->files.map, name, file_name)
    {
        const shard *file = find_shard(files, json_string_value(file_name));
        if (find_name(file->tensors, file->n_tensors, name) == NULL) {
            FBT_FAIL(FBT_ERR_MODEL, "%s: tensor '%s' is missing, though %s places it there", file->path, name,
                     files->files.path);
        }
    }
    for (int64_t i = 0; i < files->n_tensors; i++) {
        const fbt_tensor *tensor = &files->tensors[i];
        const char *placed = json_string_value(json_object_get(files->files.map, tensor->name));
        if (placed == NULL || strcmp(placed, strrchr(tensor->path, '/') + 1) != 0) {
            FBT_FAIL(FBT_ERR_MODEL,
                     "%s: holds tensor '%s', which %s %s%s; they are not of one model, download it again", tensor->path,
                     tensor->name, files->files.path, placed == NULL ? "does not name" : "places in ",
                     placed == NULL ? "" : placed);
        }
    }
done:
    return status;
}

/* All shards' tensors in one list, sorted by name. */
static fbt_status join_tensors(fbt_safetensors *files)
{
    fbt_status status = FBT_OK;
    int64_t n = 0;
    for (int64_t i = 0; i < files->n_shards; i++) {
        n += files->shards[i].n_tensors;
    }
    FBT_TRY(fbt_memory_alloc(&files->tensors, n, sizeof *files->tensors));
    for (int64_t i = 0; i < files->n_shards; i++) {
        const shard *file = &files->shards[i];
        memcpy(files->tensors + files->n_tensors, file->tensors, (size_t)file->n_tensors * sizeof *files->tensors);
        files->n_tensors += file->n_tensors;
    }
    qsort(files->tensors, (size_t)files->n_tensors, sizeof *files->tensors, compare_names);
done:
    return status;
}

static fbt_status open_shards(const char *folder, fbt_safetensors *files)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_weight_files_find(folder, &files->files));
    FBT_TRY(fbt_memory_alloc(&files->shards, files->files.n_files, sizeof *files->shards));
    for (int64_t i = 0; i < files->files.n_files; i++) {
        FBT_TRY(open_shard(folder, files->files.names[i], &files->shards[files->n_shards++]));
    }
    FBT_TRY(join_tensors(files));
    if (files->files.map != NULL) {
        FBT_TRY(check_index(files));
    }
done:
    return status;
}

fbt_status fbt_safetensors_open(const char *folder, fbt_safetensors **files)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_memory_alloc(files, 1, sizeof **files));
    status = open_shards(folder, *files);
    if (status != FBT_OK) {
        fbt_safetensors_close(*files);
        *files = NULL;
    }
done:
    return status;
}

void fbt_safetensors_close(fbt_safetensors *files)
{
    if (files == NULL) {
        return;
    }
    for (int64_t i = 0; i < files->n_shards; i++) {
        close_shard(&files->shards[i]);
    }
    fbt_weight_files_clear(&files->files);
    free(files->tensors);
    free(files->shards);
    free(files);
}

const fbt_tensor *fbt_safetensors_find(const fbt_safetensors *files, const char *name)
{
    return find_name(files->tensors, files->n_tensors, name);
}

int64_t fbt_safetensors_n_tensors(const fbt_safetensors *files)
{
    return files->n_tensors;
}

const fbt_tensor *fbt_safetensors_tensor(const fbt_safetensors *files, int64_t i)
{
    return &files->tensors[i];
}

int64_t fbt_safetensors_n_files(const fbt_safetensors *files)
{
    return files->n_shards;
}

const char *fbt_safetensors_file(const fbt_safetensors *files, int64_t i)
{
    return files->shards[i].file_name;
}

const char *fbt_safetensors_path(const fbt_safetensors *files)
{
    return files->files.path;
}

fbt_status fbt_tensor_dtype(const fbt_tensor *tensor, fbt_dtype *dtype)
{
    if (strcmp(tensor->type, "F32") == 0) {
        *dtype = FBT_F32;
    } else if (strcmp(tensor->type, "F16") == 0) {
        *dtype = FBT_F16;
    } else if (strcmp(tensor->type, "BF16") == 0) {
        *dtype = FBT_BF16;
    } else {
        return fbt_fail(FBT_ERR_MODEL, "%s: tensor '%s' is of type %s; weights must be F32, F16 or BF16", tensor->path,
                        tensor->name, tensor->type);
    }
    return FBT_OK;
}

static void convert_floats(const unsigned char *bytes, fbt_dtype dtype, int64_t n, float *values)
{
    if (dtype == FBT_F32) {
        memcpy(values, bytes, (size_t)n * sizeof *values);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint16_t item;
        memcpy(&item, bytes + 2 * i, sizeof item);
        values[i] = dtype == FBT_F16 ? fbt_f16_to_float(item) : fbt_bf16_to_float(item);
    }
}

/* First index whose value is not finite, or n. The count comes first because it vectorises. */
static int64_t find_not_finite(const float *values, int64_t n)
{
    int64_t n_bad = 0;
    for (int64_t i = 0; i < n; i++) {
        n_bad += !(fabsf(values[i]) <= 0x1.fffffep127f);
    }
    for (int64_t i = 0; n_bad > 0 && i < n; i++) {
        if (!isfinite(values[i])) {
            return i;
        }
    }
    return n;
}

fbt_status fbt_tensor_floats(const fbt_tensor *tensor, int64_t first, int64_t n, float *values)
{
    fbt_status status = FBT_OK;
    fbt_dtype dtype = FBT_F32;
    FBT_TRY(fbt_tensor_dtype(tensor, &dtype));
    if (first < 0 || n < 0 || first > tensor->n_items - n) {
        FBT_FAIL(FBT_ERR_ARG, "tensor '%s' has no items %" PRId64 " to %" PRId64, tensor->name, first, first + n);
    }
    convert_floats((const unsigned char *)tensor->data + first * (int64_t)fbt_dtype_bytes(dtype), dtype, n, values);
    int64_t bad = find_not_finite(values, n);
    if (bad < n) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: tensor '%s': item %" PRId64 " is not a finite number; the file is damaged",
                 tensor->path, tensor->name, first + bad);
    }
done:
    return status;
}

fbt_status fbt_tensor_check_finite(const fbt_tensor *tensor)
{
    enum { BLOCK = 4096 };
    float values[BLOCK];
    fbt_status status = FBT_OK;
    for (int64_t first = 0; status == FBT_OK && first < tensor->n_items; first += BLOCK) {
        int64_t n = tensor->n_items - first < BLOCK ? tensor->n_items - first : BLOCK;
        status = fbt_tensor_floats(tensor, first, n, values);
    }
    return status;
}

void fbt_tensor_release_pages(const fbt_tensor *tensor)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)tensor->data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)tensor->data + (uintptr_t)tensor->n_bytes) / page * page;
    if (begin < end) {
        madvise((void *)begin, end - begin, MADV_DONTNEED); /* advice: failing is harmless */
    }
}
