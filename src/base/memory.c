#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { ALIGNMENT = 64 };

fbt_status fbt_memory_alloc(void *memory, int64_t n_items, size_t item_bytes)
{
    void *block = NULL;
    size_t n_bytes;
    memcpy(memory, &block, sizeof block);
    if (n_items < 0 || __builtin_mul_overflow((size_t)n_items, item_bytes, &n_bytes) ||
        n_bytes > SIZE_MAX - ALIGNMENT) {
        return fbt_fail(FBT_ERR_ARG, "a block of %" PRId64 " items of %zu bytes cannot be allocated", n_items,
                        item_bytes);
    }
    n_bytes = (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    n_bytes = n_bytes == 0 ? ALIGNMENT : n_bytes;
    block = aligned_alloc(ALIGNMENT, n_bytes);
    if (block == NULL) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: %zu bytes were asked for", n_bytes);
    }
    memset(block, 0, n_bytes);
    memcpy(memory, &block, sizeof block);
    return FBT_OK;
}

fbt_status fbt_memory_strdup(char **copy, const char *text)
{
    *copy = strdup(text);
    return *copy == NULL ? fbt_fail(FBT_ERR_MEMORY, "out of memory: a string of %zu bytes", strlen(text)) : FBT_OK;
}

fbt_status fbt_memory_replace_text(char **copy, const char *text)
{
    fbt_status status = FBT_OK;
    char *made;
    if (text != NULL) {
        FBT_TRY(fbt_memory_strdup(&made, text));
        free(*copy);
        *copy = made;
    }
done:
    return status;
}

int64_t fbt_memory_peak_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (int64_t)usage.ru_maxrss * 1024;
}

bool fbt_memory_has_room(int64_t n_bytes, bool is_written)
{
    const int access = is_written ? PROT_READ | PROT_WRITE : PROT_NONE;
    void *trial = mmap(NULL, (size_t)n_bytes, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (trial == MAP_FAILED) {
        return false;
    }
    munmap(trial, (size_t)n_bytes);
    return true;
}

const char *fbt_memory_limit_text(char text[64])
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        snprintf(text, 64, "the limit of %" PRId64 " MB (ulimit -v)", (limit.rlim_cur >> 20));
    } else {
        snprintf(text, 64, "what the system allows");
    }
    return text;
}
