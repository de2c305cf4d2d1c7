#include "record/run_rounds.h"

#include "base/memory.h"
#include "record/hdf5_util.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

fbt_status fbt_run_rounds_open(const char *path, hid_t *file)
{
    fbt_status status = FBT_OK;
    int64_t version = 0;
    fbt_hdf5_silence();
    FBT_TRY(fbt_hdf5_open(path, file));
    if (!fbt_hdf5_has(*file, "rounds/index") || fbt_hdf5_read_int(*file, "format_version", &version) != FBT_OK) {
        FBT_TRY(fbt_refail(FBT_ERR_DATA,
                           "%.400s is an HDF5 file, but not a run file of fedbpt; give the path of a run's output",
                           path));
    }
    if (version < 1 || version > FBT_RUN_FORMAT_VERSION) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%.400s has format version %" PRId64
                 ", this program reads versions up to %d; read it with the program that wrote it",
                 path, version, FBT_RUN_FORMAT_VERSION);
    }
done:
    if (status != FBT_OK) {
        fbt_hdf5_close(*file);
        *file = -1;
    }
    return status;
}

/* Reads a whole column as double; rows * row_size values are expected. */
static fbt_status read_column(hid_t file, const char *path, int64_t n_values, double **values)
{
    fbt_status status = FBT_OK;
    hid_t dataset = -1;
    int64_t n = 0;
    FBT_HDF5(dataset = H5Dopen2(file, path, H5P_DEFAULT), "%s is missing", path);
    FBT_TRY(fbt_hdf5_count(dataset, path, &n));
    if (n != n_values) {
        FBT_FAIL(FBT_ERR_DATA, "%s has %" PRId64 " values instead of %" PRId64, path, n, n_values);
    }
    FBT_TRY(fbt_memory_alloc(values, n_values, sizeof **values));
    FBT_HDF5(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, *values), "%s cannot be read", path);
done:
    fbt_hdf5_close(dataset);
    return status;
}

static fbt_status count_rounds(hid_t file, int64_t *n_rounds)
{
    fbt_status status = FBT_OK;
    hid_t dataset = -1;
    FBT_HDF5(dataset = H5Dopen2(file, "rounds/index", H5P_DEFAULT), "rounds/index is missing");
    status = fbt_hdf5_count(dataset, "rounds/index", n_rounds);
done:
    fbt_hdf5_close(dataset);
    return status;
}

/* Integers are kept as double, which holds those below 2^53 exactly. Whoever looks for a round takes the first that has
 * its index. */
static fbt_status check_integers(const char *path, const double *values, int64_t n, bool is_index)
{
    for (int64_t r = 0; r < n; r++) {
        if (!(fabs(values[r]) < 0x1p53) || values[r] != trunc(values[r])) {
            return fbt_fail(FBT_ERR_DATA,
                            "%s: row %" PRId64 " has the value %g, which is no count: the file is damaged", path, r,
                            values[r]);
        }
        if (is_index && !(values[r] > (r == 0 ? -1 : values[r - 1]))) {
            return fbt_fail(FBT_ERR_DATA, "%s: row %" PRId64 " has round %.0f: rounds do not rise, the file is damaged",
                            path, r, values[r]);
        }
    }
    return FBT_OK;
}

static fbt_status read_scalars(hid_t file, fbt_run_rounds *rounds)
{
    fbt_status status = FBT_OK;
    char path[FBT_RUN_COLUMN_PATH_BYTES];
    const fbt_run_column *columns = fbt_run_columns(&rounds->n_columns);
    FBT_TRY(fbt_memory_alloc(&rounds->scalars, rounds->n_columns, sizeof *rounds->scalars));
    for (int64_t i = 0; i < rounds->n_columns; i++) {
        if (columns[i].shape == FBT_RUN_SCALAR) {
            fbt_run_column_path(&columns[i], path);
            if (columns[i].presence != FBT_RUN_ALWAYS && !fbt_hdf5_has(file, path)) {
                continue;
            }
            FBT_TRY(read_column(file, path, rounds->n_rounds, &rounds->scalars[i]));
            if (columns[i].type == FBT_RUN_INTEGER) {
                FBT_TRY(check_integers(path, rounds->scalars[i], rounds->n_rounds,
                                       i == 0)); /* the first column is the index */
            }
        }
    }
done:
    return status;
}

static fbt_status read_phases(hid_t file, fbt_run_rounds *rounds)
{
    fbt_status status = FBT_OK;
    hid_t dataset = -1;
    FBT_HDF5(dataset = H5Dopen2(file, "rounds/cost/seconds", H5P_DEFAULT), "rounds/cost/seconds is missing");
    FBT_TRY(fbt_hdf5_read_texts(dataset, "phases", &rounds->phases, &rounds->n_phases));
    FBT_TRY(read_column(file, "rounds/cost/seconds", rounds->n_rounds * rounds->n_phases, &rounds->seconds));
done:
    fbt_hdf5_close(dataset);
    return status;
}

const double *fbt_run_rounds_scalar(const fbt_run_rounds *rounds, const char *group, const char *name)
{
    int64_t n;
    const fbt_run_column *columns = fbt_run_columns(&n);
    for (int64_t i = 0; i < n; i++) {
        if (strcmp(columns[i].group, group) == 0 && strcmp(columns[i].name, name) == 0) {
            return rounds->scalars[i];
        }
    }
    return NULL;
}

