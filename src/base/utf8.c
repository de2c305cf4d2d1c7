#include "base/utf8.h"

#include "base/memory.h"

#include <string.h>

size_t fbt_utf8_next(const char *text, size_t n_bytes, uint32_t *code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char lead = (unsigned char)text[0];
    size_t n = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    if (n == 0 || n > n_bytes) {
        return 0;
    }
    *code = n == 1 ? lead : lead & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80) {
            return 0;
        }
        *code = *code << 6 | ((unsigned char)text[i] & 0x3f);
    }
    return *code < smallest[n] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff) ? 0 : n;
}

size_t fbt_utf8_find_fault(const char *text, size_t n_bytes)
{
    uint32_t code = 1;
    size_t at = 0;
    for (size_t n = 1; at < n_bytes; at += n) {
        n = fbt_utf8_next(text + at, n_bytes - at, &code);
        if (n == 0 || code == 0) {
            break;
        }
    }
    return at;
}

fbt_status fbt_utf8_repair(const char *text, char **copy)
{
    static const char replacement[] = "\xef\xbf\xbd";
    fbt_status status = FBT_OK;
    size_t n_left = strlen(text);
    uint32_t code;
    char *out;
    FBT_TRY(fbt_memory_alloc(copy, (int64_t)n_left + 1, sizeof replacement - 1));
    out = *copy;
    while (n_left > 0) {
        const size_t n = fbt_utf8_next(text, n_left, &code);
        const size_t n_read = n == 0 ? 1 : n;
        out = n == 0 ? stpcpy(out, replacement) : (char *)mempcpy(out, text, n);
        text += n_read;
        n_left -= n_read;
    }
done:
    return status;
}
