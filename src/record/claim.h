/* Who may write a file: one process at a time, on any number of hosts that share the file system.
 *
 * A claim on `folder/name` is the small file `folder/.name.lock`, which names its holder. It needs no lock service,
 * only what every file system does atomically, NFS included: making a file that must not exist (O_EXCL), rename and
 * unlink. It does not outlive its holder: a holder that is dead, or gives no sign of life for FBT_CLAIM_STALE_S, is
 * taken over from. claim.c argues why only one process gets a claim.
 *
 * For one thread of the process; a thread of the claim's own gives the signs of life.
 */
#ifndef FBT_RECORD_CLAIM_H
#define FBT_RECORD_CLAIM_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Seconds between two signs of life, and without one after which a holder on another host counts as dead. On the same
 * host the process itself is looked for; an earlier start of the same batch job is known to be dead. A sign of life
 * that lies ahead of the file system's clock (which was set back, or the folder restored) tells nothing: the holder
 * then counts as dead once this process has seen no other for that long. */
enum { FBT_CLAIM_BEAT_S = 10, FBT_CLAIM_STALE_S = 120 };

typedef struct fbt_claim fbt_claim;

/* Who holds a claim. */
typedef struct fbt_claim_holder {
    bool exists;
    bool alive;        /* false: may be taken over                                              */
    bool certain;      /* alive or not is known; false: concluded from its last sign of life    */
    char text[192];    /* "process 4711 on node3, job 77", for people                           */
    char held[768];    /* the same, with its last sign of life, and which lock goes when        */
    char identity[40]; /* of this claim: another one has another                                */
    int64_t beat_ns;   /* time of its last sign of life, by the file system's clock             */
} fbt_claim_holder;

/* Claims the file `path` for this process. *claim is NULL when another process holds it, which *holder (may be NULL)
 * then describes; else release it with fbt_claim_release. Where the times of the holder's signs of life do not tell
 * whether it lives, waits for the next sign: a little longer than FBT_CLAIM_BEAT_S before an old claim is taken over,
 * FBT_CLAIM_STALE_S before one whose last sign lies ahead of the file system's clock. A process that holds the claim
 * gets it once more; it ends with the last release. Errors: FBT_ERR_IO (the folder cannot be written, or the name
 * leaves no room for those of the claim's files), FBT_ERR_STORAGE. */
fbt_status fbt_claim_take(const char *path, fbt_claim **claim, fbt_claim_holder *holder);

/* Fails when the claim has been lost: another process found this one silent for too long, e.g. because it was
 * suspended. Call before everything that only the holder may do. Errors: FBT_ERR_IO. */
fbt_status fbt_claim_check(const fbt_claim *claim);

/* NULL is fine. */
void fbt_claim_release(fbt_claim *claim);

/* Describes the holder without claiming; changes nothing. No claim: holder->exists is false. Errors: FBT_ERR_IO. */
fbt_status fbt_claim_look(const char *path, fbt_claim_holder *holder);

#endif
