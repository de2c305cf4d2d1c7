/* SHA-256 of bytes and files (OpenSSL's libcrypto). */
#ifndef FBT_BASE_DIGEST_H
#define FBT_BASE_DIGEST_H

#include "base/status.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FBT_DIGEST_TEXT_BYTES = 65 }; /* 64 hexadecimal digits and the terminating zero */

typedef struct fbt_digest fbt_digest;

/* A running digest: new, add any number of times, end (writes the text and frees). Free an unended one with
 * fbt_digest_free. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_digest_new(fbt_digest **digest);
fbt_status fbt_digest_add(fbt_digest *digest, const void *bytes, size_t n_bytes);
fbt_status fbt_digest_end(fbt_digest *digest, char text[FBT_DIGEST_TEXT_BYTES]);
void fbt_digest_free(fbt_digest *digest);

/* Of bytes that are all there. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_digest_bytes(const void *bytes, size_t n_bytes, char text[FBT_DIGEST_TEXT_BYTES]);

/* Errors: FBT_ERR_IO, FBT_ERR_STORAGE (cannot be read). */
fbt_status fbt_digest_file(const char *path, char text[FBT_DIGEST_TEXT_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
