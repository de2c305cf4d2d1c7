/* Who writes a run file: the settings in force, and where and when each of the programs ran that wrote its rounds. */
#include "record/run_file_internal.h"

#include "base/build_info.h"

#include <stdio.h>
#include <time.h>

void fbt_run_file_utc_now(char text[FBT_RUN_TIME_BYTES])
{
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(text, FBT_RUN_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static fbt_status write_config(hid_t file, const fbt_run_header *header)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    FBT_TRY(fbt_run_file_group(file, "config", &group));
    FBT_TRY(fbt_hdf5_write_text(group, "given", header->config_given));
    FBT_TRY(fbt_hdf5_write_text(group, "resolved", header->config_resolved));
    FBT_TRY(fbt_hdf5_write_text(group, "decides", header->config_decides));
done:
    fbt_hdf5_close(group);
    return status;
}

static fbt_status remove_attributes(hid_t group)
{
    fbt_status status = FBT_OK;
    H5O_info_t info;
    FBT_HDF5(H5Oget_info2(group, &info, H5O_INFO_NUM_ATTRS), "group environment cannot be read");
    for (hsize_t n = info.num_attrs; n > 0; n--) {
        FBT_HDF5(H5Adelete_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, 0, H5P_DEFAULT),
                 "group environment cannot be written");
    }
done:
    return status;
}

static fbt_status write_environment(hid_t group, const fbt_run_text *environment)
{
    fbt_status status = FBT_OK;
    for (; environment != NULL && environment->name != NULL; environment++) {
        FBT_TRY(fbt_hdf5_write_text(group, environment->name, environment->value));
    }
done:
    return status;
}

/* /environment/sessions/0001, ...: whoever wants to know which rounds were made where finds it here. */
static fbt_status add_session(hid_t environment, const fbt_run_header *header, int64_t first_round)
{
    fbt_status status = FBT_OK;
    hid_t sessions = -1, session = -1;
    H5G_info_t info;
    char name[32], started[FBT_RUN_TIME_BYTES];
    FBT_TRY(fbt_run_file_group(environment, "sessions", &sessions));
    FBT_HDF5(H5Gget_info(sessions, &info), "group sessions cannot be read");
    snprintf(name, sizeof name, "%04llu", (unsigned long long)info.nlinks + 1);
    FBT_TRY(fbt_run_file_group(sessions, name, &session));
    fbt_run_file_utc_now(started);
    FBT_TRY(fbt_hdf5_write_int(session, "first_round", first_round));
    FBT_TRY(fbt_hdf5_write_text(session, "started", started));
    FBT_TRY(fbt_hdf5_write_text(session, "program_version", fbt_build_version));
    FBT_TRY(fbt_hdf5_write_text(session, "git_commit", fbt_build_commit));
    FBT_TRY(write_environment(session, header->environment));
done:
    fbt_hdf5_close(session);
    fbt_hdf5_close(sessions);
    return status;
}

fbt_status fbt_run_file_begin_session(fbt_run_file *file, const fbt_run_header *header, int64_t first_round)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    FBT_TRY(write_config(file->draft.file, header));
    FBT_TRY(fbt_run_file_group(file->draft.file, "environment", &group));
    FBT_TRY(remove_attributes(group));
    FBT_TRY(write_environment(group, header->environment));
    FBT_TRY(add_session(group, header, first_round));
done:
    file->incomplete = file->incomplete || status != FBT_OK;
    fbt_hdf5_close(group);
    return status;
}
