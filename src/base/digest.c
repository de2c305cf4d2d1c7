#include "base/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* fbt_digest is OpenSSL's context under our name. */
static EVP_MD_CTX *context_of(fbt_digest *digest)
{
    return (EVP_MD_CTX *)digest;
}

fbt_status fbt_digest_new(fbt_digest **digest)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    *digest = NULL;
    if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        return fbt_fail(FBT_ERR_MEMORY, "SHA-256 cannot be started");
    }
    *digest = (fbt_digest *)context;
    return FBT_OK;
}

fbt_status fbt_digest_add(fbt_digest *digest, const void *bytes, size_t n_bytes)
{
    if (EVP_DigestUpdate(context_of(digest), bytes, n_bytes) != 1) {
        return fbt_fail(FBT_ERR_MEMORY, "SHA-256 failed");
    }
    return FBT_OK;
}

fbt_status fbt_digest_end(fbt_digest *digest, char text[FBT_DIGEST_TEXT_BYTES])
{
    unsigned char hash[32];
    int ok = EVP_DigestFinal_ex(context_of(digest), hash, NULL);
    fbt_digest_free(digest);
    if (ok != 1) {
        return fbt_fail(FBT_ERR_MEMORY, "SHA-256 failed");
    }
    for (size_t i = 0; i < sizeof hash; i++) {
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    }
    return FBT_OK;
}

void fbt_digest_free(fbt_digest *digest)
{
    EVP_MD_CTX_free(context_of(digest));
}

fbt_status fbt_digest_bytes(const void *bytes, size_t n_bytes, char text[FBT_DIGEST_TEXT_BYTES])
{
    fbt_status status = FBT_OK;
    fbt_digest *digest = NULL;
    FBT_TRY(fbt_digest_new(&digest));
    FBT_TRY(fbt_digest_add(digest, bytes, n_bytes));
    status = fbt_digest_end(digest, text);
    digest = NULL;
done:
    fbt_digest_free(digest);
    return status;
}

fbt_status fbt_digest_file(const char *path, char text[FBT_DIGEST_TEXT_BYTES])
{
    fbt_status status = FBT_OK;
    fbt_digest *digest = NULL;
    unsigned char block[65536];
    size_t n_read;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        FBT_FAIL(fbt_status_of_system(errno), "%s cannot be opened: %s", path, strerror(errno));
    }
    FBT_TRY(fbt_digest_new(&digest));
    while ((n_read = fread(block, 1, sizeof block, file)) > 0) {
        FBT_TRY(fbt_digest_add(digest, block, n_read));
    }
    if (ferror(file)) {
        FBT_FAIL(fbt_status_of_system(errno), "%s cannot be read: %s", path, strerror(errno));
    }
    status = fbt_digest_end(digest, text);
    digest = NULL;
done:
    fbt_digest_free(digest);
    if (file != NULL) {
        fclose(file);
    }
    return status;
}
