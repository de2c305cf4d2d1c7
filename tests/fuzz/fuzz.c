#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char explanation[1024]; /* of the last failure */

void fuzz_require(bool holds, const char *condition, const char *file, int line)
{
    if (!holds) {
        fprintf(stderr, "%s:%d: does not hold: %s\n  last explanation: %s\n", file, line, condition, explanation);
        abort();
    }
}

/* Control characters would let a file's contents draw on the terminal, or break the line in which a log keeps the
 * sentence. */
static bool is_one_line(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            return false;
        }
    }
    return text[0] != '\0';
}

bool fuzz_outcome(fbt_status status)
{
    snprintf(explanation, sizeof explanation, "%s", fbt_error_message());
    FUZZ_REQUIRE(status == FBT_OK ? fbt_error_message()[0] == '\0' : is_one_line(fbt_error_message()));
    fbt_error_clear();
    return status == FBT_OK;
}

enum { PATHS_MAX = 8, PATH_BYTES = 256 };
static char folder[PATH_BYTES / 2], paths[PATHS_MAX][PATH_BYTES];

static void remove_folder(void)
{
    DIR *listing = opendir(folder);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        unlinkat(dirfd(listing), entry->d_name, 0);
    }
    closedir(listing);
    rmdir(folder);
}

const char *fuzz_folder(void)
{
    if (folder[0] == '\0') {
        const char *parent = getenv("TMPDIR");
        parent = parent != NULL ? parent : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(folder, sizeof folder, "%s/fbt_fuzz_XXXXXX", parent);
        FUZZ_REQUIRE(mkdtemp(folder) != NULL);
        atexit(remove_folder);
    }
    return folder;
}

const char *fuzz_path(const char *name)
{
    char path[PATH_BYTES];
    int i = 0;
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    while (paths[i][0] != '\0' && strcmp(paths[i], path) != 0) {
        FUZZ_REQUIRE(++i < PATHS_MAX);
    }
    memcpy(paths[i], path, sizeof path);
    return paths[i];
}

const char *fuzz_write(const char *name, const void *bytes, size_t n_bytes)
{
    const char *path = fuzz_path(name);
    const int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    FUZZ_REQUIRE(descriptor >= 0 && write(descriptor, bytes, n_bytes) == (ssize_t)n_bytes);
    close(descriptor);
    return path;
}

uint64_t fuzz_take(fuzz_input *input, size_t n_bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n_bytes && input->n_bytes > 0; i++) {
        value |= (uint64_t)*input->data++ << (8 * i);
        input->n_bytes--;
    }
    return value;
}

char *fuzz_take_text(fuzz_input *input, size_t n_bytes)
{
    size_t n = n_bytes < input->n_bytes ? n_bytes : input->n_bytes;
    char *text = malloc(n + 1);
    FUZZ_REQUIRE(text != NULL);
    if (n > 0) {
        memcpy(text, input->data, n);
    }
    text[n] = '\0';
    input->data += n;
    input->n_bytes -= n;
    return text;
}
