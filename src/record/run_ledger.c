#include "record/run_ledger.h"

#include "record/hdf5_util.h"

#include <string.h>

static const char attribute[] = "value_bytes";

fbt_status fbt_run_ledger_read(hid_t file, int64_t *value_bytes)
{
    fbt_status status = FBT_OK;
    hid_t cost = -1;
    *value_bytes = FBT_RUN_LEDGER_VALUE_BYTES;
    if (!fbt_hdf5_has(file, "rounds/cost")) {
        return FBT_OK;
    }
    FBT_HDF5(cost = H5Gopen2(file, "rounds/cost", H5P_DEFAULT), "group rounds/cost is damaged");
    if (H5Aexists(cost, attribute) > 0) {
        FBT_TRY(fbt_hdf5_read_int(cost, attribute, value_bytes));
    }
    if (*value_bytes < 1 || *value_bytes > 8) {
        FBT_FAIL(FBT_ERR_DATA, "rounds/cost: %s is damaged", attribute);
    }
done:
    fbt_hdf5_close(cost);
    return status;
}

fbt_status fbt_run_ledger_write(hid_t cost, int64_t value_bytes)
{
    return fbt_hdf5_write_int(cost, attribute, value_bytes);
}

bool fbt_run_ledger_has(const char *path)
{
    return strcmp(path, "rounds/cost/bytes_up") == 0 || strcmp(path, "rounds/cost/bytes_down") == 0;
}

int64_t fbt_run_ledger_convert(int64_t n_bytes, int64_t from, int64_t to)
{
    return from == to ? n_bytes : n_bytes / from * to + n_bytes % from * to / from;
}
