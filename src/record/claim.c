/* How a claim is taken, taken over and released.
 *
 * Every claim has an identity that no other claim ever has (random). The claim on L = `.name.lock` belongs to the
 * identity v written in L. The file L.v is the right to succeed v: whoever makes it (O_EXCL: one process) may replace
 * or remove L, and nobody else may, not even v.
 *
 *   take       makes L with O_EXCL. If L exists and its holder v is dead:
 *   take over  makes L.v with O_EXCL, its own identity w in it; looks whether L still says v; renames L.v over L.
 *   release    makes L.v with O_EXCL (v is its own); looks whether L still says v; removes L, then L.v.
 *
 * At most one holder. Say two processes succeed v. Both made L.v, so it was removed in between. Only two things remove
 * it: its maker, after L has ceased to say v, and its renaming over L, by which L ceases to say v. L never says v
 * again, as identities are not used twice. So the second finds, after it has made L.v, that L does not say v, and gives
 * up. If a process dies with the right in its hands, L.v stays and names it as any claim does: the chain L, L.v, L.w,
 * ... is followed to its end, the process named there is the one that must be dead, and the right to succeed it is made
 * as above; the chain's dead members are removed once L has been replaced.
 *
 * What this rests on: a process counted as dead does not act. A dead process of this host cannot. One on another host
 * that is silent for FBT_CLAIM_STALE_S, or does not write the file that it has made, may only be suspended or cut off:
 * that is why the holder looks at L before each replacement of the run file (fbt_claim_check). What is left is a
 * process that is suspended for that long between this look and the replacement, a matter of microseconds; and even
 * then the file is a whole one, of the same rounds with the same numbers.
 *
 * Times of signs of life are compared with the time that the file system gives a file made now, so that clocks need not
 * agree. Nor do they need to run evenly, because times alone decide nothing: whoever succeeds a holder elsewhere has
 * itself, by its own monotonic clock, waited for longer than a beat without a sign of life where the last one is old,
 * and for FBT_CLAIM_STALE_S where its time says nothing, because it lies ahead.
 */
#include "record/claim.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/ticker.h"
#include "record/claim_file.h"
#include "record/real_path.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    ATTEMPTS_MAX = 1000,               /* of a claim that changes hands all the time */
    SIGN_DUE_S = FBT_CLAIM_BEAT_S + 2, /* within which one who lives gives a sign    */
};

struct fbt_claim {
    char *shown; /* the path as it was given, for messages */
    char *lock;
    char identity[FBT_CLAIM_IDENTITY_BYTES];
    int descriptor; /* of the claim's file, wherever it has been renamed to */
    pid_t process;  /* a fork has its parent's list, not its claims */
    int n_taken;
    fbt_claim *next; /* of the process's claims */
    fbt_ticker beat;
};

static fbt_claim *claims; /* of this process */

/* Whatever is put beside the file must find room in the folder, the longest name of all too: `.name.lock.IDENTITY`.
 * Otherwise a run could begin that cannot be gone on with. */
static fbt_status check_length(const char *path, const char *folder, const char *name)
{
    enum { BESIDE_BYTES = sizeof "..lock." - 1 + 32 };
    const long limit = pathconf(folder, _PC_NAME_MAX);
    const int64_t name_max = (limit > 0 ? limit : NAME_MAX) - BESIDE_BYTES, n_name = (int64_t)strlen(name);
    const int64_t path_max = PATH_MAX - 2 - BESIDE_BYTES - (int64_t)strlen(folder);
    if (n_name > name_max || n_name > path_max) {
        return fbt_fail(FBT_ERR_IO,
                        "%.400s cannot be written: its name has %lld bytes, and in this folder at most %lld leave room "
                        "for the names of its lock and its temporary files; choose a shorter %s",
                        path, (long long)n_name, (long long)(name_max < path_max ? name_max : path_max),
                        n_name > name_max ? "name" : "path");
    }
    return FBT_OK;
}

