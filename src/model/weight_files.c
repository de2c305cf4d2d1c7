#include "model/weight_files.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static const char *const SINGLE = "model.safetensors";
static const char *const INDEX = "model.safetensors.index.json";
static const char *const SHARD = "model-[0-9]*-of-[0-9]*.safetensors";

/* A folder's file names, sorted. */
typedef struct listing {
    struct dirent **entries;
    int n;
} listing;

static void clear_listing(listing *l)
{
    for (int i = 0; i < l->n; i++) {
        free(l->entries[i]);
    }
    free(l->entries);
}

/* The first name that fits the pattern; NULL: none. */
static const char *find_name(const listing *l, const char *pattern)
{
    for (int i = 0; i < l->n; i++) {
        if (fnmatch(pattern, l->entries[i]->d_name, 0) == 0) {
            return l->entries[i]->d_name;
        }
    }
    return NULL;
}

static fbt_status fail_without_weights(const char *folder, const listing *l)
{
    const char *shard = find_name(l, SHARD);
    const char *other = find_name(l, "*.safetensors");
    const char *torch = find_name(l, "pytorch_model*.bin");
    if (shard != NULL) {
        return fbt_fail(FBT_ERR_MODEL, "%s: has shards (%s), but no %s, which says what they hold; download it again",
                        folder, shard, INDEX);
    }
    if (other != NULL) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: has %s, but neither %s nor %s; if these are the weights wanted, name the file %s", folder,
                        other, SINGLE, INDEX, SINGLE);
    }
    if (torch != NULL) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: has %s, but neither %s nor %s; convert it once, where transformers is installed, with "
                        "AutoModelForMaskedLM.from_pretrained(FOLDER).save_pretrained(OUT, safe_serialization=True)",
                        folder, torch, SINGLE, INDEX);
    }
    return fbt_fail(FBT_ERR_IO,
                    "%s: has neither %s nor %s; stage the model in with jobs/prepare_model.py, or convert its weights "
                    "to safetensors",
                    folder, SINGLE, INDEX);
}

/* A file named like a shard that the chosen set does not have is of another set. */
static fbt_status refuse_strays(const char *folder, const listing *l, const fbt_weight_files *files)
{
    for (int i = 0; i < l->n; i++) {
        const char *name = l->entries[i]->d_name;
        bool is_ours = fnmatch(SHARD, name, 0) != 0;
        for (int64_t k = 0; k < files->n_files && !is_ours; k++) {
            is_ours = strcmp(files->names[k], name) == 0;
        }
        if (!is_ours) {
            return fbt_fail(FBT_ERR_MODEL,
                            "%s: has the shard %s beside %s, which does not name it; remove the one that is stale",
                            folder, name, files->map == NULL ? SINGLE : INDEX);
        }
    }
    return FBT_OK;
}

static bool has_entry(const listing *l, const char *name)
{
    for (int i = 0; i < l->n; i++) {
        const struct dirent *entry = l->entries[i];
        if (strcmp(entry->d_name, name) == 0) { /* NOLINT(clang-analyzer-core.NonNullParamChecker): scandir filled it */
            return true;
        }
    }
    return false;
}

static fbt_status require_files(const char *folder, const listing *l, const fbt_weight_files *files)
{
    for (int64_t k = 0; k < files->n_files; k++) {
        if (!has_entry(l, files->names[k])) {
            return fbt_fail(FBT_ERR_IO, "%s/%s: cannot be read: %s names it, but it is missing; download it again",
                            folder, files->names[k], INDEX);
        }
    }
    return FBT_OK;
}

/* Adds the file of one tensor of the index, once. */
static fbt_status add_shard(fbt_weight_files *files, const char *tensor, const char *name)
{
    if (name == NULL || name[0] == '\0' || strchr(name, '/') != NULL) {
        return fbt_fail(FBT_ERR_MODEL,
                        "%s: tensor '%s' is not mapped to a file in the same folder; put the shards beside the index "
                        "and their bare names into it",
                        files->path, tensor);
    }
    for (int64_t i = 0; i < files->n_files; i++) {
        if (strcmp(files->names[i], name) == 0) {
            return FBT_OK;
        }
    }
    files->names[files->n_files++] = name;
    return FBT_OK;
}

/* The index: {"weight_map": {"NAME OF A TENSOR": "model-00001-of-00002.safetensors", ...}}. */
static fbt_status read_index(const char *folder, fbt_weight_files *files)
{
    fbt_status status = FBT_OK;
    const char *tensor;
    json_t *name;
    FBT_TRY(fbt_json_file_open(folder, INDEX, false, &files->index));
    json_t *map = json_object_get(files->index.value, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        FBT_FAIL(FBT_ERR_MODEL, "%s: has no weight_map", files->path);
    }
    files->map = map;
    FBT_TRY(fbt_memory_alloc(&files->names, (int64_t)json_object_size(map), sizeof *files->names));
    json_object_foreach(map, tensor, name)
    {
        FBT_TRY(add_shard(files, tensor, json_string_value(name)));
    }
done:
    return status;
}

/* Some programs write an index for a single file too; it then names that file alone. */
static fbt_status choose(const char *folder, const listing *l, fbt_weight_files *files)
{
    fbt_status status = FBT_OK;
    const bool has_single = find_name(l, SINGLE) != NULL;
    const bool has_index = find_name(l, INDEX) != NULL;
    if (!has_single && !has_index) {
        FBT_TRY(fail_without_weights(folder, l));
    }
    FBT_TRY(fbt_json_file_path(folder, has_index ? INDEX : SINGLE, &files->path));
    if (!has_index) {
        FBT_TRY(fbt_memory_alloc(&files->names, 1, sizeof *files->names));
        files->names[files->n_files++] = SINGLE;
        goto done;
    }
    FBT_TRY(read_index(folder, files));
    if (has_single && (files->n_files != 1 || strcmp(files->names[0], SINGLE) != 0)) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: has %s and, for other weights (%s), %s; transformers would read the former: remove the one that "
                 "is stale",
                 folder, SINGLE, files->names[0], INDEX);
    }
done:
    return status;
}

fbt_status fbt_weight_files_find(const char *folder, fbt_weight_files *files)
{
    fbt_status status = FBT_OK;
    listing l = {0};
    l.n = scandir(folder, &l.entries, NULL, alphasort);
    if (l.n < 0) {
        l.n = 0;
        FBT_FAIL(FBT_ERR_IO, "%s: cannot be read as a folder: %s", folder, strerror(errno));
    }
    if (find_name(&l, "adapter_config.json") != NULL) {
        FBT_FAIL(FBT_ERR_MODEL,
                 "%s: has adapter_config.json: transformers would put an adapter into the model, which this program "
                 "does not; merge it into the weights, or remove it",
                 folder);
    }
    FBT_TRY(choose(folder, &l, files));
    FBT_TRY(require_files(folder, &l, files));
    FBT_TRY(refuse_strays(folder, &l, files));
done:
    clear_listing(&l);
    return status;
}

void fbt_weight_files_clear(fbt_weight_files *files)
{
    fbt_json_file_close(&files->index);
    free(files->names);
    free(files->path);
    *files = (fbt_weight_files){0};
}
