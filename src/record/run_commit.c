/* How a run file comes to the disk: appended to its journal, or written as a whole. */
#include "record/run_file_internal.h"

#include "base/timer.h"
#include "record/disk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The run file is written when a two-hundredth of the time since it was written last is as long as that took, or when
 * its journal has become larger than it, and than so many bytes. A disk that once stood still counts as a slow one: the
 * file would else be old for as long as two hundred such times. */
static const double share_of_time = 0.005, slow_start_s = 0.005, slow_byte_s = 1 / 50e6;
enum { JOURNAL_MIN_BYTES = 64 << 20 };

/* Room that HDF5 needs for the rows that are added and n_more_bytes of other changes: these, in whole chunks, and its
 * own indices. The checkpoint and the result are there, and written in place. */
static int64_t room_for(const fbt_run_file *file, int64_t n_more_bytes)
{
    enum { A_ROW = 1024, A_FILE = 16384 };
    int64_t n, n_bytes = n_more_bytes + A_FILE + file->n_added * A_ROW;
    const fbt_run_column *columns = fbt_run_columns(&n);
    for (int64_t i = 0; i < n; i++) {
        n_bytes += fbt_run_file_growth(&columns[i], file->row_dims[i], file->n_rows, file->n_added);
    }
    return n_bytes + n_bytes / 16;
}

/* For files of our own alone: no locks, which some cluster file systems lack, and closed when we say so. */
static fbt_status make_access(hid_t *access)
{
    fbt_status status = FBT_OK;
    FBT_HDF5(*access = H5Pcreate(H5P_FILE_ACCESS), "the run file cannot be written");
    FBT_HDF5(H5Pset_file_locking(*access, false, true), "the run file cannot be written");
    FBT_HDF5(H5Pset_fclose_degree(*access, H5F_CLOSE_STRONG), "the run file cannot be written");
done:
    return status;
}

/* Writes a new file over the copy, whose room it takes. */
static fbt_status pack(fbt_run_file *file, const char *path, hid_t access)
{
    fbt_status status = FBT_OK;
    hid_t from = -1, creation = -1;
    FBT_TRY(fbt_hdf5_open(fbt_output_file_path(file->output), &from));
    FBT_HDF5(creation = H5Pcreate(H5P_FILE_CREATE), "the run file cannot be written");
    FBT_HDF5(H5Pset_userblock(creation, FBT_SEAL_BYTES), "the run file cannot be written");
    FBT_HDF5(file->draft.file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access), "the run file cannot be written");
    FBT_TRY(fbt_hdf5_copy(from, file->draft.file));
done:
    fbt_hdf5_close(creation);
    fbt_hdf5_close(from);
    return status;
}

static fbt_status open_draft(fbt_run_file *file, const char *path, bool packs)
{
    fbt_status status = FBT_OK;
    hid_t access = -1;
    FBT_TRY(make_access(&access));
    if (packs) {
        FBT_TRY(pack(file, path, access));
    } else {
        FBT_HDF5(file->draft.file = H5Fopen(path, H5F_ACC_RDWR, access), "the run file cannot be written");
    }
    status = fbt_run_draft_open_columns(&file->draft);
done:
    fbt_hdf5_close(access);
    return status;
}

static fbt_status apply_record(void *user, const char *bytes, int64_t n_bytes)
{
    return fbt_run_draft_apply(user, bytes, n_bytes);
}

/* Of a draft on the disk. */
static void drop_draft(fbt_run_file *file)
{
    fbt_run_draft_close(&file->draft);
    fbt_output_file_drop(file->output);
}

fbt_status fbt_run_file_begin_draft(fbt_run_file *file, int64_t n_more_bytes, bool packs)
{
    fbt_status status = FBT_OK;
    const char *path;
    struct sigaction before;
    fbt_disk_begin(&before);
    FBT_TRY(fbt_output_file_begin(file->output, room_for(file, n_more_bytes), &path));
    status = open_draft(file, path, packs);
    if (status == FBT_OK) {
        status = fbt_journal_read(file->journal, apply_record, &file->draft);
    }
    if (status != FBT_OK) {
        drop_draft(file);
    }
done:
    fbt_disk_end(&before);
    return status;
}

static fbt_status end_in_memory(fbt_run_file *file, char block[FBT_SEAL_BYTES])
{
    fbt_status status = FBT_OK;
    fbt_hdf5_bytes image = {0};
    FBT_TRY(fbt_hdf5_image(file->draft.file, &image));
    FBT_TRY(fbt_output_file_replace(file->output, image.bytes, image.n_bytes));
    memcpy(block, image.bytes, FBT_SEAL_BYTES);
    file->n_bytes = image.n_bytes;
    fbt_run_draft_close(&file->draft);
done:
    free(image.bytes);
    return status;
}

