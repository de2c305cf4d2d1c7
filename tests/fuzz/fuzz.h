/* Shared parts of the fuzz targets. A target is one file with LLVMFuzzerTestOneInput: built with libFuzzer (preset
 * fuzz) it is given inputs without end; built with replay.c (every other preset) it is given the files of its corpus.
 */
#ifndef FBT_FUZZ_H
#define FBT_FUZZ_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* Ends the process, with the place, unless the condition holds: assert() of every build. */
#define FUZZ_REQUIRE(condition) fuzz_require((condition), #condition, __FILE__, __LINE__)
void fuzz_require(bool holds, const char *condition, const char *file, int line);

/* A failure has been explained in one line of plain text, a success leaves no explanation behind. Forgets the
 * explanation; returns whether it is FBT_OK. */
bool fuzz_outcome(fbt_status status);

/* Writes a regular file into the process's folder, which is made at the first call, in memory where that is to be had.
 * Returns its path, which stays valid. */
const char *fuzz_write(const char *name, const void *bytes, size_t n_bytes);

/* The folder, and a path in it; both stay valid. */
const char *fuzz_folder(void);
const char *fuzz_path(const char *name);

/* Takes values from the front of an input; past its end they are zeros. */
typedef struct fuzz_input {
    const uint8_t *data;
    size_t n_bytes;
} fuzz_input;
uint64_t fuzz_take(fuzz_input *input, size_t n_bytes); /* little-endian, at most 8 */

/* A zero-terminated copy of the next n_bytes (fewer at the end); free(). */
char *fuzz_take_text(fuzz_input *input, size_t n_bytes);

#endif
