/* Host memory with the project's errors. */
#ifndef FBT_BASE_MEMORY_H
#define FBT_BASE_MEMORY_H

#include "status.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed memory for n_items of item_bytes, aligned to 64 bytes; release it with free(). n_items = 0 gives a valid pointer.
 * Errors: FBT_ERR_MEMORY, FBT_ERR_ARG (negative or overflowing size). *memory is NULL on failure. */
fbt_status fbt_memory_alloc(void *memory, int64_t n_items, size_t item_bytes);

/* Copy of a string; release it with free(). Errors: FBT_ERR_MEMORY. */
fbt_status fbt_memory_strdup(char **copy, const char *text);

/* Largest resident set of this process so far, in bytes. */
int64_t fbt_memory_peak_bytes(void);

#endif
