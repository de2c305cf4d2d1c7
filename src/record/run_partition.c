/* The clients' samples in the run file: written and compared in blocks, so that no [K, L] is ever in memory. */
#include "record/run_file_internal.h"

#include "base/memory.h"
#include "data/partition.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { N_ARRAYS = 4, BLOCK_VALUES = 1 << 16, PACKED_BYTES_MIN = 1 << 14 };

/* An array of /partition. */
typedef struct part_spec {
    const char *name, *long_name;
    int64_t dims[2]; /* the second 1 of a list */
    int rank;
    const int64_t *values; /* of a list */
} part_spec;

/* A part's data set, and room for a block of its values. */
typedef struct work {
    const fbt_run_header *header;
    const part_spec *part;
    hid_t dataset;
    int64_t *expected, *found;
} work;

static void list_parts(const fbt_run_header *header, part_spec parts[N_ARRAYS])
{
    const int64_t k = header->n_clients;
    const part_spec filled[N_ARRAYS] = {
        {"sample_offsets",
         "samples of client k: sample_index[sample_offsets[k]:sample_offsets[k + 1]]",
         {k + 1, 1},
         1,
         header->sample_offsets},
        {"sample_index",
         "rows of the data set's train split, client by client",
         {header->sample_offsets[k], 1},
         1,
         header->sample_index},
        {"dev_index",
         "rows of the dev samples, in the dev split, or in the train split where there is none",
         {header->n_dev, 1},
         1,
         header->dev_index},
        {"class_count", "training samples by client and class", {k, header->n_labels}, 2, NULL},
    };
    memcpy(parts, filled, sizeof filled);
}

/* Fills in rows [first, first + n) as they must be. */
static void expect(const work *w, int64_t first, int64_t n)
{
    const fbt_run_header *h = w->header;
    const fbt_partition partition = {.n_labels = h->n_labels,
                                     .sample_offsets = (int64_t *)(uintptr_t)h->sample_offsets,
                                     .sample_index = (int64_t *)(uintptr_t)h->sample_index};
    if (w->part->values == NULL) {
        fbt_partition_count_classes(&partition, h->train_labels, first, n, w->expected);
    } else {
        memcpy(w->expected, w->part->values + first, (size_t)n * sizeof *w->expected);
    }
}

static fbt_status select_rows(const work *w, int64_t first, int64_t n, hid_t *space, hid_t *memory)
{
    fbt_status status = FBT_OK;
    const hsize_t start[2] = {(hsize_t)first}, count[2] = {(hsize_t)n, (hsize_t)w->part->dims[1]};
    FBT_HDF5(*space = H5Dget_space(w->dataset), "partition/%s is damaged", w->part->name);
    FBT_HDF5(H5Sselect_hyperslab(*space, H5S_SELECT_SET, start, NULL, count, NULL), "partition/%s is damaged",
             w->part->name);
    FBT_HDF5(*memory = H5Screate_simple(w->part->rank, count, NULL), "partition/%s is damaged", w->part->name);
done:
    return status;
}

static fbt_status write_rows(const work *w, hid_t space, hid_t memory, int64_t n_values)
{
    fbt_status status = FBT_OK;
    for (int64_t i = 0; i < n_values; i++) {
        if (w->expected[i] > INT32_MAX) {
            FBT_FAIL(FBT_ERR_UNSUPPORTED, "partition/%s: row %" PRId64 " is beyond what the run file can name",
                     w->part->name, w->expected[i]);
        }
    }
    FBT_HDF5(H5Dwrite(w->dataset, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, w->expected),
             "partition/%s cannot be written", w->part->name);
done:
    return status;
}

/* The same settings and data give the same partition, unless another version of the program deals out differently. */
static fbt_status check_rows(const work *w, hid_t space, hid_t memory, int64_t n_values)
{
    fbt_status status = FBT_OK;
    FBT_HDF5(H5Dread(w->dataset, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, w->found), "partition/%s cannot be read",
             w->part->name);
    if (memcmp(w->found, w->expected, (size_t)n_values * sizeof *w->found) != 0) {
        FBT_FAIL(FBT_ERR_DATA,
                 "partition/%s: its clients have other samples than this version of the program would give them; go on "
                 "with the version that began it",
                 w->part->name);
    }
done:
    return status;
}

typedef fbt_status (*visit_rows)(const work *w, hid_t space, hid_t memory, int64_t n_values);

