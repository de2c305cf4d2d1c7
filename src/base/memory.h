/* Host memory with the project's errors. */
#ifndef FBT_BASE_MEMORY_H
#define FBT_BASE_MEMORY_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed memory for n_items of item_bytes, aligned to 64 bytes; release it with free(). n_items = 0 gives a valid
 * pointer. Errors: FBT_ERR_MEMORY, FBT_ERR_ARG (negative or overflowing size). *memory is NULL on failure. */
fbt_status fbt_memory_alloc(void *memory, int64_t n_items, size_t item_bytes);

/* Copy of a string; release it with free(). Errors: FBT_ERR_MEMORY. */
fbt_status fbt_memory_strdup(char **copy, const char *text);

/* A copy of `text` in place of what *copy is, which is freed; NULL leaves it. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_memory_replace_text(char **copy, const char *text);

/* Largest resident set of this process so far, in bytes. */
int64_t fbt_memory_peak_bytes(void);

/* Whether so many bytes of address space could be mapped now, in one piece; is_written: and filled, by the system's
 * rules of overcommitment. For libraries that do not survive it when they cannot. */
bool fbt_memory_has_room(int64_t n_bytes, bool is_written);

/* "the limit of 400 MB (ulimit -v)", or what else bounds the address space, for messages. */
const char *fbt_memory_limit_text(char text[64]);

#endif