/* `folder/.name.lock` of the real file that `path` leads to. */
static fbt_status lock_path(const char *path, char **lock)
{
    fbt_status status = FBT_OK;
    char *folder = NULL, *file = NULL;
    *lock = NULL;
    FBT_TRY(fbt_real_path(path, &folder, &file));
    const char *name = strrchr(file, '/') + 1;
    FBT_TRY(check_length(path, folder, name));
    if (asprintf(lock, "%s/.%s.lock", folder, name) < 0) {
        *lock = NULL;
        FBT_FAIL(FBT_ERR_MEMORY, "out of memory: path of a lock");
    }
done:
    free(folder);
    free(file);
    return status;
}

/* Path of the right to succeed `identity`. */
static fbt_status right_path(const char *lock, const char *identity, char **right)
{
    if (asprintf(right, "%s.%s", lock, identity) < 0) {
        *right = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: path of a lock");
    }
    return FBT_OK;
}

/* ---- Signs of life ---- */

/* Touches the claim's own file: never one that has taken its name. */
static void beat(void *user)
{
    futimens(((fbt_claim *)user)->descriptor, NULL);
}

/* ---- Taking ---- */

/* Whether the holder lives, and, for one that does, until when the claim is held. */
static void describe_life(const char *lock, const fbt_claim_life *life, fbt_claim_holder *holder)
{
    char sign[64];
    const double gone_s = life->age_s > life->silent_s ? life->age_s : life->silent_s;
    holder->alive = life->alive;
    holder->certain = life->certain;
    if (life->certain) {
        snprintf(holder->held, sizeof holder->held, "%s, which lives; lock %.400s, free when it ends", holder->text,
                 lock);
        return;
    }
    snprintf(sign, sizeof sign, "%lld s %s", llabs((long long)life->age_s),
             life->age_s < 0 ? "ahead of the file system's clock" : "ago");
    snprintf(holder->held, sizeof holder->held,
             "%s, last sign of life %s; lock %.400s, free in %d s if there is no other sign", holder->text, sign, lock,
             life->limit_s > gone_s ? (int)ceil(life->limit_s - gone_s) : 0);
}

static void describe(const fbt_claim_file *c, fbt_claim_holder *holder)
{
    holder->exists = c->exists;
    holder->beat_ns = c->beat_ns;
    snprintf(holder->identity, sizeof holder->identity, "%s", c->identity);
    if (c->pid >= 0) {
        snprintf(holder->text, sizeof holder->text, "process %lld on %.64s%s%.64s", c->pid, c->host,
                 c->job[0] == '\0' ? "" : ", job ", c->job);
    } else {
        snprintf(holder->text, sizeof holder->text, "unknown");
    }
}

/* The last member of the chain that begins with *head. Neither exists: the claim is free. */
static fbt_status find_last(const fbt_claim *claim, fbt_claim_file *head, fbt_claim_file *last)
{
    fbt_status status = FBT_OK;
    fbt_claim_file next;
    char *right = NULL;
    FBT_TRY(fbt_claim_file_read(claim->shown, claim->lock, head));
    *last = *head;
    while (last->exists) {
        free(right);
        FBT_TRY(right_path(claim->lock, last->identity, &right));
        FBT_TRY(fbt_claim_file_read(claim->shown, right, &next));
        if (!next.exists) {
            break;
        }
        *last = next;
    }
done:
    free(right);
    return status;
}

/* Removes what dead members of a chain left: all rights from that to succeed `identity` on. */
static void remove_chain(const fbt_claim *claim, const char *identity)
{
    fbt_claim_file next;
    char *right = NULL;
    char last[FBT_CLAIM_IDENTITY_BYTES];
    snprintf(last, sizeof last, "%s", identity);
    while (right_path(claim->lock, last, &right) == FBT_OK &&
           fbt_claim_file_read(claim->shown, right, &next) == FBT_OK && next.exists) {
        unlink(right);
        free(right);
        right = NULL;
        snprintf(last, sizeof last, "%s", next.identity);
    }
    free(right);
}

/* Whether the claim's file names `identity`. */
static bool says(const fbt_claim *claim, const char *identity)
{
    fbt_claim_file head;
    return fbt_claim_file_read(claim->shown, claim->lock, &head) == FBT_OK && head.exists &&
           strcmp(head.identity, identity) == 0;
}