static fbt_status for_each_block(work *w, visit_rows visit)
{
    fbt_status status = FBT_OK;
    hid_t space = -1, memory = -1;
    const int64_t n_rows = w->part->dims[0], n_each = w->part->dims[1];
    const int64_t n_block = n_each < BLOCK_VALUES ? BLOCK_VALUES / n_each : 1;
    const int64_t n_values = (n_block < n_rows ? n_block : n_rows) * n_each;
    FBT_TRY(fbt_memory_alloc(&w->expected, n_values, sizeof *w->expected));
    FBT_TRY(fbt_memory_alloc(&w->found, n_values, sizeof *w->found));
    for (int64_t first = 0; first < n_rows; first += n_block) {
        const int64_t n = n_rows - first < n_block ? n_rows - first : n_block;
        expect(w, first, n);
        FBT_TRY(select_rows(w, first, n, &space, &memory));
        FBT_TRY(visit(w, space, memory, n * n_each));
        fbt_hdf5_close(memory);
        fbt_hdf5_close(space);
        space = memory = -1;
    }
done:
    fbt_hdf5_close(memory);
    fbt_hdf5_close(space);
    free(w->expected);
    free(w->found);
    return status;
}

/* Small arrays are not worth compressing. */
static fbt_status write_part(const fbt_run_header *header, const part_spec *part, hid_t group)
{
    enum { CHUNK_VALUES = 1 << 16 };
    fbt_status status = FBT_OK;
    work w = {.header = header, .part = part, .dataset = -1};
    const hsize_t dims[2] = {(hsize_t)part->dims[0], (hsize_t)part->dims[1]};
    const bool packs = dims[0] * dims[1] * sizeof(int32_t) >= PACKED_BYTES_MIN;
    const hsize_t chunk_rows = CHUNK_VALUES / dims[1] < dims[0] ? CHUNK_VALUES / dims[1] : dims[0];
    const fbt_hdf5_array array = {.name = part->name,
                                  .type = H5T_NATIVE_INT32,
                                  .rank = part->rank,
                                  .dims = dims,
                                  .chunk_rows = packs ? chunk_rows + (chunk_rows == 0) : 0,
                                  .deflate = packs,
                                  .long_name = part->long_name};
    FBT_TRY(fbt_hdf5_create(group, &array, NULL, &w.dataset));
    status = for_each_block(&w, write_rows);
done:
    fbt_hdf5_close(w.dataset);
    return status;
}

fbt_status fbt_run_file_write_partition(hid_t file, const fbt_run_header *header)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    part_spec parts[N_ARRAYS];
    list_parts(header, parts);
    FBT_TRY(fbt_run_file_group(file, "partition", &group));
    for (int i = 0; i < N_ARRAYS; i++) {
        FBT_TRY(write_part(header, &parts[i], group));
    }
done:
    fbt_hdf5_close(group);
    return status;
}

/* Files of version 1 have 64-bit integers. */
static fbt_status check_part(const fbt_run_header *header, const part_spec *part, hid_t file)
{
    fbt_status status = FBT_OK;
    hid_t type = -1;
    char path[64];
    work w = {.header = header, .part = part, .dataset = -1};
    const hsize_t dims[2] = {(hsize_t)part->dims[0], (hsize_t)part->dims[1]};
    snprintf(path, sizeof path, "partition/%s", part->name);
    FBT_HDF5(w.dataset = H5Dopen2(file, path, H5P_DEFAULT), "%s is missing", path);
    FBT_HDF5(type = H5Dget_type(w.dataset), "%s is damaged", path);
    const bool is_wide = H5Tequal(type, H5T_NATIVE_INT64) > 0;
    FBT_TRY(
        fbt_run_file_check_dataset(w.dataset, path, is_wide ? H5T_NATIVE_INT64 : H5T_NATIVE_INT32, part->rank, dims));
    status = for_each_block(&w, check_rows);
done:
    fbt_hdf5_close(type);
    fbt_hdf5_close(w.dataset);
    return status;
}

fbt_status fbt_run_file_check_partition(hid_t file, const fbt_run_header *header)
{
    fbt_status status = FBT_OK;
    part_spec parts[N_ARRAYS];
    list_parts(header, parts);
    for (int i = 0; i < N_ARRAYS; i++) {
        FBT_TRY(check_part(header, &parts[i], file));
    }
done:
    return status;
}
