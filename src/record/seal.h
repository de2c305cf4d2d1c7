/* The seal of an HDF5 file: the SHA-256 of all that follows, in a block before it (HDF5's user block, which every HDF5
 * library passes over), so that a damaged file is told before the library reads it. HDF5 1.10 may crash on damaged
 * metadata.
 *
 * The block is FBT_SEAL_BYTES long: one line, `fedbpt-seal 1 sha256 DIGEST N`, and zeros. N: how many bytes follow the
 * block. Python writes and checks the same in analysis/fedbpt_analysis/seal.py.
 */
#ifndef FBT_RECORD_SEAL_H
#define FBT_RECORD_SEAL_H

#include "base/status.h"

#include <stdint.h>

enum { FBT_SEAL_BYTES = 512 };
#define FBT_SEAL_MAGIC "fedbpt-seal "
#define FBT_HDF5_SIGNATURE "\x89HDF\r\n\x1a\n"
enum { FBT_HDF5_SIGNATURE_BYTES = 8 };

/* Makes the block for the bytes that will follow it. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_seal_make(const void *rest, int64_t n_bytes, char block[FBT_SEAL_BYTES]);

/* Reads the file from its beginning and compares. An HDF5 file without a seal, as earlier versions wrote, passes. path:
 * for messages. Errors: FBT_ERR_IO (not an HDF5 file, truncated, changed), FBT_ERR_STORAGE. */
fbt_status fbt_seal_check(const char *path, int descriptor);

/* The same, and writes a copy to the descriptor `copy` as it reads: with room for a seal, which is not made. Errors:
 * also those of writing, which name `path`, too: the copy is to take its place. */
fbt_status fbt_seal_check_copy(const char *path, int descriptor, int copy);

/* Seals a file that has room for a seal, as it is now, and gives the block. path: for messages. Errors: FBT_ERR_IO,
 * FBT_ERR_STORAGE. */
fbt_status fbt_seal_write(const char *path, int descriptor, char block[FBT_SEAL_BYTES], int64_t *n_bytes);

#endif