/* Tries to succeed the dead *last of the chain of *head. Not taken: claim->descriptor stays -1. */
static fbt_status take_over(fbt_claim *claim, const fbt_claim_file *head, const fbt_claim_file *last)
{
    fbt_status status = FBT_OK;
    char *right = NULL;
    int descriptor = -1;
    FBT_TRY(right_path(claim->lock, last->identity, &right));
    FBT_TRY(fbt_claim_file_make(claim->shown, right, claim->identity, &descriptor));
    if (descriptor < 0) {
        goto done; /* another process was faster */
    }
    if (!says(claim, head->identity)) {
        unlink(right);
    } else if (rename(right, claim->lock) == 0) {
        claim->descriptor = descriptor;
        descriptor = -1;
        if (strcmp(head->identity, last->identity) != 0) {
            remove_chain(claim, head->identity);
        }
    } else if (errno != ENOENT) {
        status = fbt_fail(fbt_status_of_system(errno), "%.400s cannot be written: its lock %.400s: %s", claim->shown,
                          claim->lock, strerror(errno));
        unlink(right);
    }
done:
    if (descriptor >= 0) {
        close(descriptor);
    }
    free(right);
    return status;
}

/* Whether times alone do not tell if a holder elsewhere lives: its last sign of life lies ahead of the clock, or it is
 * old, but this process has not yet waited for the next. */
static bool is_in_doubt(const fbt_claim_file *last, const fbt_claim_life *life)
{
    if (life->certain) {
        return false;
    }
    if (life->alive) {
        return life->age_s < -FBT_CLAIM_BEAT_S;
    }
    return last->pid >= 0 && life->silent_s < SIGN_DUE_S;
}

/* Waits a second. *before: the claim as it was seen first. */
static void wait_for_sign(const fbt_claim *claim, const fbt_claim_file *last, const fbt_claim_life *life,
                          const fbt_claim_holder *holder, fbt_claim_file *before)
{
    const struct timespec pause = {.tv_sec = 1};
    if (!before->exists) {
        fbt_log_info("lock", "%s: waiting up to %.0f s for a sign of life of its last writer: %s", claim->shown,
                     life->alive ? life->limit_s : SIGN_DUE_S, holder->held);
    }
    *before = *last;
    nanosleep(&pause, NULL);
}

/* A new claim's file: claim->descriptor is -1 when another process, *holder, has it. */
static fbt_status acquire(fbt_claim *claim, fbt_claim_holder *holder)
{
    fbt_status status = FBT_OK;
    fbt_claim_file head, last, before = {0};
    for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        FBT_TRY(fbt_claim_file_make(claim->shown, claim->lock, claim->identity, &claim->descriptor));
        if (claim->descriptor >= 0) {
            goto done;
        }
        FBT_TRY(find_last(claim, &head, &last));
        if (last.exists) {
            const fbt_claim_life life = fbt_claim_file_life(&last, claim->lock);
            describe(&last, holder);
            describe_life(claim->lock, &life, holder);
            const bool signs = strcmp(before.identity, last.identity) == 0 && before.beat_ns != last.beat_ns;
            if (!signs && is_in_doubt(&last, &life)) {
                wait_for_sign(claim, &last, &life, holder, &before);
                continue;
            }
            holder->alive = life.alive || signs;
            if (holder->alive) {
                goto done;
            }
            FBT_TRY(take_over(claim, &head, &last));
        }
        if (claim->descriptor >= 0) {
            goto done;
        }
        fbt_claim_file_identity(claim->identity); /* one that was written somewhere is used up */
    }
    FBT_FAIL(FBT_ERR_IO, "%.400s cannot be written: its lock %.400s changes hands all the time", claim->shown,
             claim->lock);
done:
    return status;
}

static void free_claim(fbt_claim *claim)
{
    if (claim != NULL) {
        free(claim->shown);
        free(claim->lock);
        free(claim);
    }
}

/* The process's own claim on a lock, or NULL. */
static fbt_claim *find_own(const char *lock)
{
    fbt_claim *claim = claims;
    while (claim != NULL && (claim->process != getpid() || strcmp(claim->lock, lock) != 0)) {
        claim = claim->next;
    }
    return claim;
}

/* Forgets what failed on the way to a success: a sentence that is kept would be told as the cause of a later failure.
 */
static void forget_failure(bool had_sentence)
{
    if (!had_sentence) {
        fbt_error_clear();
    }
}

/* Gives a claim's file back, unless another process has succeeded. On a full disk nobody can make the right to succeed,
 * so that it is not needed. */
