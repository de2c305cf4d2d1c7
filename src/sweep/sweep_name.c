/* Names of runs. */
#include "sweep/sweep_internal.h"

#include "base/digest.h"
#include "base/memory.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIGEST_DIGITS = 8,
    VALUE_BYTES = 28,     /* of one value in the readable part */
    READABLE_BYTES = 120, /* leaves room for the digest, and for what is put around it beside the run file */
};

static int by_key(const void *a, const void *b)
{
    const fbt_sweep_item *left = *(const fbt_sweep_item *const *)a, *right = *(const fbt_sweep_item *const *)b;
    return strcmp(left->option->key, right->option->key);
}

/* "sigma=1.5", in letters that no shell and no file system minds. Of a path the last part. */
static size_t write_item(const fbt_sweep_item *item, char *text, size_t n_bytes)
{
    const char *value = item->text;
    char shown[VALUE_BYTES];
    size_t n = 0;
    if (item->option->kind == FBT_OPTION_TEXT) {
        const char *slash = strrchr(value, '/');
        value = slash != NULL && slash[1] != '\0' ? slash + 1 : value;
    }
    for (; *value != '\0' && n + 1 < sizeof shown; value++) {
        bool plain =
            isascii((unsigned char)*value) && (isalnum((unsigned char)*value) || strchr("._+-", *value) != NULL);
        shown[n++] = (char)(plain ? *value : '_');
    }
    shown[n] = '\0';
    return (size_t)snprintf(text, n_bytes, "%s=%s", strchr(item->option->key, '.') + 1, shown);
}

/* Settings that find no room are counted: the digest tells them apart. */
static void write_readable(const fbt_sweep_item *const *items, int64_t n_items, char *name)
{
    size_t used = 0;
    int64_t n_left_out = 0;
    name[0] = '\0';
    for (int64_t i = 0; i < n_items; i++) {
        char item[128];
        size_t n = write_item(items[i], item, sizeof item);
        if (n_left_out > 0 || used + n + 6 > READABLE_BYTES) {
            n_left_out++;
        } else {
            used += (size_t)snprintf(name + used, READABLE_BYTES - used, "%s%s", used > 0 ? "," : "", item);
        }
    }
    if (n_left_out > 0) {
        snprintf(name + used, READABLE_BYTES - used, ",+%" PRId64, n_left_out);
    }
}

fbt_status fbt_sweep_make_name(const fbt_sweep_item *const *items, int64_t n_items, char name[FBT_SWEEP_NAME_BYTES])
{
    fbt_status status = FBT_OK;
    const fbt_sweep_item **sorted = NULL;
    fbt_digest *digest = NULL;
    char hex[FBT_DIGEST_TEXT_BYTES];
    FBT_TRY(fbt_memory_alloc(&sorted, n_items, sizeof *sorted));
    memcpy(sorted, items, (size_t)n_items * sizeof *sorted);
    qsort(sorted, (size_t)n_items, sizeof *sorted, by_key);
    FBT_TRY(fbt_digest_new(&digest));
    for (int64_t i = 0; i < n_items; i++) {
        /* with their terminating zeros, so that texts cannot run into each other */
        FBT_TRY(fbt_digest_add(digest, sorted[i]->option->key, strlen(sorted[i]->option->key) + 1));
        FBT_TRY(fbt_digest_add(digest, sorted[i]->text, strlen(sorted[i]->text) + 1));
    }
    status = fbt_digest_end(digest, hex);
    digest = NULL;
    if (status == FBT_OK) {
        write_readable(sorted, n_items, name);
        size_t used = strlen(name);
        snprintf(name + used, FBT_SWEEP_NAME_BYTES - used, "-%.*s", DIGEST_DIGITS, hex);
    }
done:
    fbt_digest_free(digest);
    free(sorted);
    return status;
}
