#include "run/recorder.h"

fbt_status fbt_recorder_create(fbt_recorder *recorder, const char *path, bool overwrite, const fbt_run_header *header)
{
    *recorder = (fbt_recorder){.best = FBT_NO_BEST_ROUND};
    return fbt_run_file_create(path, overwrite, header, &recorder->file);
}

fbt_status fbt_recorder_continue(fbt_recorder *recorder, fbt_run_file **file, const fbt_run_restored *restored,
                                 const fbt_run_header *header)
{
    *recorder = (fbt_recorder){.file = *file, .continues = true, .best = restored->best};
    *file = NULL;
    return fbt_run_file_continue(recorder->file, header);
}

/* Leaves in the file what an earlier round was best with. */
static fbt_status set_result(fbt_recorder *r, const fbt_recorder_round *round)
{
    const fbt_round_row *row = round->row;
    const bool best = fbt_best_round_update(&r->best, row->index, row->dev_accuracy, row->dev_loss);
    return fbt_run_file_set_result(r->file, &(fbt_run_result){.best_round = r->best.index,
                                                              .last_round = row->index,
                                                              .best_z = best ? row->z : NULL,
                                                              .last_z = row->z,
                                                              .best_prompt = best ? round->prompt : NULL,
                                                              .last_prompt = round->prompt});
}

fbt_status fbt_recorder_add(fbt_recorder *recorder, const fbt_recorder_round *round)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_run_file_add_round(recorder->file, round->row));
    FBT_TRY(set_result(recorder, round));
    FBT_TRY(fbt_run_file_set_checkpoint(recorder->file, round->checkpoint));
done:
    return status;
}

fbt_status fbt_recorder_commit(fbt_recorder *recorder, fbt_run_status run_status)
{
    const fbt_status status = fbt_run_file_commit(recorder->file, run_status);
    recorder->touched = recorder->touched || recorder->continues || status == FBT_OK;
    return status;
}

void fbt_recorder_close(fbt_recorder *recorder, fbt_status status)
{
    if (status != FBT_OK && recorder->touched) {
        /* the first error is the one reported */
        fbt_run_file_commit(recorder->file, status == FBT_ERR_STORAGE ? FBT_RUN_INTERRUPTED : FBT_RUN_FAILED);
    }
    fbt_run_file_free(recorder->file);
    *recorder = (fbt_recorder){0};
}