static void remove_lock(const fbt_claim *claim)
{
    const bool had_sentence = fbt_error_message()[0] != '\0';
    char identity[FBT_CLAIM_IDENTITY_BYTES];
    char *right = NULL;
    int descriptor = -1;
    fbt_claim_file_identity(identity);
    fbt_status status = right_path(claim->lock, claim->identity, &right);
    if (status == FBT_OK) {
        status = fbt_claim_file_make(claim->shown, right, identity, &descriptor);
    }
    if ((status != FBT_OK || descriptor >= 0) && says(claim, claim->identity)) {
        unlink(claim->lock);
    }
    if (descriptor >= 0) {
        close(descriptor);
        unlink(right);
    }
    free(right);
    forget_failure(had_sentence);
}

fbt_status fbt_claim_take(const char *path, fbt_claim **claim, fbt_claim_holder *holder)
{
    fbt_status status = FBT_OK;
    const bool had_sentence = fbt_error_message()[0] != '\0';
    fbt_claim_holder unwanted;
    fbt_claim *made = NULL;
    *claim = NULL;
    holder = holder == NULL ? &unwanted : holder;
    *holder = (fbt_claim_holder){0};
    FBT_TRY(fbt_memory_alloc(&made, 1, sizeof *made));
    made->descriptor = -1;
    FBT_TRY(fbt_memory_strdup(&made->shown, path));
    FBT_TRY(lock_path(path, &made->lock));
    *claim = find_own(made->lock);
    if (*claim != NULL) {
        (*claim)->n_taken++;
        goto done;
    }
    fbt_claim_file_identity(made->identity);
    FBT_TRY(acquire(made, holder));
    if (made->descriptor < 0) {
        goto done;
    }
    const int error = fbt_ticker_start(&made->beat, FBT_CLAIM_BEAT_S, beat, made);
    if (error != 0) {
        status =
            fbt_fail(FBT_ERR_IO, "%.400s cannot be written: no thread for its lock: %s", made->shown, strerror(error));
        remove_lock(made);
        close(made->descriptor);
        goto done;
    }
    made->process = getpid();
    made->n_taken = 1;
    made->next = claims;
    claims = *claim = made;
    made = NULL;
done:
    free_claim(made);
    if (status == FBT_OK) {
        forget_failure(had_sentence);
    }
    return status;
}

fbt_status fbt_claim_check(const fbt_claim *claim)
{
    fbt_status status = FBT_OK;
    fbt_claim_file head;
    fbt_claim_holder holder = {0};
    FBT_TRY(fbt_claim_file_read(claim->shown, claim->lock, &head));
    if (!head.exists) {
        FBT_FAIL(FBT_ERR_IO,
                 "%.400s: its lock %.400s has been removed, so that another run may write it; this run stops",
                 claim->shown, claim->lock);
    }
    if (strcmp(head.identity, claim->identity) != 0) {
        describe(&head, &holder);
        FBT_FAIL(
            FBT_ERR_IO,
            "%.400s was taken over by another run (%s), because this one gave no sign of life for %d s; this run stops",
            claim->shown, holder.text, FBT_CLAIM_STALE_S);
    }
done:
    return status;
}

void fbt_claim_release(fbt_claim *claim)
{
    if (claim == NULL || --claim->n_taken > 0) {
        return;
    }
    for (fbt_claim **link = &claims; *link != NULL; link = &(*link)->next) {
        if (*link == claim) {
            *link = claim->next;
            break;
        }
    }
    fbt_ticker_stop(&claim->beat);
    remove_lock(claim);
    close(claim->descriptor);
    free_claim(claim);
}

fbt_status fbt_claim_look(const char *path, fbt_claim_holder *holder)
{
    fbt_status status = FBT_OK;
    fbt_claim claim = {.shown = (char *)(uintptr_t)path};
    fbt_claim_file head, last;
    *holder = (fbt_claim_holder){0};
    FBT_TRY(lock_path(path, &claim.lock));
    FBT_TRY(find_last(&claim, &head, &last));
    if (last.exists) {
        const fbt_claim_life life = fbt_claim_file_life(&last, NULL);
        describe(&last, holder);
        describe_life(claim.lock, &life, holder);
    }
done:
    free(claim.lock);
    return status;
}
