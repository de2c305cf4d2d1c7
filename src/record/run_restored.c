/* Where a run stands, as its file tells. */
#include "record/run_file_internal.h"

#include "base/memory.h"
#include "record/run_rounds.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void free_arrays(fbt_array *arrays)
{
    for (fbt_array *a = arrays; a != NULL && a->name != NULL; a++) {
        free((char *)(uintptr_t)a->name);
        free((void *)(uintptr_t)a->values);
    }
    free(arrays);
}

static void free_maker(fbt_run_maker *maker)
{
    free(maker->program_version);
    free(maker->git_commit);
    free(maker->compiler);
    free(maker->backend);
    free(maker->device);
    free(maker->instruction_set);
    free(maker->libraries);
}

void fbt_run_restored_clear(fbt_run_restored *restored)
{
    free(restored->config_resolved);
    free(restored->model_sha256);
    free(restored->data_sha256);
    free(restored->precision);
    free(restored->device);
    free(restored->instruction_set);
    free_arrays(restored->checkpoint);
    for (int64_t i = 0; i < restored->n_makers; i++) {
        free_maker(&restored->makers[i]);
    }
    free(restored->makers);
    *restored = (fbt_run_restored){0};
}

static fbt_status read_rounds(hid_t file, fbt_run_restored *restored)
{
    fbt_status status = FBT_OK;
    fbt_run_rounds rounds = {0};
    FBT_TRY(fbt_run_rounds_read(file, &rounds));
    if (rounds.n_rounds == 0) {
        FBT_FAIL(FBT_ERR_DATA, "it has no rounds");
    }
    const double *index = fbt_run_rounds_scalar(&rounds, "", "index");
    const double *fell_back = fbt_run_rounds_scalar(&rounds, "", "precision_fell_back");
    restored->last_round = rounds.last_round;
    restored->fell_back = fell_back != NULL && fell_back[rounds.n_rounds - 1] != 0;
    restored->best = FBT_NO_BEST_ROUND;
    for (int64_t r = 0; r < rounds.n_rounds; r++) {
        if ((int64_t)index[r] == rounds.best_round) {
            restored->best = (fbt_best_round){.index = rounds.best_round,
                                              .accuracy = fbt_run_rounds_scalar(&rounds, "", "dev_accuracy")[r],
                                              .loss = fbt_run_rounds_scalar(&rounds, "", "dev_loss")[r]};
        }
    }
    if (restored->best.index != rounds.best_round) {
        FBT_FAIL(FBT_ERR_DATA, "the best round, %" PRId64 ", is none of its rounds: the file is damaged",
                 rounds.best_round);
    }
done:
    fbt_run_rounds_clear(&rounds);
    return status;
}

static fbt_status read_texts(hid_t file, fbt_run_restored *restored)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    char *run_status = NULL;
    const struct {
        const char *group, *name;
        char **text;
    } texts[] = {
        {"/", "status", &run_status},
        {"config", "resolved", &restored->config_resolved},
        {"inputs", "model_sha256", &restored->model_sha256},
        {"inputs", "data_sha256", &restored->data_sha256},
        {"environment", "precision", &restored->precision},
        {"environment", "device", &restored->device},
        {"environment", "instruction_set", &restored->instruction_set},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FBT_HDF5(group = H5Gopen2(file, texts[i].group, H5P_DEFAULT), "group %s is missing", texts[i].group);
        FBT_TRY(fbt_hdf5_read_text(group, texts[i].name, texts[i].text));
        fbt_hdf5_close(group);
        group = -1;
    }
    if (!fbt_run_status_of_name(run_status, &restored->run_status)) {
        FBT_FAIL(FBT_ERR_DATA,
                 "its status '%.40s' is unknown: the file is damaged, or from another version of this program",
                 run_status);
    }
done:
    free(run_status);
    fbt_hdf5_close(group);
    return status;
}

static fbt_status read_session(hid_t group, fbt_run_maker *maker)
{
    fbt_status status = FBT_OK;
    const struct {
        const char *name;
        char **text;
    } texts[] = {
        {"program_version", &maker->program_version},
        {"git_commit", &maker->git_commit},
        {"compiler", &maker->compiler},
        {"backend", &maker->backend},
        {"device", &maker->device},
        {"instruction_set", &maker->instruction_set},
        {"libraries", &maker->libraries},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (H5Aexists(group, texts[i].name) > 0) {
            FBT_TRY(fbt_hdf5_read_text(group, texts[i].name, texts[i].text));
        } else {
            FBT_TRY(fbt_memory_strdup(texts[i].text, ""));
        }
    }
done:
    return status;
}

/* Where the sessions go. */
typedef struct reading {
    hid_t file;
    fbt_run_restored *restored;
} reading;

static fbt_status add_session(void *user, const fbt_run_session *session)
{
    fbt_status status = FBT_OK;
    reading *r = user;
    hid_t group = -1;
    fbt_run_maker *makers = realloc(r->restored->makers, (size_t)(r->restored->n_makers + 1) * sizeof *makers);
    if (makers == NULL) {
        FBT_FAIL(FBT_ERR_MEMORY, "out of memory: the run file's sessions");
    }
    r->restored->makers = makers;
    fbt_run_maker *maker = &makers[r->restored->n_makers++];
    *maker = (fbt_run_maker){.first_round = session->first_round};
    FBT_HDF5(group = H5Gopen2(r->file, session->group, H5P_DEFAULT), "group %s is damaged", session->group);
    status = read_session(group, maker);
done:
    fbt_hdf5_close(group);
    return status;
}

fbt_status fbt_run_restored_of(hid_t file, fbt_run_restored *restored)
{
    fbt_status status = FBT_OK;
    FBT_TRY(read_texts(file, restored));
    FBT_TRY(read_rounds(file, restored));
    status = fbt_run_rounds_visit_sessions(file, add_session, &(reading){file, restored});
done:
    return status;
}

fbt_status fbt_run_restored_read(const char *path, fbt_run_restored *restored)
{
    fbt_status status = FBT_OK;
    hid_t file = -1;
    FBT_TRY(fbt_run_rounds_open(path, &file));
    FBT_TRY(fbt_run_restored_of(file, restored));
    status = fbt_run_digest_of(file, restored->digest);
done:
    fbt_hdf5_close(file);
    if (status != FBT_OK) {
        fbt_run_restored_clear(restored);
    }
    return fbt_hdf5_name_file(path, status);
}
