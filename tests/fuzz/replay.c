/* Gives each file named on the command line, and each file of the folders named there, to the target: what libFuzzer
 * does with a corpus, for builds without it. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int64_t n_replayed;

static void replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    FUZZ_REQUIRE(file != NULL && fseek(file, 0, SEEK_END) == 0);
    const long size = ftell(file);
    FUZZ_REQUIRE(size >= 0 && fseek(file, 0, SEEK_SET) == 0);
    uint8_t *data =
        malloc((size_t)(size > 0 ? size : 0)); /* exactly, so that the sanitizers see a byte read behind the end */
    FUZZ_REQUIRE(size == 0 || (data != NULL && fread(data, 1, (size_t)size, file) == (size_t)size));
    fclose(file);
    fprintf(stderr, "%s\n", path); /* the last line names the input at fault */
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    n_replayed++;
}

static void replay_folder(const char *folder)
{
    struct dirent **entries;
    const int n = scandir(folder, &entries, NULL, alphasort);
    FUZZ_REQUIRE(n >= 0);
    for (int i = 0; i < n; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            replay(path);
        }
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct stat info;
        FUZZ_REQUIRE(stat(argv[i], &info) == 0);
        if (S_ISDIR(info.st_mode)) {
            replay_folder(argv[i]);
        } else {
            replay(argv[i]);
        }
    }
    fprintf(stderr, "%lld inputs\n", (long long)n_replayed);
    return n_replayed == 0; /* a corpus that is not found tests nothing */
}
