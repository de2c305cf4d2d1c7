#include "hdf5_changes.h"

#include "record/hdf5_util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHANGES_MAX = 12,
    VALUES_MAX = 4096, /* larger data sets are made without writing into them: a small file may claim any size */
    IMAGE_STEP_BYTES = 1 << 16,
    ATTRIBUTE_BYTES_MAX = 60000,
    N_TYPES = 20,
};

static const uint64_t large[] = {1000,
                                 65536,
                                 (uint64_t)1 << 20,
                                 (uint64_t)1 << 31,
                                 (uint64_t)1 << 32,
                                 ((uint64_t)1 << 32) + 1,
                                 (uint64_t)1 << 40,
                                 ((uint64_t)1 << 61) + 1,
                                 INT64_MAX,
                                 UINT64_MAX - 1};
enum { N_LARGE = sizeof large / sizeof large[0] };

/* ---- The sound file ---- */

static void add_node(fuzz_hdf5_base *base, const char *path, const char *attribute)
{
    FUZZ_REQUIRE(base->n_nodes < FUZZ_HDF5_NODES_MAX);
    fuzz_hdf5_node *node = &base->nodes[base->n_nodes++];
    snprintf(node->path, sizeof node->path, "%s", path);
    snprintf(node->attribute, sizeof node->attribute, "%s", attribute);
}

static herr_t visit(hid_t file, const char *path, const H5O_info_t *info, void *user)
{
    char name[48];
    add_node(user, path, "");
    for (hsize_t i = 0; i < info->num_attrs; i++) {
        FUZZ_REQUIRE(H5Aget_name_by_idx(file, path, H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) >=
                     0);
        add_node(user, path, name);
    }
    return 0;
}

void fuzz_hdf5_load(const char *path, fuzz_hdf5_base *base)
{
    hid_t file, copy;
    fbt_hdf5_bytes image = {0};
    fbt_hdf5_silence();
    FUZZ_REQUIRE(fuzz_outcome(fbt_hdf5_open(path, &file)));
    FUZZ_REQUIRE(fuzz_outcome(fbt_hdf5_new_in_memory(&copy)));
    FUZZ_REQUIRE(fuzz_outcome(fbt_hdf5_copy(file, copy)));
    FUZZ_REQUIRE(H5Ovisit2(copy, H5_INDEX_NAME, H5_ITER_INC, visit, base, H5O_INFO_BASIC | H5O_INFO_NUM_ATTRS) >= 0);
    FUZZ_REQUIRE(fuzz_outcome(fbt_hdf5_image(copy, &image)));
    base->image = image.bytes;
    base->n_bytes = (size_t)image.n_bytes;
    H5Fclose(copy);
    H5Fclose(file);
}

/* ---- Types, shapes and values ---- */

static hid_t make_type(uint64_t which)
{
    const hid_t plain[] = {H5T_STD_I8LE,  H5T_STD_U8LE,    H5T_STD_I16BE,     H5T_STD_I32LE,  H5T_STD_I64LE,
                           H5T_STD_U64LE, H5T_STD_U64BE,   H5T_IEEE_F32LE,    H5T_IEEE_F64LE, H5T_IEEE_F64BE,
                           H5T_STD_B8LE,  H5T_STD_REF_OBJ, H5T_NATIVE_LDOUBLE};
    enum { N_PLAIN = sizeof plain / sizeof plain[0] };
    which %= N_TYPES;
    if (which < N_PLAIN) {
        return H5Tcopy(plain[which]);
    }
    hid_t type = -1;
    switch (which - N_PLAIN) {
    case 0:
    case 1:
        type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, which == N_PLAIN ? 5 : H5T_VARIABLE);
        break;
    case 2:
        type = H5Tcreate(H5T_COMPOUND, 16);
        H5Tinsert(type, "a", 0, H5T_STD_I64LE);
        H5Tinsert(type, "b", 8, H5T_IEEE_F64LE);
        break;
    case 3:
        type = H5Tenum_create(H5T_STD_I8LE);
        H5Tenum_insert(type, "FALSE", &(int8_t){0});
        H5Tenum_insert(type, "TRUE", &(int8_t){1});
        break;
    case 4:
        type = H5Tvlen_create(H5T_STD_I32LE);
        break;
    case 5:
        type = H5Tarray_create2(H5T_STD_I32LE, 1, &(hsize_t){3});
        break;
    default:
        type = H5Tcreate(H5T_OPAQUE, 4);
    }
    return type;
}

