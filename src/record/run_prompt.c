#include "record/run_prompt.h"

#include "base/memory.h"
#include "record/hdf5_util.h"
#include "record/run_rounds.h"

#include <stdlib.h>

static fbt_status read_texts(hid_t file, fbt_run_prompt *p)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    const struct {
        const char *group, *name;
        bool required;
        char **text;
    } texts[] = {
        {"/", "program_version", true, &p->program_version},
        {"/", "git_commit", true, &p->git_commit},
        {"config", "resolved", true, &p->config_resolved},
        {"inputs", "model", true, &p->model},
        {"inputs", "model_sha256", false, &p->model_sha256},
        {"inputs", "model_family", false, &p->model_family},
        {"inputs", "tokenizer_sha256", false, &p->tokenizer_sha256},
        {"inputs", "task", false, &p->task},
        {"inputs", "template", false, &p->template_text},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FBT_HDF5(group = H5Gopen2(file, texts[i].group, H5P_DEFAULT), "group %s is missing", texts[i].group);
        if (texts[i].required || H5Aexists(group, texts[i].name) > 0) {
            FBT_TRY(fbt_hdf5_read_text(group, texts[i].name, texts[i].text));
        }
        fbt_hdf5_close(group);
        group = -1;
    }
    FBT_HDF5(group = H5Gopen2(file, "inputs", H5P_DEFAULT), "group inputs is missing");
    if (H5Aexists(group, "label_words") > 0) {
        FBT_TRY(fbt_hdf5_read_texts(group, "label_words", &p->label_words, &p->n_labels));
    }
done:
    fbt_hdf5_close(group);
    return status;
}

/* A data set of the given rank; *values [dims[0] * ...] is the caller's. */
static fbt_status read_array(hid_t result, const char *name, int rank, hid_t type, hsize_t *dims, void *values)
{
    fbt_status status = FBT_OK;
    hid_t dataset = -1, space = -1;
    void *read = NULL;
    int64_t n;
    FBT_HDF5(dataset = H5Dopen2(result, name, H5P_DEFAULT), "result/%s is missing", name);
    FBT_TRY(fbt_hdf5_count(dataset, name, &n));
    FBT_HDF5(space = H5Dget_space(dataset), "result/%s is damaged", name);
    if (H5Sget_simple_extent_ndims(space) != rank || H5Sget_simple_extent_dims(space, dims, NULL) != rank) {
        FBT_FAIL(FBT_ERR_DATA, "result/%s has the wrong shape", name);
    }
    FBT_TRY(fbt_memory_alloc(&read, n, H5Tget_size(type)));
    FBT_HDF5(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, read), "result/%s cannot be read", name);
    *(void **)values = read;
    read = NULL;
done:
    free(read);
    fbt_hdf5_close(space);
    fbt_hdf5_close(dataset);
    return status;
}

static fbt_status read_result(hid_t file, bool best, fbt_run_prompt *p)
{
    fbt_status status = FBT_OK;
    hid_t result = -1;
    hsize_t z_dims[1] = {0}, prompt_dims[2] = {0};
    FBT_HDF5(result = H5Gopen2(file, "result", H5P_DEFAULT), "group result is missing");
    FBT_TRY(fbt_hdf5_read_int(result, best ? "best_round" : "last_round", &p->round));
    if (p->round < 0) {
        FBT_FAIL(FBT_ERR_DATA, "there is no best round, because the run had no dev samples; take the last");
    }
    FBT_TRY(read_array(result, best ? "best_z" : "last_z", 1, H5T_NATIVE_DOUBLE, z_dims, &p->z));
    FBT_TRY(read_array(result, best ? "best_prompt" : "last_prompt", 2, H5T_NATIVE_FLOAT, prompt_dims, &p->prompt));
    p->dimension = (int64_t)z_dims[0];
    p->n_tokens = (int64_t)prompt_dims[0];
    p->n_hidden = (int64_t)prompt_dims[1];
done:
    fbt_hdf5_close(result);
    return status;
}

fbt_status fbt_run_prompt_read(const char *path, bool best, fbt_run_prompt *prompt)
{
    fbt_status status = FBT_OK;
    hid_t file = -1;
    FBT_TRY(fbt_run_rounds_open(path, &file));
    FBT_TRY(read_texts(file, prompt));
    FBT_TRY(read_result(file, best, prompt));
    status = fbt_run_digest_of(file, prompt->digest);
done:
    fbt_hdf5_close(file);
    return fbt_hdf5_name_file(path, status);
}

void fbt_run_prompt_clear(fbt_run_prompt *prompt)
{
    free(prompt->z);
    free(prompt->prompt);
    free(prompt->config_resolved);
    free(prompt->program_version);
    free(prompt->git_commit);
    free(prompt->model);
    free(prompt->model_sha256);
    free(prompt->model_family);
    free(prompt->tokenizer_sha256);
    free(prompt->task);
    free(prompt->template_text);
    fbt_hdf5_free_texts(prompt->label_words, prompt->n_labels);
    *prompt = (fbt_run_prompt){0};
}