static fbt_status end_on_disk(fbt_run_file *file, char block[FBT_SEAL_BYTES])
{
    const fbt_status status = fbt_run_draft_close(&file->draft);
    if (status == FBT_OK) {
        return fbt_output_file_end(file->output, block, &file->n_bytes);
    }
    fbt_output_file_drop(file->output);
    return status;
}

fbt_status fbt_run_file_end_draft(fbt_run_file *file)
{
    char block[FBT_SEAL_BYTES];
    const int64_t n_rows = file->draft.n_rows;
    const fbt_status status = file->draft.in_memory ? end_in_memory(file, block) : end_on_disk(file, block);
    if (status == FBT_OK) {
        fbt_journal_begin(file->journal, block);
        file->n_rows = n_rows;
        file->n_added = 0;
    }
    return status;
}

static double wall_time_s(const fbt_run_file *file)
{
    return file->wall_time_before_s + fbt_timer_now_s() - file->start_s;
}

/* Puts the pending changes into the draft. */
static fbt_status fill_draft(fbt_run_file *file, fbt_run_status run_status)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_run_draft_apply(&file->draft, file->pending.bytes, file->pending.n_bytes));
    if (!file->has_status || file->run_status != run_status) {
        FBT_TRY(fbt_hdf5_write_text(file->draft.file, "status", fbt_run_status_name(run_status)));
    }
    FBT_TRY(fbt_hdf5_write_real(file->draft.file, "wall_time_s", wall_time_s(file)));
done:
    return status;
}

/* A draft in memory, which a new run has until its first commit, cannot be made again. */
static fbt_status write_whole(fbt_run_file *file, fbt_run_status run_status)
{
    fbt_status status = FBT_OK;
    const double begin_s = fbt_timer_now_s();
    if (file->draft.file < 0) {
        FBT_TRY(fbt_run_file_begin_draft(file, file->pending.n_bytes, false));
    }
    const bool in_memory = file->draft.in_memory;
    const double fill_s = fbt_timer_now_s();
    status = fill_draft(file, run_status);
    if (status != FBT_OK) {
        file->incomplete = in_memory;
        if (!in_memory) {
            drop_draft(file);
        }
        goto done;
    }
    file->pending.n_bytes = in_memory ? 0 : file->pending.n_bytes;
    const double filled_s = fbt_timer_now_s();
    FBT_TRY(fbt_run_file_end_draft(file));
    file->pending.n_bytes = 0;
    file->has_status = true;
    file->run_status = run_status;
    file->written_s = fbt_timer_now_s();
    file->write_s =
        fmin(file->written_s - begin_s - (filled_s - fill_s), slow_start_s + slow_byte_s * (double)file->n_bytes);
done:
    return status;
}

/* Whether the whole file may be written again: what that costs is never more than a share of the run's time. */
static bool is_due(const fbt_run_file *file)
{
    const int64_t limit = file->n_bytes > JOURNAL_MIN_BYTES ? file->n_bytes : JOURNAL_MIN_BYTES;
    return (fbt_timer_now_s() - file->written_s) * share_of_time >= file->write_s ||
           fbt_journal_bytes(file->journal) + file->pending.n_bytes > limit;
}

static fbt_status append(fbt_run_file *file)
{
    fbt_status status = FBT_OK;
    const int64_t n_bytes = file->pending.n_bytes;
    const double now_s = wall_time_s(file);
    FBT_TRY(fbt_run_changes_add(&file->pending, "wall_time_s", NULL, FBT_RUN_CHANGE_REAL, 1, &(int64_t){1}, &now_s));
    FBT_TRY(fbt_output_file_check(file->output));
    FBT_TRY(fbt_journal_append(file->journal, file->pending.bytes, file->pending.n_bytes));
done:
    file->pending.n_bytes = status == FBT_OK ? 0 : n_bytes;
    return status;
}

/* A journal that cannot grow may leave room for the file as a whole. */
static fbt_status append_or_write(fbt_run_file *file, fbt_run_status run_status)
{
    fbt_status status = append(file);
    if (status != FBT_OK && write_whole(file, run_status) == FBT_OK) {
        fbt_error_clear();
        status = FBT_OK;
    }
    return status;
}

fbt_status fbt_run_file_commit(fbt_run_file *file, fbt_run_status run_status)
{
    fbt_status status = FBT_OK;
    struct sigaction before;
    fbt_hdf5_silence();
    if (file->incomplete) {
        return fbt_fail(FBT_ERR_IO,
                        "the run file is not written: an earlier change of it failed half way; what was saved before "
                        "is kept");
    }
    const bool goes_on = file->has_status && file->run_status == FBT_RUN_RUNNING && run_status == FBT_RUN_RUNNING;
    fbt_disk_begin(&before);
    status = goes_on && !is_due(file) ? append_or_write(file, run_status) : write_whole(file, run_status);
    fbt_disk_end(&before);
    return status;
}