static hid_t make_space(fuzz_input *input, hsize_t dims[3], int *rank)
{
    const uint64_t kind = fuzz_take(input, 1) % 8;
    *rank = kind < 2 ? 0 : kind < 6 ? 1 : (int)kind - 4;
    for (int i = 0; i < *rank; i++) {
        const uint64_t size = fuzz_take(input, 1);
        dims[i] = size < 200 ? size % 24 : large[size % N_LARGE];
    }
    return *rank == 0 ? H5Screate(kind == 0 ? H5S_NULL : H5S_SCALAR) : H5Screate_simple(*rank, dims, NULL);
}

static int64_t take_integer(fuzz_input *input)
{
    const uint64_t kind = fuzz_take(input, 1);
    return kind < 200   ? (int64_t)kind - 8
           : kind < 240 ? (kind % 2 == 0 ? 1 : -1) * (int64_t)large[kind % (N_LARGE - 1)]
                        : (int64_t)fuzz_take(input, 8);
}

static double take_real(fuzz_input *input)
{
    static const double special[] = {NAN, INFINITY, -INFINITY, 1e300, -1e300, 0x1p63, -0.0, 5e-324, 0.5, 1e18};
    const uint64_t kind = fuzz_take(input, 1);
    return kind < 128 ? (double)kind - 8 : special[kind % (sizeof special / sizeof special[0])];
}

/* Fills values [n], of 8 bytes each, that HDF5 converts to `type`. Returns the type of the values; < 0: none can be
 * written. */
static hid_t take_values(fuzz_input *input, hid_t type, int64_t n, void *values)
{
    const H5T_class_t class = H5Tget_class(type);
    for (int64_t i = 0; i < n; i++) {
        const int64_t integer = class == H5T_INTEGER && input->n_bytes > 0 ? take_integer(input) : i;
        const double real = class == H5T_FLOAT && input->n_bytes > 0 ? take_real(input) : (double)i;
        memcpy((char *)values + 8 * i, class == H5T_FLOAT ? (const void *)&real : (const void *)&integer, 8);
    }
    return class == H5T_INTEGER ? H5T_NATIVE_INT64 : class == H5T_FLOAT ? H5T_NATIVE_DOUBLE : -1;
}

/* ---- Changes ---- */

static void write_attribute(hid_t attribute, hid_t type, int64_t n, fuzz_input *input)
{
    static int64_t values[VALUES_MAX];
    if (n < 0 || n > VALUES_MAX) {
        return;
    }
    if (H5Tis_variable_str(type) > 0) {
        char *text = fuzz_take_text(input, fuzz_take(input, 1));
        char **texts = calloc((size_t)n + 1, sizeof *texts);
        for (int64_t i = 0; i < n; i++) {
            texts[i] = text;
        }
        H5Awrite(attribute, type, texts);
        free(texts);
        free(text);
    } else if (H5Tget_class(type) == H5T_STRING) {
        memset(values, 0, sizeof values);
        for (size_t i = 0; i < 8; i++) {
            values[i] = (int64_t)fuzz_take(input, 8);
        }
        H5Awrite(attribute, type, values);
    } else {
        const hid_t memory = take_values(input, type, n, values);
        if (memory >= 0) {
            H5Awrite(attribute, memory, values);
        }
    }
}

