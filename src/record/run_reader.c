#include "record/run_reader.h"

#include "base/memory.h"
#include "record/hdf5_util.h"
#include "record/run_rounds.h"
#include "record/vocabulary_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Position of a round in the file by its index; -1 when it is not there. */
static int64_t find_round(const fbt_run_rounds *rounds, int64_t index)
{
    const double *indices = fbt_run_rounds_scalar(rounds, "", "index");
    for (int64_t r = 0; r < rounds->n_rounds; r++) {
        if ((int64_t)indices[r] == index) {
            return r;
        }
    }
    return -1;
}

/* The position of the round that `which` names. */
static fbt_status choose_round(const char *path, const fbt_run_rounds *rounds, const char *which, int64_t *row,
                               int64_t *round)
{
    fbt_status status = FBT_OK;
    char *end;
    errno = 0;
    *round = strtoll(which, &end, 10);
    bool number = end != which && *end == '\0' && errno == 0 && *round >= 0;
    if (!number && strcmp(which, "best") != 0 && strcmp(which, "last") != 0) {
        FBT_FAIL(FBT_ERR_USAGE, "'%.64s' names no round; give a number, best or last", which);
    }
    if (rounds->n_rounds == 0) {
        FBT_FAIL(FBT_ERR_DATA, "%.400s has no rounds yet", path);
    }
    if (!number) {
        *round = which[0] == 'b' ? rounds->best_round : rounds->last_round;
    }
    if (*round < 0) {
        FBT_FAIL(FBT_ERR_DATA, "%.400s has no best round, because the run had no dev samples; give a number or last",
                 path);
    }
    *row = find_round(rounds, *round);
    if (*row < 0) {
        FBT_FAIL(FBT_ERR_DATA, "%.400s has no round %" PRId64 "; its last is %" PRId64, path, *round,
                 rounds->last_round);
    }
done:
    return status;
}

static fbt_status read_z(hid_t file, int64_t row, double **z, int64_t *dimension)
{
    fbt_status status = FBT_OK;
    hid_t dataset = -1, space = -1, memory = -1;
    hsize_t dims[2], start[2] = {(hsize_t)row, 0}, count[2] = {1, 0};
    int64_t n;
    FBT_HDF5(dataset = H5Dopen2(file, "rounds/z", H5P_DEFAULT), "rounds/z is missing");
    FBT_TRY(fbt_hdf5_count(dataset, "rounds/z", &n));
    FBT_HDF5(space = H5Dget_space(dataset), "rounds/z is damaged");
    if (H5Sget_simple_extent_ndims(space) != 2 || H5Sget_simple_extent_dims(space, dims, NULL) != 2 ||
        dims[0] <= (hsize_t)row) {
        FBT_FAIL(FBT_ERR_DATA, "rounds/z has the wrong shape");
    }
    count[1] = dims[1];
    *dimension = (int64_t)dims[1];
    FBT_TRY(fbt_memory_alloc(z, *dimension, sizeof **z));
    FBT_HDF5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), "rounds/z is damaged");
    FBT_HDF5(memory = H5Screate_simple(2, count, NULL), "rounds/z is damaged");
    FBT_HDF5(H5Dread(dataset, H5T_NATIVE_DOUBLE, memory, space, H5P_DEFAULT, *z), "rounds/z cannot be read");
done:
    fbt_hdf5_close(memory);
    fbt_hdf5_close(space);
    fbt_hdf5_close(dataset);
    return status;
}

fbt_status fbt_run_reader_load_vocabulary(const char *path, fbt_word_list *vocabulary)
{
    fbt_status status = FBT_OK;
    hid_t file = -1, inputs = -1;
    FBT_TRY(fbt_run_rounds_open(path, &file));
    FBT_HDF5(inputs = H5Gopen2(file, "inputs", H5P_DEFAULT), "%.400s: group inputs is missing", path);
    FBT_TRY(fbt_vocabulary_read(inputs, vocabulary));
done:
    fbt_hdf5_close(inputs);
    fbt_hdf5_close(file);
    return fbt_hdf5_name_file(path, status);
}

fbt_status fbt_run_reader_load_z(const char *path, const char *which, char **config_resolved, double **z,
                                 int64_t *dimension, int64_t *round)
{
    fbt_status status = FBT_OK;
    hid_t file = -1, config = -1;
    int64_t row = -1;
    fbt_run_rounds rounds = {0};
    *config_resolved = NULL;
    *z = NULL;
    FBT_TRY(fbt_run_rounds_open(path, &file));
    FBT_TRY(fbt_run_rounds_read(file, &rounds));
    FBT_TRY(choose_round(path, &rounds, which, &row, round));
    FBT_HDF5(config = H5Gopen2(file, "config", H5P_DEFAULT), "%.400s: group config is missing", path);
    FBT_TRY(fbt_hdf5_read_text(config, "resolved", config_resolved));
    FBT_TRY(read_z(file, row, z, dimension));
done:
    if (status != FBT_OK) {
        free(*config_resolved);
        free(*z);
        *config_resolved = NULL;
        *z = NULL;
    }
    fbt_run_rounds_clear(&rounds);
    fbt_hdf5_close(config);
    fbt_hdf5_close(file);
    return fbt_hdf5_name_file(path, status);
}
