/* Digests of the model and the data set, by which a run that goes on knows them again. */
#include "run/inputs.h"

#include "base/digest.h"
#include "base/memory.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line of sha256sum's output. */
static fbt_status add_file(fbt_digest *digest, const char *path)
{
    fbt_status status = FBT_OK;
    char sha256[FBT_DIGEST_TEXT_BYTES];
    char line[FBT_DIGEST_TEXT_BYTES + NAME_MAX + 8];
    FBT_TRY(fbt_digest_file(path, sha256));
    const int n = snprintf(line, sizeof line, "%s  %s\n", sha256, strrchr(path, '/') + 1);
    status = fbt_digest_add(digest, line, (size_t)n);
done:
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Weights in any number of files; the index, where there is one, says nothing that the files do not. */
static fbt_status add_weights(fbt_digest *digest, const char *folder)
{
    fbt_status status = FBT_OK;
    char pattern[PATH_MAX];
    glob_t files = {0};
    /* The folder's own name may hold what glob takes for a pattern. */
    size_t n = 0;
    for (const char *c = folder; *c != '\0' && n + 32 < sizeof pattern; c++) {
        if (strchr("*?[\\", *c) != NULL) {
            pattern[n++] = '\\';
        }
        pattern[n++] = *c;
    }
    snprintf(pattern + n, sizeof pattern - n, "/*.safetensors");
    const int found = glob(pattern, GLOB_NOSORT, NULL, &files);
    if (found != 0) {
        FBT_FAIL(FBT_ERR_IO, "%.400s: %s", folder,
                 found == GLOB_NOMATCH ? "there are no *.safetensors files" : "the folder cannot be read");
    }
    qsort(files.gl_pathv, files.gl_pathc, sizeof *files.gl_pathv, by_name); /* whatever the locale */
    for (size_t i = 0; i < files.gl_pathc; i++) {
        FBT_TRY(add_file(digest, files.gl_pathv[i]));
    }
done:
    globfree(&files);
    return status;
}

/* How texts are pooled is part of the model where it is not by the mean. A folder whose pooling is refused is read at
 * the mask alone. */
static fbt_status add_pooling(fbt_digest *digest, const char *folder)
{
    static const char cls[] = "pooling cls\n";
    fbt_status status = FBT_OK;
    fbt_model_shape shape;
    FBT_TRY(fbt_model_read_shape(folder, &shape));
    if (fbt_model_read_pooling(folder, &shape) != FBT_OK) {
        fbt_error_clear();
    } else if (shape.pooling == FBT_POOLING_CLS) {
        FBT_TRY(fbt_digest_add(digest, cls, sizeof cls - 1));
    }
done:
    return status;
}

static fbt_status digest_model(const char *folder, char text[FBT_DIGEST_TEXT_BYTES])
{
    fbt_status status = FBT_OK;
    char path[PATH_MAX];
    fbt_digest *digest = NULL;
    snprintf(path, sizeof path, "%s/config.json", folder);
    FBT_TRY(fbt_digest_new(&digest));
    FBT_TRY(add_file(digest, path));
    FBT_TRY(add_weights(digest, folder));
    FBT_TRY(add_pooling(digest, folder));
    status = fbt_digest_end(digest, text);
    digest = NULL;
done:
    fbt_digest_free(digest);
    return status;
}

fbt_status fbt_inputs_digest(fbt_inputs *inputs, const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    if (inputs->digested_model == NULL || strcmp(inputs->digested_model, settings->model.path) != 0) {
        free(inputs->digested_model);
        inputs->digested_model = NULL;
        FBT_TRY(digest_model(settings->model.path, inputs->model_sha256));
        FBT_TRY(fbt_memory_strdup(&inputs->digested_model, settings->model.path));
    }
    if (inputs->data_sha256[0] == '\0') {
        FBT_TRY(fbt_digest_file(inputs->dataset_file.path, inputs->data_sha256));
    }
done:
    return status;
}

fbt_status fbt_inputs_check_same(fbt_inputs *inputs, const fbt_settings *settings, const fbt_run_restored *restored,
                                 const char *run, const char *what_to_do)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_inputs_digest(inputs, settings));
    const struct {
        const char *key, *path, *now, *before;
    } files[] = {{"data.path", settings->data.path, inputs->data_sha256, restored->data_sha256},
                 {"model.path", settings->model.path, inputs->model_sha256, restored->model_sha256}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (strcmp(files[i].now, files[i].before) != 0) {
            FBT_FAIL(FBT_ERR_DATA, "%s: %.200s is not what %.200s was run with (SHA-256 %.12s..., then %.12s...); %s",
                     files[i].key, files[i].path, run, files[i].now, files[i].before, what_to_do);
        }
    }
done:
    return status;
}
