/* Texts of other origin: are they UTF-8? */
#ifndef FBT_BASE_UTF8_H
#define FBT_BASE_UTF8_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Length in bytes of the UTF-8 character at text (within n_bytes > 0) and its code point; 0 when it is not valid UTF-8.
 */
size_t fbt_utf8_next(const char *text, size_t n_bytes, uint32_t *code);

/* Position of the first byte of what is no character, or is the character zero; n_bytes when there is none. */
size_t fbt_utf8_find_fault(const char *text, size_t n_bytes);

/* A copy in which each byte that is not UTF-8 is U+FFFD, for records of what is not the user's to change (names of
 * hosts, jobs and files). Release *copy with free(). Errors: FBT_ERR_MEMORY. */
fbt_status fbt_utf8_repair(const char *text, char **copy);

#endif
