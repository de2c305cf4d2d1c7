/* The files that claims consist of, for claim.c: what they say, and whether the process they name lives. */
#ifndef FBT_RECORD_CLAIM_FILE_H
#define FBT_RECORD_CLAIM_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { FBT_CLAIM_IDENTITY_BYTES = 40, FBT_CLAIM_FIELD_BYTES = 80 };

typedef struct fbt_claim_file {
    bool exists;
    char identity[FBT_CLAIM_IDENTITY_BYTES];
    char host[FBT_CLAIM_FIELD_BYTES], boot[FBT_CLAIM_FIELD_BYTES],
        pids[FBT_CLAIM_FIELD_BYTES];                               /* where pid means something */
    char job[FBT_CLAIM_FIELD_BYTES], start[FBT_CLAIM_FIELD_BYTES]; /* of a batch system; "" outside it           */
    long long pid, born; /* process, and when it began; -1: the file was made and not (yet) written */
    int64_t beat_ns;     /* when it was made or last touched, by the file system's clock           */
} fbt_claim_file;

/* A random identity: no two claims have the same. */
void fbt_claim_file_identity(char identity[FBT_CLAIM_IDENTITY_BYTES]);

/* Makes a file, which must not exist, that names this process. *descriptor is -1 when it exists. shown: the claimed
 * path, for messages. Errors: FBT_ERR_IO, FBT_ERR_STORAGE. */
fbt_status fbt_claim_file_make(const char *shown, const char *path, const char *identity, int *descriptor);

/* No file: FBT_OK with exists false. One that is not written has an identity all the same. Errors: FBT_ERR_IO. */
fbt_status fbt_claim_file_read(const char *shown, const char *path, fbt_claim_file *c);

/* Whether the process that a file names lives, and what that is concluded from. */
typedef struct fbt_claim_life {
    bool alive;
    bool certain;    /* it is known, and not concluded from signs of life                                  */
    double age_s;    /* of its last sign of life, by the file system's clock; negative: it lies ahead      */
    double limit_s;  /* without a sign of life for so long it counts as dead                               */
    double silent_s; /* how long this process has seen no new sign of life, by its own monotonic clock     */
} fbt_claim_life;

/* lock: a path in the folder in which a file may be made, to ask the file system's time; NULL: this host's will do.
 * What is seen is remembered for the next call about the same claim. */
fbt_claim_life fbt_claim_file_life(const fbt_claim_file *c, const char *lock);

#endif