/* Points of a space; may be beyond every integer, where HDF5's own count wraps around. */
static double count_points(hid_t space)
{
    hsize_t dims[H5S_MAX_RANK];
    const int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    double n = 1;
    for (int i = 0; i < rank; i++) {
        n *= (double)dims[i];
    }
    return n;
}

/* HDF5 1.10 leaves a damaged object header behind when it finds too late that an attribute is too large for it. */
static hid_t make_attribute(hid_t object, const char *name, hid_t type, hid_t space)
{
    const double n_bytes = (double)H5Tget_size(type) * count_points(space);
    return n_bytes < ATTRIBUTE_BYTES_MAX ? H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT) : -1;
}

static void change_attribute(hid_t file, const char *path, const char *name, fuzz_input *input)
{
    hsize_t dims[3] = {0};
    int rank;
    const uint64_t kind = fuzz_take(input, 1) % 16;
    const hid_t object = H5Oopen(file, path, H5P_DEFAULT);
    H5Adelete(object, name);
    if (object >= 0 && kind > 0) {
        const hid_t type = make_type(kind < 5 ? 4 : kind < 8 ? 14 : kind < 10 ? 8 : fuzz_take(input, 1));
        const hid_t space = kind < 10 ? H5Screate(H5S_SCALAR) : make_space(input, dims, &rank);
        const hid_t attribute = make_attribute(object, name, type, space);
        if (attribute >= 0) {
            write_attribute(attribute, type, H5Sget_simple_extent_npoints(space), input);
            H5Aclose(attribute);
        }
        H5Sclose(space);
        H5Tclose(type);
    }
    H5Oclose(object);
}

/* One element of a small data set. */
static void change_element(hid_t file, const char *path, fuzz_input *input)
{
    static int64_t values[VALUES_MAX];
    const hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
    const hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    const int64_t n = H5Sget_simple_extent_npoints(space);
    const H5T_class_t class = H5Tget_class(type);
    if (n > 0 && count_points(space) <= VALUES_MAX && (class == H5T_INTEGER || class == H5T_FLOAT)) {
        const hid_t memory = class == H5T_INTEGER ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE;
        H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
        const uint64_t at = fuzz_take(input, 1) % (uint64_t)n;
        take_values(input, type, 1, &values[at]);
        H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    }
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(dataset);
}

static void make_dataset(hid_t file, const char *path, hid_t type, fuzz_input *input)
{
    static int64_t values[VALUES_MAX];
    hsize_t dims[3] = {0}, chunk[3];
    int rank;
    const hid_t space = make_space(input, dims, &rank), list = H5Pcreate(H5P_DATASET_CREATE);
    double n_values = 1; /* their number may be beyond every integer */
    for (int i = 0; i < rank; i++) {
        n_values *= (double)dims[i];
        chunk[i] = dims[i] == 0 ? 1 : dims[i] < 16 ? dims[i] : 16;
    }
    if (rank > 0 && (n_values > VALUES_MAX || fuzz_take(input, 1) % 2 == 1)) {
        H5Pset_chunk(list, rank, chunk);
    }
    const hid_t dataset = H5Dcreate2(file, path, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    const int64_t n = H5Sget_simple_extent_npoints(space);
    if (dataset >= 0 && n > 0 && n_values <= VALUES_MAX) {
        const hid_t memory = take_values(input, type, n, values);
        if (memory >= 0) {
            H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
        }
    }
    H5Dclose(dataset);
    H5Pclose(list);
    H5Sclose(space);
}

/* Another data set in its place, of the same type or another, with the attributes it had. */
static void replace_dataset(hid_t file, const char *path, bool same_type, fuzz_input *input)
{
    static const char *const kept[] = {"phases", "long_name"};
    const hid_t before = H5Dopen2(file, path, H5P_DEFAULT);
    const hid_t type = same_type ? H5Dget_type(before) : make_type(fuzz_take(input, 1));
    H5Ldelete(file, path, H5P_DEFAULT);
    if (type >= 0) {
        make_dataset(file, path, type, input);
    }
    const hid_t after = H5Dopen2(file, path, H5P_DEFAULT);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        char **texts;
        int64_t n;
        if (after >= 0 && fbt_hdf5_read_texts(before, kept[i], &texts, &n) == FBT_OK) {
            fbt_hdf5_write_texts(after, kept[i], (const char *const *)texts, n);
            fbt_hdf5_free_texts(texts, n);
        }
    }
    fbt_error_clear();
    H5Dclose(after);
    H5Tclose(type);
    H5Dclose(before);
}