static int64_t find_best(const fbt_run_rounds *rounds)
{
    const double *index = fbt_run_rounds_scalar(rounds, "", "index");
    const double *accuracy = fbt_run_rounds_scalar(rounds, "", "dev_accuracy");
    const double *loss = fbt_run_rounds_scalar(rounds, "", "dev_loss");
    fbt_best_round best = FBT_NO_BEST_ROUND;
    for (int64_t r = 0; r < rounds->n_rounds; r++) {
        fbt_best_round_update(&best, (int64_t)index[r], accuracy[r], loss[r]);
    }
    return best.index;
}

static fbt_status read_best(hid_t file, fbt_run_rounds *rounds)
{
    fbt_status status = FBT_OK;
    hid_t result = -1;
    const double *index = fbt_run_rounds_scalar(rounds, "", "index");
    rounds->last_round = rounds->n_rounds == 0 ? -1 : (int64_t)index[rounds->n_rounds - 1];
    rounds->best_round = find_best(rounds);
    if (fbt_hdf5_has(file, "result")) {
        FBT_HDF5(result = H5Gopen2(file, "result", H5P_DEFAULT), "group result is damaged");
        FBT_TRY(fbt_hdf5_read_int(result, "best_round", &rounds->best_round));
    }
done:
    fbt_hdf5_close(result);
    return status;
}

fbt_status fbt_run_rounds_read(hid_t file, fbt_run_rounds *rounds)
{
    fbt_status status = FBT_OK;
    FBT_TRY(count_rounds(file, &rounds->n_rounds));
    FBT_TRY(read_scalars(file, rounds));
    FBT_TRY(read_phases(file, rounds));
    FBT_TRY(read_best(file, rounds));
done:
    return status;
}

void fbt_run_rounds_clear(fbt_run_rounds *rounds)
{
    for (int64_t i = 0; rounds->scalars != NULL && i < rounds->n_columns; i++) {
        free(rounds->scalars[i]);
    }
    free(rounds->scalars);
    free(rounds->seconds);
    fbt_hdf5_free_texts(rounds->phases, rounds->n_phases);
    memset(rounds, 0, sizeof *rounds);
}

static fbt_status is_text(hid_t object, const char *name, bool *text)
{
    fbt_status status = FBT_OK;
    hid_t attribute = -1, type = -1;
    FBT_HDF5(attribute = H5Aopen(object, name, H5P_DEFAULT), "attribute %s cannot be read", name);
    FBT_HDF5(type = H5Aget_type(attribute), "attribute %s cannot be read", name);
    *text = H5Tget_class(type) == H5T_STRING;
done:
    fbt_hdf5_close(type);
    fbt_hdf5_close(attribute);
    return status;
}

static fbt_status visit_attribute(hid_t object, const char *name, fbt_run_visit visit, void *user)
{
    fbt_status status = FBT_OK;
    bool wanted = false;
    char **texts = NULL;
    int64_t n = 0;
    FBT_TRY(is_text(object, name, &wanted));
    if (wanted) {
        FBT_TRY(fbt_hdf5_read_texts(object, name, &texts, &n));
        FBT_TRY(visit(user, name, (const char *const *)texts, n));
    }
done:
    fbt_hdf5_free_texts(texts, n);
    return status;
}

fbt_status fbt_run_rounds_visit_texts(hid_t file, const char *group, fbt_run_visit visit, void *user)
{
    fbt_status status = FBT_OK;
    hid_t object = -1;
    H5O_info_t info;
    char name[256];
    FBT_HDF5(object = H5Gopen2(file, group, H5P_DEFAULT), "group %s is missing", group);
    FBT_HDF5(H5Oget_info2(object, &info, H5O_INFO_NUM_ATTRS), "group %s is damaged", group);
    for (hsize_t i = 0; i < info.num_attrs; i++) {
        FBT_HDF5(H5Aget_name_by_idx(object, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT),
                 "group %s is damaged", group);
        FBT_TRY(visit_attribute(object, name, visit, user));
    }
done:
    fbt_hdf5_close(object);
    return status;
}

static fbt_status visit_session(hid_t file, const char *group, fbt_run_session_visit visit, void *user)
{
    fbt_status status = FBT_OK;
    hid_t object = -1;
    fbt_run_session session = {.group = group};
    FBT_HDF5(object = H5Gopen2(file, group, H5P_DEFAULT), "group %s is damaged", group);
    FBT_TRY(fbt_hdf5_read_int(object, "first_round", &session.first_round));
    status = visit(user, &session);
done:
    fbt_hdf5_close(object);
    return status;
}

fbt_status fbt_run_rounds_visit_sessions(hid_t file, fbt_run_session_visit visit, void *user)
{
    static const char parent[] = "environment/sessions/";
    fbt_status status = FBT_OK;
    hid_t sessions = -1;
    H5G_info_t info;
    char group[sizeof parent + 64] = "";
    memcpy(group, parent, sizeof parent);
    FBT_HDF5(sessions = H5Gopen2(file, "environment/sessions", H5P_DEFAULT), "group environment/sessions is missing");
    FBT_HDF5(H5Gget_info(sessions, &info), "group environment/sessions is damaged");
    for (hsize_t i = 0; i < info.nlinks; i++) {
        FBT_HDF5(H5Lget_name_by_idx(sessions, ".", H5_INDEX_NAME, H5_ITER_INC, i, group + sizeof parent - 1,
                                    sizeof group - sizeof parent, H5P_DEFAULT),
                 "group environment/sessions is damaged");
        FBT_TRY(visit_session(file, group, visit, user));
    }
done:
    fbt_hdf5_close(sessions);
    return status;
}
