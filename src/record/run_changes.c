#include "record/run_changes.h"

#include "base/smaller.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 8, FIRST_BYTES = 1 << 16 };

static const int64_t value_bytes[] = {
    [FBT_RUN_CHANGE_REAL] = 8, [FBT_RUN_CHANGE_INTEGER] = 8, [FBT_RUN_CHANGE_BYTE] = 1, [FBT_RUN_CHANGE_FLOAT32] = 4};
enum { N_TYPES = sizeof value_bytes / sizeof value_bytes[0] };

int64_t fbt_run_change_values(const fbt_run_change *change)
{
    return change->dims[0] * (change->rank == 2 ? change->dims[1] : 1);
}

static int64_t padded(int64_t n_bytes)
{
    return fbt_round_up(n_bytes, ALIGNMENT);
}

/* Grows by doubling: the list of one round is as large as that of the next. */
static fbt_status make_room(fbt_run_changes *changes, int64_t n_more)
{
    int64_t capacity = changes->capacity == 0 ? FIRST_BYTES : changes->capacity;
    while (capacity < changes->n_bytes + n_more) {
        capacity *= 2;
    }
    if (capacity > changes->capacity) {
        char *bytes = realloc(changes->bytes, (size_t)capacity);
        if (bytes == NULL) {
            return fbt_fail(FBT_ERR_MEMORY, "out of memory: a round of the run file");
        }
        changes->bytes = bytes;
        changes->capacity = capacity;
    }
    return FBT_OK;
}

fbt_status fbt_run_changes_add(fbt_run_changes *changes, const char *path, const char *long_name,
                               fbt_run_change_type type, int64_t rank, const int64_t *dims, const void *values)
{
    fbt_status status = FBT_OK;
    fbt_run_change change = {.type = type, .rank = rank};
    const size_t n_path = strlen(path), n_name = long_name == NULL ? 0 : strlen(long_name);
    if (n_path >= sizeof change.path || n_name >= sizeof change.long_name) {
        FBT_FAIL(FBT_ERR_ARG, "%.100s: name or meaning are too long for the run file's journal", path);
    }
    memcpy(change.path, path, n_path);
    memcpy(change.long_name, n_name == 0 ? "" : long_name, n_name);
    memcpy(change.dims, dims, (size_t)rank * sizeof *dims);
    const int64_t n_bytes = value_bytes[type] * fbt_run_change_values(&change), n_padded = padded(n_bytes);
    FBT_TRY(make_room(changes, (int64_t)sizeof change + n_padded));
    char *to = changes->bytes + changes->n_bytes;
    memcpy(to, &change, sizeof change);
    if (n_bytes > 0) {
        memcpy(to + sizeof change, values, (size_t)n_bytes);
    }
    memset(to + sizeof change + n_bytes, 0, (size_t)(n_padded - n_bytes));
    changes->n_bytes += (int64_t)sizeof change + n_padded;
done:
    return status;
}

/* Whether a head is one, and how many bytes its values take of the n_left that are there. */
static bool is_sound(const fbt_run_change *change, int64_t n_left, int64_t *n_values_bytes)
{
    int64_t n = 1;
    if (change->type < 0 || change->type >= N_TYPES || change->rank < 1 || change->rank > 2 ||
        memchr(change->path, '\0', sizeof change->path) == NULL ||
        memchr(change->long_name, '\0', sizeof change->long_name) == NULL) {
        return false;
    }
    for (int64_t i = 0; i < change->rank; i++) {
        if (change->dims[i] < 0 || __builtin_mul_overflow(n, change->dims[i], &n)) {
            return false;
        }
    }
    if (__builtin_mul_overflow(n, value_bytes[change->type], &n) || n > n_left) {
        return false;
    }
    *n_values_bytes = padded(n);
    return *n_values_bytes <= n_left;
}

fbt_status fbt_run_changes_next(const char *bytes, int64_t n_bytes, int64_t *place, const fbt_run_change **change,
                                const void **values)
{
    int64_t n_values_bytes = 0;
    const int64_t n_left = n_bytes - *place - (int64_t)sizeof **change;
    *change = NULL;
    if (*place == n_bytes) {
        return FBT_OK;
    }
    const fbt_run_change *found = (const void *)(bytes + *place);
    if (n_left < 0 || !is_sound(found, n_left, &n_values_bytes)) {
        return fbt_fail(FBT_ERR_DATA, "its journal is damaged, or from another version of this program");
    }
    *change = found;
    *values = bytes + *place + sizeof *found;
    *place += (int64_t)sizeof *found + n_values_bytes;
    return FBT_OK;
}
