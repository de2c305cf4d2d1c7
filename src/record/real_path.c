#include "record/real_path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40 }; /* as Linux itself follows */

static fbt_status out_of_memory(void)
{
    return fbt_fail(FBT_ERR_MEMORY, "out of memory: path of an output file");
}

/* The name after the last slash. It must be that of a file. */
static fbt_status name_of(const char *shown, const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    *name = slash == NULL ? path : slash + 1;
    if (**name == '\0' || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0) {
        return fbt_fail(FBT_ERR_IO, "%.400s is a folder; give the path of a file", shown);
    }
    return FBT_OK;
}

/* One step: the real folder and file of `path`, whose last part may be a link: then *target (else NULL) is what it
 * says, as a path of its own. */
static fbt_status look(const char *shown, const char *path, char **folder, char **file, char **target)
{
    fbt_status status = FBT_OK;
    const char *name;
    char *parent = NULL, link[PATH_MAX];
    *target = NULL;
    FBT_TRY(name_of(shown, path, &name));
    parent = name == path ? strdup(".") : strndup(path, (size_t)(name - path));
    if (parent == NULL) {
        FBT_TRY(out_of_memory());
    }
    *folder = realpath(parent, NULL);
    if (*folder == NULL) {
        FBT_FAIL(FBT_ERR_IO, "%.400s cannot be written: folder %.400s: %s; make the folder first or choose another",
                 shown, parent, strerror(errno));
    }
    if (asprintf(file, "%s/%s", strcmp(*folder, "/") == 0 ? "" : *folder, name) < 0) {
        *file = NULL;
        FBT_TRY(out_of_memory());
    }
    const ssize_t n = readlink(*file, link, sizeof link - 1);
    if (n < 0 && (errno == EINVAL || errno == ENOENT)) {
        goto done; /* no link, or nothing there */
    }
    if (n < 0) {
        FBT_FAIL(FBT_ERR_IO, "%.400s cannot be written: %s; choose another path", shown, strerror(errno));
    }
    link[n] = '\0';
    if (asprintf(target, "%s%s%s", link[0] == '/' ? "" : *folder, link[0] == '/' ? "" : "/", link) < 0) {
        *target = NULL;
        FBT_TRY(out_of_memory());
    }
done:
    free(parent);
    return status;
}

fbt_status fbt_real_path(const char *path, char **folder, char **file)
{
    fbt_status status = FBT_OK;
    char *target = NULL, *next = NULL;
    *folder = *file = NULL;
    FBT_TRY(look(path, path, folder, file, &target));
    for (int i = 0; target != NULL; i++) {
        if (i == LINKS_MAX) {
            FBT_FAIL(FBT_ERR_IO, "%.400s cannot be written: %s; choose another path", path, strerror(ELOOP));
        }
        free(*folder);
        free(*file);
        *folder = *file = NULL;
        FBT_TRY(look(path, target, folder, file, &next));
        free(target);
        target = next;
        next = NULL;
    }
done:
    free(target);
    free(next);
    if (status != FBT_OK) {
        free(*folder);
        free(*file);
        *folder = *file = NULL;
    }
    return status;
}

fbt_status fbt_path_check_folder(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return fbt_fail(FBT_ERR_IO,
                        "%.400s is a link to a folder that cannot be reached: %s; make that folder first, or remove "
                        "the link",
                        path, strerror(errno));
    }
    return S_ISDIR(info.st_mode) ? FBT_OK
                                 : fbt_fail(FBT_ERR_IO, "%.400s is not a folder; choose another, or remove it", path);
}
