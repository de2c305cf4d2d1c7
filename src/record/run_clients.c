#include "record/run_clients.h"

#include "base/memory.h"
#include "base/smaller.h"
#include "data/client_spread.h"
#include "record/hdf5_util.h"

#include <stdlib.h>

enum { BLOCK_VALUES = 1 << 16, LINE_BYTES = 256 };

/* partition/class_count, which is read in blocks: of many clients and labels it is large. */
typedef struct table {
    hid_t dataset;
    int64_t n_clients, n_labels;
    int64_t *block; /* [n_block, n_labels] */
    int64_t n_block;
} table;

static fbt_status open_table(hid_t file, table *t)
{
    fbt_status status = FBT_OK;
    hid_t space = -1;
    hsize_t dims[2] = {0};
    int64_t n_values = 0;
    FBT_HDF5(t->dataset = H5Dopen2(file, "partition/class_count", H5P_DEFAULT), "partition/class_count is missing");
    FBT_HDF5(space = H5Dget_space(t->dataset), "partition/class_count is damaged");
    FBT_TRY(fbt_hdf5_count(t->dataset, "partition/class_count", &n_values));
    if (H5Sget_simple_extent_ndims(space) != 2 || H5Sget_simple_extent_dims(space, dims, NULL) != 2 || n_values < 1) {
        FBT_FAIL(FBT_ERR_DATA, "partition/class_count is no table: the file is damaged");
    }
    t->n_clients = (int64_t)dims[0];
    t->n_labels = (int64_t)dims[1];
    t->n_block = fbt_larger(1, fbt_smaller(t->n_clients, BLOCK_VALUES / t->n_labels));
    FBT_TRY(fbt_memory_alloc(&t->block, t->n_block * t->n_labels, sizeof *t->block));
done:
    fbt_hdf5_close(space);
    return status;
}

static fbt_status read_block(const table *t, int64_t first, int64_t n)
{
    fbt_status status = FBT_OK;
    hid_t space = -1, memory = -1;
    const hsize_t start[2] = {(hsize_t)first}, count[2] = {(hsize_t)n, (hsize_t)t->n_labels};
    FBT_HDF5(space = H5Dget_space(t->dataset), "partition/class_count is damaged");
    FBT_HDF5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), "partition/class_count is damaged");
    FBT_HDF5(memory = H5Screate_simple(2, count, NULL), "partition/class_count is damaged");
    FBT_HDF5(H5Dread(t->dataset, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, t->block),
             "partition/class_count cannot be read");
done:
    fbt_hdf5_close(memory);
    fbt_hdf5_close(space);
    return status;
}

/* samples, classes: [n_clients]. */
static fbt_status count(const table *t, int64_t *samples, int64_t *classes)
{
    fbt_status status = FBT_OK;
    for (int64_t first = 0; first < t->n_clients; first += t->n_block) {
        const int64_t n = fbt_smaller(t->n_block, t->n_clients - first);
        FBT_TRY(read_block(t, first, n));
        for (int64_t k = 0; k < n; k++) {
            const int64_t *row = t->block + k * t->n_labels;
            classes[first + k] = fbt_client_spread_classes(row, t->n_labels);
            for (int64_t c = 0; c < t->n_labels; c++) {
                samples[first + k] = (int64_t)((uint64_t)samples[first + k] + (uint64_t)row[c]); /* damaged: any */
            }
        }
    }
done:
    return status;
}

fbt_status fbt_run_clients_show(hid_t file, FILE *stream)
{
    fbt_status status = FBT_OK;
    table t = {.dataset = -1};
    int64_t *samples = NULL, *classes = NULL;
    char line[LINE_BYTES];
    FBT_TRY(open_table(file, &t));
    FBT_TRY(fbt_memory_alloc(&samples, t.n_clients, sizeof *samples));
    FBT_TRY(fbt_memory_alloc(&classes, t.n_clients, sizeof *classes));
    FBT_TRY(count(&t, samples, classes));
    fbt_client_spread_describe(samples, classes, t.n_clients, t.n_labels, line, sizeof line);
    fprintf(stream, "\nClients\n  %s\n", line);
done:
    free(samples);
    free(classes);
    free(t.block);
    fbt_hdf5_close(t.dataset);
    return status;
}