/* Something more: a data set, group or attribute that nobody asked for. */
static void add_something(hid_t file, const char *path, fuzz_input *input)
{
    const uint64_t kind = fuzz_take(input, 1) % 3;
    const size_t n_bytes = (size_t)fuzz_take(input, 1) * (fuzz_take(input, 1) % 4 + 1);
    char *name = fuzz_take_text(input, n_bytes);
    const hid_t group = H5Oopen(file, path, H5P_DEFAULT);
    if (kind == 0) {
        const hid_t type = make_type(fuzz_take(input, 1));
        make_dataset(group, name, type, input);
        H5Tclose(type);
    } else if (kind == 1) {
        H5Gclose(H5Gcreate2(group, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    } else if (name[0] != '\0') {
        change_attribute(file, path, name, input);
    }
    H5Oclose(group);
    free(name);
}

static void change_object(hid_t file, const fuzz_hdf5_base *base, const char *path, fuzz_input *input)
{
    const uint64_t kind = fuzz_take(input, 1) % 16;
    const char *other = base->nodes[fuzz_take(input, 2) % (uint64_t)base->n_nodes].path;
    if (kind < 6) {
        change_element(file, path, input);
    } else if (kind < 11) {
        replace_dataset(file, path, kind % 2 == 0, input);
    } else if (kind == 11) {
        add_something(file, path, input);
    } else {
        H5Ldelete(file, path, H5P_DEFAULT);
        if (kind == 12) {
            H5Gclose(H5Gcreate2(file, path, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        } else if (kind == 13) {
            H5Lcreate_soft(other, file, path, H5P_DEFAULT, H5P_DEFAULT); /* leads nowhere, in a circle or astray */
        } else if (kind == 14) {
            H5Lcreate_hard(file, other, file, path, H5P_DEFAULT, H5P_DEFAULT); /* a group may hold itself */
        }
    }
}

static hid_t open_image(const fuzz_hdf5_base *base)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(access, IMAGE_STEP_BYTES, false);
    H5Pset_file_image(access, base->image, base->n_bytes);
    const hid_t file = H5Fopen("fuzz.h5", H5F_ACC_RDWR, access);
    FUZZ_REQUIRE(file >= 0);
    H5Pclose(access);
    return file;
}

const char *fuzz_hdf5_change(const fuzz_hdf5_base *base, fuzz_input *input, const char *name)
{
    static fbt_hdf5_bytes image;
    const hid_t file = open_image(base);
    for (int i = 0; i < CHANGES_MAX && input->n_bytes >= 3; i++) {
        const fuzz_hdf5_node *node = &base->nodes[fuzz_take(input, 2) % (uint64_t)base->n_nodes];
        if (node->attribute[0] != '\0') {
            change_attribute(file, node->path, node->attribute, input);
        } else {
            change_object(file, base, node->path, input);
        }
    }
    FUZZ_REQUIRE(fuzz_outcome(fbt_hdf5_image(file, &image)));
    const char *path = fuzz_write(name, image.bytes, (size_t)image.n_bytes);
    H5Fclose(file);
    H5Eclear2(H5E_DEFAULT);
    fuzz_hdf5_check_closed();
    return path;
}

void fuzz_hdf5_check_closed(void)
{
    FUZZ_REQUIRE(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0);
}
