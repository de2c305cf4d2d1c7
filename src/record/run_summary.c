#include "record/run_summary.h"

#include "record/hdf5_util.h"
#include "record/run_layout.h"
#include "record/run_rounds.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

static double score_of(const fbt_run_rounds *rounds, const char *name, int64_t index)
{
    const double *indices = fbt_run_rounds_scalar(rounds, "", "index");
    const double *scores = fbt_run_rounds_scalar(rounds, "", name);
    for (int64_t r = 0; r < rounds->n_rounds; r++) {
        if ((int64_t)indices[r] == index) {
            return scores[r];
        }
    }
    return NAN;
}

static fbt_status read_scores(hid_t file, fbt_run_summary *summary)
{
    fbt_status status = FBT_OK;
    fbt_run_rounds rounds = {0};
    FBT_TRY(fbt_run_rounds_read(file, &rounds));
    summary->last_round = rounds.last_round;
    summary->best_round = rounds.best_round;
    summary->dev_accuracy = score_of(&rounds, "dev_accuracy", rounds.best_round);
    summary->test_accuracy =
        score_of(&rounds, "test_accuracy", rounds.best_round < 0 ? rounds.last_round : rounds.best_round);
done:
    fbt_run_rounds_clear(&rounds);
    return status;
}

fbt_status fbt_run_summary_read(const char *path, fbt_run_summary *summary)
{
    fbt_status status = FBT_OK;
    hid_t file = -1, config = -1;
    char *text = NULL;
    struct stat info;
    if (stat(path, &info) != 0 && errno == ENOENT) {
        return FBT_OK;
    }
    summary->exists = true;
    FBT_TRY(fbt_run_rounds_open(path, &file));
    FBT_TRY(fbt_hdf5_read_text(file, "status", &text));
    if (!fbt_run_status_of_name(text, &summary->run_status)) {
        FBT_FAIL(FBT_ERR_DATA,
                 "its status '%.40s' is unknown: the file is damaged, or from another version of this program", text);
    }
    FBT_HDF5(config = H5Gopen2(file, "config", H5P_DEFAULT), "group config is missing");
    FBT_TRY(fbt_hdf5_read_text(config, "resolved", &summary->config_resolved));
    FBT_TRY(read_scores(file, summary));
done:
    free(text);
    fbt_hdf5_close(config);
    fbt_hdf5_close(file);
    return status == FBT_OK ? FBT_OK : fbt_hdf5_name_file(path, status);
}

void fbt_run_summary_clear(fbt_run_summary *summary)
{
    free(summary->config_resolved);
    *summary = (fbt_run_summary){0};
}
